"""The teacher: the shortest path over what the learned Actor itself has seen.

Its demonstrations can be imitated, since it knows nothing that the Actor does not know: where the
item has not been seen yet, it goes to the nearest place that shows something new.
"""

from __future__ import annotations

import numpy as np
from minigrid.core.actions import Actions

from agents.actor.memory import MapMemory
from agents.actor.route import (
    DOOR,
    STEPS,
    UNSEEN,
    Cell,
    Pose,
    decode_item,
    route,
    shortest,
    walkable,
)
from envs.commands import Command

VIEW = 7


def teach(memory: MapMemory, i: int, command: Command, done: bool) -> int:
    """The action that the teacher would take as agent i; ``done`` is whether it is carried out."""
    if done:
        return Actions.done
    grid, pose = memory.seen(i)
    actions = route(grid, pose, command, decode_item(*map(int, memory.carried[i])))
    if actions is None:
        actions = _explore(grid, pose)
    return actions[0] if actions else Actions.done


def _explore(grid: np.ndarray, pose: Pose) -> list[int]:
    """The way to the nearest pose that sees a cell not seen yet; empty where there is none."""
    frontier = _frontier(grid)
    if not frontier:
        return []
    found = shortest(grid, pose, lambda p: any(_in_view(p, cell) for cell in frontier))
    return [] if found is None else found[0]


def _frontier(grid: np.ndarray) -> set[Cell]:
    """Cells not seen yet that lie beside (also diagonally) a seen cell that one could enter."""
    found = set()
    for x, y in np.argwhere(grid[..., 0] != UNSEEN):
        if walkable(grid[x, y]) or grid[x, y, 0] == DOOR:
            for dx in (-1, 0, 1):
                for dy in (-1, 0, 1):
                    near = (int(x + dx), int(y + dy))
                    if grid[near][0] == UNSEEN:
                        found.add(near)
    return found


def _in_view(pose: Pose, cell: Cell) -> bool:
    dx, dy = cell[0] - pose.x, cell[1] - pose.y
    ahead, aside = STEPS[pose.direction], STEPS[(pose.direction + 1) % 4]
    forward = dx * ahead[0] + dy * ahead[1]
    right = dx * aside[0] + dy * aside[1]
    return 0 <= forward < VIEW and abs(right) <= VIEW // 2
