"""Reinforcement of the Reporter: its reward rises, it goes on exactly, and it notices gaming."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from agents.actor import make_actor
from agents.dialogue import Decision, Dialogue, Turn
from agents.episode import Episode
from agents.messages import Report
from agents.planner.registry import make_planner
from agents.protocols import TeamMember
from agents.reporter.network import ReporterConfig, ReporterNetwork
from agents.reporter.reinforcement import (
    DeduplicatingPlanner,
    PolicyUpdateConfig,
    ReporterReinforcement,
    ReporterReinforcementConfig,
    ReportSample,
    reports_read,
    success_component,
    update_policy,
)
from envs import make_worlds
from envs.commands import Command
from envs.errors import BadInput
from envs.items import TRAIN_ITEMS
from envs.trajectory import TrajectoryRecorder
from models.training.checkpoints import TrainingCheckpoint
from models.training.process_group import ProcessGroup
from tests.agents.tiny import tiny_model, tiny_tokenizer
from tests.models.training.recorder import StepRecorder, train

SMALL = ReporterConfig("tiny", 16, 1, 4, gates=2, every=1)


def network() -> ReporterNetwork:
    model = tiny_model("llama")
    torch.manual_seed(0)
    return ReporterNetwork(model, tiny_tokenizer(), SMALL)


def low_tokens(
    episodes: Sequence[Episode],
    recorder: TrajectoryRecorder,
    reports: Sequence[Sequence[ReportSample]],
) -> list[float]:
    """How many of the tokens have low numbers: something that is easily learned."""
    assert all(recorder.n_steps(i) == e.steps for i, e in enumerate(episodes))
    return [
        float(np.mean([t < 200 for r in its for t in r.tokens])) if its else 0.0 for its in reports
    ]


def trained(
    judge: ReporterNetwork,
    components: Any = None,
    planner: Any = None,
    resume: TrainingCheckpoint | None = None,
    kl: float = 0.05,
    **settings: Any,
) -> StepRecorder:
    config = ReporterReinforcementConfig(
        **{"steps": 3, "groups": 2, "max_turns": 2, **settings}, update=PolicyUpdateConfig(kl)
    )
    stage = ReporterReinforcement(
        judge,
        network().eval().requires_grad_(False),
        planner or make_planner("random"),
        make_actor("scripted"),
        make_worlds("visual-conditional", 16),
        components or {"low": (1.0, low_tokens)},
        config,
    )
    return train(stage, resume)


def test_what_is_rewarded_is_said_more_often() -> None:
    recorder = trained(network(), steps=12, learning_rate=1e-2, kl=0.0)
    low, divergence = recorder.column("low"), recorder.column("divergence")
    assert np.mean(low[-3:]) > np.mean(low[:3]) + 0.05
    assert divergence[0] < 0.02 < max(divergence)


def test_what_nobody_reads_teaches_nothing() -> None:
    judge = network()
    before = copy.deepcopy(judge.state_dict())
    recorder = trained(judge, max_turns=1)
    assert min(recorder.column("length")) > 1 and recorder.column("loss") == [0, 0, 0]
    assert all(torch.equal(before[n], t) for n, t in judge.state_dict().items())

    command = Command("examine", TRAIN_ITEMS[0])
    clip = np.zeros((8, 64, 64, 3), np.uint8)
    made = [
        ReportSample(clip, command, text, (1,), (2,), True, None) for text in ("first", "second")
    ]
    turns = [
        Turn("a", command, Report("first")),
        Turn("b", command, Report("second")),
        Turn("Hm.", None, Report("What?")),
    ]
    episode = Episode(0, "a task", tuple(turns[:2]), True, 5, "success", 0)
    assert reports_read(episode, made) == made[:1]
    assert reports_read(replace(episode, turns=tuple(turns)), made) == made
    assert reports_read(replace(episode, turns=()), []) == []


def test_the_penalty_holds_it_back() -> None:
    clips = np.random.default_rng(0).integers(0, 256, (8, 8, 64, 64, 3), np.uint8)
    command = Command("examine", TRAIN_ITEMS[0])
    chance = np.random.default_rng(1).random((8, 40)).astype(np.float32)
    apart = []
    for kl in (0.0, 5.0):
        judge, fixed = network().eval(), network().eval().requires_grad_(False)
        said = judge.report(clips, [command] * 8, chance, 1.0)
        samples = [
            (ReportSample(clips[k], command, s.text, s.prompt, s.tokens, True, None), (-1.0) ** k)
            for k, s in enumerate(said)
        ]
        optimiser = torch.optim.Adam(judge.parameters(), 3e-3)
        config = PolicyUpdateConfig(kl, clip=10.0, epochs=8)
        divergence = update_policy(
            *(judge, fixed, samples, optimiser, config),
            step=0,
            learning_rate=3e-3,
            rng=np.random.default_rng(2),
            processes=ProcessGroup(torch.device("cpu")),
        )[1]
        apart.append(divergence)
    assert apart[1] < apart[0] / 2


def test_it_goes_on_as_it_would_have() -> None:
    whole = network()
    recorder = trained(whole)
    again = network()
    for p in again.parameters():
        p.data.zero_()
    trained(again, resume=recorder.checkpoints[1])
    for one, two in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_terms_are_told_apart_and_added_by_their_weights() -> None:
    components = {"truth": (0.5, success_component), "low": (0.0, low_tokens)}
    (metrics,) = trained(network(), components, steps=1).metrics
    assert metrics["truth"] == metrics["success"] and 0 < metrics["low"] < 1
    assert 0 <= metrics["true"] <= 1 and 0 <= metrics["matters"] <= 1 and metrics["length"] > 1


def test_a_reward_that_is_no_number_stops_the_run() -> None:
    def broken(episodes: Any, recorder: Any, reports: Any) -> list[float]:
        return [float("nan")] * len(episodes)

    judge = network()
    before = copy.deepcopy(judge.state_dict())
    with pytest.raises(BadInput, match="a reward is not finite at step 1"):
        trained(judge, {"broken": (1.0, broken)})
    assert all(torch.equal(before[n], t) for n, t in judge.state_dict().items())


class Mumbling(TeamMember):
    def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]:
        return [Decision("Hm.", None) for _ in dialogues]


def test_a_planner_that_says_no_commands_stops_the_run() -> None:
    with pytest.raises(BadInput, match="32 of the Planner's 32 answers were no commands"):
        trained(network(), planner=Mumbling())


def test_a_planner_is_asked_once_for_the_same_dialogue() -> None:
    asked: list[int] = []

    class Counting(TeamMember):
        def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]:
            asked.append(len(dialogues))
            return [Decision(d.task, None) for d in dialogues]

    one, other = Dialogue("A", ()), Dialogue("B", ())
    same = [one, other, replace(one, world=3, seed=4), other]
    assert [d.utterance for d in DeduplicatingPlanner(Counting()).choose(same)] == [
        "A",
        "B",
        "A",
        "B",
    ]
    assert asked == [2]
