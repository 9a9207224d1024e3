"""States of worlds at single moments, as numbers from which every picture can be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from minigrid.core.constants import OBJECT_TO_IDX
from minigrid.minigrid_env import MiniGridEnv

from envs.objects import remember_foreign

NOTHING = (OBJECT_TO_IDX["empty"], 0, 0)  # MiniGrid's encoding of an empty cell or hand


class WorldState(NamedTuple):
    """One world at one moment; the fields are those of `WorldStates`, without their first axis."""

    view: np.ndarray
    grid: np.ndarray | None
    pose: np.ndarray
    carried: np.ndarray


@dataclass(frozen=True, eq=False)
class WorldStates:
    """One world at T moments.

    Cells are encoded as in MiniGrid: object type, colour, state.

    Attributes:
        views: What the agent sees, ``[T, view, view, 3] uint8``, as in MiniGrid's observations
            indexed by column, then row; the agent stands in the middle of the last row.
        grids: All cells, ``[T, height, width, 3] uint8``, or None where only views were recorded.
        poses: The agent's x, y and direction (0 east, 1 south, 2 west, 3 north), ``[T, 3] int32``.
        carried: What the agent carries, ``[T, 3] uint8``; ``NOTHING`` for nothing.
    """

    views: np.ndarray
    grids: np.ndarray | None
    poses: np.ndarray
    carried: np.ndarray

    def __len__(self) -> int:
        return len(self.poses)

    def at(self, steps: Sequence[int]) -> WorldStates:
        """The moments after some of the steps; step 0 is the start."""
        which = np.asarray(steps, np.int64)
        grids = None if self.grids is None else self.grids[which]
        return WorldStates(self.views[which], grids, self.poses[which], self.carried[which])


def stack(states: Sequence[WorldState]) -> WorldStates:
    """Stack moments of one world, at least one, to arrays."""
    grids = [s.grid for s in states if s.grid is not None]
    return WorldStates(
        np.stack([s.view for s in states]),
        np.stack(grids) if grids else None,
        np.stack([s.pose for s in states]),
        np.stack([s.carried for s in states]),
    )


def state_of(
    world: MiniGridEnv, view: np.ndarray | None = None, *, with_grid: bool = False
) -> WorldState:
    """The current state of a MiniGrid world.

    Args:
        world: The bare world, without wrappers.
        view: What its agent sees, ``[view, view, 3] uint8``, if it is known; computing it is
            MiniGrid's slowest operation.
        with_grid: Whether to record all cells too.
    """
    if view is None:
        seen, mask = world.gen_obs_grid()
        view = seen.encode(mask)
    grid = world.grid.encode().transpose(1, 0, 2) if with_grid else None
    carried = NOTHING if world.carrying is None else world.carrying.encode()
    remember_foreign(world, view if grid is None else grid)
    return WorldState(
        view.copy(),
        grid,
        np.array((*world.agent_pos, world.agent_dir), np.int32),
        np.array(carried, np.uint8),
    )
