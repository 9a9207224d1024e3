"""What truly happens in a batched world, as numbers: events, and when a command is done."""

from __future__ import annotations

import numba
import numpy as np

from envs.batched.cells import number_of
from envs.batched.compiled import jit
from envs.commands import VERBS

# The names are those of envs.events.Event.
EVENT_KINDS = (
    "",
    "examined",
    "picked up",
    "dropped",
    "opened",
    "closed",
    "unlocked",
    "found locked",
)
_, EXAMINED, PICKED, DROPPED, OPENED, CLOSED_IT, UNLOCKED, FOUND_LOCKED = range(len(EVENT_KINDS))
TOLD_GO_TO, TOLD_EXAMINE, TOLD_PICK_UP, TOLD_OPEN, TOLD_PUT = range(len(VERBS))


@numba.njit(inline="always")
def _in(things, cell):
    return (things >> np.uint64(number_of(cell))) & np.uint64(1) != 0


@jit()
def told_done(verb, wanted, fixed, done, front, hands, kinds, cells, grid, fx, fy):
    """Whether a command is done after a step (``envs.commands.CommandWatch``, compiled).

    ``wanted`` and ``fixed`` are the sets of things that its item and its target mean, ``done``
    whether it was done before, ``front`` the cell at (fx, fy) of ``grid`` before the agent,
    ``kinds`` and ``cells`` the step's events.
    """
    if verb == TOLD_GO_TO:
        return number_of(front) != 0 and _in(wanted, front)
    if verb == TOLD_PICK_UP:
        return hands != 0 and _in(wanted, hands)
    if done:
        return True
    kind = EXAMINED if verb == TOLD_EXAMINE else OPENED if verb == TOLD_OPEN else DROPPED
    for k in range(2):
        if kinds[k] == kind and _in(wanted, cells[k]):
            if verb != TOLD_PUT:
                return True
            for near in (grid[fy, fx + 1], grid[fy, fx - 1], grid[fy + 1, fx], grid[fy - 1, fx]):
                if number_of(near) != 0 and _in(fixed, near):
                    return True
    return False


@jit()
def examined_in_order(seen, first, then, cell):
    """How far an order has been kept, now that ``cell`` has been examined.

    0 for not begun, 1 after ``first``, 2 after ``then`` as well, 3 for good after the wrong one.
    """
    if seen == 0 and _in(first, cell):
        return 1
    if seen < 2 and _in(then, cell):
        return 2 if seen == 1 else 3
    return seen
