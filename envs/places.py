"""Places: where things were, relative to the agent, when the episode began ("on your left")."""

from __future__ import annotations

from minigrid.core.constants import DIR_TO_VEC
from minigrid.core.roomgrid import RoomGrid
from minigrid.core.world_object import WorldObj
from minigrid.minigrid_env import MiniGridEnv

from envs.events import item_of

Cell = tuple[int, int]


def seen_from(start: Cell, direction: int, cell: Cell) -> frozenset[str]:
    """The places of a cell, as words of ``PLACES``; most cells have two, such as left and front.

    Args:
        start: The agent's cell.
        direction: Where the agent looks, as MiniGrid numbers it.
        cell: The cell.
    """
    dx, dy = cell[0] - start[0], cell[1] - start[1]
    ax, ay = map(int, DIR_TO_VEC[direction])
    ahead, right = dx * ax + dy * ay, dy * ax - dx * ay
    directions = {"front": ahead > 0, "behind": ahead < 0, "right": right > 0, "left": right < 0}
    return frozenset(place for place, holds in directions.items() if holds)


class Places:
    """Where things were when a world's episode began (ground truth). Make one right after the
    reset.

    As in BabyAI, a thing keeps its place when it is moved, and things outside the room in which the
    agent started have none.
    """

    def __init__(self, world: MiniGridEnv) -> None:
        self.start: Cell = (int(world.agent_pos[0]), int(world.agent_pos[1]))
        self.direction = int(world.agent_dir)
        room = world.room_from_pos(*self.start) if isinstance(world, RoomGrid) else None
        self._of: dict[WorldObj, frozenset[str]] = {}
        self._at: dict[Cell, frozenset[str]] = {}
        for x in range(world.grid.width):
            for y in range(world.grid.height):
                thing = world.grid.get(x, y)
                if item_of(thing) is not None and (room is None or room.pos_inside(x, y)):
                    assert thing is not None
                    places = seen_from(self.start, self.direction, (x, y))
                    self._of[thing] = self._at[x, y] = places

    def of(self, thing: WorldObj | None) -> frozenset[str]:
        """The places where a thing was, as words of ``PLACES``."""
        return frozenset() if thing is None else self._of.get(thing, frozenset())

    def at(self, cell: Cell) -> frozenset[str]:
        """The places of the thing that was on a cell, wherever it is now."""
        return self._at.get(cell, frozenset())
