"""Statistics of episodes: summaries, confidence intervals, tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import comb
from statistics import NormalDist

from agents.dialogue import TokenCost
from run.storage.records import EpisodeRecord, MeanRate, RunSummary, TaskScore


def summarise(
    command: str, seed: int, records: Sequence[EpisodeRecord], parallel: int
) -> RunSummary:
    """Summarise a run's episodes.

    An episode that broke is an error, never a failure; one that nobody judges counts in neither.

    Args:
        command: The command that played them.
        seed: Its seed.
        records: The episodes; those of an evaluation are numbered within their task and variant.
        parallel: How many episodes were played together.
    """
    played = [record for record in records if record.error is None]
    judged = [record.success for record in played if record.success is not None]
    successes = sum(judged)
    longest: dict[tuple[tuple[str, str], int], float] = {}
    for record in records:
        group = record.key, record.episode // parallel
        longest[group] = max(record.seconds, longest.get(group, 0.0))
    costs = [record.tokens for record in records if record.tokens is not None]
    checked = [true for record in records for true in record.reports_true or ()]
    return RunSummary(
        command=command,
        seed=seed,
        n=len(records),
        n_errors=len(records) - len(played),
        n_unjudged=len(played) - len(judged),
        n_success=successes,
        success_rate=successes / len(judged) if judged else None,
        success_ci95=wilson(successes, len(judged)),
        seconds=round(sum(longest.values()), 3),
        mean_turns=_mean([len(record.turns) for record in played]),
        mean_steps=_mean([record.steps for record in played]),
        n_unparsed=sum(record.unparsed for record in records),
        n_decisions=sum(len(record.turns) for record in records),
        tokens=sum(costs, TokenCost()) if costs else None,
        ended=dict(sorted(Counter(record.ended for record in records).items())),
        reports_true=sum(checked) / len(checked) if checked else None,
    )


def wilson(successes: float, n: float) -> list[float] | None:
    """The 95 % interval ``[low, high]`` of a rate (Wilson 1927); None where ``n`` is 0.

    ``successes`` and ``n`` need not be whole numbers. SciPy has this too, but takes 2 s to import,
    longer than a small run takes to play.
    """
    if n == 0:
        return None
    rate, z = successes / n, NormalDist().inv_cdf(0.975)
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z * (rate * (1 - rate) / n + (z / (2 * n)) ** 2) ** 0.5 / (1 + z * z / n)
    # Exactly, where rounding would leave 1e-17.
    return [middle - half if successes else 0.0, middle + half if successes < n else 1.0]


def mcnemar(won: int, lost: int) -> float:
    """The two-sided p-value of McNemar's exact test.

    Args:
        won: The number of pairs that only the first of the two has won.
        lost: The number of pairs that only the second has won.
    """
    n = won + lost
    return min(1.0, 2 * sum(comb(n, k) for k in range(min(won, lost) + 1)) / 2**n)


def paired_difference(won: int, lost: int, n: int) -> tuple[float, float, float]:
    """The difference of two success rates on the same episodes, with its 95 % interval.

    The interval is Wald's with half a pair added to each cell (Agresti and Min 2005), which stays
    honest where few pairs differ.

    Args:
        won: The number of pairs that only the first of the two has won.
        lost: The number of pairs that only the second has won.
        n: The number of all pairs, at least 1.

    Returns:
        The difference, and both ends of the interval.
    """
    difference = (won - lost) / n
    middle = (won - lost) / (n + 2)
    spread = won + lost + 1 - (won - lost) ** 2 / (n + 2)
    half = NormalDist().inv_cdf(0.975) * spread**0.5 / (n + 2)
    return difference, max(-1.0, middle - half), min(1.0, middle + half)


def mean_rate(scores: Iterable[TaskScore]) -> MeanRate:
    """The mean success rate of tasks, all of the same weight.

    The interval is that of as many episodes as would leave the mean of the rates as uncertain if
    all tasks were equally hard: of all episodes, where each task has as many. A task without a rate
    does not count; without any, there is no rate.
    """
    rated = [(s.success_rate, s) for s in scores if s.success_rate is not None]
    if not rated:
        return MeanRate(None, None, 0)
    rate = sum(r for r, _ in rated) / len(rated)
    n = len(rated) ** 2 / sum(1 / (s.n - s.n_errors) for _, s in rated)
    return MeanRate(rate, wilson(rate * n, n), len(rated))


def _mean(numbers: Sequence[float]) -> float | None:
    return sum(numbers) / len(numbers) if numbers else None
