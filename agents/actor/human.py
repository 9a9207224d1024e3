"""A person as the Actor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from minigrid.core.actions import Actions

from agents.actor.stepping import StepActor
from agents.by_hand import PlayedByHand
from envs.commands import Command
from envs.worlds import Worlds


class HumanActor(PlayedByHand, StepActor):
    """Asks a person for each step. A callback, or the prompter, draws the world."""

    def __init__(self) -> None:
        super().__init__()
        self._commands: Sequence[Command | None] = ()

    def start(self, worlds: Worlds, commands: Sequence[Command | None]) -> None:
        self._commands = commands

    def act(self, worlds: Worlds, active: np.ndarray) -> np.ndarray:
        actions = np.full(len(active), int(Actions.done))
        for i in map(int, np.flatnonzero(active)):
            command = self._commands[i]
            assert command is not None
            actions[i] = self.prompter.action(worlds, i, command)
        return actions
