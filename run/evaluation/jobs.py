"""What an evaluation plays: a job for each part of its cells."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

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
from run.commands.episode import Record
from run.display.state import CallbackList
from run.evaluation.suites import Suite, Task, Variant
from run.evaluation.teams import with_team


@dataclass(frozen=True)
class EvaluationJob:
    """A part to be played: ``episodes`` of it, from ``seed`` on, with all settings of its task."""

    cell: Task
    part: Variant
    seed: int
    episodes: int
    settings: Mapping[str, Any]
    planner: str
    language: PlannerOptions
    actor: Actor
    reporter: Reporter

    @property
    def key(self) -> tuple[str, str]:
        return self.cell.name, self.part.label

    @property
    def more(self) -> dict[str, str]:
        """What its lines have beside an episode's."""
        return {"cell": self.cell.name, "part": self.part.label}


class PlannerCache:
    """The Planners of jobs. One at a time is kept: a language model may be large, so nobody
    else is to keep one either, or it stays while the next is loaded."""

    def __init__(self) -> None:
        self._known: tuple[Any, Planner] | None = None

    def of(self, job: EvaluationJob) -> Planner:
        """A job's Planner, loaded unless the one asked for before is the same."""
        asked = job.planner, job.language
        if self._known is None or self._known[0] != asked:
            self._known = None
            self._known = asked, make_planner(*asked)
        return self._known[1]


def items_of(args: Any, suite: Suite) -> Any:
    """Which items lie about. Raises BadInput where the suite allows no choice."""
    if suite.fixed and args.items not in (None, suite.items):
        raise BadInput(
            f"suite '{args.suite}' is always played with --items {suite.items}, not {args.items}"
        )
    return args.items or suite.items


@contextmanager
def at(part: Variant) -> Iterator[None]:
    """What is wrong with a part also says where that stands."""
    try:
        yield
    except BadInput as error:
        if not part.where:
            raise
        raise BadInput(f"{str(error).rstrip('.')}; see {part.where}") from error


def planners_of(args: Any, cells: Iterable[Task]) -> set[str]:
    """Who commands in the cells' parts. Raises BadInput for a team that cannot be."""
    found = set()
    for part in (part for cell in cells for part in cell.parts):
        with at(part):
            found.add(with_team(args, part.team).planner)
    return found


def players_of(part: Variant, actor: str, reporter: str) -> tuple[Actor, Reporter]:
    """Who acts and reports in a part, where it is to be this Actor, and this Reporter unless the
    part has its own. Raises BadInput for those that cannot be made."""
    name, options = part.reporter or (reporter, {})
    try:
        reports = make_reporter(name, **options)
    except TypeError as error:
        raise BadInput(f"the reporter '{name}' cannot be made: {error}") from error
    acts: Actor = make_actor(actor)
    return FailingActor(acts, part.actor_fails) if part.actor_fails else acts, reports


def jobs_of(args: Any, suite: Suite, cell: Task) -> Iterator[EvaluationJob]:
    """A cell's jobs. Raises BadInput for parts that cannot be made."""
    for part, episodes in zip(cell.parts, cell.share(args.episodes), strict=True):
        items = {"items": args.items} if part.has_items else {}
        with at(part):
            team = with_team(args, part.team)
            actor, reporter = players_of(part, team.actor, team.reporter)
        seed = suite.seed(cell, part, args.seed)
        language = dataclasses.replace(prompted(team.language, actor, team.planner), seed=args.seed)
        settings = {**part.settings, **items}
        yield EvaluationJob(
            cell, part, seed, episodes, settings, team.planner, language, actor, reporter
        )


def player(
    args: Any, job: EvaluationJob, planners: PlannerCache
) -> Callable[[Record, Callback], None]:
    """What plays the group of episodes of a record, of one part. It asks for the Planner each time,
    and keeps none."""
    worlds = make_worlds(job.part.task, min(args.parallel, job.episodes), **job.settings)
    reporter = TruthChecker(job.reporter) if getattr(job.reporter, "tells_facts", False) else None
    reports = reporter or job.reporter

    def play(record: Record, bar: Callback) -> None:
        if reporter is not None:
            record.true = reporter.told
        planner = planners.of(job)
        team = Team(planner, job.actor, reports, args.max_turns, args.command_steps)
        team.play(worlds, [job.seed + i for i in record.indices], CallbackList([record, bar]))

    return play
