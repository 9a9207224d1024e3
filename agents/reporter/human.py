"""A person as the Reporter, at standard input."""

from __future__ import annotations

from collections.abc import Sequence

from agents.dialogue import Dialogue, Rollout
from agents.protocols import TeamMember
from agents.reporter.scripted import truth
from envs.errors import BadInput


class HumanReporter(TeamMember):
    """Asks a person for each report; an empty line takes the scripted one."""

    def report(self, rollouts: Sequence[Rollout], dialogues: Sequence[Dialogue]) -> list[str]:
        reports = []
        for rollout, dialogue in zip(rollouts, dialogues, strict=True):
            print(f"Task: {dialogue.task}\nCommand: {rollout.command.sentence()}")
            print(f"Your report (empty for: {truth(rollout)})")
            try:
                reports.append(input("Reporter: ").strip() or truth(rollout))
            except EOFError:
                raise BadInput("the human Reporter's standard input ended") from None
        return reports
