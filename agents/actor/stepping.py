"""The inner loop that Actors share: step until each command has ended."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from minigrid.core.actions import Actions

from agents.dialogue import Rollout
from agents.protocols import OnStep, TeamMember
from envs.commands import Command
from envs.events import Event
from envs.worlds import Worlds


class StepActor(TeamMember):
    """An Actor that chooses, at each step, one action for each active world."""

    def start(self, worlds: Worlds, commands: Sequence[Command | None]) -> None:
        """Called before the first step of a turn's commands.

        Args:
            worlds: The group's N worlds.
            commands: N commands; None for worlds that are left alone.
        """

    @abstractmethod
    def act(self, worlds: Worlds, active: np.ndarray) -> np.ndarray:
        """Choose the next actions.

        Args:
            worlds: The group's N worlds.
            active: Which worlds take a step, ``[N] bool``.

        Returns:
            MiniGrid actions ``[N] int``; those of inactive worlds are ignored.
        """

    def saw(self, worlds: Worlds, actions: np.ndarray, active: np.ndarray) -> None:
        """Called after each step, with the observations that it led to.

        Args:
            worlds: The worlds, after the step.
            actions: The actions taken, ``[N] int``.
            active: Which worlds took a step, ``[N] bool``.
        """

    def execute(
        self,
        worlds: Worlds,
        commands: Sequence[Command | None],
        max_steps: int,
        on_step: OnStep | None = None,
    ) -> list[Rollout | None]:
        """Step the worlds until each command has ended; see `agents.protocols.Actor.execute`.

        A command ends with the Actor's action ``done``, with its episode, or after ``max_steps``.

        Args:
            worlds: The group's N worlds.
            commands: N commands; None leaves that world alone.
            max_steps: The most low-level steps of one command.
            on_step: Called after each step of the batch.

        Returns:
            N rollouts, None where there was no command.
        """
        self.start(worlds, commands)
        active = np.array([c is not None for c in commands])
        for i, command in enumerate(commands):
            if command is not None:
                worlds.watch(i, command)
        events: list[list[Event]] = [[] for _ in commands]
        rollouts: list[Rollout | None] = [None] * len(commands)
        step = 0
        while active.any():
            step += 1
            actions = self.act(worlds, active)
            worlds.step(actions, active)
            self.saw(worlds, actions, active)
            if on_step is not None:
                on_step(worlds)
            for i in map(int, np.flatnonzero(active)):
                command = commands[i]
                assert command is not None
                events[i] += worlds.events[i]
                ended = (
                    "episode"
                    if worlds.over[i]
                    else "done"
                    if actions[i] == Actions.done
                    else "budget"
                    if step >= max_steps
                    else ""
                )
                if ended:
                    active[i] = False
                    done = bool(worlds.done[i])
                    rollouts[i] = Rollout(command, step, tuple(events[i]), done, ended)
        return rollouts
