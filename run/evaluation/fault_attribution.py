"""Fault attribution: a failed episode is played again with one part replaced by its oracle.

The first replacement that leads to success names the part at fault. Planner, Actor and Reporter are
tried in that order; a failure that no single replacement saves is nobody's alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from agents.actor import make_actor
from agents.actor.failing import FailingActor
from agents.episode import CONTEXT
from agents.grounding import ground
from agents.messages import Report
from agents.planner.oracle import OraclePlanner
from agents.protocols import Actor, Planner, Reporter
from agents.reporter import make_reporter
from agents.team import Team
from envs.commands import Command
from envs.worlds import Worlds
from run.storage.records import EpisodeRecord, FaultRecord, FaultTable, TurnRecord

PARTS = ("planner", "actor", "reporter")
NOBODY = "no single part"
WAYS = {
    "wrong thing": "did something that the task does not ask for",
    "no command": "gave no valid command",
    "no room": "outgrew the language model's context",
    "repeated itself": "gave one command three times or more in a row",
    "did not manage": "the Actor did not manage a command",
    "never got there": "ran out of turns or steps otherwise",
}


@dataclass(frozen=True)
class FaultCase:
    """The parts of a team, and where it plays: ``worlds`` makes a number of worlds."""

    planner: Planner
    actor: Actor
    reporter: Reporter
    worlds: Callable[[int], Worlds]
    max_turns: int
    command_steps: int


def way_of_failure(record: EpisodeRecord) -> str:
    """The way in which an episode failed, one of ``WAYS``."""
    if record.ended == "failure":
        return "wrong thing"
    if record.ended == CONTEXT:
        return "no room"
    if record.unparsed:
        return "no command"
    commands = [turn.command for turn in record.turns]
    if max((len(list(run)) for _, run in groupby(commands)), default=0) >= 3:
        return "repeated itself"
    if any(_grounded(turn).not_managed for turn in record.turns):
        return "did not manage"
    return "never got there"


def _grounded(turn: TurnRecord) -> Report:
    command = None if turn.command is None else Command.parse(turn.command)
    return ground(turn.report, command)


def parts_at_fault(case: FaultCase, failed: Sequence[EpisodeRecord]) -> list[str]:
    """Find the part at fault for each of some failed episodes.

    Args:
        case: The team and its worlds. A part that is its own oracle is not replaced.
        failed: The records of failed episodes in such worlds.

    Returns:
        For each episode one of ``PARTS``, or ``NOBODY``.
    """
    oracles: dict[str, Callable[[], Team]] = {}

    def team(planner: Planner, actor: Actor, reporter: Reporter) -> Team:
        return Team(planner, actor, reporter, case.max_turns, case.command_steps)

    scripted = make_actor("scripted")
    truthful = make_reporter("scripted")
    if type(case.planner) is not OraclePlanner:
        oracles["planner"] = lambda: team(OraclePlanner(), case.actor, case.reporter)
    if isinstance(case.actor, FailingActor) or type(case.actor) is not type(scripted):
        oracles["actor"] = lambda: team(case.planner, scripted, case.reporter)
    if type(case.reporter) is not type(truthful):
        oracles["reporter"] = lambda: team(case.planner, case.actor, truthful)
    faults = [NOBODY] * len(failed)
    for part, make_team in oracles.items():
        left = [k for k, fault in enumerate(faults) if fault == NOBODY]
        if not left:
            break
        worlds = case.worlds(len(left))
        episodes = make_team().play(worlds, [failed[k].seed for k in left])
        for k, episode in zip(left, episodes, strict=True):
            if episode.error is None and episode.success:
                faults[k] = part
    return faults


def fault_table(faults: Sequence[FaultRecord]) -> FaultTable:
    """Count episodes by the part at fault, and by part and way."""
    ways: dict[str, dict[str, int]] = {}
    for record in faults:
        of_part = ways.setdefault(record.fault, {})
        of_part[record.how] = of_part.get(record.how, 0) + 1
    return FaultTable(len(faults), dict(Counter(r.fault for r in faults)), ways)
