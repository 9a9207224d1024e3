"""Rooms of our own families, generated inside the engine, so that new ones never run out.

They are the families of ``envs.conditional``, ``envs.search`` and ``envs.command``, with the same
items, facts, probabilities and placement rules, drawn from the engine's own random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX

from envs.attributes import (
    BESIDE_WALL,
    FLOOR,
    IN_CORNER,
    MARK,
    SECRET_PROPERTY,
    Attribute,
)
from envs.batched.cells import (
    EMPTY,
    FIRST_ITEM,
    ID_SHIFT,
    MARK_SHIFT,
    STATE_SHIFT,
    WALL_CELL,
    colour_of,
    kind_of,
    pack,
    state_of,
)
from envs.batched.compiled import jit, maker
from envs.batched.randomness import draw, draw_below
from envs.batched.rules import COMMAND, RIGHT_ITEM
from envs.batched.truth import VERB_PICK_UP
from envs.commands import VERBS
from envs.conditional import CONDITIONS, PROPERTIES
from envs.errors import some_of, unknown, whole_number, yes_or_no
from envs.items import COLOURS, ITEM_SETS, TEXTURES, Item
from envs.objects import MARKS
from envs.phrasings import PROPERTY_WORDS
from envs.room import ROOM_SIZES, RoomEnv

FAMILIES = ("", "conditional", "search", "visual-conditional", "command")
NO_ROOMS, CONDITIONAL, SEARCH, VISUAL, COMMAND_FAMILY = range(len(FAMILIES))
WALL_CONDITION, CORNER_CONDITION, FLOOR_CONDITION, MARK_CONDITION = range(len(CONDITIONS))
assert [COLOR_TO_IDX[c] for c in COLOURS] == list(range(len(COLOURS)))

# The facts that examining reveals; a layout holds their numbers.
FACTS: tuple[Attribute | None, ...] = (
    None,
    *(Attribute(SECRET_PROPERTY, p) for p in PROPERTIES),
    Attribute(BESIDE_WALL),
    Attribute(BESIDE_WALL, holds=False),
    Attribute(IN_CORNER),
    Attribute(IN_CORNER, holds=False),
    *(Attribute(MARK, m) for m in MARKS[1:]),
    *(Attribute(FLOOR, c) for c in COLOURS),
    # At the end, so that the numbers of the others stay what they are in pool files.
    *(Attribute(SECRET_PROPERTY, p) for t in PROPERTY_WORDS.values() for p in t if t != PROPERTIES),
)
_GOOD, _BAD, _UNKNOWN = 1, 2, 3
_BESIDE_WALL, _IN_CORNER, _WHITE_MARK, _ON_FLOOR = 4, 6, 8, 10


class RoomArrays(NamedTuple):
    """The settings of the generator. ``family`` 0 stands for no generator at all."""

    family: int
    items: np.ndarray  # [M] uint32: the cells of the items that may be drawn
    sizes: np.ndarray  # [.] int64: room sizes, equally likely
    n_items: np.ndarray  # [.] int64: numbers of items, equally likely
    verbs: np.ndarray  # [.] int64
    conditions: np.ndarray  # [.] int64
    distractors: int
    show_marks: bool
    max_steps: int  # 0 for the family's own


NOTHING = np.zeros(1, np.int64)
NO_GENERATOR = RoomArrays(
    NO_ROOMS, np.zeros(1, np.uint32), NOTHING, NOTHING, NOTHING, NOTHING, 0, False, 0
)


@dataclass(frozen=True)
class Rooms:
    """Endless rooms of one of our families, as a source of layouts for ``Engine``.

    The settings are those of the family's environment; where several sizes, numbers of items or
    verbs are given, each episode draws one of them.

    Raises:
        BadInput: The family does not take such a setting.
    """

    family: str
    items: str = "train"
    n_items: tuple[int, ...] = (4,)
    room_sizes: tuple[int, ...] = (8,)
    verbs: tuple[str, ...] = ("examine", "pick up")
    conditions: tuple[str, ...] = CONDITIONS
    distractors: int = 0
    show_marks: bool = False
    max_steps: int | None = None

    def __post_init__(self) -> None:
        if self.family not in FAMILIES[1:]:
            raise unknown("family", str(self.family), FAMILIES[1:])
        if self.items not in ITEM_SETS:
            raise unknown("item set", str(self.items), ITEM_SETS)
        some_of("verb", self.verbs, RoomEnv.verbs)
        some_of("condition", self.conditions, CONDITIONS)
        least = 2 if self.family == "search" else RoomEnv.min_items
        for n in self._some("n_items", self.n_items):
            whole_number("n_items", n, least, RoomEnv.max_items - self.distractors)
        for size in self._some("room_sizes", self.room_sizes):
            whole_number("room_size", size, *ROOM_SIZES)
        whole_number("distractors", self.distractors, 0, RoomEnv.max_items - least)
        yes_or_no("show_marks", self.show_marks)
        if self.max_steps is not None:
            whole_number("max_steps", self.max_steps, low=1)

    @staticmethod
    def _some(what: str, numbers: Sequence[int]) -> Sequence[int]:
        if not numbers:
            raise unknown(what, "()", ("one or more whole numbers",))
        return numbers

    def arrays(self) -> RoomArrays:
        """The settings as the kernels read them."""
        return RoomArrays(
            FAMILIES.index(self.family),
            np.array([item_cell(i) for i in ITEM_SETS[self.items]], np.uint32),
            np.array(self.room_sizes, np.int64),
            np.array(self.n_items, np.int64),
            np.array([VERBS.index(v) for v in self.verbs], np.int64),
            np.array([CONDITIONS.index(c) for c in self.conditions], np.int64),
            self.distractors if self.family == "search" else 0,
            self.show_marks,
            self.max_steps or 0,
        )


def item_cell(item: Item) -> int:
    """The cell of one of our own items, without number, mark and floor."""
    assert item.colour is not None and item.texture is not None
    return pack(OBJECT_TO_IDX[item.shape], COLOR_TO_IDX[item.colour], TEXTURES.index(item.texture))


@jit()
def _fits(x, y, size, condition):
    sides = (x == 1 or x == size - 2) + (y == 1 or y == size - 2)
    return sides == 2 if condition == CORNER_CONDITION else sides > 0


@jit()
def _flood(blocked, x, y, region, stack):
    """Mark in ``region`` the cells that can be walked to from (x, y). Returns their number."""
    region[:] = 0
    region[y, x] = 1
    stack[0] = y * blocked.shape[1] + x
    top, count = 1, 0
    while top:
        top -= 1
        count += 1
        y, x = stack[top] // blocked.shape[1], stack[top] % blocked.shape[1]
        for nx, ny in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
            if not blocked[ny, nx] and not region[ny, nx]:
                region[ny, nx] = 1
                stack[top] = ny * blocked.shape[1] + nx
                top += 1
    return count


@jit()
def _is_beside(region, x, y):
    return region[y, x + 1] or region[y, x - 1] or region[y + 1, x] or region[y - 1, x]


@jit()
def _place_in_turn(blocked, size, n, condition, holds, at, region, stack, order, random):
    """Draw cells ``at [n, 2]`` so that all things can be reached. Returns whether that
    succeeded."""
    free = (size - 2) * (size - 2)
    for k in range(n):
        options = 0
        for y in range(1, size - 1):
            for x in range(1, size - 1):
                if blocked[y, x]:
                    continue
                if k == 0 and condition >= 0 and _fits(x, y, size, condition) != holds:
                    continue
                order[options] = y * size + x
                options += 1
        placed = False
        while options and not placed:
            random, pick = draw_below(random, options)
            y, x = order[pick] // size, order[pick] % size
            options -= 1
            order[pick] = order[options]
            blocked[y, x] = 1
            at[k, 0], at[k, 1] = x, y
            start = -1
            for cell in range(size * size):
                if not blocked[cell // size, cell % size]:
                    start = cell
                    break
            placed = start >= 0 and (
                _flood(blocked, start % size, start // size, region, stack) == free - k - 1
            )
            for j in range(k + 1):
                placed = placed and _is_beside(region, at[j, 0], at[j, 1])
            if not placed:
                blocked[y, x] = 0
        if not placed:
            return False, random
    return True, random


@jit()
def _any_free(blocked, size, random):
    free = 0
    for cell in range(size * size):
        free += not blocked[cell // size, cell % size]
    random, pick = draw_below(random, free)
    for cell in range(size * size):
        if not blocked[cell // size, cell % size]:
            if pick == 0:
                return cell % size, cell // size, random
            pick -= 1
    return -1, -1, random


@jit()
def _clear(blocked, size):
    blocked[:] = 1
    blocked[1 : size - 1, 1 : size - 1] = 0


@maker()
def _place(size, n, needed, condition, holds, at, random):
    """Draw a cell for each of ``n`` things and one for the agent (``RoomEnv._draw_layout``).

    ``needed`` is the set of things that must be within reach even where not all can be.
    """
    blocked = np.ones((size, size), np.uint8)
    region = np.zeros((size, size), np.uint8)
    stack = np.empty(size * size + 4, np.int64)
    order = np.empty(size * size, np.int64)
    for _ in range(10):
        _clear(blocked, size)
        good, random = _place_in_turn(
            blocked, size, n, condition, holds, at, region, stack, order, random
        )
        if good:
            x, y, random = _any_free(blocked, size, random)
            return x, y, random
    while True:
        _clear(blocked, size)
        good = True
        for k in range(n):
            options = 0
            for y in range(1, size - 1):
                for x in range(1, size - 1):
                    fits = k > 0 or condition < 0 or _fits(x, y, size, condition) == holds
                    if fits and not blocked[y, x]:
                        order[options] = y * size + x
                        options += 1
            if options == 0:
                good = False
                break
            random, pick = draw_below(random, options)
            at[k, 0], at[k, 1] = order[pick] % size, order[pick] // size
            blocked[at[k, 1], at[k, 0]] = 1
        if not good:
            continue
        x, y, random = _any_free(blocked, size, random)
        _flood(blocked, x, y, region, stack)
        for k in range(n):
            if (needed >> np.uint64(k + 1)) & np.uint64(1):
                good = good and _is_beside(region, at[k, 0], at[k, 1])
        if good:
            return x, y, random


@maker()
def build_room(rooms, layouts, w, random):
    """Generate a new room.

    Args:
        rooms: The settings of generated rooms (`RoomArrays`).
        layouts: The engine's layouts (`LayoutArrays`).
        w: The layout to write the room to.
        random: The state of the random generator.

    Returns:
        The generator's next state.
    """
    random, k = draw_below(random, len(rooms.sizes))
    size = rooms.sizes[k]
    random, k = draw_below(random, len(rooms.n_items))
    named = rooms.n_items[k]
    n = named + rooms.distractors
    # A number for each item: a draw without replacement.
    drawn = np.empty(n, np.int64)
    for k in range(n):
        again = True
        while again:
            random, drawn[k] = draw_below(random, len(rooms.items))
            again = False
            for j in range(k):
                again = again or drawn[j] == drawn[k]
    cells = np.empty(n, np.uint32)
    for k in range(n):
        cells[k] = rooms.items[drawn[k]] | np.uint32((k + 1) << ID_SHIFT)
    random, half = draw_below(random, 2)
    holds = half == 1
    one = np.uint64(1)
    layouts.command[w, :] = 0
    layouts.sets[w, :, :] = np.uint64(0)
    layouts.facts[w, :] = 0
    layouts.rule[w] = RIGHT_ITEM
    layouts.target[w, 0] = -1
    layouts.target[w, 1] = named
    layouts.target[w, 2] = -1
    layouts.target[w, 3] = 0
    placing = -1
    right = 0
    if rooms.family == CONDITIONAL:
        right = 2 if holds else 3
        for k in range(n):
            if k == 0:
                fact = _GOOD if holds else _BAD
            else:
                random, fact = draw_below(random, 3)
                fact += _GOOD
            layouts.facts[w, k + 1] = fact
            if rooms.show_marks and fact != _UNKNOWN:
                cells[k] |= np.uint32((1 if fact == _GOOD else 2) << MARK_SHIFT)
    elif rooms.family == SEARCH:
        random, right = draw_below(random, named)
        right += 1
        for k in range(n):
            random, chance = draw(random)
            fact = _GOOD if k + 1 == right else _BAD if chance < 0.75 else _UNKNOWN
            layouts.facts[w, k + 1] = fact
            if rooms.show_marks and fact != _UNKNOWN:
                cells[k] |= np.uint32((1 if fact == _GOOD else 2) << MARK_SHIFT)
    elif rooms.family == VISUAL:
        random, k = draw_below(random, len(rooms.conditions))
        condition = rooms.conditions[k]
        layouts.target[w, 0] = condition
        right = 2 if holds else 3
        if condition == WALL_CONDITION or condition == CORNER_CONDITION:
            placing = condition
        elif condition == MARK_CONDITION:
            for k in range(n):
                white = holds
                if k > 0:
                    random, half = draw_below(random, 2)
                    white = half == 1
                cells[k] |= np.uint32((1 if white else 2) << MARK_SHIFT)
                layouts.facts[w, k + 1] = _WHITE_MARK + (not white)
        else:
            named_floor = 0
            for k in range(n):
                own = colour_of(cells[k])
                while True:
                    random, floor = draw_below(random, 6)
                    if floor == own:
                        continue
                    if k == 0:
                        named_floor = floor
                        if not holds:
                            # The sentence names one colour, the item lies on another.
                            while True:
                                random, floor = draw_below(random, 6)
                                if floor != own and floor != named_floor:
                                    break
                    break
                cells[k] += np.uint32((9 * (1 + floor)) << STATE_SHIFT)
                layouts.facts[w, k + 1] = _ON_FLOOR + floor
            layouts.target[w, 2] = named_floor
    else:
        random, k = draw_below(random, len(rooms.verbs))
        verb = rooms.verbs[k]
        random, wanted = draw_below(random, named)
        cell = cells[wanted]
        layouts.rule[w] = COMMAND
        layouts.command[w, 0] = verb
        layouts.command[w, 1] = 1 + state_of(cell) % 3
        layouts.command[w, 2] = 1 + colour_of(cell)
        layouts.command[w, 3] = 1 + kind_of(cell) - FIRST_ITEM
        layouts.sets[w, 0, 0] = one << np.uint64(wanted + 1)
        if verb == VERB_PICK_UP:
            layouts.sets[w, 1, 0] = layouts.sets[w, 0, 0]
        for k in range(n):
            layouts.facts[w, k + 1] = _UNKNOWN
    if rooms.family != COMMAND_FAMILY:
        layouts.sets[w, 1, 0] = one << np.uint64(right)
    layouts.target[w, 3] = holds
    needed = layouts.sets[w, 0, 0] | layouts.sets[w, 1, 0]
    if rooms.family == CONDITIONAL or rooms.family == VISUAL:
        needed = np.uint64(0b1110)
    at = np.empty((n, 2), np.int64)
    x, y, random = _place(size, n, needed, placing, holds, at, random)
    layouts.cells[w, :, :] = WALL_CELL
    layouts.cells[w, 1 : size - 1, 1 : size - 1] = EMPTY
    for k in range(n):
        layouts.cells[w, at[k, 1], at[k, 0]] = cells[k]
        if placing >= 0:
            fits = _fits(at[k, 0], at[k, 1], size, placing)
            base = _BESIDE_WALL if placing == WALL_CONDITION else _IN_CORNER
            layouts.facts[w, k + 1] = base + (not fits)
    layouts.pose[w, 0] = x
    layouts.pose[w, 1] = y
    random, direction = draw_below(random, 4)
    layouts.pose[w, 2] = direction
    steps = rooms.max_steps
    layouts.max_steps[w] = steps if steps else 4 * size * size + 4 * size * named
    return random
