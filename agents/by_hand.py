"""Parts of a team that a person plays: how the person is asked."""

from __future__ import annotations

import difflib
from typing import Protocol

from minigrid.core.actions import Actions

from agents.dialogue import Dialogue, Rollout, script
from agents.messages import Report
from agents.protocols import TeamMember
from envs.commands import Command
from envs.errors import BadInput
from envs.worlds import Worlds

KEYS = {
    "a": Actions.left,
    "d": Actions.right,
    "w": Actions.forward,
    "p": Actions.pickup,
    "o": Actions.drop,
    "e": Actions.toggle,
    "x": Actions.done,
}
HELP = "a left, d right, w forward, p pick up, o drop, e examine or open, x done"


class Prompter(Protocol):
    """Asks a person for what their part of the team has to decide."""

    def command(self, dialogue: Dialogue) -> Command:
        """Of a person as the Planner: the next command, one that the Actor understands."""

    def action(self, worlds: Worlds, i: int, command: Command) -> int:
        """Of a person as the Actor: the next step of ``command`` in world i, a MiniGrid action."""

    def report(self, rollout: Rollout, dialogue: Dialogue, default: Report) -> str:
        """Of a person as the Reporter: the report; an empty one stands for ``default``."""


class LinePrompter:
    """Asks in lines at standard input, which may be a pipe or a notebook's.

    Raises BadInput where standard input ends, or where there is none.
    """

    def __init__(self) -> None:
        # By world: the Actor's command, and the keys of a line that have not been used yet.
        self._keys: dict[int, tuple[Command, list[str]]] = {}

    def command(self, dialogue: Dialogue) -> Command:
        lines = script(dialogue.task, dialogue.opening, dialogue.turns)
        print("", *(f"{who}: {text}" for who, text in lines), sep="\n")
        for number, candidate in enumerate(dialogue.candidates(), 1):
            print(f"{number:3} {candidate.sentence()}")
        while True:
            asked = f"Planner (a number, or {', '.join(dialogue.verbs)} the …): "
            try:
                return read_command(_line(asked, "Planner"), dialogue)
            except NotACommand as problem:
                print(problem)

    def action(self, worlds: Worlds, i: int, command: Command) -> int:
        current, keys = self._keys.get(i, (None, []))
        if current is not command or not worlds.steps[i]:
            keys = []  # what is left over was for another command
        self._keys[i] = command, keys
        while not keys:
            asked = f"Actor, world {i}: {command.sentence()} ({HELP}): "
            line = _line(asked, "Actor").strip().lower()
            wrong = sorted(set(line) - set(KEYS))
            if wrong:
                print(f"unknown keys {', '.join(wrong)}; {HELP}")
            else:
                keys += line
        return KEYS[keys.pop(0)]

    def report(self, rollout: Rollout, dialogue: Dialogue, default: Report) -> str:
        print(f"Task: {dialogue.task}\nCommand: {rollout.command.sentence()}")
        print(f"Your report (empty for: {default.text})")
        return _line("Reporter: ", "Reporter")


class PlayedByHand(TeamMember):
    """A part that a person plays. ``prompter`` asks the person, at first in lines at standard
    input; whoever has a better way to ask replaces it."""

    def __init__(self) -> None:
        self.prompter: Prompter = LinePrompter()


class NotACommand(BadInput):
    """A person's line is no command that can be given now; the message says why."""


def read_command(text: str, dialogue: Dialogue) -> Command:
    """The command that a person means: the number of a candidate, from 1, or a sentence.

    Raises:
        NotACommand: It is neither; the message is one sentence, with the nearest candidate.
    """
    candidates = dialogue.candidates()
    line = text.strip()
    if line.isdecimal() and line.isascii():
        if len(line) < 6 and 1 <= int(line) <= len(candidates):
            return candidates[int(line) - 1]
        allowed = f"1 to {len(candidates)}" if candidates else "none"
        raise NotACommand(f"there is no candidate {line[:20]}; the numbers are {allowed}")
    try:
        command = Command.parse(line)
        if command.verb not in dialogue.verbs:
            raise BadInput(f"the Actor cannot '{command.verb}' in this world")
    except BadInput as problem:
        sentences = {str(c): number for number, c in enumerate(candidates, 1)}
        near = difflib.get_close_matches(line.lower().rstrip(".! "), sentences, 1, 0.5)
        hint = f"; the nearest candidate is {sentences[near[0]]}, {near[0]}" if near else ""
        raise NotACommand(f"{problem}{hint}") from None
    return command


def _line(asked: str, part: str) -> str:
    """A line of standard input. ``input`` is also what notebooks provide."""
    try:
        return input(asked)
    except EOFError:
        raise BadInput(f"the human {part}'s standard input ended") from None
    # A kernel that cannot ask raises a NotImplementedError, a process without standard input a
    # RuntimeError, one that is closed a ValueError.
    except (NotImplementedError, RuntimeError, ValueError, OSError) as error:
        raise BadInput(
            f"a human {part} is asked at standard input, which cannot be read here ({error}); play "
            "in a terminal, or in a notebook whose kernel can ask for input"
        ) from None
