"""Losses and limits of the Reporter's and the Actor's training stages, worked out by hand.

Networks are stand-ins whose outputs are given, so that every number can be followed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from agents.messages import Fact, Report
from agents.protocols import Reporter
from agents.reporter import captions as captions_module
from agents.reporter import floor_robustness
from agents.reporter.captioning import Captioning, CaptioningConfig, share_true
from agents.reporter.captions import Caption, CaptionCollector
from agents.reporter.floor_robustness import FloorRobustness, FloorRobustnessConfig
from agents.reporter.reinforcement import PolicyUpdateConfig, ReportSample, update_policy
from agents.team import Team
from envs.attributes import FLOOR
from envs.commands import Command
from envs.items import COLOURS, TRAIN_ITEMS
from models.training.process_group import ProcessGroup

COMMAND = Command("examine", TRAIN_ITEMS[0])
CLIP = np.zeros((8, 64, 64, 3), np.uint8)


class GivenLikelihood(nn.Module):
    """A Reporter's network whose reports have given log-probabilities, token by token."""

    def __init__(self, *reports: list[float]) -> None:
        super().__init__()
        self.lengths = [len(r) for r in reports]
        self.values = nn.Parameter(torch.tensor([x for r in reports for x in r]))
        self.encoder = SimpleNamespace(is_frozen=False)

    def encode_frames(self, clips: Any) -> tuple[Any, Any]:
        return clips, clips

    def resample(self, vectors: Any, shown: Any) -> Any:
        return vectors

    def encode_clips(self, clips: Any) -> Any:
        return clips

    def prompt(self, command: Command) -> tuple[int, ...]:
        return (1,)

    def sentence(self, text: str) -> tuple[int, ...]:
        return (2,)

    def log_likelihood(self, media: Any, prompts: Any, sentences: Any) -> list[torch.Tensor]:
        return list(self.values.split(self.lengths))


def updated(
    network: GivenLikelihood, reference: GivenLikelihood, config: PolicyUpdateConfig
) -> tuple[float, float]:
    samples = [
        (ReportSample(CLIP, COMMAND, "", (1,), (2,), True, None), advantage)
        for advantage in (2.0, -1.0)
    ]
    return update_policy(
        *(network, reference, samples, torch.optim.SGD(network.parameters()), config),  # type: ignore[arg-type]
        step=0,
        learning_rate=1.0,
        rng=np.random.default_rng(0),
        processes=ProcessGroup(torch.device("cpu")),
    )


def test_the_reporters_loss_is_a_mean_over_tokens_of_divergence_less_surrogate() -> None:
    """Two reports, of 2 tokens and of 1, with the advantages 2 and -1; each ratio is still 1.

    The reference gives one token twice the probability: k3 = 2 - log 2 - 1.
    """
    network = GivenLikelihood([-1.0, -2.0], [-3.0])
    reference = GivenLikelihood([-1.0 + math.log(2), -2.0], [-3.0])
    loss, divergence = updated(network, reference, PolicyUpdateConfig(kl=0.5))
    k3 = 1 - math.log(2)
    assert divergence == pytest.approx(k3 / 3)
    assert loss == pytest.approx((0.5 * k3 - (2 + 2 - 1)) / 3)
    # What paid became likelier, and what did not less likely.
    moved = network.values.detach() - torch.tensor([-1.0, -2.0, -3.0])
    assert moved[1] > 0 > moved[2]


def test_ratios_are_to_the_policy_that_reported_and_are_clipped() -> None:
    """Without a divergence the gradient of a token is -A / 3: (-2/3, -2/3, 1/3), of norm 1.

    After one step the log-probabilities have moved by 2/3, 2/3 and -1/3: the ratios of both
    reports are beyond 1 +- 0.2 in the direction that pays, so the second loss is that of the
    bounds, and the mean of both is returned. The reference has no part in this.
    """
    network = GivenLikelihood([-1.0, -2.0], [-3.0])
    reference = GivenLikelihood([-5.0, -5.0], [-5.0])
    loss, _ = updated(network, reference, PolicyUpdateConfig(kl=0.0, clip=0.2, epochs=2))
    first = -(2 + 2 - 1) / 3
    second = -(1.2 * 2 + 1.2 * 2 - 0.8) / 3
    assert loss == pytest.approx((first + second) / 2)
    # The second step has no gradient: everything is clipped.
    moved = network.values.detach() - torch.tensor([-1.0, -2.0, -3.0])
    assert moved.tolist() == pytest.approx([2 / 3, 2 / 3, -1 / 3], abs=1e-5)


