"""The learned Reporter: a network that describes what the Actor saw."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from agents.dialogue import Dialogue, Rollout
from agents.grounding import ground
from agents.messages import Report
from agents.protocols import TeamMember
from agents.reporter.network import (
    CONFIG,
    MOST_TOKENS,
    WEIGHTS,
    ReporterNetwork,
    SampledReport,
)
from envs.trajectory import TrajectoryRecorder
from envs.worlds import Worlds
from models.vision.encoder import prepare

SHIPPED = Path(__file__).parent / "weights"


class LearnedReporter(TeamMember):
    """Reports by a network, given 8 frames of a rollout, evenly spread, and the command.

    With ``temperature`` 0 it takes the likeliest tokens; above that it samples, seeded by ``seed``,
    the episode's own seed and the turn. ``samples`` and ``clips`` (``[N, 8, 64, 64, 3] uint8``) are
    those of the latest reports.
    """

    tells_facts = True

    def __init__(
        self, network: ReporterNetwork, temperature: float = 0.0, seed: int = 0, batch: int = 64
    ) -> None:
        self.network = network
        self.temperature = temperature
        self.seed = seed
        self.batch = batch
        self.samples: list[SampledReport] = []
        self.clips = np.zeros((0, 8, 64, 64, 3), np.uint8)
        self._trajectories = TrajectoryRecorder()

    def begin(self, worlds: Worlds) -> None:
        # Of the worlds beyond the group's episodes, some may never have been reset.
        self._trajectories.begin(worlds, map(int, np.flatnonzero(~worlds.over)))

    def on_step(self, worlds: Worlds) -> None:
        self._trajectories.on_step(worlds)

    def report(self, rollouts: Sequence[Rollout], dialogues: Sequence[Dialogue]) -> list[Report]:
        self.samples = []
        if not rollouts:
            return []
        pairs = list(zip(rollouts, dialogues, strict=True))
        self.clips = np.stack([clip_of(self._trajectories, d.world, r.steps) for r, d in pairs])
        drawn = [
            np.random.default_rng((self.seed, d.seed, d.world, len(d.turns))).random(MOST_TOKENS)
            for d in dialogues
        ]
        chance = np.stack(drawn).astype(np.float32)
        commands = [r.command for r in rollouts]
        for first in range(0, len(rollouts), self.batch):
            part = slice(first, first + self.batch)
            self.samples += self.network.report(
                self.clips[part], commands[part], chance[part], self.temperature
            )
        return [ground(s.text, c) for s, c in zip(self.samples, commands, strict=True)]


def clip_of(trajectories: TrajectoryRecorder, i: int, steps: int) -> np.ndarray:
    """The network's input ``[8, 64, 64, 3] uint8`` for the last ``steps`` steps of world ``i`` in
    ``trajectories``; fewer than 8 frames are preceded by black ones."""
    return prepare(trajectories.clip(i, steps))


def load_reporter(folder: Path, device: str = "auto", cache: Path | None = None) -> LearnedReporter:
    """A trained Reporter.

    Args:
        folder: Its folder.
        device: Where the model runs; ``auto`` for the fastest available.
        cache: The folder for downloaded and converted weights.

    Raises:
        BadInput: Where there is no such Reporter, or a damaged one.
    """
    files = [folder / name for name in (CONFIG, WEIGHTS)]
    age = max((f.stat().st_mtime_ns for f in files if f.is_file()), default=0)
    return LearnedReporter(_network(folder, age, device, cache))


def load_shipped(device: str = "auto", cache: Path | None = None) -> LearnedReporter:
    """The trained Reporter that comes with Parley; the arguments are those of `load_reporter`."""
    return load_reporter(SHIPPED, device, cache)


@lru_cache(maxsize=1)  # those of an evaluation's parts are the same
def _network(folder: Path, age: int, device: str, cache: Path | None) -> ReporterNetwork:
    return ReporterNetwork.from_folder(folder, device, cache)
