"""What an agent sees: MiniGrid's ``gen_obs``, compiled.

MiniGrid's shadow casting (``Grid.process_vis``) goes row by row away from the agent. Within a row
it sweeps right and then left: each visible transparent cell makes its neighbour visible, and both
of them the cells in the next row. A row of the view is one bit mask here. For views of 7 cells a
table holds the results of the sweeps; for other sizes they are floods along runs of transparent
cells.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from envs.batched.cells import CODE_MASK, COLOUR_SHIFT, EMPTY, OPAQUE_SHIFT, STATE_SHIFT
from envs.batched.compiled import kernel

_MASK = np.uint32(CODE_MASK)


@numba.njit(inline="always")
def step_x(direction):
    """How far east a step in this direction goes (0 east, 1 south, 2 west, 3 north)."""
    return 1 - direction if direction % 2 == 0 else 0


@numba.njit(inline="always")
def step_y(direction):
    """How far south a step in this direction goes."""
    return 2 - direction if direction % 2 == 1 else 0


@intrinsic
def _cell(context: Any, cells: Any, k: Any) -> Any:
    """The k-th number of a contiguous uint32 array of any shape."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = cgutils.create_struct_proxy(signature.args[0])(context, builder, args[0])
        return builder.load(builder.gep(array.data, [args[1]]))

    return types.uint32(cells, types.int64), generate


@intrinsic
def _write4(context: Any, out: Any, k: Any, four: Any) -> Any:
    """Write four bytes from the k-th on into a contiguous uint8 array of any shape."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = cgutils.create_struct_proxy(signature.args[0])(context, builder, args[0])
        place = builder.gep(array.data, [args[1]])
        store = builder.store(args[2], builder.bitcast(place, ir.IntType(32).as_pointer()))
        store.align = 1
        return context.get_dummy_value()

    return types.void(out, types.int64, types.uint32), generate


def _sweeps() -> np.ndarray:
    """The results of the sweeps for views of 7 cells, at index ``transparent << 7 | visible from
    the row before``: the mask of the row, and in the byte above it that of the next row."""
    table = np.zeros(1 << 14, np.uint16)
    for k in range(len(table)):
        clear, mask = k >> 7, k & 127
        beyond = 0
        for i in range(6):
            if mask & clear & 1 << i:
                mask |= 2 << i
                beyond |= 3 << i
        for i in range(6, 0, -1):
            if mask & clear & 1 << i:
                mask |= 1 << i >> 1
                beyond |= 3 << i >> 1
        table[k] = beyond << 8 | mask
    return table


_SWEEPS = _sweeps()


@kernel(forceinline=True)
def _look_7(cells, corner, ahead, right, see_through, out):
    """``look`` for views of 7 cells. ``corner`` is the left-most cell of the agent's own row of the
    view; ``ahead`` and ``right`` are the steps from cell to cell."""
    seen = np.uint64((1 << 49) - 1)
    if not see_through:
        seen = np.uint64(0)
        mask = np.uint64(8)
        for depth in range(7):
            at = corner + ahead * depth
            clear = np.uint64(0)
            for i in range(7):
                opaque = _cell(cells, at + right * i) >> np.uint32(OPAQUE_SHIFT)
                clear |= np.uint64(~opaque & np.uint32(1)) << np.uint64(i)
            swept = np.uint64(_SWEEPS[clear << np.uint64(7) | mask])
            seen |= (swept & np.uint64(127)) << np.uint64(7 * (6 - depth))
            mask = swept >> np.uint64(8)
    # Each cell is written as four bytes, of which the next cell overwrites the last. The very
    # last cell has no byte to spare: another thread may own the memory behind it.
    for i in range(7):
        for j in range(7):
            shown = np.uint32(seen >> np.uint64(7 * j + i)) & np.uint32(1)
            cell = _cell(cells, corner + right * i + ahead * (6 - j))
            cell &= (np.uint32(0) - shown) & _MASK
            if i == 6 and j == 6:
                _write3(out, 6, 6, cell)
            else:
                _write4(out, 21 * i + 3 * j, cell)


@numba.njit(inline="always")
def _write3(out, i, j, cell):
    out[i, j, 0] = cell & 31
    out[i, j, 1] = (cell >> COLOUR_SHIFT) & 7
    out[i, j, 2] = (cell >> STATE_SHIFT) & 63


@numba.njit(inline="always")
def sweep(mask, clear, full):
    """One row of the shadow casting, for a view of any size, on bit masks.

    Args:
        mask: The cells that the row before makes visible.
        clear: The transparent cells.
        full: All cells of the row.

    Returns:
        The visible cells of the row, and those of the next row that they make visible.
    """
    # Rightwards: every visible transparent cell but the last makes its right neighbour visible.
    can = clear & full >> 1
    seen = mask & can
    while True:
        more = seen | ((seen << 1) & can)
        if more == seen:
            break
        seen = more
    mask |= seen << 1
    beyond = seen | seen << 1
    # Leftwards: the same with the cells visible by now.
    can = clear & full & ~1
    seen = mask & can
    while True:
        more = seen | ((seen >> 1) & can)
        if more == seen:
            break
        seen = more
    return mask | seen >> 1, (beyond | seen | seen >> 1) & full


@kernel()
def _look_far(cells, corner, ahead, right, see_through, view, out):
    """``_look_7`` for any view size."""
    full = (1 << view) - 1
    mask = 1 << view // 2
    for depth in range(view):
        j = view - 1 - depth
        at = corner + ahead * depth
        if see_through:
            mask = full
            beyond = full
        else:
            clear = 0
            for i in range(view):
                clear |= (1 - ((_cell(cells, at + right * i) >> OPAQUE_SHIFT) & 1)) << i
            mask, beyond = sweep(mask, clear, full)
        for i in range(view):
            _write3(out, i, j, _cell(cells, at + right * i) if (mask >> i) & 1 else np.uint32(0))
        mask = beyond


@kernel(forceinline=True)
def look(cells, w, x, y, direction, carried, see_through, view, out):
    """Write what an agent sees.

    ``cells`` and ``out`` must be contiguous, and the padding wide enough for the whole view.

    Args:
        cells: The worlds' padded cells.
        w: The world.
        x: The agent's column in the padded grid.
        y: The agent's row in the padded grid.
        direction: The agent's direction.
        carried: The cell of the carried thing, 0 for none.
        see_through: Whether walls do not block the view.
        view: Cells a side of the view.
        out: Gets the view, ``[view, view, 3] uint8``.
    """
    half = view // 2
    stride = cells.shape[2]
    fx, fy = step_x(direction), step_y(direction)
    ahead, right = fx + fy * stride, fx * stride - fy
    corner = (w * cells.shape[1] + y) * stride + x - right * half
    if view == 7:
        _look_7(cells, corner, ahead, right, see_through, out)
    else:
        _look_far(cells, corner, ahead, right, see_through, view, out)
    _write3(out, half, view - 1, carried if carried != 0 else np.uint32(EMPTY))
