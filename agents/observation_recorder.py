"""The observation recorder: what the agents of a group of episodes saw, step by step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agents.dialogue import Dialogue
from agents.team import Callback
from envs.worlds import Worlds


class ObservationRecorder(Callback):
    """Keeps each agent's views as numbers; pixels are drawn when they are asked for."""

    def __init__(self) -> None:
        self.views: dict[int, list[np.ndarray]] = {}

    def on_begin(self, worlds: Worlds, dialogues: Sequence[Dialogue]) -> None:
        self.begin(worlds, [d.world for d in dialogues])

    def begin(self, worlds: Worlds, which: Sequence[int]) -> None:
        """Start with what the agents of these worlds see now."""
        self.views = {i: [worlds.images[i].copy()] for i in which}

    def on_step(self, worlds: Worlds) -> None:
        for i, views in self.views.items():
            if worlds.steps[i] >= len(views):
                views.append(worlds.images[i].copy())

    def frames(self, i: int, steps: Sequence[int], tile_size: int = 8) -> np.ndarray:
        """What the agent of episode i saw after some of its steps (0 is the start): ``[len(steps),
        view * tile_size, view * tile_size, 3] uint8``."""
        from envs.batched.pixels import view_frames

        return view_frames(np.stack([self.views[i][k] for k in steps]), tile_size)