def test_a_caption_counts_by_its_tokens() -> None:
    """Two captions of 2 tokens and of 1: the mean of 1, 3 and 5 is 3."""
    network: Any = GivenLikelihood([-1.0, -3.0], [-5.0])
    collector: Any = None
    stage = Captioning(network, collector, CaptioningConfig(1))
    two = [Caption(CLIP, COMMAND, Report("one")), Caption(CLIP, COMMAND, Report("two"))]
    assert stage._loss(two).item() == pytest.approx(3.0)


class PlayedCollector(CaptionCollector):
    """Plays nothing, but remembers how many steps a command may take."""

    def __init__(self, n: int) -> None:
        self.worlds = [None] * n  # type: ignore[assignment]
        self.patience: list[int] = []

    def play(self, reporter: Reporter, seeds: Sequence[int], patience: int) -> list[Caption]:
        self.patience.append(patience)
        if hasattr(reporter, "true"):
            reporter.true += [True] * len(seeds)
        return []


def test_in_a_quarter_of_the_steps_of_captioning_commands_may_take_6_steps_else_64() -> None:
    collector = PlayedCollector(8)
    for step in range(400):
        collector.captions(0, step, 0, 8)
    assert set(collector.patience) == {6, 64}
    assert 0.18 < collector.patience.count(6) / 400 < 0.32


def test_true_reports_are_counted_in_every_fourth_round_with_6_steps_else_64() -> None:
    collector = PlayedCollector(8)
    network: Any = nn.Module()
    assert share_true(network, collector, 48) == 1.0
    assert collector.patience == [6, 64, 64, 64, 6, 64]


def test_captions_are_of_4_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    teams: list[Team] = []

    def play(team: Team, worlds: Any, seeds: Any, recorder: Any) -> list[Any]:
        teams.append(team)
        return []

    monkeypatch.setattr(captions_module.Team, "play", play)
    collector = CaptionCollector(3)
    reporter: Any = SimpleNamespace(tells_views=False)
    collector.play(reporter, [1], 6)
    assert (teams[0].max_turns, teams[0].command_steps) == (4, 6)


@dataclass
class GivenSight:
    """An encoder that sees the same in every frame, and keeps the frames."""

    vectors: float
    where: float

    def encode_frames(self, pixels: torch.Tensor) -> Any:
        self.pixels = pixels
        n = len(pixels)
        return SimpleNamespace(
            vectors=torch.full((n, 3, 4), self.vectors), where=torch.full((n, 49, 2), self.where)
        )


def floor_captions() -> list[Caption]:
    """One caption of a red floor, and two that state none; frame k of a clip has the value
    10 * (k + 1)."""
    clip = (
        np.zeros((8, 64, 64, 3), np.uint8)
        + 10 * np.arange(1, 9, dtype=np.uint8)[:, None, None, None]
    )
    item = TRAIN_ITEMS[0]
    on, off = Fact(item, FLOOR, "red"), Fact(item, FLOOR, "red", False)
    return [
        Caption(clip, COMMAND, Report("on it", (on,))),
        Caption(clip, COMMAND, Report("not on it", (off,))),
        Caption(clip, COMMAND, Report("nothing")),
    ]


def test_the_loss_of_floors_by_hand() -> None:
    """The vectors are 2 from the teacher's (4 when squared) and the places 10 (100, of which a
    hundredth counts): a distance of 5, three times. A head of zeros knows nothing of 6 colours."""
    student: Any = GivenSight(2.0, 10.0)
    teacher: Any = GivenSight(0.0, 0.0)
    head = nn.Linear(12, len(COLOURS))
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    rng = np.random.default_rng(0)
    loss = floor_robustness._loss(student, teacher, head, floor_captions(), rng)
    assert loss.item() == pytest.approx(3 * (4 + 0.01 * 100) + math.log(6), rel=1e-2)
    # The last frame of the clip with a floor, all 24 frames there are, and two recoloured ones.
    assert len(student.pixels) == 1 + 24 + 2 and len(teacher.pixels) == 1 + 24
    assert (student.pixels[0] == 80).all()
    # Without a floor the distance alone is left.
    none = floor_robustness._loss(student, teacher, head, floor_captions()[1:], rng)
    assert none.item() == pytest.approx(15.0, rel=1e-2)
    # Of 72 frames 48 serve the distance.
    floor_robustness._loss(student, teacher, head, floor_captions() * 3, rng)
    assert len(teacher.pixels) == 3 + 48 and len(student.pixels) == 3 + 48 + 6


def test_commands_may_take_64_steps_before_floors_are_shown() -> None:
    collector = PlayedCollector(8)
    network: Any = SimpleNamespace(encoder=None)
    stage = FloorRobustness(network, collector, FloorRobustnessConfig(2, 8))
    stage._processes, stage._share = ProcessGroup(torch.device("cpu")), 8
    with pytest.raises(AttributeError):  # there is nothing to learn from
        stage.step(0)
    assert collector.patience == [64]
