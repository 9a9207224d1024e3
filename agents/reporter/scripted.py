"""The scripted Reporter: the truth about a rollout, in fixed words (a cheat)."""

from __future__ import annotations

from collections.abc import Sequence

from agents.dialogue import Dialogue, Rollout
from agents.protocols import TeamMember

PAST = {
    "go to": "went to",
    "examine": "examined",
    "pick up": "picked up",
    "open": "opened",
    "put": "put",
}


class ScriptedReporter(TeamMember):
    """Says what was done and what examining revealed, or that it did not manage."""

    def report(self, rollouts: Sequence[Rollout], dialogues: Sequence[Dialogue]) -> list[str]:
        return [truth(r) for r in rollouts]


def deed(rollout: Rollout) -> str:
    """What was done in a rollout, or that it was not managed, in one sentence."""
    command = rollout.command
    if not rollout.done:
        locked = [e.item for e in rollout.events if e.kind == "found locked"]
        why = f", the {locked[-1]} is locked" if locked else ""
        return f"I did not manage to {command}{why}."
    target = "" if command.target is None else f" next to the {command.target}"
    return f"I {PAST[command.verb]} the {command.item}{target}."


def truth(rollout: Rollout) -> str:
    """The truthful report of one rollout, in one sentence, with what examining revealed."""
    command, said = rollout.command, deed(rollout)
    facts = [
        e.fact for e in rollout.events if e.kind == "examined" and command.item.describes(e.item)
    ]
    if rollout.done and command.verb == "examine" and facts:
        return f"{said[:-1]}, it {facts[-1]}."
    return said
