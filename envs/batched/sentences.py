"""The engine's numbers as words: items, events and the sentences of our own families."""

from __future__ import annotations

import numpy as np
from minigrid.core.constants import IDX_TO_OBJECT

from envs.batched.cells import CODE_MASK, COLOUR_SHIFT, FIRST_ITEM, ID_SHIFT, STATE_SHIFT
from envs.batched.kernels import LayoutArrays, State
from envs.batched.rooms import (
    COMMAND_FAMILY,
    CONDITIONAL,
    FACTS,
    FLOOR_CONDITION,
    SEARCH,
    VISUAL,
    WALL_CONDITION,
)
from envs.batched.truth import EVENT_KINDS, EXAMINED
from envs.batched.words import decode_command
from envs.conditional import CONDITIONS, PHRASES
from envs.events import Event
from envs.items import COLOURS, MINIGRID_SHAPES, TEXTURES, Item
from envs.room import join

assert WALL_CONDITION == 0 and CONDITIONS[FLOOR_CONDITION] == "floor"


def item_of_cell(cell: int) -> Item | None:
    """The item that a cell looks like, or None for walls, floor and nothing."""
    code = int(cell) & CODE_MASK
    kind, colour, state = code & 31, code >> COLOUR_SHIFT & 7, code >> STATE_SHIFT & 63
    shape = IDX_TO_OBJECT[kind]
    if kind >= FIRST_ITEM:
        return Item(shape, COLOURS[colour], TEXTURES[state % len(TEXTURES)])
    return Item(shape, COLOURS[colour]) if shape in MINIGRID_SHAPES else None


def items_by_number(cells: np.ndarray) -> dict[int, Item]:
    """The items on ``cells``, by the numbers of the things, in increasing order."""
    items = {}
    for cell in sorted(map(int, cells[cells >> ID_SHIFT > 0]), key=lambda c: c >> ID_SHIFT & 255):
        item = item_of_cell(cell)
        assert item is not None
        items[cell >> ID_SHIFT & 255] = item
    return items


def events_of(state: State, layouts: LayoutArrays, i: int) -> tuple[Event, ...]:
    """The events of a world's last step, as in ``info["events"]`` of MiniGrid worlds.

    Args:
        state: The engine's state.
        layouts: The engine's layouts.
        i: The world.
    """
    events = []
    for kind, cell in zip(state.event_kinds[i], state.event_cells[i], strict=True):
        item = item_of_cell(cell) if kind else None
        if item is not None:
            fact = None
            if kind == EXAMINED:
                layout = state.layout[i]
                fact = FACTS[layouts.facts[layout, int(cell) >> ID_SHIFT & 255]]
            events.append(Event(EVENT_KINDS[kind], item, fact))
    return tuple(events)


def sentence(family: int, layouts: LayoutArrays, w: int) -> str:
    """The task of a room that ``build_room`` has generated, in its family's own words.

    Args:
        family: The family's number.
        layouts: The engine's layouts (`LayoutArrays`).
        w: The room's layout.
    """
    if family == COMMAND_FAMILY:
        return str(decode_command(layouts.command[w]))
    condition, named, floor, _ = map(int, layouts.target[w])
    items = [*items_by_number(layouts.cells[w]).values()]
    if family == SEARCH:
        return f"Exactly one of {join(items[:named])} is good. Pick up the good one."
    assert family in (CONDITIONAL, VISUAL)
    if family == CONDITIONAL:
        phrase = "is good"
    elif condition == FLOOR_CONDITION:
        phrase = f"is on a {COLOURS[floor]} floor"
    else:
        phrase = PHRASES[CONDITIONS[condition]]
    decider, yes, no = items[:3]
    return f"If the {decider} {phrase}, pick up the {yes}, otherwise pick up the {no}."
