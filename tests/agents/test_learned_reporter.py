"""The learned Reporter: sampling and scoring agree, it looks at the last rollout, it learns."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.actor import make_actor
from agents.grounding import ground
from agents.messages import Report
from agents.planner.registry import make_planner
from agents.reporter import make_reporter
from agents.reporter.captioning import Captioning, CaptioningConfig, share_true, start_from
from agents.reporter.captions import Caption, CaptionCollector, varied
from agents.reporter.facts import TruthChecker, describe, is_true, reportable
from agents.reporter.irrelevant import irrelevant_truths
from agents.reporter.learned import LearnedReporter
from agents.reporter.network import MOST_TOKENS, ReporterConfig, ReporterNetwork, read_config
from agents.team import Team
from envs import make_worlds
from envs.commands import Command
from envs.errors import BadInput
from envs.items import TRAIN_ITEMS
from tests.agents.tiny import tiny_model, tiny_tokenizer
from tests.models.training.recorder import train

SMALL = ReporterConfig("tiny", 16, 1, 4, gates=1, every=1)
COMMANDS = [Command("examine", TRAIN_ITEMS[0]), Command("pick up", TRAIN_ITEMS[5])]


def network(seed: int = 0, kind: str = "llama") -> ReporterNetwork:
    model = tiny_model(kind)
    torch.manual_seed(seed)
    return ReporterNetwork(model, tiny_tokenizer(), SMALL).eval()


def clips(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 8, 64, 64, 3), np.uint8)


def chance(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, MOST_TOKENS)).astype(np.float32)


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_what_is_said_is_what_its_likelihood_says(kind: str) -> None:
    """The likeliest token by the scores of the whole text is what sampling with a cache took."""
    judge = network(kind=kind)
    shown = clips(2)
    said = judge.report(shown, COMMANDS, chance(2))
    assert said[0].prompt != said[1].prompt and said[0].tokens != said[1].tokens
    with torch.no_grad():
        media = judge.encode_clips(shown)
        for k, one in enumerate(said):
            for place in range(0, len(one.tokens), 7):
                before, token = one.tokens[:place], one.tokens[place]
                others = [token, *range(3, 380, 40)]
                logs = judge.log_likelihood(
                    media[[k] * len(others)],
                    [one.prompt] * len(others),
                    [(*before, t) for t in others],
                )
                last = [float(x[-1]) for x in logs]
                assert last[0] >= max(last) - 0.03, (k, place)


def test_what_is_drawn_depends_on_its_own_numbers_alone() -> None:
    judge = network()
    shown, draws = clips(2), chance(2)
    both = judge.report(shown, COMMANDS, draws, 1.0)
    again = judge.report(shown, COMMANDS, draws, 1.0)
    alone = judge.report(shown[1:], COMMANDS[1:], draws[1:], 1.0)
    assert both == again and alone[0].tokens[:8] == both[1].tokens[:8]
    assert judge.report(shown, COMMANDS, chance(2, 1), 1.0) != both


def test_it_comes_back_from_disk(tmp_path: Path) -> None:
    first, second = network(), network(1)
    first.save(tmp_path)
    assert read_config(tmp_path) == SMALL
    second.load(tmp_path)
    shown = clips(1)
    assert torch.allclose(first.encode_clips(shown), second.encode_clips(shown), atol=0.1)
    other = ReporterNetwork(
        tiny_model("llama"), tiny_tokenizer(), ReporterConfig("tiny", 24, gates=1)
    )
    with pytest.raises(BadInput, match="of another Reporter"):
        other.load(tmp_path)
    with pytest.raises(BadInput, match="has another size"):
        start_from(other, tmp_path)
    start_from(network(2), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no")
    with pytest.raises(BadInput, match="cannot be read"):
        second.load(tmp_path)
    (tmp_path / "config.json").write_text('{"kind": "detector"}')
    with pytest.raises(BadInput, match="weights of a detector, and not of a Reporter"):
        make_reporter(str(tmp_path))


def test_in_a_team_it_is_shown_the_latest_rollout() -> None:
    worlds = make_worlds("visual-conditional", 3)
    reporter = LearnedReporter(network(), temperature=1.0)
    team = Team(make_planner("random"), make_actor("scripted"), reporter, 3, 64)
    episodes = team.play(worlds, [1, 2, 3])
    assert all(e.error is None for e in episodes)
    assert [t.report.text for e in episodes for t in e.turns if t.command is not None]
    assert len(reporter.clips) == len(reporter.samples) >= 1
    assert reporter.report([], []) == []
    again = team.play(make_worlds("visual-conditional", 3), [1, 2, 3])
    assert again == episodes


def test_a_random_fact_is_true_and_silence_says_nothing() -> None:
    checked = TruthChecker(make_reporter("random-fact"))
    practice = CaptionCollector(128)
    told = practice.play(checked, range(128), 64)
    said = {c.report.text for c in told}
    assert all(checked.true) and len(checked.true) == len(told) > 128
    for phrase in (
        "beside a wall",
        "in a corner",
        "floor",
        "mark",
        "I see",
        "I am facing",
        "steps",
    ):
        assert any(phrase in s for s in said), phrase
    practice.play(checked, range(32), 2)
    assert all(checked.true)
    failed = practice.play(make_reporter("random-fact"), range(32), 2)
    assert any("did not manage" in c.report.text for c in failed)
    wrong = TruthChecker(make_reporter("silent"))
    assert {c.report.text for c in practice.play(wrong, range(4), 64)} == {""} and not any(
        wrong.true
    )


def test_captioning_resumes_exactly() -> None:
    whole, again = network(), network(5)
    recorder = train(Captioning(whole, CaptionCollector(8), CaptioningConfig(4, 4)))
    # Workers that play in advance play the same.
    with_worker = CaptioningConfig(4, 4, workers=1)
    train(Captioning(again, CaptionCollector(8), with_worker), recorder.checkpoints[1])
    for one, two in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, two)
    losses = recorder.column("loss")
    assert len(losses) == 4 and all(np.isfinite(losses))
    assert 0 <= share_true(whole, CaptionCollector(8), 4) <= 1


def test_a_worker_that_dies_is_one_sentence() -> None:
    collector = CaptionCollector(8)
    collector.made_of = (8, "nobody", "train")  # which a worker cannot make
    with pytest.raises(BadInput, match="try fewer --workers"):
        train(Captioning(network(), collector, CaptioningConfig(2, 8, workers=1)))


def test_a_trained_vision_encoder_learns_more_slowly_than_all_else() -> None:
    net = network()
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    backbone = {id(p) for p in net.encoder.backbone_parameters()}
    train(Captioning(net, CaptionCollector(8), CaptioningConfig(2, 8, vision_rate=0.01)))
    moved: dict[bool, float] = {True: 0.0, False: 0.0}
    for name, p in net.named_parameters():
        inside = id(p) in backbone
        moved[inside] = max(moved[inside], float((p.detach() - before[name]).abs().max()))
    assert 0 < moved[True] < 0.05 * moved[False]


def test_facts_are_told_apart_from_lies() -> None:
    lengths: set[int] = set()

    class Spy(TruthChecker):
        def report(self, rollouts, dialogues):  # type: ignore[no-untyped-def]
            for rollout, dialogue in zip(rollouts, dialogues, strict=True):
                assert self._worlds is not None
                world = self._worlds.world(dialogue.world)
                known = reportable(world, rollout)
                every = [describe(rollout, known[:n]) for n in range(len(known) + 1)]
                for report in every:
                    assert is_true(report, world, rollout), report
                    assert ground(report.text, rollout.command) == report
                for text in irrelevant_truths(world, rollout):
                    assert is_true(ground(text, rollout.command), world, rollout), text
                    assert ground(text, rollout.command) == Report(text)
                start = every[0].text[:-1]
                lies = [
                    "I flew.",
                    every[-1].text[:-1],
                    f"{start}, it is in the air.",
                    f"{start}, it is beside a wall and is not beside a wall.",
                    f"{start}, it shows a pink mark.",
                    f"{every[-1].text} It is in the air.",
                    f"Yes. {every[-1].text}",
                ]
                for lie in lies:
                    assert not is_true(ground(lie, rollout.command), world, rollout), lie
                lengths.add(len(known))
            return super().report(rollouts, dialogues)

    practice = CaptionCollector(8)
    practice.play(Spy(make_reporter("scripted")), range(8), 64)
    assert max(lengths) >= 3
    told = practice.play(make_reporter("thorough"), range(8), 64)
    assert any(c.report.text.count(",") > 1 and " and " in c.report.text for c in told)


def test_what_is_drawn_in_an_episode_is_not_what_its_world_was_drawn_from() -> None:
    """Else, in some tasks, the random Planner would never begin with some commands."""
    practice = CaptionCollector(128)
    told = practice.play(make_reporter("scripted"), range(128), 64)
    marks = [c.report for c in told if "shows a" in c.report.text]
    assert len(marks) > 5


def test_what_is_seldom_seen_is_told_first() -> None:
    blank = np.zeros((8, 64, 64, 3), np.uint8)
    moved, lies = "I turned left.", "I examined the red ring, it is beside a wall."
    mark = "I examined the red ring, it shows a white mark and is in a corner."
    floor = "I examined the red ring, it is on a red floor."
    command = Command.parse("examine the solid red ring")
    told = [
        Caption(blank, command, ground(t, command))
        for t in [moved] * 9 + [lies] * 9 + [mark, floor, floor]
    ]
    made = Counter(c.report.text for c in varied(told, 9, np.random.default_rng(0)))
    assert made == {moved: 3, lies: 3, mark: 1, floor: 2}
    assert len(varied(told, 50, np.random.default_rng(0))) == len(told)


def test_texts_that_begin_alike_are_sampled_as_if_each_were_alone() -> None:
    net = network()
    clips = np.random.default_rng(0).integers(1, 256, (2, 8, 64, 64, 3), np.uint8)[[0, 1, 0, 0, 1]]
    command = Command.parse("examine the solid red ring")
    chance = np.random.default_rng(1).random((5, MOST_TOKENS)).astype(np.float32)
    together = net.report(clips, [command] * 5, chance, 1.0)
    alone = [net.report(clips[k : k + 1], [command], chance[k : k + 1], 1.0)[0] for k in range(5)]
    assert [s.tokens for s in together] == [s.tokens for s in alone]
    assert len({s.tokens for s in together}) > 2


def test_a_report_has_at_most_40_tokens_with_its_end() -> None:
    net = network()
    sentence = net.sentence("the red ring " * 40)
    assert len(sentence) == 40 and sentence[-1] == net.end and net.end not in sentence[:-1]
