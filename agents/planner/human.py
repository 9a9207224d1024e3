"""A person as the Planner, at standard input."""

from __future__ import annotations

from collections.abc import Sequence

from agents.dialogue import Decision, Dialogue, script
from agents.planner.options import PlannerOptions
from agents.protocols import TeamMember
from envs.commands import Command
from envs.errors import BadInput


class HumanPlanner(TeamMember):
    """Shows each dialogue and asks a person for the next command.

    Raises BadInput where standard input ends.
    """

    def __init__(self, options: PlannerOptions | None = None) -> None:
        pass

    def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]:
        return [self._ask(d) for d in dialogues]

    def _ask(self, dialogue: Dialogue) -> Decision:
        lines = script(dialogue.task, dialogue.opening, dialogue.turns)
        print("", *(f"{who}: {text}" for who, text in lines), sep="\n")
        while True:
            try:
                line = input(f"Planner ({', '.join(dialogue.verbs)} the …): ")
            except EOFError:
                raise BadInput("the human Planner's standard input ended") from None
            try:
                command = Command.parse(line)
                if command.verb not in dialogue.verbs:
                    raise BadInput(f"the Actor cannot '{command.verb}' in this world")
            except BadInput as problem:
                print(problem)
            else:
                return Decision(command.sentence(), command)
