"""The success rates with which a Planner is validated."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import run.evaluation.validation as validation
from envs.errors import BadInput
from run.commands.train_planner import VALIDATION, _PlannerTraining

NOTHING: Any = None


def job(task: Any, reporter: str, seed: int, episodes: int) -> Any:
    return SimpleNamespace(
        task=task,
        variant=SimpleNamespace(reporter=reporter, environment=task.name),
        reporter=reporter,
        environment_settings={},
        seed=seed,
        episodes=episodes,
    )


@pytest.fixture()
def batches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[tuple[str, int]]]]:
    """Three tasks, whose episodes succeed with even seeds; the batches that are played."""
    tasks = [SimpleNamespace(name=name) for name in ("a", "b", "c")]
    a, b, c = tasks
    jobs = {
        "a": [job(a, "plain", 0, 3), job(a, "terse", 4, 2)],
        "b": [job(b, "plain", 1, 1)],
        "c": [job(c, "terse", 2, 1)],
        "broken": [job(a, "plain", 99, 1)],
    }
    played: list[tuple[str, list[tuple[str, int]]]] = []

    class GivenTeam:
        def __init__(self, planner: Any, actor: Any, reporter: str, max_turns: int) -> None:
            self.reporter = reporter

        def play(self, worlds: list[str], seeds: list[int]) -> list[Any]:
            played.append((self.reporter, list(zip(worlds, seeds, strict=True))))
            return [
                SimpleNamespace(
                    success=True if seed % 2 == 0 else None,
                    error="Traceback\noh no\n" if seed == 99 else None,
                )
                for seed in seeds
            ]

    monkeypatch.setattr(validation, "find_suite", lambda suite: NOTHING)
    monkeypatch.setattr(validation, "with_items", lambda settings, suite: settings)
    monkeypatch.setattr(validation, "jobs_of", lambda settings, suite, task: jobs[task.name])
    monkeypatch.setattr(
        validation, "make_worlds", lambda name, n, **settings: SimpleNamespace(envs=[name])
    )
    monkeypatch.setattr(validation, "Worlds", list)
    monkeypatch.setattr(validation, "make_actor", lambda name: NOTHING)
    monkeypatch.setattr(validation, "Team", GivenTeam)
    monkeypatch.setattr(validation, "BATCH", 2)
    monkeypatch.setattr(
        validation,
        "select_tasks",
        lambda suite, found, names: [SimpleNamespace(name=names)] if names else tasks,
    )
    return played


def test_successes_are_counted_by_task(batches: Any) -> None:
    """Task a has the seeds 0, 1, 2, 4 and 5, of which 3 are even, b has 1 and c 2. Episodes with
    one Reporter are played together, whatever their task, at most 2 at a time here."""
    rates = validation.success_rates(NOTHING, "any", 1)
    assert rates == {"a": pytest.approx(3 / 5), "b": 0.0, "c": 1.0}
    assert list(rates) == ["a", "b", "c"]
    assert batches == [
        ("plain", [("a", 0), ("a", 1)]),
        ("plain", [("a", 2), ("b", 1)]),
        ("terse", [("a", 4), ("a", 5)]),
        ("terse", [("c", 2)]),
    ]


def test_a_broken_episode_stops_the_validation(batches: Any) -> None:
    with pytest.raises(BadInput, match="an episode broke: oh no"):
        validation.success_rates(NOTHING, "any", 1, tasks="broken")


def test_the_validation_score_is_the_mean_over_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not over episodes, and with the options' number of episodes."""
    calls: list[Any] = []

    def success_rates(*args: Any, **settings: Any) -> dict[str, float]:
        calls.append((args[1:], settings))
        return {"a": 0.6, "b": 0.0, "c": 1.0, "d": 0.0}

    monkeypatch.setattr(validation, "success_rates", success_rates)
    run: Any = SimpleNamespace(
        policy=SimpleNamespace(sync=lambda: None, planner=NOTHING),
        args=SimpleNamespace(validation_episodes=7, validation_tasks="a,b"),
    )
    result = _PlannerTraining._validate(run)
    assert result.score == pytest.approx(0.4)
    assert calls == [((VALIDATION, 7), {"tasks": "a,b"})]
