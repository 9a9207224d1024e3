"""Whose fault a failure is: an episode is played again with one part replaced by its cheat.

The first replacement that makes it a success names the part. Planner, Actor, Reporter are tried in
that order; what no single cheat saves is nobody's alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from agents.actor import make_actor
from agents.actor.failing import FailingActor
from agents.planner.oracle import OraclePlanner
from agents.protocols import Actor, Planner, Reporter
from agents.reporter import make_reporter
from agents.team import Team
from envs.worlds import Worlds

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


def how(line: Mapping[str, Any]) -> str:
    """In which way an episode failed, one of ``WAYS``, from its line in ``episodes.jsonl``."""
    if line["ended"] == "failure":
        return "wrong thing"
    if line["unparsed"]:
        return "no command"
    said = [t["command"] for t in line["turns"]]
    if max((len(list(run)) for _, run in groupby(said)), default=0) >= 3:
        return "repeated itself"
    if any("did not manage" in t["report"] for t in line["turns"]):
        return "did not manage"
    return "never got there"


def blame(team: FaultCase, failed: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each of some failed episodes of one kind, by their lines, the part that is to blame, of
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
        episodes = make().play(worlds, [failed[k]["seed"] for k in left])
        for k, episode in zip(left, episodes, strict=True):
            if episode.error is None and episode.success:
                found[k] = part
    return found


def table(blamed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts of blamed episodes: by part, and by part and way."""
    parts = Counter(b["blamed"] for b in blamed)
    ways: dict[str, dict[str, int]] = {}
    for b in blamed:
        its = ways.setdefault(b["blamed"], {})
        its[b["how"]] = its.get(b["how"], 0) + 1
    return {"n": len(blamed), "parts": dict(parts), "how": ways}
