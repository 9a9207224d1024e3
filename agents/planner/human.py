"""A person as the Planner."""

from __future__ import annotations

from collections.abc import Sequence

from agents.by_hand import PlayedByHand
from agents.dialogue import Decision, Dialogue
from agents.planner.options import PlannerOptions


class HumanPlanner(PlayedByHand):
    """Asks a person for the next command of each dialogue."""

    def __init__(self, options: PlannerOptions | None = None) -> None:
        super().__init__()

    def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]:
        commands = [self.prompter.command(dialogue) for dialogue in dialogues]
        return [Decision(command.sentence(), command) for command in commands]
