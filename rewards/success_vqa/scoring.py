"""Scores of a detector's answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 1000
BINS = 10


@dataclass(frozen=True)
class DetectorScore:
    """Scores of a detector's answers; None where one is not defined.

    Attributes:
        balanced_accuracy: The mean of ``tpr`` and ``tnr``.
        ci95: Its 95 % interval.
        tpr: The true-positive rate.
        tnr: The true-negative rate.
        ece: The expected calibration error.
        n: The number of questions.
    """

    balanced_accuracy: float | None
    ci95: tuple[float, float] | None
    tpr: float | None
    tnr: float | None
    ece: float | None
    n: int

    def rounded(self) -> DetectorScore:
        """The score with four digits behind the point."""
        return DetectorScore(**{k: _rounded(v) for k, v in vars(self).items()})

    def to_json(self) -> dict[str, Any]:
        """The score as it stands in ``summary.json``, rounded."""
        return dict(vars(self.rounded()))


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(round(v, 4) for v in value)
    return round(value, 4) if isinstance(value, float) else value


def balanced_accuracy(predicted: np.ndarray, true: np.ndarray) -> float:
    """The mean of the true-positive and the true-negative rate; both arguments are ``[N] bool``."""
    return float((predicted[true].mean() + (~predicted[~true]).mean()) / 2)


def calibration_error(probabilities: np.ndarray, true: np.ndarray) -> float:
    """The expected calibration error (arXiv 1706.04599, section 2): the mean gap between confidence
    and accuracy over ten bins of confidence, weighted by the number of answers in each.

    Args:
        probabilities: Probabilities of "yes", ``[N]``.
        true: The true answers, ``[N] bool``.
    """
    predicted = probabilities > 0.5
    confidence = np.where(predicted, probabilities, 1 - probabilities)
    right = predicted == true
    which = np.clip(((confidence - 0.5) * 2 * BINS).astype(int), 0, BINS - 1)
    gaps = [
        abs(confidence[which == b].mean() - right[which == b].mean()) * (which == b).mean()
        for b in range(BINS)
        if (which == b).any()
    ]
    return float(sum(gaps))


def score(probabilities: np.ndarray, true: np.ndarray, clip: np.ndarray) -> DetectorScore:
    """Score N answers.

    The interval comes from a bootstrap over whole clips, since questions about one clip are not
    independent.

    Args:
        probabilities: Probabilities of "yes", ``[N]``; above 0.5 the answer is yes.
        true: The true answers, ``[N] bool``.
        clip: The number of each question's clip, ``[N]``.
    """
    predicted = probabilities > 0.5
    if not len(true):
        return DetectorScore(None, None, None, None, None, 0)
    ece = calibration_error(probabilities, true)
    if true.all() or not true.any():
        share = float((predicted == true).mean())
        tpr, tnr = (share, None) if true.all() else (None, share)
        return DetectorScore(None, None, tpr, tnr, ece, len(true))
    _, which = np.unique(clip, return_inverse=True)
    n = which.max() + 1
    # Of each clip: true positives, positives, true negatives, negatives.
    counts = np.stack(
        [np.bincount(which, w, n) for w in (predicted & true, true, ~predicted & ~true, ~true)], 1
    )
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(n, np.full(n, 1 / n), RESAMPLES) @ counts
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = (drawn[:, 0] / drawn[:, 1] + drawn[:, 2] / drawn[:, 3]) / 2
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return DetectorScore(
        balanced_accuracy(predicted, true),
        (float(low), float(high)),
        float(predicted[true].mean()),
        float((~predicted[~true]).mean()),
        ece,
        len(true),
    )


def score_by(
    names: Sequence[str], probabilities: np.ndarray, true: np.ndarray, clip: np.ndarray
) -> dict[str, DetectorScore]:
    """A score for each distinct name.

    Args:
        names: The group of each question, ``[N]``.
        probabilities: This and the others are as in `score`.
        true: ``[N] bool``.
        clip: ``[N]``.
    """
    groups = np.array(names)
    return {
        name: score(probabilities[groups == name], true[groups == name], clip[groups == name])
        for name in sorted({*names})
    }


def any_positive(answers: Iterable[bool]) -> bool:
    """The paper's first rule for episodes of many clips: a success if any clip shows one."""
    return any(answers)


def first_fails_last_succeeds(answers: Sequence[bool]) -> bool:
    """The paper's second rule: a success if the first clip shows none and the last shows one."""
    return bool(answers) and answers[-1] and (len(answers) == 1 or not answers[0])


RULES: Mapping[str, Any] = {
    "any positive clip": any_positive,
    "first fails and last succeeds": first_fails_last_succeeds,
}
