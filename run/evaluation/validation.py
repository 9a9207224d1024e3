"""Validation while a Planner trains: the success rates of a suite, without a run folder."""

from __future__ import annotations

from agents.actor import make_actor
from agents.protocols import Planner
from agents.team import Team
from envs.errors import BadInput
from envs.tasks import make_worlds
from envs.worlds import Worlds
from run.evaluation.jobs import EvaluationJob, jobs_of, with_items
from run.evaluation.settings import EvaluationSettings
from run.evaluation.suites import find_suite, select_tasks

BATCH = 32  # episodes that are played together


def success_rates(
    planner: Planner, suite: str, episodes: int, seed: int = 0, tasks: str | None = None
) -> dict[str, float]:
    """The success rate of each task of a suite, with the scripted Actor and Reporter.

    Args:
        planner: The Planner.
        suite: The name of the suite.
        episodes: How many episodes of each task are played.
        seed: Shifts all seeds, as in ``evaluate``.
        tasks: Names or patterns of tasks, separated by commas; None for all.

    Raises:
        BadInput: There is no such suite or task, or an episode broke.
    """
    settings = EvaluationSettings(suite=suite, episodes=episodes, seed=seed)
    played_suite = find_suite(suite)
    selected = select_tasks(suite, played_suite, tasks)
    settings = with_items(settings, played_suite)
    # Episodes with the same Reporter are played together, whatever their task.
    queues: dict[str, list[tuple[EvaluationJob, int]]] = {}
    for task in selected:
        for job in jobs_of(settings, played_suite, task):
            seeds = range(job.seed, job.seed + job.episodes)
            queues.setdefault(repr(job.variant.reporter), []).extend((job, s) for s in seeds)
    successes: dict[str, list[bool]] = {task.name: [] for task in selected}
    for queue in queues.values():
        for first in range(0, len(queue), BATCH):
            batch = queue[first : first + BATCH]
            worlds = Worlds(
                [
                    make_worlds(j.variant.environment, 1, **j.environment_settings).envs[0]
                    for j, _ in batch
                ]
            )
            reporter = batch[0][0].reporter
            team = Team(planner, make_actor("scripted"), reporter, settings.max_turns)
            played = team.play(worlds, [s for _, s in batch])
            for (job, _), episode in zip(batch, played, strict=True):
                if episode.error is not None:
                    raise BadInput(f"an episode broke: {episode.error.strip().splitlines()[-1]}")
                successes[job.task.name].append(bool(episode.success))
    return {name: sum(each) / len(each) for name, each in successes.items()}
