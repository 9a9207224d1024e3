"""Ground truth of a batched world, as numbers: events, and when a command is done."""

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
VERB_GO_TO, VERB_EXAMINE, VERB_PICK_UP, VERB_OPEN, VERB_PUT = range(len(VERBS))


@numba.njit(inline="always")
def _in(things, cell):
    return (things >> np.uint64(number_of(cell))) & np.uint64(1) != 0


@jit()
def is_command_done(verb, wanted, fixed, done, front, hands, kinds, cells, grid, fx, fy):
    """Whether a command is done after a step (``envs.commands.CommandWatch``, compiled).

    Args:
        verb: The command's verb, one of the constants ``VERB_...``.
        wanted: The set of things that the command's item means.
        fixed: The set of things that its target means.
        done: Whether it was done before the step.
        front: The cell in front of the agent.
        hands: The cell of the carried thing, 0 for none.
        kinds: The kinds of the step's events, ``[2] uint8``.
        cells: The cells of these events, ``[2] uint32``.
        grid: The world's padded cells.
        fx: The column of ``front`` in ``grid``.
        fy: The row of ``front`` in ``grid``.
    """
    if verb == VERB_GO_TO:
        return number_of(front) != 0 and _in(wanted, front)
    if verb == VERB_PICK_UP:
        return hands != 0 and _in(wanted, hands)
    if done:
        return True
    kind = EXAMINED if verb == VERB_EXAMINE else OPENED if verb == VERB_OPEN else DROPPED
    for k in range(2):
        if kinds[k] == kind and _in(wanted, cells[k]):
            if verb != VERB_PUT:
                return True
            for near in (grid[fy, fx + 1], grid[fy, fx - 1], grid[fy + 1, fx], grid[fy - 1, fx]):
                if number_of(near) != 0 and _in(fixed, near):
                    return True
    return False


@jit()
def examined_in_order(seen, first, then, cell):
    """Update the progress of examining two sets of things in order, after an examination.

    Args:
        seen: The progress so far.
        first: The set of things to examine first.
        then: The set of things to examine after that.
        cell: The cell that was examined.

    Returns:
        0 for nothing yet, 1 after ``first``, 2 after ``then`` as well, 3 for the wrong order, which
        stays.
    """
    if seen == 0 and _in(first, cell):
        return 1
    if seen < 2 and _in(then, cell):
        return 2 if seen == 1 else 3
    return seen
