"""A callback that keeps what a training run said of its steps, and their checkpoints."""

from __future__ import annotations

from typing import Any

from models.training.checkpoints import TrainingCheckpoint
from models.training.trainer import Stage, Trainer, TrainerCallback


class StepRecorder(TrainerCallback):
    """Keeps all metrics and checkpoints; stops as Ctrl-C would after ``stop_after`` steps."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.metrics: list[dict[str, Any]] = []
        self.checkpoints: list[TrainingCheckpoint] = []
        self.stop_after = stop_after

    def on_step_end(self, trainer: Trainer) -> None:
        self.metrics.append(trainer.metrics)
        self.checkpoints.append(trainer.checkpoint())
        if len(self.metrics) == self.stop_after:
            raise KeyboardInterrupt

    def column(self, name: str) -> list[float]:
        """One metric of all steps."""
        return [m[name] for m in self.metrics]


def train(stage: Stage, resume: TrainingCheckpoint | None = None) -> StepRecorder:
    """Train a stage, from a checkpoint where one is given."""
    recorder = StepRecorder()
    Trainer([stage], [recorder]).train(resume)
    return recorder
