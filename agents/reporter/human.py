"""A person as the Reporter, at standard input."""

from __future__ import annotations

from collections.abc import Sequence

from agents.dialogue import Dialogue, Rollout
from agents.grounding import ground
from agents.messages import Report
from agents.protocols import TeamMember
from agents.reporter.scripted import truth
from envs.errors import BadInput


class HumanReporter(TeamMember):
    """Asks a person for each report; an empty line takes the scripted one."""

    def report(self, rollouts: Sequence[Rollout], dialogues: Sequence[Dialogue]) -> list[Report]:
        reports = []
        for rollout, dialogue in zip(rollouts, dialogues, strict=True):
            print(f"Task: {dialogue.task}\nCommand: {rollout.command.sentence()}")
            default = truth(rollout)
            print(f"Your report (empty for: {default.text})")
            try:
                line = input("Reporter: ").strip()
                reports.append(ground(line, rollout.command) if line else default)
            except EOFError:
                raise BadInput("the human Reporter's standard input ended") from None
        return reports
