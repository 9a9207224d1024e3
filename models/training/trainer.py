"""One training loop for everything that learns here; all else is a callback.

A training run is a sequence of stages (imitation, then reinforcement). A stage makes one step at
a time and can save and restore itself. Callbacks log, validate and write checkpoints in between.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from envs.errors import BadInput
from models.training.checkpoints import TrainingCheckpoint


@dataclass(frozen=True)
class ValidationResult:
    """A validation score, of which more is better, and a sentence that explains it."""

    score: float
    summary: str = ""


class Stage(ABC):
    """A part of a training run with its own objective and, mostly, its own optimiser.

    ``name`` appears in the curve and in checkpoints, ``steps`` is how many steps there are and
    ``step_size`` how many units of progress one step covers (environment steps, for the Actor).
    Step k draws its random numbers from a seed of its own, so that a resumed run goes on
    exactly as it would have without the interruption.
    """

    name: str
    steps: int
    step_size: int = 1

    def begin(self) -> None:  # noqa: B027
        """Prepare to train: make the optimiser, copy the reference weights.

        Called before the first step, and before ``load_state_dict`` when a run is resumed.
        """

    @abstractmethod
    def step(self, k: int) -> Mapping[str, float]:
        """Make step ``k``, counted from 0, and return its metrics, named like the curve's columns.

        Raises BadInput where the loss or a reward is not finite; weights are then as before.
        """

    def end(self) -> None:  # noqa: B027
        """Leave the model ready for use. Called after the last step."""

    def close(self) -> None:  # noqa: B027
        """Release processes and files. Called last, also after an error."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on: copies of tensors, and JSON values, by name."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned.

        Raises BadInput where it comes from a network of another shape.
        """

    def validate(self) -> ValidationResult | None:
        """Score the current weights on data that training never sees; None where no stage does."""
        return None


class TrainerCallback:
    """What happens around the steps of a `Trainer`; each method does nothing by default.

    The trainer calls its callbacks in the order in which they are given. ``name`` is that of the
    callback's state in a checkpoint; a callback without one has no state.
    """

    name: str = ""

    def on_train_begin(self, trainer: Trainer) -> None:
        """Before the first stage, when the callbacks' states have been restored."""

    def on_stage_begin(self, trainer: Trainer) -> None:
        """When a stage is ready to make its first step, or the next one after a checkpoint."""

    def on_step_end(self, trainer: Trainer) -> None:
        """After each step. ``trainer.metrics`` may be added to for the callbacks that follow."""

    def on_validation(self, trainer: Trainer, result: ValidationResult) -> None:
        """After a validation."""

    def on_stage_end(self, trainer: Trainer) -> None:
        """After a stage's last step."""

    def on_train_end(self, trainer: Trainer) -> None:
        """After the last stage."""

    def close(self) -> None:
        """Release files and the terminal. Called last, also after an error."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs: tensors and JSON values, by name."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""


class Trainer:
    """Runs stages one after another.

    Callbacks may read ``stage``, ``step`` (how many steps of the stage have been made),
    ``steps_before`` (the steps of all earlier stages), ``metrics`` (of the last step) and
    ``seconds`` (of training, before interruptions too).
    """

    def __init__(self, stages: Sequence[Stage], callbacks: Sequence[TrainerCallback] = ()) -> None:
        self.stages = tuple(stages)
        self.callbacks = tuple(callbacks)
        self.stage: Stage = self.stages[0] if self.stages else _NoStage()
        self.step = 0
        self.steps_before = 0
        self.metrics: dict[str, Any] = {}
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    @property
    def total_step(self) -> int:
        """How many steps have been made, those of earlier stages included."""
        return self.steps_before + self.step

    def train(self, resume: TrainingCheckpoint | None = None) -> None:
        """Run all stages, or what is left of them after a checkpoint.

        Raises BadInput where a stage does, and where the checkpoint is not of these stages.
        """
        first = 0 if resume is None else self._number(resume.stage)
        if resume is not None:
            self._began = time.monotonic() - resume.seconds
            for callback in self.callbacks:
                if callback.name in resume.callback_states:
                    callback.load_state_dict(resume.callback_states[callback.name])
        try:
            for callback in self.callbacks:
                callback.on_train_begin(self)
            for number, stage in enumerate(self.stages):
                if number >= first:
                    self._run(stage, resume if number == first else None)
                self.steps_before += stage.steps
                self.step = 0
            for callback in self.callbacks:
                callback.on_train_end(self)
        finally:
            for callback in self.callbacks:
                callback.close()

    def _run(self, stage: Stage, resume: TrainingCheckpoint | None) -> None:
        self.stage, self.step, self.metrics = stage, 0, {}
        stage.begin()
        try:
            if resume is not None:
                stage.load_state_dict(resume.stage_state)
                self.step = resume.step
            for callback in self.callbacks:
                callback.on_stage_begin(self)
            while self.step < stage.steps:
                self.metrics = dict(stage.step(self.step))
                self.step += 1
                for callback in self.callbacks:
                    callback.on_step_end(self)
            stage.end()
            for callback in self.callbacks:
                callback.on_stage_end(self)
        finally:
            stage.close()

    def checkpoint(self) -> TrainingCheckpoint:
        """Everything that is needed to go on from here."""
        states = {c.name: c.state_dict() for c in self.callbacks if c.name}
        return TrainingCheckpoint(
            self.stage.name, self.step, self.seconds, self.stage.state_dict(), states
        )

    def _number(self, name: str) -> int:
        names = [stage.name for stage in self.stages]
        if name not in names:
            raise BadInput(
                f"the checkpoint is of the stage '{name}'; this run has {', '.join(names)}"
            )
        return names.index(name)


class _NoStage(Stage):
    """Stands in for the current stage of a trainer without stages."""

    name = ""
    steps = 0

    def step(self, k: int) -> Mapping[str, float]:
        raise AssertionError("there is no stage to train")

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass
