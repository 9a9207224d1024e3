"""Decision processors: the steps between the scores of the candidates and the choice of one.

They are to whole commands what transformers' ``LogitsProcessor`` is to tokens: an ordered list of
small functions, each of which takes the scores and returns changed ones. The candidate with the
highest processed score is chosen. ``processor_registry`` names them and reads lists of them.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from agents.dialogue import Dialogue
from envs.commands import Command
from envs.errors import BadInput
from models.language.formats import ScoringRule

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DecisionContext:
    """What a processor may use beside the scores it is given.

    ``scores`` and ``counterfactual_scores`` are ``[candidates] float64``: the scores as the
    language model gave them, in the dialogue and in its counterfactual context
    (``counterfactual.py``). The latter are None where there is no such context, and where no
    processor of the list needs them.
    """

    dialogue: Dialogue
    candidates: tuple[Command, ...]
    scores: np.ndarray
    counterfactual_scores: np.ndarray | None = None


class DecisionProcessor(ABC):
    """One step between scores and choice; a subclass is a frozen dataclass of its parameters."""

    name: ClassVar[str]
    needs_distribution: ClassVar[bool] = False
    """Whether scores must be log-probabilities among the candidates (constrained scoring)."""

    @property
    def needs_counterfactual(self) -> bool:
        """Whether ``counterfactual_scores`` are of use to it. They cost a second reading."""
        return False

    @abstractmethod
    def __call__(self, context: DecisionContext, scores: np.ndarray) -> np.ndarray:
        """The processed scores.

        Args:
            context: the dialogue, its candidates and the unprocessed scores.
            scores: ``[candidates] float64``, as the processors before this one left them.

        Returns:
            ``[candidates] float64``, a new array or ``scores`` itself, which must not be changed
            in place. Minus infinity bans a candidate; NaN is an error.
        """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            whole = isinstance(field.default, int)
            kinds = (int,) if whole else (int, float)
            if isinstance(value, bool) or not isinstance(value, kinds) or not value >= 0:
                kind = "a whole number" if whole else "a number"
                raise BadInput(
                    f"{field.name} of processor '{self.name}' must be {kind} of at least 0, "
                    f"not {value!r}"
                )
            if not whole:
                object.__setattr__(self, field.name, float(value))

    @classmethod
    def weakest(cls, several: Sequence[DecisionProcessor]) -> DecisionProcessor:
        """A processor of this class that does no more than any of ``several``."""
        return cls(
            **{
                field.name: field.metadata["weakest"](getattr(p, field.name) for p in several)
                for field in dataclasses.fields(cls)  # type: ignore[arg-type]
            }
        )


def _rarest(counts: Iterable[int]) -> int:
    """The highest count, 0 for never above them all."""
    return max(counts, key=lambda count: count or math.inf)


def parameter(default: float, weakest: Callable[[Iterable[Any]], Any] = min) -> Any:
    """A dataclass field for a processor's parameter.

    Args:
        default: its default; a whole number where no other values are allowed.
        weakest: which of several values changes decisions the least.
    """
    return dataclasses.field(default=default, metadata={"weakest": weakest})


@dataclass(frozen=True)
class RepetitionBan(DecisionProcessor):
    """Bans the command that got the same report in each of the last ``turns`` turns; 0 bans none.

    A small model that does not understand a sentence can repeat one command for ever.
    """

    name: ClassVar[str] = "repetition-ban"
    turns: int = parameter(2, _rarest)

    def __call__(self, context: DecisionContext, scores: np.ndarray) -> np.ndarray:
        repeated = context.dialogue.repeated_command(self.turns)
        banned = [command == repeated for command in context.candidates]
        return np.where(banned, -np.inf, scores)


@dataclass(frozen=True)
class RepetitionPenalty(DecisionProcessor):
    """Lowers a command's score by ``nats`` once its last ``after`` reports were identical, and
    by as much again for each further one, whatever came between; with ``after`` 0 never.

    Where a ban prevents one command from being repeated, two can still alternate for ever.
    """

    name: ClassVar[str] = "repetition-penalty"
    nats: float = parameter(3.0)
    after: int = parameter(2, _rarest)

    def __call__(self, context: DecisionContext, scores: np.ndarray) -> np.ndarray:
        if not self.after:
            return scores
        run_lengths = context.dialogue.trailing_identical_reports()
        counts = [run_lengths.get(c, 0) - self.after + 1 for c in context.candidates]
        # Infinity is a legal penalty, and infinity times 0 is not a number.
        return scores - np.array([self.nats * n if n > 0 else 0.0 for n in counts])


@dataclass(frozen=True)
class HeldItemPenalty(DecisionProcessor):
    """Lowers the score of picking up what the last report says was just picked up by ``nats``.

    Being held counts as one identical report more, so nothing is subtracted before there are
    ``after`` of them with it; with ``after`` 0 never. In training, picking up ends the episode:
    a model that was trained so says it again where more is to be done.
    """

    name: ClassVar[str] = "held-item-penalty"
    nats: float = parameter(3.0)
    after: int = parameter(2, _rarest)

    def __call__(self, context: DecisionContext, scores: np.ndarray) -> np.ndarray:
        held = context.dialogue.held_command()
        if held is None or not self.after:
            return scores
        if context.dialogue.trailing_identical_reports().get(held, 0) + 1 < self.after:
            return scores
        return scores - np.array([self.nats if c == held else 0.0 for c in context.candidates])


@dataclass(frozen=True)
class ExplorationThreshold(DecisionProcessor):
    """Bans all but examining something new where examining has at least this ``probability``.

    The probabilities of all commands to examine something are added up; new is what no report
    calls examined. Where nothing new can be examined, and with a probability above 1, nothing is
    banned. Examining costs a turn, while picking up the wrong item ends the episode.
    """

    name: ClassVar[str] = "exploration-threshold"
    needs_distribution: ClassVar[bool] = True
    probability: float = parameter(0.4, max)

    def __call__(self, context: DecisionContext, scores: np.ndarray) -> np.ndarray:
        if self.probability > 1:
            return scores
        examining = [c.verb == "examine" for c in context.candidates]
        if sum(math.exp(s) for s in context.scores[examining]) < self.probability:
            return scores
        examined = context.dialogue.examined_items()
        pairs = zip(examining, context.candidates, strict=True)
        new = [e and c.item not in examined for e, c in pairs]
        return np.where(new, scores, -np.inf)


@dataclass(frozen=True)
class Contrastive(DecisionProcessor):
    """Counts ``weight`` times more what the report changes: adds ``weight`` times the difference
    of log-probabilities between the dialogue and its counterfactual context.

    This is contrastive decoding (arXiv 2210.15097) with a counterfactual report in the place of
    a weaker model, as in context-aware decoding (arXiv 2305.14739). ``floor`` is added to each
    probability, so that differences between improbable commands count for little. Examining is
    left as it is, and so is everything where examining is most probable: there is no evidence yet.
    """

    name: ClassVar[str] = "contrastive"
    needs_distribution: ClassVar[bool] = True
    weight: float = parameter(6.0)
    floor: float = parameter(0.02, max)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.floor > 0:
            raise BadInput(f"floor of processor '{self.name}' must be above 0, not {self.floor}")

    @property
    def needs_counterfactual(self) -> bool:
        return self.weight > 0

    def __call__(self, context: DecisionContext, scores: np.ndarray) -> np.ndarray:
        if context.counterfactual_scores is None:
            return scores
        if context.candidates[int(np.argmax(context.scores))].verb == "examine":
            return scores
        return scores + np.array(
            [
                0.0 if c.verb == "examine" else self.weight * self._log_ratio(factual, other)
                for c, factual, other in zip(
                    context.candidates, context.scores, context.counterfactual_scores, strict=True
                )
            ]
        )

    def _log_ratio(self, factual: float, counterfactual: float) -> float:
        return math.log((math.exp(factual) + self.floor) / (math.exp(counterfactual) + self.floor))


def without_distribution(
    processors: Iterable[DecisionProcessor], rule: ScoringRule
) -> tuple[DecisionProcessor, ...]:
    """The processors without those that need constrained scores where the rule is another; each of
    those is told."""
    usable = []
    for processor in processors:
        if processor.needs_distribution and rule != "constrained":
            log.warning("processor '%s' needs constrained scoring and is left out", processor.name)
        else:
            usable.append(processor)
    return tuple(usable)


def processed_scores(
    processors: Iterable[DecisionProcessor], context: DecisionContext
) -> np.ndarray:
    """The scores ``[candidates] float64`` after all processors, in their order.

    A processor that would ban every candidate left is passed over. Raises ValueError for one that
    returns NaN or another number of scores.
    """
    scores = context.scores
    for processor in processors:
        processed = processor(context, scores)
        if processed.shape != scores.shape or np.isnan(processed).any():
            raise ValueError(f"processor '{processor.name}' returned no score for some candidates")
        if not np.isneginf(processed).all():
            scores = processed
    return scores


def choose(processors: Iterable[DecisionProcessor], context: DecisionContext) -> int:
    """The index of the candidate with the highest processed score, the first of equals."""
    return int(np.argmax(processed_scores(processors, context)))
