"""Callbacks that every training run can use: validation, checkpoints, weights of each stage."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from models.training.checkpoints import CheckpointManager, group
from models.training.trainer import Trainer, TrainerCallback, ValidationResult

if TYPE_CHECKING:
    import torch


class ValidationCallback(TrainerCallback):
    """Validates every ``every`` steps and at the end of a stage, and keeps the best weights.

    The score goes into the step's metrics as ``validation``. Of equal scores the later one is
    kept, as it has seen more. When a stage ends, its best weights are restored.
    """

    name = "validation"

    def __init__(
        self,
        every: int,
        weights: Callable[[], Mapping[str, torch.Tensor]],
        restore: Callable[[Mapping[str, torch.Tensor]], None],
        say: Callable[[str], None] = lambda text: None,
        *,
        across_stages: bool = False,
        at_start: Callable[[], ValidationResult] | None = None,
        by_total_step: bool = False,
    ) -> None:
        """
        Args:
            every: Steps from one validation to the next; 0 validates nothing.
            weights: The current weights, of which copies are kept.
            restore: Takes such weights.
            say: Is told each score.
            across_stages: Keep one best of all stages, not one of each stage.
            at_start: Scores the weights before the first step of the run.
            by_total_step: Count the steps of earlier stages too, in ``every`` and in the names of
                the scores.
        """
        self.every = every
        self.scores: dict[str, float] = {}
        self.best: dict[str, torch.Tensor] = {}
        self._best_score = 0.0
        self._weights = weights
        self._restore = restore
        self._say = say
        self._across_stages = across_stages
        self._at_start = at_start
        self._by_total_step = by_total_step

    def best_step(self) -> str:
        """The name of the best score, the latest of equal ones; empty where there is none."""
        return max(reversed(self.scores), key=lambda name: self.scores[name], default="")

    def on_train_begin(self, trainer: Trainer) -> None:
        if self._at_start is not None and self.every and not self.scores:
            self._enter("the start", self._at_start())

    def on_step_end(self, trainer: Trainer) -> None:
        stage, step = trainer.stage, trainer.step
        count = trainer.total_step if self._by_total_step else step
        if not self.every or (count % self.every and step != stage.steps):
            return
        result = stage.validate()
        if result is None:
            return
        self._enter(str(count) if self._by_total_step else f"{stage.name} {step}", result)
        trainer.metrics["validation"] = result.score
        for callback in trainer.callbacks:
            callback.on_validation(trainer, result)

    def _enter(self, name: str, result: ValidationResult) -> None:
        more = f" ({result.summary})" if result.summary else ""
        self._say(f"validation after {name}: {result.score:.4f}{more}")
        if not self.best or result.score >= self._best_score:
            self.best = {n: t.detach().clone() for n, t in self._weights().items()}
            self._best_score = result.score
        self.scores[name] = result.score

    def on_stage_end(self, trainer: Trainer) -> None:
        if self.best:
            self._restore(self.best)
        if not self._across_stages:
            self.best = {}

    def state_dict(self) -> dict[str, Any]:
        best = {f"best.{name}": tensor for name, tensor in self.best.items()}
        return {"scores": self.scores, "best_score": self._best_score, **best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.scores = dict(state["scores"])
        self._best_score = state["best_score"]
        self.best = group(state, "best.")


class CheckpointCallback(TrainerCallback):
    """Writes a checkpoint after a step when the last one is old enough.

    It comes after all callbacks whose states it is to save.
    """

    def __init__(self, manager: CheckpointManager) -> None:
        self._manager = manager

    def on_step_end(self, trainer: Trainer) -> None:
        if self._manager.is_due():
            self._manager.save(trainer.checkpoint())


class SaveWeightsCallback(TrainerCallback):
    """Saves the weights when one of these stages ends: the best ones where it comes after a
    `ValidationCallback`, the last ones where it comes before."""

    def __init__(self, save: Callable[[str], None], stages: Collection[str]) -> None:
        """
        Args:
            save: Saves the current weights under the stage's name.
            stages: Names of the stages.
        """
        self._save = save
        self._stages = frozenset(stages)

    def on_stage_end(self, trainer: Trainer) -> None:
        if trainer.stage.name in self._stages:
            self._save(trainer.stage.name)
