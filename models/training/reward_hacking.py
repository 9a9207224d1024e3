"""Notices when a policy games the model that rewards it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from envs.errors import BadInput
from models.training.trainer import Trainer, TrainerCallback

WINDOW = 20  # steps in each of the two windows that are compared
MARGIN = 0.05  # how far the windows' means must be apart


class RewardHackingMonitor(TrainerCallback):
    """Stops a run in which the learned reward rises while the true success falls.

    Both are compared over the last two windows of ``WINDOW`` steps. Steps whose metrics lack
    them are left out.
    """

    name = "reward_hacking"

    def __init__(self, judged: Sequence[str] = (), true: str = "success") -> None:
        """
        Args:
            judged: Metrics of which the mean is the learned reward; none watches nothing.
            true: The metric that is the true success.
        """
        self._names = (tuple(judged), true)
        self.judged: list[float] = []
        self.true: list[float] = []

    def on_step_end(self, trainer: Trainer) -> None:
        judged, true = self._names
        if judged and all(name in trainer.metrics for name in (*judged, true)):
            mean = float(np.mean([trainer.metrics[name] for name in judged]))
            self.add(mean, trainer.metrics[true])

    def add(self, judged: float, true: float) -> None:
        """Enter a step's mean rewards. Raises BadInput where the reward model is being gamed."""
        self.judged.append(judged)
        self.true.append(true)
        if len(self.true) < 2 * WINDOW:
            return
        rise, fall = (
            float(np.mean(row[-WINDOW:]) - np.mean(row[-2 * WINDOW : -WINDOW]))
            for row in (self.judged, self.true)
        )
        if rise > MARGIN and fall < -MARGIN:
            raise BadInput(
                f"the detector is being gamed: over {WINDOW} steps its reward rose by {rise:.2f} "
                f"while the truth fell by {-fall:.2f}"
            )

    def state_dict(self) -> dict[str, Any]:
        return {"judged": self.judged, "true": self.true}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.judged, self.true = list(state["judged"]), list(state["true"])
