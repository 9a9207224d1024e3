"""Evaluation jobs: one for each variant of the tasks that are played."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from agents.actor import make_actor
from agents.actor.failing import FailingActor
from agents.planner.options import PlannerOptions
from agents.planner.prompt import prompted
from agents.planner.registry import make_planner
from agents.protocols import Actor, Planner, Reporter
from agents.reporter import make_reporter
from agents.reporter.facts import TruthChecker
from agents.team import Callback, Team
from envs.errors import BadInput
from envs.tasks import make_worlds
from envs.worlds import Worlds
from run.display.state import CallbackList
from run.evaluation.given import NO_PARTS, GivenParts, check_team, named_or_given
from run.evaluation.recording import EpisodeRecorder
from run.evaluation.settings import EvaluationSettings
from run.evaluation.suites import Suite, Task, Variant
from run.evaluation.teams import with_team

S = TypeVar("S", bound=EvaluationSettings)


@dataclass(frozen=True)
class EvaluationJob:
    """A variant to be played, by whom, and from which seed on.

    Attributes:
        task: The task of the suite.
        variant: The variant of the task.
        seed: The seed of its first episode.
        episodes: How many episodes are played.
        environment_settings: Arguments of the environment's constructor.
        planner: The name of the Planner.
        language: The options of the Planner.
        actor: The Actor.
        reporter: The Reporter.
    """

    task: Task
    variant: Variant
    seed: int
    episodes: int
    environment_settings: Mapping[str, Any]
    planner: str
    language: PlannerOptions
    actor: Actor
    reporter: Reporter

    @property
    def key(self) -> tuple[str, str]:
        """The names of the task and the variant."""
        return self.task.name, self.variant.label

    def worlds(self, n: int) -> Worlds:
        """``n`` new worlds of the variant's environment. Raises BadInput for wrong settings."""
        return make_worlds(self.variant.environment, n, **self.environment_settings)


class PlannerCache:
    """Makes the Planners of jobs, and keeps the last one.

    A language model may be large, so nobody else may keep one: it would stay in memory while the
    next is loaded.
    """

    def __init__(self, given: GivenParts = NO_PARTS) -> None:
        """Make a cache; ``given`` are the parts that are objects."""
        self._given = given.planner
        self._last: tuple[tuple[str, PlannerOptions], Planner] | None = None

    def of(self, job: EvaluationJob) -> Planner:
        """A job's Planner, loaded unless it is the last one that was asked for."""
        key = job.planner, job.language
        if self._last is None or self._last[0] != key:
            self._last = None
            planner = named_or_given(
                job.planner, self._given, lambda name: make_planner(name, job.language)
            )
            self._last = key, planner
        return self._last[1]


def with_items(settings: S, suite: Suite) -> S:
    """The settings with the suite's items, where none are chosen.

    Raises:
        BadInput: Others are chosen than the suite allows.
    """
    if suite.fixed and settings.items not in (None, suite.items):
        raise BadInput(
            f"suite '{settings.suite}' is always played with --items {suite.items}, not "
            f"{settings.items}"
        )
    return dataclasses.replace(settings, items=settings.items or suite.items)


@contextmanager
def located(variant: Variant) -> Iterator[None]:
    """Add to a BadInput where the variant is described."""
    try:
        yield
    except BadInput as error:
        if not variant.where:
            raise
        raise BadInput(f"{str(error).rstrip('.')}; see {variant.where}") from error


def planners_of(settings: EvaluationSettings, tasks: Iterable[Task]) -> set[str]:
    """The names of the Planners of all variants. Raises BadInput for a team that cannot be."""
    names = set()
    for variant in (variant for task in tasks for variant in task.variants):
        with located(variant):
            names.add(with_team(settings, variant.team).planner)
    return names


def check_teams(settings: EvaluationSettings, tasks: Iterable[Task]) -> None:
    """Check the teams of all variants, before anything is loaded.

    Raises:
        BadInput: There is no such Planner, Actor or Reporter.
    """
    checked: set[tuple[str, str, str]] = set()
    for variant in (variant for task in tasks for variant in task.variants):
        with located(variant):
            team = with_team(settings, variant.team)
            reporter = variant.reporter[0] if variant.reporter else team.reporter
            names = team.planner, team.actor, reporter
            if names not in checked:
                check_team(*names)
                checked.add(names)


def actor_and_reporter(
    variant: Variant, actor: str, reporter: str, given: GivenParts = NO_PARTS
) -> tuple[Actor, Reporter]:
    """Who acts and who reports in a variant.

    Args:
        variant: The variant, which may have its own Reporter, and an Actor that fails.
        actor: The name of the Actor.
        reporter: The name of the Reporter, for a variant without its own.
        given: The parts that are objects.

    Raises:
        BadInput: One of them cannot be made.
    """
    name, options = variant.reporter or (reporter, {})
    try:
        its_reporter = named_or_given(
            name, given.reporter, lambda name: make_reporter(name, **options)
        )
    except TypeError as error:
        raise BadInput(f"the reporter '{name}' cannot be made: {error}") from error
    its_actor: Actor = named_or_given(actor, given.actor, make_actor)
    if variant.actor_fails:
        its_actor = FailingActor(its_actor, variant.actor_fails)
    return its_actor, its_reporter


def jobs_of(
    settings: EvaluationSettings, suite: Suite, task: Task, given: GivenParts = NO_PARTS
) -> Iterator[EvaluationJob]:
    """The jobs of a task, one for each variant.

    Args:
        settings: The evaluation's settings, with ``items``.
        suite: The suite.
        task: The task of the suite.
        given: The parts that are objects.

    Raises:
        BadInput: A variant cannot be made.
    """
    for variant, episodes in zip(task.variants, task.share(settings.episodes), strict=True):
        items = {"items": settings.items} if variant.has_items else {}
        with located(variant):
            team = with_team(settings, variant.team)
            actor, reporter = actor_and_reporter(variant, team.actor, team.reporter, given)
        language = prompted(team.language, actor, team.planner)
        yield EvaluationJob(
            task,
            variant,
            suite.seed(task, variant, settings.seed),
            episodes,
            {**variant.settings, **items},
            team.planner,
            dataclasses.replace(language, seed=settings.seed),
            actor,
            reporter,
        )


def group_player(
    settings: EvaluationSettings, job: EvaluationJob, planners: PlannerCache
) -> Callable[[EpisodeRecorder, Callback], None]:
    """A function that plays a group of a job's episodes.

    Args:
        settings: The evaluation's settings.
        job: The job.
        planners: Asked for the Planner each time a group is played.

    Returns:
        The function. It plays the episodes of a recorder, and calls the callback too.
    """
    worlds = job.worlds(min(settings.parallel, job.episodes))
    checker = TruthChecker(job.reporter) if getattr(job.reporter, "tells_facts", False) else None

    def play(recorder: EpisodeRecorder, callback: Callback) -> None:
        if checker is not None:
            recorder.reports_true = checker.true_by_world
        team = Team(
            planners.of(job),
            job.actor,
            checker or job.reporter,
            settings.max_turns,
            settings.command_steps,
        )
        seeds = [job.seed + i for i in recorder.indices]
        team.play(worlds, seeds, CallbackList([recorder, callback]))

    return play
