"""Cells: one number for everything on a cell of a batched world.

A cell is a ``uint32``. Its lower three bytes hold MiniGrid's three numbers, object type, colour and
state, so that a masked cell is written to an image at once. The bits that those leave free hold
whether the cell blocks the view (bit 7) and the mark that examining would show (bits 22 and 23).
The upper byte is the thing's number in its world, 0 for what has no identity: walls, floor,
nothing.
"""

from __future__ import annotations

import numba
import numpy as np
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX, STATE_TO_IDX
from minigrid.core.world_object import WorldObj

from envs.items import SHAPES
from envs.objects import MARKS, ItemObject

COLOUR_SHIFT, STATE_SHIFT, MARK_SHIFT, ID_SHIFT = 8, 16, 22, 24
OPAQUE_SHIFT = 7
OPAQUE = 1 << OPAQUE_SHIFT
CODE_MASK = 31 | 7 << COLOUR_SHIFT | 63 << STATE_SHIFT  # the bits of MiniGrid's encoding
MAX_THINGS = 63  # things with an identity, so that a set of them is one 64-bit mask

UNSEEN, EMPTY, WALL, FLOOR, DOOR, KEY, BALL, BOX, GOAL, LAVA = (
    OBJECT_TO_IDX[w]
    for w in ("unseen", "empty", "wall", "floor", "door", "key", "ball", "box", "goal", "lava")
)
FIRST_ITEM = OBJECT_TO_IDX[SHAPES[0]]  # our own items are the types from here on
OPEN, CLOSED, LOCKED = (STATE_TO_IDX[w] for w in ("open", "closed", "locked"))
assert [OBJECT_TO_IDX[s] for s in SHAPES] == list(range(FIRST_ITEM, FIRST_ITEM + len(SHAPES)))
assert OBJECT_TO_IDX[SHAPES[-1]] < 32
assert len(COLOR_TO_IDX) <= 8
assert len(STATE_TO_IDX) <= 64


def pack(kind: int, colour: int, state: int = 0, number: int = 0, mark: int = 0) -> int:
    """Make a cell.

    Args:
        kind: MiniGrid's object type.
        colour: MiniGrid's colour.
        state: MiniGrid's state.
        number: The thing's number in its world, 0 for none.
        mark: The number of its hidden mark, 0 for none.
    """
    opaque = OPAQUE if kind == WALL or (kind == DOOR and state != OPEN) else 0
    code = kind | colour << COLOUR_SHIFT | state << STATE_SHIFT | opaque
    return code | number << ID_SHIFT | mark << MARK_SHIFT


WALL_CELL = pack(WALL, COLOR_TO_IDX["grey"])


def pack_object(thing: WorldObj | None, number: int = 0) -> int:
    """The cell of a MiniGrid object; ``number`` is the thing's number in its world, 0 for none."""
    if thing is None:
        return EMPTY
    mark = MARKS.index(thing.hidden_mark) if isinstance(thing, ItemObject) else 0
    return pack(*thing.encode(), number=number, mark=mark)


def unpack(cells: np.ndarray) -> np.ndarray:
    """MiniGrid's encoding ``[..., 3] uint8`` of cells ``[...] uint32``."""
    code = np.asarray(cells, np.uint32)
    return np.stack([code & 31, code >> COLOUR_SHIFT & 7, code >> STATE_SHIFT & 63], -1).astype(
        np.uint8
    )


def pack_codes(encoding: np.ndarray) -> np.ndarray:
    """Cells ``[...] uint32`` from MiniGrid's encoding ``[..., 3] uint8``."""
    kinds, colours, states = np.moveaxis(encoding.astype(np.uint32), -1, 0)
    return kinds | colours << COLOUR_SHIFT | states << STATE_SHIFT


@numba.njit(inline="always")
def kind_of(cell):
    """The object type of a cell."""
    return cell & 31


@numba.njit(inline="always")
def colour_of(cell):
    """The colour of a cell."""
    return (cell >> COLOUR_SHIFT) & 7


@numba.njit(inline="always")
def state_of(cell):
    """The state of a cell."""
    return (cell >> STATE_SHIFT) & 63


@numba.njit(inline="always")
def number_of(cell):
    """The number of the thing on a cell, 0 for none."""
    return cell >> ID_SHIFT


@numba.njit(inline="always")
def is_thing(kind):
    """Whether things of a type can be picked up."""
    return kind == KEY or kind == BALL or kind == BOX or kind >= FIRST_ITEM
