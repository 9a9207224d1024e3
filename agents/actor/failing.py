"""An Actor that fails at random, to test how robust a Planner is."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from agents.dialogue import Rollout
from agents.protocols import Actor, OnStep, TeamMember
from envs.commands import Command
from envs.errors import BadInput
from envs.worlds import Worlds


class FailingActor(TeamMember):
    """Wraps an Actor: each command fails with probability ``p``, without a single step.

    Failures depend on the world and on the number of its commands so far, not on the other worlds
    of the batch.

    Args:
        actor: The Actor that executes the other commands.
        p: The probability of failure.

    Raises:
        BadInput: Where ``p`` is not between 0 and 1.
    """

    def __init__(self, actor: Actor, p: float) -> None:
        if not 0 <= p <= 1:
            raise BadInput(f"probability {p} is not between 0 and 1")
        self.actor = actor
        self.verbs = actor.verbs
        self.p = p
        self._given: list[int] = []
        self._keys: list[int] = []

    def begin(self, worlds: Worlds) -> None:
        self.actor.begin(worlds)
        self._given = [0] * len(worlds)
        # Task and first view stand for the world: both come from its seed alone.
        self._keys = [
            zlib.crc32(worlds.tasks[i].encode() + worlds.images[i].tobytes())
            for i in range(len(worlds))
        ]

    def execute(
        self,
        worlds: Worlds,
        commands: Sequence[Command | None],
        max_steps: int,
        on_step: OnStep | None = None,
    ) -> list[Rollout | None]:
        """Step the worlds until each command has ended; see `agents.protocols.Actor.execute`.

        Args:
            worlds: The group's N worlds.
            commands: N commands; None leaves that world alone.
            max_steps: The most low-level steps of one command.
            on_step: Called after each step of the batch.

        Returns:
            N rollouts, None where there was no command.
        """
        fails = [c is not None and self._draw(i, c) < self.p for i, c in enumerate(commands)]
        tried = [None if f else c for f, c in zip(fails, commands, strict=True)]
        rollouts = self.actor.execute(worlds, tried, max_steps, on_step)
        return [
            Rollout(c, 0, (), False, "done") if f and c is not None else r
            for f, c, r in zip(fails, commands, rollouts, strict=True)
        ]

    def _draw(self, i: int, command: Command) -> float:
        self._given[i] += 1
        key = (self._keys[i], self._given[i], sum(str(command).encode()))
        return float(np.random.default_rng(key).random())
