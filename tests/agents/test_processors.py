"""Decision processors: each by hand-worked numbers, and the default list against the rule that it
came from."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.dialogue import Dialogue, Turn
from agents.grounding import ground
from agents.planner.adapter import read_about, write_about
from agents.planner.language import LanguagePlanner
from agents.planner.options import PlannerOptions
from agents.planner.processor_registry import (
    PROCESSORS,
    default_processors,
    parse_processors,
    processors_from_json,
    processors_to_json,
    weakest_common,
)
from agents.planner.processors import (
    Contrastive,
    DecisionContext,
    DecisionProcessor,
    ExplorationThreshold,
    HeldItemPenalty,
    RepetitionBan,
    RepetitionPenalty,
    choose,
    processed_scores,
)
from envs.commands import Command
from envs.errors import BadInput
from run.storage.deprecations import current_settings

TASK = "If the solid red ring is near the lamp, pick up the solid blue ex."
START = Dialogue(TASK, ("examine", "pick up"))
A = Command.parse("examine the solid red ring")
B = Command.parse("examine the solid blue ex")
C = Command.parse("pick up the solid red ring")
D = Command.parse("pick up the solid blue ex")
ORDER = [A, C, B, D]
SAME, OTHER = "I did not manage.", "Nothing."
BANNED = -math.inf


def after(*turns: tuple[Command, str]) -> Dialogue:
    d = START
    for command, report in turns:
        d = d.add(Turn(command.sentence(), command, ground(report, command)))
    return d


def context(
    dialogue: Dialogue, scores: dict[Command, float], other: dict[Command, float] | None = None
) -> DecisionContext:
    candidates = dialogue.candidates()
    assert set(candidates) == {A, B, C, D}

    def array(by_command: dict[Command, float]) -> np.ndarray:
        return np.array([by_command[c] for c in candidates])

    return DecisionContext(
        dialogue, candidates, array(scores), None if other is None else array(other)
    )


def processed(
    processor: DecisionProcessor,
    dialogue: Dialogue,
    scores: dict[Command, float],
    other: dict[Command, float] | None = None,
) -> dict[Command, float]:
    about = context(dialogue, scores, other)
    before = about.scores.copy()
    found = processor(about, about.scores)
    assert np.array_equal(about.scores, before)
    return dict(zip(about.candidates, found.tolist(), strict=True))


SCORES = {A: -1.0, B: -2.0, C: -0.5, D: -4.0}
LOG = {c: math.log(p) for c, p in {A: 0.125, B: 0.125, C: 0.5, D: 0.25}.items()}


@pytest.mark.parametrize(
    ("turns", "reports", "banned"),
    [
        (2, [(A, SAME), (A, SAME)], [A]),
        (2, [(A, SAME)], []),
        (2, [(A, SAME), (A, OTHER)], []),
        (2, [(A, SAME), (B, SAME)], []),
        (2, [(A, SAME), (B, SAME), (A, SAME)], []),
        (3, [(A, SAME), (A, SAME)], []),
        (1, [(A, SAME), (B, SAME)], [B]),
        (0, [(A, SAME), (A, SAME)], []),
    ],
)
def test_repetition_ban(turns, reports, banned):
    expected = SCORES | dict.fromkeys(banned, BANNED)
    assert processed(RepetitionBan(turns), after(*reports), SCORES) == expected


@pytest.mark.parametrize(
    ("nats", "threshold", "reports", "expected"),
    [
        # 3 identical reports of A are 2 more than 1: 2 times 3 nats; 2 of B 1 time.
        (3, 2, [(A, SAME), (B, OTHER), (A, SAME), (B, OTHER), (A, SAME)], {A: -7.0, B: -5.0}),
        (3, 2, [(A, SAME), (B, OTHER), (A, OTHER)], {}),
        (3, 2, [(A, SAME), (A, SAME), (A, OTHER)], {}),
        (3, 2, [(A, OTHER), (A, SAME), (A, SAME)], {A: -4.0}),
        (0.5, 3, [(A, SAME), (A, SAME), (A, SAME)], {A: -1.5}),
        (0.5, 3, [(A, SAME), (A, SAME)], {}),
        (0.5, 1, [(A, SAME)], {A: -1.5}),
        (3, 0, [(A, SAME), (A, SAME)], {}),
        (0, 2, [(A, SAME), (A, SAME)], {}),
        (math.inf, 2, [(A, SAME), (A, SAME)], {A: BANNED}),
    ],
)
def test_repetition_penalty(nats, threshold, reports, expected):
    processor = RepetitionPenalty(nats, threshold)
    assert processed(processor, after(*reports), SCORES) == SCORES | expected


PICKED_UP = "I picked up the solid blue ex."


@pytest.mark.parametrize(
    ("threshold", "reports", "expected"),
    [
        (2, [(D, PICKED_UP)], {D: -7.0}),
        (2, [(D, SAME)], {}),
        (2, [(D, PICKED_UP), (A, SAME)], {}),
        (2, [(C, PICKED_UP)], {}),  # it was another item's turn
        (3, [(D, PICKED_UP)], {}),
        (3, [(D, PICKED_UP), (D, PICKED_UP)], {D: -7.0}),
        (1, [(D, PICKED_UP)], {D: -7.0}),
        (0, [(D, PICKED_UP)], {}),
    ],
)
def test_held_item_penalty(threshold, reports, expected):
    processor = HeldItemPenalty(3.0, threshold)
    assert processed(processor, after(*reports), SCORES) == SCORES | expected


def test_exploration_threshold():
    # At the threshold the rest is banned, below it nothing.
    both = LOG | {C: BANNED, D: BANNED}
    certain = {A: 0.0, B: -800.0, C: -800.0, D: -800.0}
    assert processed(ExplorationThreshold(1.0), START, certain) == certain | {C: BANNED, D: BANNED}
    assert processed(ExplorationThreshold(0.25), START, LOG) == both
    assert processed(ExplorationThreshold(0.2500001), START, LOG) == LOG
    assert processed(ExplorationThreshold(0), START, LOG) == both
    assert processed(ExplorationThreshold(1.1), START, {**LOG, A: 0.0, B: 0.0}) == {
        **LOG,
        A: 0.0,
        B: 0.0,
    }
    examined = (A, "I examined the solid red ring, it is loud.")
    assert processed(ExplorationThreshold(0.25), after(examined), LOG) == both | {A: BANNED}
    # The probability is that of all examining, also of what is examined already.
    everything = after(examined, (B, "I examined the solid blue ex."))
    about = context(everything, LOG)
    assert processed_scores([ExplorationThreshold(0.25)], about).tolist() == about.scores.tolist()
    # By default examining must have a probability of 0.4: 0.41 has it, 0.39 has not.
    for share, banned in ((0.205, [C, D]), (0.195, [])):
        split = LOG | {A: math.log(share), B: math.log(share)}
        assert processed(ExplorationThreshold(), START, split) == split | dict.fromkeys(
            banned, BANNED
        )
    # It is the probability before other processors.
    about = context(START, LOG)
    banned = np.where([c == A for c in about.candidates], BANNED, about.scores)
    found = ExplorationThreshold(0.25)(about, banned)
    assert dict(zip(about.candidates, found.tolist(), strict=True)) == both | {A: BANNED}


def test_contrastive():
    now = {c: math.log(p) for c, p in {A: 0.1, B: 0.1, C: 0.5, D: 0.3}.items()}
    other = {c: math.log(p) for c, p in {A: 0.05, B: 0.15, C: 0.3, D: 0.5}.items()}
    # ln 0.5 + 6 ln(0.52 / 0.32) and ln 0.3 + 6 ln(0.32 / 0.52), where ln 1.625 = 0.4855078.
    expected = now | {C: -0.6931472 + 2.9130468, D: -1.2039728 - 2.9130468}
    assert processed(Contrastive(), START, now, other) == pytest.approx(expected, abs=1e-6)
    # Twice the weight and five times the floor: ln(0.6 / 0.4) = 0.4054651.
    expected = now | {C: -0.6931472 + 12 * 0.4054651, D: -1.2039728 - 12 * 0.4054651}
    found = processed(Contrastive(12, 0.1), START, now, other)
    assert found == pytest.approx(expected, abs=1e-6)
    assert processed(Contrastive(), START, now, None) == now
    assert processed(Contrastive(0), START, now, other) == now
    # Where examining is most probable, nothing is changed, whatever the counterfactual says.
    examining = now | {A: math.log(0.5), C: math.log(0.1)}
    assert processed(Contrastive(), START, examining, other) == examining
    # What is most probable is so before other processors, which may have banned it.
    about = context(START, now, other)
    change = {A: 0.0, B: 0.0, C: BANNED, D: -5.0}
    rest = about.scores + np.array([change[c] for c in about.candidates])
    found = dict(zip(about.candidates, Contrastive()(about, rest).tolist(), strict=True))
    assert found[D] == pytest.approx(-1.2039728 - 5 - 2.9130468, abs=1e-6)
    assert (Contrastive().needs_counterfactual, Contrastive(0).needs_counterfactual) == (
        True,
        False,
    )


def test_the_highest_processed_score_is_chosen_and_the_first_of_equals():
    about = context(START, {A: -1.0, B: -1.0, C: -1.0, D: -2.0})
    assert choose([], about) == 0
    # One that would ban the rest is passed over.
    alone = Dialogue("Take the solid red ring.", ("pick up",))
    alone = alone.add(Turn("Pick up the solid red ring.", C, ground(SAME, C)))
    alone = alone.add(Turn("Pick up the solid red ring.", C, ground(SAME, C)))
    only = DecisionContext(alone, alone.candidates(), np.array([-1.0]))
    assert processed_scores([RepetitionBan()], only).tolist() == [-1.0]

    class Broken(RepetitionBan):
        def __call__(self, context: DecisionContext, scores: np.ndarray) -> np.ndarray:
            return scores * np.nan

    with pytest.raises(ValueError, match="'repetition-ban' returned no score"):
        choose([Broken()], about)


# The rule that the default lists came from, as it was before there were processors.


@dataclass(frozen=True)
class Past:
    """One turn: a command (None for none of the grammar), its report, whether it was done."""

    command: Command | None
    report: str
    done: bool


def old_rule(
    past: Sequence[Past],
    candidates: Sequence[Command],
    scores: Sequence[float],
    contrary: Sequence[float] | None,
    *,
    tree: bool,
    repeats: int,
    penalty: float,
    look: float,
    contrast: float,
) -> np.ndarray:
    """The score by which each candidate competed, minus infinity for those not allowed."""
    tail = past[len(past) - repeats :]
    is_stuck = 0 < repeats <= len(past) and len({(p.command, p.report) for p in tail}) == 1
    stuck = past[-1].command if is_stuck else None
    allowed = [k for k, c in enumerate(candidates) if c != stuck] or [0]
    if tree and look <= 1:
        examining = [k for k, c in enumerate(candidates) if c.verb == "examine"]
        if sum(math.exp(scores[k]) for k in examining) >= look:
            examined = {p.command.item for p in past if p.done and p.command.verb == "examine"}
            new = [k for k in examining if candidates[k].item not in examined]
            allowed = [k for k in allowed if k in new] or allowed
    weighed = [*scores]
    likeliest = max(range(len(scores)), key=lambda k: scores[k])
    if tree and contrast > 0 and contrary is not None and candidates[likeliest].verb != "examine":
        for k, c in enumerate(candidates):
            if c.verb != "examine":
                now, other = math.exp(scores[k]), math.exp(contrary[k])
                weighed[k] += contrast * math.log((now + 0.02) / (other + 0.02))
    held = past and past[-1].done and past[-1].command.verb == "pick up"
    for k, c in enumerate(candidates):
        reports = [p.report for p in past if p.command == c]
        times = 0
        while times < len(reports) and reports[-1 - times] == reports[-1]:
            times += 1
        times += bool(held and past[-1].command == c)
        if repeats and times >= repeats:
            weighed[k] -= penalty * (times - repeats + 1)
    return np.array([w if k in allowed else BANNED for k, w in enumerate(weighed)])


@st.composite
def pasts(draw: st.DrawFn) -> list[Past]:
    past = []
    for _ in range(draw(st.integers(0, 7))):
        # Few commands and reports, so that they recur.
        command = draw(st.sampled_from([A, C, D, A, C, D, B, None]))
        done = command is not None and draw(st.booleans())
        participle = {"examine": "examined", "pick up": "picked up"}
        if done:
            report = f"I {participle[command.verb]} the {command.item}."
        else:
            report = draw(st.sampled_from([SAME, SAME, OTHER]))
        past.append(Past(command, report, done))
    return past


def log_softmax(values: Sequence[float]) -> list[float]:
    total = math.log(sum(map(math.exp, values)))
    return [v - total for v in values]


numbers = st.lists(st.integers(-12, 12).map(lambda n: n / 4), min_size=4, max_size=4)


def processors_for(text: str, scoring: str) -> tuple[DecisionProcessor, ...]:
    """The list that a Planner decides by, without the model."""
    planner = object.__new__(LanguagePlanner)
    planner.options, planner.scoring = PlannerOptions(processors=text), scoring
    planner.set_default_processors(None)
    return planner.processors


@given(
    past=pasts(),
    raw=numbers,
    raw_other=st.none() | numbers,
    tree=st.booleans(),
    repeats=st.integers(0, 3),
    penalty=st.sampled_from([None, 0.0, 0.5, 3.0]),
    look=st.sampled_from([None, 0.0, 0.3, 0.4, 1.0, 1.1]),
    contrast=st.sampled_from([None, 0.0, 2.0, 6.0]),
)
def test_the_lists_decide_as_the_old_rule(
    past, raw, raw_other, tree, repeats, penalty, look, contrast
):
    d = START
    for p in past:
        d = d.add(Turn("Said.", p.command, ground(p.report, p.command)))
    candidates = d.candidates()
    scores = log_softmax(raw) if tree else [-abs(x) for x in raw]
    other = raw_other and (log_softmax(raw_other) if tree else raw_other)
    expected = old_rule(
        past,
        candidates,
        scores,
        other,
        tree=tree,
        repeats=repeats,
        penalty=(3.0 if tree else 0.0) if penalty is None else penalty,
        look=1.1 if look is None else look,
        contrast=0.0 if contrast is None else contrast,
    )
    old = {"repeats": repeats, "repeat_penalty": penalty, "look": look, "contrast": contrast}
    text = current_settings("evaluate", old)["processors"]
    processors = processors_for(text, "constrained" if tree else "length-normalised")
    about = DecisionContext(
        d, candidates, np.array(scores), None if other is None else np.array(other)
    )
    found = processed_scores(processors, about)
    # Two penalties are subtracted one by one now, which may round otherwise.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    if np.array_equal(found, expected):
        assert choose(processors, about) == max(range(4), key=lambda k: expected[k])
    assert choose(processors_for("none", "constrained"), about) == int(np.argmax(scores))


def test_the_default_lists_are_those_that_were_always_used():
    assert default_processors("constrained") == (
        RepetitionBan(2),
        RepetitionPenalty(3.0, 2),
        HeldItemPenalty(3.0, 2),
    )
    assert default_processors("length-normalised") == (
        RepetitionBan(2),
        RepetitionPenalty(0.0, 2),
        HeldItemPenalty(0.0, 2),
    )


def test_processors_that_need_a_distribution_are_left_out_without_one(caplog):
    text = "repetition-ban:1,exploration-threshold,contrastive"
    assert processors_for(text, "length-normalised") == (RepetitionBan(1),)
    assert caplog.text.count("needs constrained scoring") == 2
    assert len(processors_for(text, "constrained")) == 3


def test_lists_are_read_from_text():
    default = default_processors("constrained")
    assert parse_processors("default", default) == default
    assert parse_processors("none", default) == ()
    assert parse_processors(" exploration-threshold:0.3 , repetition-ban", default) == (
        ExplorationThreshold(0.3),
        RepetitionBan(2),
    )
    assert parse_processors("contrastive:4:0.5") == (Contrastive(4.0, 0.5),)
    assert parse_processors("contrastive:floor=0.5") == (Contrastive(6.0, 0.5),)
    # Behind "default", named parameters change, and the rest is added where it belongs.
    changed = "default,contrastive:2,repetition-penalty:after=3,repetition-penalty:nats=1"
    assert parse_processors(changed, default) == (
        RepetitionBan(2),
        Contrastive(2.0),
        RepetitionPenalty(1.0, 3),
        HeldItemPenalty(3.0, 2),
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("repetition-bam", "unknown processor 'repetition-bam'; did you mean 'repetition-ban'?"),
        ("", "unknown processor ''"),
        ("contrastive,none", "'none' can only stand alone"),
        ("contrastive,default", "'default' can only stand alone"),
        ("contrastive,contrastive:3", "'contrastive' is named twice"),
        ("contrastive:wait=3", "unknown parameter of processor 'contrastive' 'wait'"),
        ("contrastive:1:2:3", "no more parameters"),
        ("contrastive:1:weight=3", "weight of processor 'contrastive' is given twice"),
        ("contrastive:much", "weight of processor 'contrastive' must be a number, not 'much'"),
        ("contrastive:-1", "must be a number of at least 0, not -1"),
        ("contrastive:nan", "must be a number of at least 0"),
        ("contrastive:6:0", "floor of processor 'contrastive' must be above 0"),
        ("repetition-ban:1.5", "must be a whole number of at least 0, not 1.5"),
    ],
)
def test_what_is_no_list_is_refused_in_one_sentence(text, problem):
    with pytest.raises(BadInput) as error:
        PlannerOptions(processors=text)
    assert problem in str(error.value)


@given(st.lists(st.sampled_from(sorted(PROCESSORS)), unique=True))
def test_a_list_is_stored_as_json(names):
    processors = parse_processors(",".join(names)) if names else ()
    stored = json.loads(json.dumps(processors_to_json(processors)))
    assert [p["name"] for p in stored] == names
    assert processors_from_json(stored) == processors


def test_what_several_lists_have_in_common():
    one = parse_processors("repetition-ban:0,exploration-threshold:0.3,contrastive:2:0.1")
    two = parse_processors("contrastive:6:0.02,exploration-threshold:0.4,repetition-ban:3")
    assert weakest_common([one, two]) == (
        RepetitionBan(0),
        ExplorationThreshold(0.4),
        Contrastive(2.0, 0.1),
    )
    assert weakest_common([one, two[:2]]) == (ExplorationThreshold(0.4), Contrastive(2.0, 0.1))


def test_an_adapter_of_an_older_version_has_the_same_processors(tmp_path: Path):
    old = {"base": "tiny", "scoring": "tree", "examples": 2, "prompt": "short"}
    for rules, changes in (
        ({"look": 0.4, "contrast": 6.0}, "default,exploration-threshold:0.4,contrastive:6"),
        ({"look": 1.1, "contrast": 0.0}, "default"),
        ({}, "default"),
    ):
        (tmp_path / "planner.json").write_text(json.dumps(old | rules))
        about = read_about(tmp_path)
        assert about.scoring == "constrained"
        expected = parse_processors(changes, default_processors("constrained"))
        assert about.processors == expected
        write_about(tmp_path, about)
        assert read_about(tmp_path) == about
    stored = json.loads((tmp_path / "planner.json").read_text())
    for changed in (
        {"processors": [{"name": "repetition-bam"}]},
        {"processors": [{"name": "repetition-ban", "turn": 2}]},
        {"processors": "none"},
        {"scoring": "best"},
        {"prompt": "long"},
        {"base": 3},
        {"examples": "2"},
        {"color": 3},
    ):
        (tmp_path / "planner.json").write_text(json.dumps(stored | changed))
        with pytest.raises(BadInput, match="can be read"):
            read_about(tmp_path)
