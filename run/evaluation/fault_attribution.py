"""Whose fault a failure is: an episode is played again with one part replaced by its cheat.

The first replacement that makes it a success names the part. Planner, Actor, Reporter are tried in
that order; what no single cheat saves is nobody's alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from agents.actor import make_actor
from agents.actor.failing import FailingActor
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
    "wrong thing": "did what the task does not ask for",
    "no command": "said what is no command",
    "repeated itself": "gave one command three times or more in a row",
    "did not manage": "the Actor did not manage a command",
    "never got there": "ran out of turns or steps otherwise",
}


@dataclass(frozen=True)
class FaultCase:
    """What a team is made of, and where it plays: ``worlds`` makes so many worlds."""

    planner: Planner
    actor: Actor
    reporter: Reporter
    worlds: Callable[[int], Worlds]
    max_turns: int
    command_steps: int


def how(record: EpisodeRecord) -> str:
    """In which way an episode failed, one of ``WAYS``."""
    if record.ended == "failure":
        return "wrong thing"
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


def blame(team: FaultCase, failed: Sequence[EpisodeRecord]) -> list[str]:
    """For each of some failed episodes of one kind, by their records, the part at fault, of
    ``PARTS`` or ``NOBODY``. A part that is its own cheat is not replaced."""
    cheats: dict[str, Callable[[], Team]] = {}

    def of(planner: Planner, actor: Actor, reporter: Reporter) -> Team:
        return Team(planner, actor, reporter, team.max_turns, team.command_steps)

    scripted = make_actor("scripted")
    truthful = make_reporter("scripted")
    if type(team.planner) is not OraclePlanner:
        cheats["planner"] = lambda: of(OraclePlanner(), team.actor, team.reporter)
    if isinstance(team.actor, FailingActor) or type(team.actor) is not type(scripted):
        cheats["actor"] = lambda: of(team.planner, scripted, team.reporter)
    if type(team.reporter) is not type(truthful):
        cheats["reporter"] = lambda: of(team.planner, team.actor, truthful)
    found = [NOBODY] * len(failed)
    for part, make in cheats.items():
        left = [k for k, name in enumerate(found) if name == NOBODY]
        if not left:
            break
        worlds = team.worlds(len(left))
        episodes = make().play(worlds, [failed[k].seed for k in left])
        for k, episode in zip(left, episodes, strict=True):
            if episode.error is None and episode.success:
                found[k] = part
    return found


def table(faults: Sequence[FaultRecord]) -> FaultTable:
    """Count episodes by the part at fault, and by part and way."""
    ways: dict[str, dict[str, int]] = {}
    for record in faults:
        of_part = ways.setdefault(record.fault, {})
        of_part[record.how] = of_part.get(record.how, 0) + 1
    return FaultTable(len(faults), dict(Counter(r.fault for r in faults)), ways)
