"""The direct Actor: each command is one low-level action."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from minigrid.core.actions import Actions

from agents.dialogue import Rollout
from agents.protocols import OnStep, TeamMember
from envs.commands import MOVES, Command, Move
from envs.errors import BadInput
from envs.worlds import Worlds


class DirectActor(TeamMember):
    """Executes each command, which must be a move, as the one action that it names.

    It is for evaluating language models that choose low-level actions themselves (BALROG, arXiv
    2411.13543), as a comparison with a team.
    """

    verbs: tuple[str, ...] | None = tuple(MOVES)

    def execute(
        self,
        worlds: Worlds,
        commands: Sequence[Command | None],
        max_steps: int,
        on_step: OnStep | None = None,
    ) -> list[Rollout | None]:
        """Step the worlds once where there is a move; see `agents.protocols.Actor.execute`.

        Args:
            worlds: The group's N worlds.
            commands: N commands; None leaves that world alone.
            max_steps: Not used: a move is one step.
            on_step: Called after the step.

        Returns:
            N rollouts, None where there was no command.

        Raises:
            BadInput: For a command that is no move.
        """
        for command in commands:
            if command is not None and not isinstance(command, Move):
                raise BadInput(
                    f"the actor 'direct' takes single moves, such as '{next(iter(MOVES))}', and "
                    f"not '{command}': it goes with planners that read what they can say"
                )
        active = np.array([c is not None for c in commands])
        worlds.step(
            np.array([Actions.done if c is None else MOVES[c.verb] for c in commands]), active
        )
        if on_step is not None:
            on_step(worlds)
        return [
            None
            if c is None
            else Rollout(
                c, 1, tuple(worlds.events[i]), True, "episode" if worlds.over[i] else "done"
            )
            for i, c in enumerate(commands)
        ]
