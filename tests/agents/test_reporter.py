"""Reporters: everything that they say is true."""

from __future__ import annotations

import builtins
import re

import numpy as np
import pytest

from agents.actor import make_actor
from agents.dialogue import Dialogue, Rollout
from agents.reporter import REPORTERS, make_reporter
from agents.reporter.irrelevant import DIRECTIONS, irrelevant_truths
from agents.reporter.scripted import truth
from envs import Command, Event, Item, Worlds, make_worlds
from envs.attributes import SECRET_PROPERTY, Attribute
from envs.errors import BadInput

RED, BLUE = Item("cross", "red", "striped"), Item("circle", "blue", "solid")
GOOD, BAD = Attribute(SECRET_PROPERTY, "good"), Attribute(SECRET_PROPERTY, "bad")


def rollout(command: str, *events: Event, done: bool = True) -> Rollout:
    return Rollout(Command.parse(command), 5, events, done, "done")


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (
            rollout("examine the striped red cross", Event("examined", RED, GOOD)),
            "I examined the striped red cross, it has secret property good.",
        ),
        (
            # Another item was examined on the way, and its property is not this one's.
            rollout(
                "examine the striped red cross",
                Event("examined", RED, BAD),
                Event("examined", BLUE, GOOD),
            ),
            "I examined the striped red cross, it has secret property bad.",
        ),
        (
            rollout("examine the striped red cross", Event("examined", BLUE, GOOD), done=False),
            "I did not manage to examine the striped red cross.",
        ),
        (
            rollout("pick up the striped red cross", Event("picked up", RED)),
            "I picked up the striped red cross.",
        ),
        (
            # Picking it up does not tell what examining on the way told.
            rollout(
                "pick up the striped red cross",
                Event("examined", RED, GOOD),
                Event("picked up", RED),
            ),
            "I picked up the striped red cross.",
        ),
        (
            rollout("pick up the striped red cross", Event("picked up", BLUE), done=False),
            "I did not manage to pick up the striped red cross.",
        ),
        (rollout("go to the blue box"), "I went to the blue box."),
        (rollout("open the blue box"), "I opened the blue box."),
        (
            rollout("open the red door", Event("found locked", Item("door", "red")), done=False),
            "I did not manage to open the red door, the red door is locked.",
        ),
        (
            rollout("put the red ball next to the blue box"),
            "I put the red ball next to the blue box.",
        ),
        (
            rollout("put the red ball next to the blue box", done=False),
            "I did not manage to put the red ball next to the blue box.",
        ),
    ],
)
def test_the_truth_in_words(told: Rollout, expected: str) -> None:
    assert truth(told).text == expected
    dialogue = Dialogue("", ())
    assert make_reporter("scripted").report([told], [dialogue]) == [truth(told)]


def played(seed: int, command_of: int = 0) -> tuple[Worlds, Rollout]:
    """A world in which the scripted Actor has carried out one random command."""
    worlds = make_worlds("conditional", 1, n_items=6, show_marks=True)
    worlds.reset(0, seed)
    rng = np.random.default_rng(seed)
    item = worlds.world(0).things[rng.integers(6)].item
    verb = ("go to", "examine", "pick up")[rng.integers(3)]
    budget = int(rng.integers(1, 30))
    (done,) = make_actor("scripted").execute(worlds, [Command(verb, item)], budget)
    assert done is not None
    return worlds, done


def test_the_scripted_report_agrees_with_the_events() -> None:
    managed = set()
    for seed in range(80):
        worlds, told = played(seed)
        text = truth(told).text
        item, verb = told.command.item, told.command.verb
        assert ("did not manage" in text) != told.done
        deed = {"examine": "examined", "pick up": "picked up"}.get(verb)
        if deed is not None:
            assert ((deed, item) in {(e.kind, e.item) for e in told.events}) == told.done
        if told.command.verb == "examine" and told.done:
            hidden = next(t for t in worlds.world(0).things if t.item == item)
            assert text.endswith(f", it {hidden.fact}.")
        managed.add((told.command.verb, told.done))
    assert len(managed) == 6


def test_everything_irrelevant_is_true_and_reveals_nothing() -> None:
    seen_any = 0
    for seed in range(60):
        worlds, told = played(seed)
        world = worlds.world(0)
        in_view = {
            str(t.item)
            for t in world.things
            if t is not world.carrying and world.agent_sees(*t.cur_pos)
        }
        facts = irrelevant_truths(world, told)
        for fact in facts:
            assert not re.search(r"good|bad|unknown|property|mark", fact)
            if match := re.fullmatch(r"I see the (.+)\.", fact):
                assert match[1] in in_view
                seen_any += 1
            elif match := re.fullmatch(r"I am facing (.+)\.", fact):
                ahead = {"east": (1, 0), "south": (0, 1), "west": (-1, 0), "north": (0, -1)}
                x, y = world.agent_pos
                dx, dy = ahead[match[1]]
                assert (x + dx, y + dy) == tuple(world.front_pos)
            else:
                plural = "s" if told.steps != 1 else ""
                assert fact == f"I took {worlds.steps[0]} step{plural}."
        assert sum("I see" in f for f in facts) == len(in_view)
    assert seen_any > 30 and len(DIRECTIONS) == 4


def test_the_irrelevant_report_always_has_the_truth_in_it() -> None:
    added = 0
    for seed in range(80):
        worlds, told = played(seed)
        dialogue = Dialogue("", (), seed=seed)
        reporter = make_reporter("irrelevant")
        reporter.begin(worlds)
        (report,) = reporter.report([told], [dialogue])
        facts = irrelevant_truths(worlds.world(0), told)
        assert report.text.count(truth(told).text) == 1
        rest = report.text.replace(truth(told).text, "").strip()
        pieces = re.findall(r"[^.]+\.", rest)
        assert len(pieces) <= 2 and all(p.strip() in facts for p in pieces)
        added += bool(pieces)
    assert 20 < added < 60  # p is one half


def test_same_seed_same_words_and_probability_zero_and_one() -> None:
    worlds, told = played(3)

    def say(p: float, seed: int) -> str:
        reporter = make_reporter("irrelevant", p=p)
        reporter.begin(worlds)
        return reporter.report([told], [Dialogue("", (), seed=seed)])[0].text

    assert [say(0.5, s) for s in range(20)] == [say(0.5, s) for s in range(20)]
    assert len({say(1.0, s) for s in range(20)}) > 5
    assert {say(0.0, s) for s in range(20)} == {truth(told).text}
    assert truth(told).text not in {say(1.0, s) for s in range(20)}


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_a_probability_is_between_0_and_1(p: float) -> None:
    with pytest.raises(BadInput, match="is not between 0 and 1"):
        make_reporter("irrelevant", p=p)


def test_an_unknown_reporter_is_told_with_the_nearest() -> None:
    with pytest.raises(BadInput, match="unknown reporter 'scriptd'; did you mean 'scripted'"):
        make_reporter("scriptd")
    assert {"scripted", "irrelevant", "human"} <= set(REPORTERS)


def test_a_person_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    told = rollout("go to the blue box")
    lines = iter(["  It is over there. ", ""])
    monkeypatch.setattr(builtins, "input", lambda prompt="": next(lines))
    reports = make_reporter("human").report([told, told], [Dialogue("", ())] * 2)
    assert [r.text for r in reports] == ["It is over there.", "I went to the blue box."]

    def ended(prompt: str = "") -> str:
        raise EOFError

    monkeypatch.setattr(builtins, "input", ended)
    with pytest.raises(BadInput, match="standard input ended"):
        make_reporter("human").report([told], [Dialogue("", ())])
