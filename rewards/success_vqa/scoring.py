"""How good a detector's answers are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 1000
BINS = 10


@dataclass(frozen=True)
class DetectorScore:
    """Balanced accuracy with its 95 % interval, the shares of true yes and true no that were said,
    the expected calibration error and the number of questions. None where it is not defined."""

    balanced_accuracy: float | None
    ci95: tuple[float, float] | None
    tpr: float | None
    tnr: float | None
    ece: float | None
    n: int

    def to_json(self) -> dict[str, Any]:
        return {k: _rounded(v) for k, v in vars(self).items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return [round(v, 4) for v in value]
    return round(value, 4) if isinstance(value, float) else value


def balanced_accuracy(predicted: np.ndarray, true: np.ndarray) -> float:
    """The mean of the true-positive and the true-negative rate: ``[N] bool`` both."""
    return float((predicted[true].mean() + (~predicted[~true]).mean()) / 2)


def calibration_error(sure: np.ndarray, true: np.ndarray) -> float:
    """The mean distance of confidence and accuracy, over ten bins of confidence."""
    said = sure > 0.5
    confidence = np.where(said, sure, 1 - sure)
    right = said == true
    which = np.clip(((confidence - 0.5) * 2 * BINS).astype(int), 0, BINS - 1)
    gaps = [
        abs(confidence[which == b].mean() - right[which == b].mean()) * (which == b).mean()
        for b in range(BINS)
        if (which == b).any()
    ]
    return float(sum(gaps))


def score(sure: np.ndarray, true: np.ndarray, clip: np.ndarray) -> DetectorScore:
    """Score probabilities of yes ``sure [N]`` by the answers ``true [N] bool``.

    The interval comes from drawing whole clips anew (``clip [N]`` says which a question
    is about): questions of one clip are not independent.
    """
    said = sure > 0.5
    if not len(true):
        return DetectorScore(None, None, None, None, None, 0)
    ece = calibration_error(sure, true)
    if true.all() or not true.any():
        share = float((said == true).mean())
        tpr, tnr = (share, None) if true.all() else (None, share)
        return DetectorScore(None, None, tpr, tnr, ece, len(true))
    _, which = np.unique(clip, return_inverse=True)
    n = which.max() + 1
    # Of each clip: yes that were said, yes, no that were said, no.
    counts = np.stack(
        [np.bincount(which, w, n) for w in (said & true, true, ~said & ~true, ~true)], 1
    )
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(n, np.full(n, 1 / n), RESAMPLES) @ counts
    with np.errstate(invalid="ignore", divide="ignore"):
        both = (drawn[:, 0] / drawn[:, 1] + drawn[:, 2] / drawn[:, 3]) / 2
    low, high = np.nanpercentile(both, [2.5, 97.5])
    return DetectorScore(
        balanced_accuracy(said, true),
        (float(low), float(high)),
        float(said[true].mean()),
        float((~said[~true]).mean()),
        ece,
        len(true),
    )


def score_by(
    names: Sequence[str], sure: np.ndarray, true: np.ndarray, clip: np.ndarray
) -> dict[str, DetectorScore]:
    """The same for each name of ``names [N]`` apart."""
    every = np.array(names)
    return {
        n: score(sure[every == n], true[every == n], clip[every == n]) for n in sorted({*names})
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
