"""The summary's numbers, worked out a second way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from run.evaluation.statistics import mcnemar, mean_rate, summarise, wilson
from run.storage.records import EpisodeRecord, TaskScore, TurnRecord


def scipys(successes: int, n: int) -> list[float]:
    interval = binomtest(successes, n).proportion_ci(method="wilson")
    return [interval.low, interval.high]


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_scipys(pair: tuple[int, int]) -> None:
    found = wilson(*pair)
    assert found == pytest.approx(scipys(*pair), abs=1e-12)
    assert found is not None and 0 <= found[0] <= pair[0] / pair[1] <= found[1] <= 1


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemars_test_is_scipys(won: int, lost: int) -> None:
    expected = binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert mcnemar(won, lost) == pytest.approx(expected, rel=1e-9)


def test_a_worked_case() -> None:
    # 8 of 10, from a table of Wilson intervals.
    assert wilson(8, 10) == pytest.approx([0.4902, 0.9433], abs=1e-4)
    assert wilson(0, 0) is None
    # 1 of 6 that differ: 2 * (1 + 6) / 64.
    assert mcnemar(5, 1) == mcnemar(1, 5) == 0.21875


def record(episode: int, success: bool | None, error: str | None, seconds: float) -> EpisodeRecord:
    return EpisodeRecord(
        episode=episode,
        seed=episode,
        task="Examine the solid red ring.",
        turns=(TurnRecord("", None, ""),) * (episode + 1),
        success=success,
        ended="error" if error else "success" if success else "failure",
        steps=10 * episode,
        unparsed=episode % 2,
        error=error,
        seconds=seconds,
    )


def test_errors_and_what_nobody_judges_are_no_failures() -> None:
    records = [
        record(0, True, None, 1.0),
        record(1, False, None, 3.0),
        record(2, None, "Traceback …", 2.0),
        record(3, None, None, 0.5),
    ]
    summary = summarise("episode", 7, records, parallel=2)
    assert (summary.n, summary.n_errors, summary.n_unjudged) == (4, 1, 1)
    assert summary.success_rate == 0.5
    assert summary.success_ci95 == pytest.approx(scipys(1, 2))
    assert summary.seconds == 3.0 + 2.0
    assert (summary.mean_turns, summary.mean_steps) == ((1 + 2 + 4) / 3, (0 + 10 + 30) / 3)
    assert (summary.n_unparsed, summary.seed) == (2, 7)


def test_a_mean_of_tasks_weighs_them_alike_and_is_as_certain_as_its_small_ones() -> None:
    """Rates of 1 and 0.5, of 10 - 2 and of 24 episodes, and a task without a rate: the mean is
    0.75, as uncertain as that of 2**2 / (1/8 + 1/24) = 24 episodes."""
    scores = [
        TaskScore(1.0, None, 10, 2),
        TaskScore(0.5, None, 24, 0),
        TaskScore(None, None, 5, 5),
    ]
    mean = mean_rate(scores)
    assert mean.success_rate == 0.75
    assert mean.success_ci95 == pytest.approx(scipys(18, 24))
    assert mean_rate(scores[2:]).success_rate is None
