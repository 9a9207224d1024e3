"""The scripted Reporter: the truth about a rollout, in fixed words (privileged)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agents.dialogue import Dialogue, Rollout
from agents.messages import Fact, Report
from agents.protocols import TeamMember
from envs.attributes import LOCKED, Attribute
from envs.commands import Command
from envs.items import Item

PAST = {
    "go to": "went to",
    "examine": "examined",
    "pick up": "picked up",
    "open": "opened",
    "put": "put",
}


class ScriptedReporter(TeamMember):
    """Says what was done and what examining revealed, or that the command was not managed."""

    def report(self, rollouts: Sequence[Rollout], dialogues: Sequence[Dialogue]) -> list[Report]:
        return [truth(r) for r in rollouts]


def outcome(rollout: Rollout) -> Report:
    """Whether the command of a rollout was carried out, in one sentence."""
    command = rollout.command
    if not rollout.done:
        locked = [e.item for e in rollout.events if e.kind == "found locked"]
        reason = f", the {locked[-1]} is locked" if locked else ""
        return Report(
            f"I did not manage to {command}{reason}.",
            facts=tuple(Fact(door, LOCKED) for door in locked[-1:]),
            not_managed=(command,),
        )
    return carried_out(command)


def carried_out(command: Command) -> Report:
    """That a command was carried out, in one sentence."""
    target = "" if command.target is None else f" next to the {command.target}"
    return Report(f"I {PAST[command.verb]} the {command.item}{target}.", done=(command,))


def revealed(rollout: Rollout) -> Attribute | None:
    """What examining revealed of the item that the command is about, if that was done."""
    command = rollout.command
    if not rollout.done or command.verb != "examine":
        return None
    attributes = [
        e.revealed
        for e in rollout.events
        if e.kind == "examined" and e.revealed and command.item.describes(e.item)
    ]
    return attributes[-1] if attributes else None


def with_attributes(report: Report, item: Item, attributes: Sequence[Attribute]) -> Report:
    """A report of one sentence about ``item``, followed by attributes of the item: "I examined the
    red ring, it is beside a wall, is on a blue floor and shows a white mark."."""
    if not attributes:
        return report
    *first, last = map(str, attributes)
    phrases = f"{', '.join(first)} and {last}" if first else last
    facts = (Fact.of(item, a) for a in attributes)
    return replace(report, text=f"{report.text[:-1]}, it {phrases}.", facts=(*report.facts, *facts))


def truth(rollout: Rollout) -> Report:
    """The truthful report of one rollout, in one sentence, with what examining revealed."""
    attribute = revealed(rollout)
    attributes = [] if attribute is None else [attribute]
    return with_attributes(outcome(rollout), rollout.command.item, attributes)
