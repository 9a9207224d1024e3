"""A person as the Actor, at standard input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from minigrid.core.actions import Actions

from agents.actor.stepping import StepActor
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


class HumanActor(StepActor):
    """Asks a person for the next keys, one key for each action. A callback draws the world."""

    def __init__(self) -> None:
        self._commands: Sequence[Command | None] = ()
        self._typed: list[list[str]] = []

    def start(self, worlds: Worlds, commands: Sequence[Command | None]) -> None:
        self._commands = commands
        self._typed = [[] for _ in commands]

    def act(self, worlds: Worlds, active: np.ndarray) -> np.ndarray:
        return np.array([self._ask(i) if a else Actions.done for i, a in enumerate(active)])

    def _ask(self, i: int) -> Actions:
        typed = self._typed[i]
        while not typed:
            command = self._commands[i]
            assert command is not None
            try:
                keys = input(f"Actor, world {i}: {command.sentence()} ({HELP}): ").strip().lower()
            except EOFError:
                raise BadInput("the human Actor's standard input ended") from None
            wrong = sorted(set(keys) - set(KEYS))
            if wrong:
                print(f"unknown keys {', '.join(wrong)}; {HELP}")
            else:
                typed += keys
        return KEYS[typed.pop(0)]
