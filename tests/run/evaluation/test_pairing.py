"""Two teams' episodes are paired by task, variant and seed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from run.evaluation.pairing import PairCounts, all_tasks, paired_outcomes


def episode(task: str, seed: int, success: bool | None, error: str | None = None) -> Any:
    return SimpleNamespace(key=(task, ""), seed=seed, success=success, error=error)


def test_only_what_both_have_played_and_finished_is_counted() -> None:
    first = [
        *(episode("a", seed, seed in (0, 1)) for seed in range(4)),
        episode("a", 4, True),
        episode("a", 5, False, "broke"),
        episode("b", 0, None),
        episode("b", 1, False),
        episode("c", 0, True),
    ]
    second = [
        *(episode("a", seed, seed in (0, 2)) for seed in range(4)),
        episode("a", 5, True),
        episode("b", 0, True),
        episode("b", 1, True),
    ]
    by_task = paired_outcomes(first, second)
    assert by_task == {
        "a": PairCounts(both=1, first_only=1, second_only=1, neither=1),
        "b": PairCounts(second_only=1),
    }
    assert all_tasks(by_task) == PairCounts(1, 1, 2, 1) and all_tasks(by_task).n == 5
    assert paired_outcomes(second, first)["b"] == PairCounts(first_only=1)
