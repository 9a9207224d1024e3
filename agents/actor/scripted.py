"""The scripted Actor: privileged, it sees the whole world and walks the shortest path."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from minigrid.core.actions import Actions

from agents.actor.route import route_in
from agents.actor.stepping import StepActor
from envs.commands import Command
from envs.worlds import Worlds


class ScriptedActor(StepActor):
    """Walks the shortest path with full knowledge of the world, then says ``done``.

    Where a command cannot be carried out (no such item, no way to it), it says ``done`` at once.
    """

    def __init__(self) -> None:
        self._routes: list[list[int]] = []

    def start(self, worlds: Worlds, commands: Sequence[Command | None]) -> None:
        # The worlds change only through these actions, so the whole route can be laid at once.
        self._routes = [
            [] if command is None else [*self._route(worlds, i, command), Actions.done]
            for i, command in enumerate(commands)
        ]

    def act(self, worlds: Worlds, active: np.ndarray) -> np.ndarray:
        return np.array(
            [r.pop(0) if a else Actions.done for r, a in zip(self._routes, active, strict=True)]
        )

    def _route(self, worlds: Worlds, i: int, command: Command) -> list[int]:
        route = route_in(worlds.world(i), worlds.places(i), command)
        return [] if route is None else route
