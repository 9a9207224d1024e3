"""A room that the engine has generated, as a MiniGrid world of its family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from minigrid.core.grid import Grid
from minigrid.core.world_object import Floor

from envs.batched.cells import (
    COLOUR_SHIFT,
    FIRST_ITEM,
    FLOOR,
    ID_SHIFT,
    MARK_SHIFT,
    STATE_SHIFT,
    WALL_CELL,
)
from envs.batched.rooms import FACTS, Rooms
from envs.batched.sentences import item_of_cell, items_by_number
from envs.batched.words import decode_command
from envs.command import CommandTask
from envs.commands import CommandWatch
from envs.conditional import CONDITIONS, ConditionalEnv, SecretConditional, VisualConditional
from envs.errors import BadInput
from envs.items import COLOURS
from envs.objects import MARKS, ItemObject
from envs.room import Cell, RoomEnv, neighbours
from envs.search import SecretSearch

if TYPE_CHECKING:
    from envs.batched.engine import Engine


def rebuild(engine: Engine, i: int) -> RoomEnv:
    """World i of an engine of ``Rooms``, in its current state, as a MiniGrid world.

    It steps, judges and is drawn like any world of its family, and its ``oracle`` knows the answer.
    It does not need a reset, and must not get one.

    Raises:
        BadInput: The engine's source is a pool, whose worlds come from MiniGrid already.
    """
    rooms = engine.source
    if not isinstance(rooms, Rooms):
        raise BadInput("only rooms that the engine makes itself can be made MiniGrid worlds")
    layouts, w = engine.layouts, int(engine.state.layout[i])
    before = layouts.cells[w]
    size = 2 + int((before[1] != WALL_CELL).sum())
    items = items_by_number(before)
    named = int(layouts.target[w, 1])
    settings: dict[str, Any] = {
        "n_items": named,
        "room_size": size,
        "items": rooms.items,
        "max_steps": int(layouts.max_steps[w]),
        "agent_view_size": engine.view,
    }
    world: RoomEnv
    if rooms.family == "conditional":
        world = SecretConditional(show_marks=rooms.show_marks, **settings)
    elif rooms.family == "visual-conditional":
        world = VisualConditional(conditions=rooms.conditions, **settings)
        world.condition = CONDITIONS[layouts.target[w, 0]]
    elif rooms.family == "search":
        world = SecretSearch(
            distractors=len(items) - named, show_marks=rooms.show_marks, **settings
        )
        world.named = tuple(items.values())[:named]
        world.good = items[_only(layouts.sets[w, 1, 0])]
    else:
        world = CommandTask(verbs=rooms.verbs, **settings)
        world.command = decode_command(layouts.command[w])
        world.watch = CommandWatch(world.command)
        world.watch.done = bool(engine.state.command_done[i])
    if isinstance(world, ConditionalEnv):
        world.decider = items[1]
        world.right = items[_only(layouts.sets[w, 1, 0])]
        world.holds = bool(layouts.target[w, 3])

    cells = engine.cells(i)
    carried = int(engine.state.carried[i])
    things = {
        cell >> ID_SHIFT & 255: _thing(cell, layouts.facts[w])
        for cell in (*map(int, cells[cells >> ID_SHIFT > 0]), *([carried] if carried else []))
    }
    world.things = [things[k] for k in items]
    world.mission = engine.mission(i)
    world.grid = Grid(size, size)
    world.grid.wall_rect(0, 0, size, size)
    for y in range(1, size - 1):
        for x in range(1, size - 1):
            cell = int(cells[y, x])
            if cell >> ID_SHIFT:
                world.put_obj(things[cell >> ID_SHIFT & 255], x, y)
            elif cell & 31 == FLOOR:
                world.grid.set(x, y, Floor(COLOURS[cell >> COLOUR_SHIFT & 7]))
    if carried:
        # MiniGrid declares it as None.
        world.carrying = things[carried >> ID_SHIFT & 255]  # type: ignore[assignment]
    x, y, direction = map(int, engine.state.pose[i])
    world.agent_pos, world.agent_dir = (x, y), direction
    world.step_count = int(engine.state.steps[i])

    # What could be reached when the episode began, as in the family.
    inside = {(int(x), int(y)) for y, x in np.argwhere(before != WALL_CELL)}
    lay = {
        (x, y): int(before[y, x]) >> ID_SHIFT & 255 for x, y in inside if before[y, x] >> ID_SHIFT
    }
    start = (int(layouts.pose[w, 0]), int(layouts.pose[w, 1]))
    walked: set[Cell] = set()
    edge = {start}
    while edge:
        walked |= edge
        edge = {n for c in edge for n in neighbours(c) if n in inside and n not in lay} - walked
    world.reachable = frozenset(
        items[k] for c, k in lay.items() if any(n in walked for n in neighbours(c))
    )
    return world


def _thing(cell: int, facts: np.ndarray) -> ItemObject:
    item = item_of_cell(cell)
    assert item is not None and cell & 31 >= FIRST_ITEM
    state = cell >> STATE_SHIFT & 63
    floor = COLOURS[state // 9 - 1] if state // 9 else None
    thing = ItemObject(
        item, FACTS[facts[cell >> ID_SHIFT & 255]], MARKS[cell >> MARK_SHIFT & 3], floor
    )
    thing.mark = MARKS[state // 3 % 3]
    return thing


def _only(things: np.uint64) -> int:
    """The number of the only thing in a set."""
    assert int(things).bit_count() == 1
    return int(things).bit_length() - 1
