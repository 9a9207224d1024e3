"""The summary of a run's episodes: what they come to, with how sure that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import comb
from statistics import NormalDist
from typing import Any


def summarise(
    command: str, seed: int, lines: Sequence[dict[str, Any]], parallel: int
) -> dict[str, Any]:
    """The numbers of ``summary.json`` from the lines of ``episodes.jsonl``.

    An episode that broke is an error, never a failure; one that nobody judges counts in neither.
    ``seconds`` is the time of play, without loading: the longest episode of each group played
    together, summed; ``reports_true`` the share of reports that are true, of Reporters of which
    that can be checked. Lines of ``evaluate`` are numbered within their cell and part.
    """
    errors = [line for line in lines if line["error"] is not None]
    played = [line for line in lines if line["error"] is None]
    judged = [line for line in played if line["success"] is not None]
    successes = sum(line["success"] for line in judged)
    longest: dict[tuple[Any, ...], float] = {}
    for line in lines:
        group = (line.get("cell"), line.get("part"), line["episode"] // parallel)
        longest[group] = max(line["seconds"], longest.get(group, 0.0))
    checked = [true for line in lines for true in line.get("reports_true", ())]
    return {
        "command": command,
        "seed": seed,
        "n": len(lines),
        "n_errors": len(errors),
        "n_unjudged": len(played) - len(judged),
        "n_success": successes,
        "success_rate": successes / len(judged) if judged else None,
        "success_ci95": wilson(successes, len(judged)),
        "seconds": round(sum(longest.values()), 3),
        "mean_turns": _mean([len(line["turns"]) for line in played]),
        "mean_steps": _mean([line["steps"] for line in played]),
        "n_unparsed": sum(line["unparsed"] for line in lines),
        **({"reports_true": sum(checked) / len(checked)} if checked else {}),
        "ended": dict(sorted(Counter(line["ended"] for line in lines).items())),
    }


def wilson(successes: float, n: float) -> list[float] | None:
    """The 95 % interval ``[low, high]`` of a rate (Wilson 1927); None of nothing. What stands for a
    number of episodes need not be whole.

    Not SciPy's, which takes 2 s to import, longer than a small run takes to play, and 35 MB of
    download.
    """
    if n == 0:
        return None
    rate, z = successes / n, NormalDist().inv_cdf(0.975)
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z * (rate * (1 - rate) / n + (z / (2 * n)) ** 2) ** 0.5 / (1 + z * z / n)
    # Exactly, where rounding would leave 1e-17.
    return [middle - half if successes else 0.0, middle + half if successes < n else 1.0]


def mcnemar(won: int, lost: int) -> float:
    """The two-sided p of McNemar's exact test, from the pairs that differ one way and the other.

    Were both alike, each such pair would fall either way with probability 1/2.
    """
    n = won + lost
    return min(1.0, 2 * sum(comb(n, k) for k in range(min(won, lost) + 1)) / 2**n)


def mean_of(cells: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Cells' numbers as one, all of the same weight: their mean ``success_rate``, its
    ``success_ci95`` and how many ``cells`` have a rate; without these, None and no interval.

    The interval is that of as many episodes as would leave the mean of the rates as unsure, where
    all cells were as hard: all that there are where each cell has as many.
    """
    known = [c for c in cells if c["success_rate"] is not None]
    if not known:
        return {"cells": 0, "success_rate": None}
    rate = sum(c["success_rate"] for c in known) / len(known)
    n = len(known) ** 2 / sum(1 / (c["n"] - c["n_errors"]) for c in known)
    return {"cells": len(known), "success_rate": rate, "success_ci95": wilson(rate * n, n)}


def _mean(numbers: Sequence[float]) -> float | None:
    return sum(numbers) / len(numbers) if numbers else None
