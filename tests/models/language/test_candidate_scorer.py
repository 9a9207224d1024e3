"""Scores by trie and memory are the scores of the plain way."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import LlamaForCausalLM, MambaConfig, MambaForCausalLM

from agents.dialogue import Decision, Dialogue, Turn
from agents.grounding import ground
from agents.messages import Report
from agents.planner.counterfactual import counterfactual_dialogue
from agents.planner.language import LanguagePlanner
from agents.planner.options import PlannerOptions
from agents.planner.processors import DecisionContext, choose
from envs.commands import Command, all_commands
from envs.errors import BadInput
from envs.items import ALL_ITEMS, with_article
from models.language.candidate_scorer import CandidateScorer, ScoringRequest
from models.language.candidate_scores import uncached_scores
from models.language.candidate_trie import build_trie
from models.language.kv_cache import KVCache, load, save
from tests.agents.tiny import VERBS, dialogue, tiny_model, tiny_tokenizer

NEAR = 1e-4
KINDS = ("llama", "qwen2", "gpt2")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PARLEY_CACHE", str(tmp_path / "cache"))


def planner(kind: str = "llama", **options) -> LanguagePlanner:
    settings_ = {"examples": 2, "processors": "none", **options}
    return LanguagePlanner(tiny_model(kind), tiny_tokenizer(), PlannerOptions(**settings_))


def plain(p: LanguagePlanner, d: Dialogue, batched: bool = False) -> dict[str, float]:
    """The scores by the plain way, tokenized by hand: byte-level BPE splits before a space."""
    tokens = p.tokenizer
    context = tuple(tokens(p.prompt.render(d))["input_ids"])
    said = [c.sentence() for c in d.candidates()]
    tails = [tuple(tokens(f" {s}")["input_ids"]) for s in said]
    return dict(zip(said, uncached_scores(p.model, context, tails, batched), strict=True))


def assert_near(decision: Decision, expected: dict[str, float]) -> None:
    assert decision.scores == pytest.approx(expected, abs=NEAR)
    assert max(expected.values()) - min(expected.values()) > 20 * NEAR  # else nothing is tested
    assert decision.utterance == max(decision.scores, key=decision.scores.__getitem__)


items = st.lists(st.sampled_from(ALL_ITEMS), min_size=1, max_size=4, unique=True)
words = st.text("abcdefgh ,.é?", max_size=30)


@st.composite
def dialogues(draw: st.DrawFn) -> Dialogue:
    named = draw(items)
    d = Dialogue(
        f"{draw(words)} {' and '.join(f'the {i}' for i in named)}",
        VERBS,
        world=draw(st.integers(0, 99)),
        seed=draw(st.integers(0, 99)),
    )
    for _ in range(draw(st.integers(0, 3))):
        command = draw(st.sampled_from(all_commands(named, VERBS)))
        d = d.add(Turn(command.sentence(), command, ground(draw(words), command)))
    return d


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(batch=st.lists(dialogues(), min_size=1, max_size=4), group=st.integers(1, 3))
def test_any_dialogues_score_as_in_the_plain_way(kind, batch, group):
    p = planner(kind, group=group)
    for d, decision in zip(batch, p.choose(batch), strict=True):
        assert decision.scores == pytest.approx(plain(p, d), abs=NEAR)


@pytest.mark.parametrize("kind", KINDS)
def test_a_growing_dialogue_scores_as_in_the_plain_way(kind):
    p = planner(kind, group=2)  # passes of two dialogues and of one
    batch = [dialogue(seed=s, world=s, task=f"{'so ' * s}{dialogue().task}") for s in range(3)]
    for turn in range(3):
        decisions = p.choose(batch)
        for d, decision in zip(batch, decisions, strict=True):
            assert_near(decision, plain(p, d))
        batch = [
            d.add(
                Turn(
                    c.utterance,
                    c.command,
                    ground(f"I did it {turn} times, the solid grey ex is near."),
                )
            )
            for d, c in zip(batch, decisions, strict=True)
        ]


def test_each_turn_reads_only_its_new_text(monkeypatch):
    p = planner()
    read: list[int] = []
    run = p.scorer._run
    monkeypatch.setattr(p.scorer, "_run", lambda t, *a: (read.append(len(t)), run(t, *a))[1])
    d = dialogue()
    said = p.choose([d])[0]
    prefix, first = sum(read[:-1]), read[-1]
    p.choose([d.add(Turn(said.utterance, said.command, ground("Yes.", said.command)))])
    second = read[-1]
    whole = len(p.tokenizer(p.prompt.render(d))["input_ids"])
    nodes = len(build_trie(0, _tails(p, d)).tokens)
    assert prefix > 0.7 * whole
    assert prefix + first == whole + nodes - 1
    # The said command's tokens were read as a candidate; what is new is its end and the report.
    new = len(p.tokenizer(".\nReporter: Yes.\nPlanner:")["input_ids"])
    assert second == new + nodes - 1


def _tails(p: LanguagePlanner, d: Dialogue) -> list[tuple[int, ...]]:
    return [tuple(p.tokenizer(f" {c.sentence()}")["input_ids"]) for c in d.candidates()]


def test_scores_do_not_depend_on_the_neighbours():
    batch = [dialogue(seed=s, world=s, task=f"{'so ' * s}{dialogue().task}") for s in range(3)]
    alone = [planner().choose([d])[0].scores for d in batch]
    each = [c.scores for c in planner(group=1).choose(batch)]
    assert alone == each  # to the bit
    for together, scores in zip(planner().choose(batch), alone, strict=True):
        assert together.scores == pytest.approx(scores, abs=NEAR)


def test_an_edited_past_is_read_anew():
    p = planner()
    d = dialogue()
    first = p.choose([d.add(Turn("Examine.", None, ground("It has secret property good.")))])[0]
    second = p.choose([d.add(Turn("Examine.", None, ground("It has secret property bad.")))])[0]
    assert_near(
        second, plain(p, d.add(Turn("Examine.", None, ground("It has secret property bad."))))
    )
    assert first.scores != second.scores


def test_plain_ways_agree():
    p = planner()
    assert plain(p, dialogue(), batched=True) == pytest.approx(plain(p, dialogue()), abs=1e-5)


def test_score_is_the_mean_log_probability_by_hand():
    model = tiny_model("llama")
    context, tail = (5, 9, 30), (7, 8, 9)
    with torch.inference_mode():
        logp = model(torch.tensor([[*context, *tail]])).logits[0].log_softmax(-1)
    expected = (logp[2, 7] + logp[3, 8] + logp[4, 9]).item() / 3
    assert CandidateScorer(model, 1).scores([ScoringRequest(0, context, (tail, (7,)))])[0][
        0
    ] == pytest.approx(expected, abs=1e-5)


def test_trie_shares_beginnings_and_reads_no_ends():
    trie = build_trie(1, [(2, 3, 4), (2, 3, 5), (2, 6), (2, 3)])
    assert trie.tokens == (1, 2, 3)
    assert trie.parents == (-1, 0, 1)
    assert trie.depths == (0, 1, 2)
    assert trie.paths == ((0, 1, 2), (0, 1, 2), (0, 1), (0, 1))
    with pytest.raises(ValueError, match="no tokens"):
        build_trie(1, [(2,), ()])


def test_trie_for_the_tree_rule_ends_at_the_last_forks():
    tails = [(2, 3, 4, 9), (2, 3, 5, 9), (6, 7, 8)]
    trie = build_trie(1, tails, "constrained")
    assert trie.tokens == (1, 2, 3)
    assert trie.children == ((2, 6), (3,), (4, 5))
    assert trie.paths == ((0, 1, 2), (0, 1, 2), (0,))
    assert trie.scored == (0, 2)
    for wrong in ([(2, 3), (2, 3, 4)], [(2, 3, 4), (2, 3)], [(2,), (2,)]):
        with pytest.raises(ValueError, match="beginning of another"):
            build_trie(1, wrong, "constrained")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("examples", [0, 2])
def test_tree_scores_are_those_of_teacher_forcing_and_sum_to_one(kind, examples):
    p = planner(kind, scoring="constrained", group=2, examples=examples)
    batch = [dialogue(seed=s, world=s, task=f"{'so ' * s}{dialogue().task}") for s in range(2)]
    for turn in range(2):
        decisions = p.choose(batch)
        for d, decision in zip(batch, decisions, strict=True):
            context = tuple(p.tokenizer(p.prompt.render(d))["input_ids"])
            slow = _forced(p.model, context, _tails(p, d))
            assert [*decision.scores.values()] == pytest.approx(slow, abs=NEAR)
            assert uncached_scores(
                p.model, context, _tails(p, d), rule="constrained"
            ) == pytest.approx(slow, abs=NEAR)
            assert sum(map(math.exp, decision.scores.values())) == pytest.approx(1, abs=1e-5)
        batch = [
            d.add(
                Turn(
                    c.utterance,
                    c.command,
                    ground(f"I did it {turn} times, the solid grey ex is near."),
                )
            )
            for d, c in zip(batch, decisions, strict=True)
        ]


def _forced(model, context, tails) -> list[float]:
    """Token after token: of all next tokens, those that some candidate goes on with."""
    scores = []
    for tail in tails:
        score = 0.0
        with torch.inference_mode():
            read = model(torch.tensor([[*context, *tail[:-1]]])).logits[0, len(context) - 1 :]
        for k, logits in enumerate(read):
            allowed = {other[k] for other in tails if len(other) > k and other[:k] == tail[:k]}
            total = sum(math.exp(logits[token]) for token in allowed)
            score += float(logits[tail[k]]) - math.log(total)
        scores.append(score)
    return scores


def test_the_tree_rule_says_the_same_in_any_group_and_reads_less(monkeypatch):
    batch = [dialogue(seed=s, world=s, task=f"{'so ' * s}{dialogue().task}") for s in range(5)]
    said = [
        [c.utterance for c in planner(scoring="constrained", group=group).choose(batch)]
        for group in (1, 2, 8)
    ]
    assert said[0] == said[1] == said[2]
    read = {}
    for rule in ("length-normalised", "constrained"):
        p = planner(scoring=rule)
        run = p.scorer._run
        monkeypatch.setattr(
            p.scorer, "_run", lambda t, *a, r=rule, f=run: (read.update({r: len(t)}), f(t, *a))[1]
        )
        p.choose(batch)
    assert read["constrained"] < read["length-normalised"]


@pytest.mark.parametrize("decide", ["score", "generate"])
def test_a_decisions_cost_is_what_went_through_the_model(decide: str):
    p = planner(decide=decide)
    p.choose([dialogue(seed=9, world=9)])  # reads the examples
    went: list[int] = []
    run = p.scorer._run
    p.scorer._run = lambda tokens, *a: (went.append(len(tokens)), run(tokens, *a))[1]  # type: ignore[method-assign]
    batch = [dialogue(seed=s, world=s) for s in range(3)]
    later = [
        d.add(Turn(d.candidates()[0].sentence(), d.candidates()[0], Report("It is.")))
        for d in batch
    ]
    costs = []
    for asked in (batch, later):
        went.clear()
        made = [d.cost for d in p.choose(asked)]
        assert sum(c.read for c in made) == sum(went)
        costs.append(made)
    for first, second in zip(*costs, strict=True):
        assert second.context > first.context and second.generated > 0
        # The examples are not read again.
        assert decide == "generate" or first.read < first.context


def test_one_candidate_is_certain_under_the_tree_rule():
    scorer = CandidateScorer(tiny_model("llama"), 2)
    asked = [ScoringRequest(0, (5, 9), ((7, 8),)), ScoringRequest(1, (5, 9, 4), ((7, 8), (6,)))]
    one, two = scorer.scores(asked, "constrained")
    assert one == [0.0]
    assert sum(map(math.exp, two)) == pytest.approx(1)
    assert scorer.scores(asked[:1], "constrained") == [[0.0]]


def test_the_rule_is_that_of_the_options_or_else_of_the_model():
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()

    def rule(option: str, **made_for: str) -> str:
        options = PlannerOptions(examples=0, scoring=option)
        return LanguagePlanner(model, tokenizer, options, **made_for).scoring

    assert rule("auto") == "length-normalised"
    assert rule("auto", scoring="constrained") == "constrained"
    assert rule("length-normalised", scoring="constrained") == "length-normalised"
    with pytest.raises(BadInput, match="unknown scoring 'best'"):
        PlannerOptions(scoring="best")


def test_candidates_are_tokenized_once_for_all_dialogues():
    p = planner()
    texts: list[str] = []
    tokens = p._tokenized
    p._tokenized = lambda some: (texts.extend(some), tokens(some))[1]
    for s in range(3):
        p.choose([dialogue(seed=s, world=s)])
        assert len(texts) == {0: 2 + 1 + len(dialogue().candidates())}.get(s, 1)
        texts.clear()


def test_models_without_such_a_mask_are_scored_plainly(caplog):
    torch.manual_seed(0)
    size = len(tiny_tokenizer())
    model = MambaForCausalLM(
        MambaConfig(vocab_size=size, hidden_size=16, num_hidden_layers=1, state_size=4)
    ).eval()
    p = LanguagePlanner(model, tiny_tokenizer(), PlannerOptions(examples=0))
    assert "scored by itself" in caplog.text
    decision = p.choose([dialogue()])[0]
    assert decision.scores == pytest.approx(plain(p, dialogue()), abs=NEAR)


def test_output_that_is_not_finite_is_an_error_of_its_own_dialogue():
    model = LlamaForCausalLM(tiny_model("llama").config).eval()
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    for decide in ("score", "generate"):
        p = LanguagePlanner(model, tiny_tokenizer(), PlannerOptions(examples=0, decide=decide))
        decision = p.choose([dialogue()])[0]
        assert decision.command is None
        assert "not finite" in str(decision.error)


def test_what_got_the_same_report_twice_running_is_not_said_a_third_time():
    free, start = planner(), dialogue()
    found = 0
    for command in start.candidates():
        turn = Turn(command.sentence(), command, ground("I did not manage.", command))
        once, twice = start.add(turn), start.add(turn).add(turn)
        for repeats, d in ((2, once), (2, twice), (3, twice), (1, once)):
            (freely,), (said,) = (
                free.choose([d]),
                planner(processors=f"repetition-ban:{repeats}").choose([d]),
            )
            ranked = sorted(freely.scores, key=freely.scores.get, reverse=True)
            assert said.scores == pytest.approx(freely.scores, abs=NEAR)
            is_stuck = len(d.turns) == repeats and freely.command == command
            assert (freely.utterance, said.utterance) == (ranked[0], ranked[int(is_stuck)])
            found += is_stuck
    assert found


def exploring(probability: float, scoring: str = "constrained") -> LanguagePlanner:
    return planner(scoring=scoring, processors=f"exploration-threshold:{probability}")


def test_where_examining_is_likely_enough_something_new_is_examined():
    plainly, d, seen = planner(scoring="constrained"), dialogue(), 0
    examining = [c for c in d.candidates() if c.verb == "examine"]
    for known in range(len(examining) + 1):
        (freely,) = plainly.choose([d])
        likely = sum(math.exp(freely.scores[c.sentence()]) for c in examining)
        assert 0.001 < likely < 0.999
        (sooner,) = exploring(likely - 0.001).choose([d])
        (later,) = exploring(likely + 0.001).choose([d])
        assert later.utterance == freely.utterance and sooner.scores == pytest.approx(
            freely.scores, abs=NEAR
        )
        new = [c.sentence() for c in examining[known:]]
        expected = max(new, key=freely.scores.get) if new else freely.utterance
        assert sooner.utterance == expected
        seen += expected != freely.utterance
        if new:
            c = examining[known]
            d = d.add(
                Turn(
                    c.sentence(), c, ground(f"I examined {with_article(str(c.item))}, it is alive.")
                )
            )
    assert seen
    # Length-normalised scores are no probabilities.
    (said,) = exploring(0.0, "length-normalised").choose([d])
    assert said.utterance == max(said.scores, key=said.scores.get)


def test_the_counterfactual_context_is_scored_beside_the_dialogue_and_cached_for_no_other():
    task, changed = "If the solid red ring is {}, pick up the solid blue ex.", 0
    weighing = planner(scoring="constrained", processors="contrastive:50")
    plainly = planner(scoring="constrained")
    for k, word in enumerate(("lit", "cold", "dry", "soft", "new", "old")):
        start = replace(dialogue(), task=task.format(word), seed=k)
        c = start.candidates()[0]
        d = start.add(Turn(c.sentence(), c, ground("I examined the solid red ring, it is dry.")))
        other = counterfactual_dialogue(d)
        assert other is not None and other != d
        for p in (plainly, weighing):
            p.choose([start])
        (freely,), (said,) = plainly.choose([d]), weighing.choose([d])
        assert said.scores == pytest.approx(freely.scores, abs=NEAR)
        now, then = (
            np.array([*x.scores.values()])
            for x in planner(scoring="constrained").choose([d, other])
        )
        context = DecisionContext(d, d.candidates(), now, then)
        assert said.utterance == [*freely.scores][choose(weighing.processors, context)]
        changed += said.utterance != freely.utterance
        # Read behind the dialogue's cache, and not cached.
        assert freely.cost.read < said.cost.read < freely.cost.context + 2 * freely.cost.read
        assert said.cost.context == freely.cost.context
        d = d.add(Turn(said.utterance, said.command, ground("I did not manage.", said.command)))
        (anew,), (on,) = planner(scoring="constrained").choose([d]), weighing.choose([d])
        assert on.scores == pytest.approx(anew.scores, abs=NEAR)
        # Of log-probabilities among candidates only.
        (mean,) = planner(processors="contrastive:50").choose([d])
        assert mean.utterance == max(mean.scores, key=mean.scores.get)
    assert changed


def test_who_goes_round_in_circles_tries_something_else_in_time():
    """Two commands in turn are never said three times running, but cost more each time."""
    d, changed = dialogue(), []
    planners = {
        p: planner(processors=f"repetition-ban,repetition-penalty:{p}")
        for p in (0.0, 0.02, 50.0, math.inf)
    }
    one, two = d.candidates()[:2]
    for n in range(1, 7):
        for c in (one, two):
            d = d.add(Turn(c.sentence(), c, ground(f"I did not manage to {c}.")))
        for penalty, weighing in planners.items():
            (said,) = weighing.choose([d])
            cost = penalty * (n - 1) if n > 1 else 0.0
            weighed = {
                text: s - (cost if text in (one.sentence(), two.sentence()) else 0.0)
                for text, s in said.scores.items()
            }
            assert said.utterance == max(weighed, key=weighed.get)
            changed += [penalty] * (said.utterance != max(said.scores, key=said.scores.get))
    assert 50.0 in changed and 0.0 not in changed


def test_what_was_just_picked_up_is_picked_up_again_less_readily():
    start, changed = dialogue(), 0
    free = planner()
    weighing = planner(processors="default,repetition-penalty:0.02,held-item-penalty:0.02")
    for c in start.candidates():
        if c.verb != "pick up":
            continue
        for report, cost in ((f"I picked up the {c.item}.", 0.02), (f"I missed the {c.item}.", 0)):
            d = start.add(Turn(c.sentence(), c, ground(report)))
            for n in (0, 1):  # and once more for each time with the same report
                (freely,), (said,) = free.choose([d]), weighing.choose([d])
                weighed = dict(freely.scores)
                weighed[c.sentence()] -= cost * (n + 1) + 0.02 * n * (not cost)
                assert said.scores == freely.scores
                assert said.utterance == max(weighed, key=weighed.get)
                changed += said.utterance != freely.utterance
                other = next(x for x in d.candidates() if x != c)
                d = d.add(Turn(other.sentence(), other, ground("I went there.")))
                d = d.add(Turn(c.sentence(), c, ground(report)))
    assert changed


def test_no_item_named_is_an_error_and_the_others_go_on():
    nothing, something = planner().choose([dialogue("Do your best."), dialogue()])
    assert "names no item" in str(nothing.error)
    assert something.error is None
    assert isinstance(something.command, Command)


def test_examples_give_way_to_the_task_where_the_model_has_little_room(caplog):
    config = type(tiny_model("llama").config)(**tiny_model("llama").config.to_dict())
    whole = planner(examples=4)
    need = [len(whole.tokenizer(whole.prompt.render(dialogue(), k))["input_ids"]) for k in (0, 2)]
    config.max_position_embeddings = sum(need) // 2
    model = LlamaForCausalLM(config).eval()
    model.load_state_dict(tiny_model("llama").state_dict())
    p = LanguagePlanner(model, whole.tokenizer, PlannerOptions(examples=4))
    decision = p.choose([dialogue(seed=1)])[0]
    again = p.choose([dialogue(seed=2)])[0]
    assert caplog.text.count("left out") == 1
    assert again.scores == pytest.approx(decision.scores, abs=NEAR)
    context = whole.tokenizer(whole.prompt.render(dialogue(), p._n_dropped))["input_ids"]
    assert p._n_dropped >= 1
    assert dialogue().task in whole.tokenizer.decode(context)
    assert decision.scores == pytest.approx(
        dict(
            zip(
                decision.scores,
                uncached_scores(model, tuple(context), _tails(p, dialogue())),
                strict=True,
            )
        ),
        abs=NEAR,
    )
    long = p.choose([dialogue(f"{'so ' * 2000}{dialogue().task}"), dialogue(seed=3)])
    assert "too long" in str(long[0].error)
    assert long[1].error is None


def test_memory_on_disk_gives_the_same_scores_and_a_broken_file_is_read_anew(tmp_path):
    scores = []
    for _ in range(2):
        p = planner(cache=tmp_path)
        scores.append(p.choose([dialogue()])[0].scores)
    (file,) = (tmp_path / "prompts").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    scores.append(planner(cache=tmp_path).choose([dialogue()])[0].scores)
    assert scores[0] == scores[1] == scores[2]  # to the bit
    assert math.isfinite(sum(scores[0].values()))


def test_memory_of_other_tokens_is_not_taken(tmp_path):
    read = KVCache((1, 2), torch.rand(3, 2, 2, 4))
    save(read, tmp_path / "m.safetensors")
    again = load(tmp_path / "m.safetensors", (1, 2), torch.device("cpu"))
    assert again is not None and again.tokens == (1, 2)
    assert torch.equal(again.states, read.states)
    assert load(tmp_path / "m.safetensors", (1, 2, 3), torch.device("cpu")) is None


def test_generate_says_what_the_model_writes_and_parses_it():
    p = planner(decide="generate", max_new_tokens=6)
    d = dialogue()
    decision = p.choose([d])[0]
    ids = p.tokenizer(p.prompt.render(d), return_tensors="pt")["input_ids"]
    written = p.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=6,
        do_sample=False,
        pad_token_id=0,
    )
    text = p.tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)
    expected = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    assert decision.utterance == (expected[0] if expected else "")
    assert decision.command is None  # a random model writes nonsense
    assert decision.error is None


def test_drawing_depends_on_the_seeds_only():
    def said(episode: int, **options) -> str:
        p = planner(decide="generate", max_new_tokens=8, temperature=2.0, **options)
        return p.choose([dialogue(seed=9), dialogue(seed=episode)])[1].utterance

    assert said(1) == said(1)
    assert said(1) != said(2)
    assert said(1, seed=5) != said(1)
