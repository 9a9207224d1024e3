"""A person as the Reporter."""

from __future__ import annotations

from collections.abc import Sequence

from agents.by_hand import PlayedByHand
from agents.dialogue import Dialogue, Rollout
from agents.grounding import ground
from agents.messages import Report
from agents.reporter.scripted import truth


class HumanReporter(PlayedByHand):
    """Asks a person for each report; an empty one stands for the scripted Reporter's."""

    def report(self, rollouts: Sequence[Rollout], dialogues: Sequence[Dialogue]) -> list[Report]:
        reports = []
        for rollout, dialogue in zip(rollouts, dialogues, strict=True):
            default = truth(rollout)
            text = self.prompter.report(rollout, dialogue, default).strip()
            reports.append(ground(text, rollout.command) if text else default)
        return reports
