"""Routes: the shortest sequence of actions that carries out a command on a known grid.

A grid is MiniGrid's encoding, ``[width, height, 3] uint8`` (type, colour, state). The scripted
Actor passes the whole world. In a partial map, type 0 is a cell not seen yet.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from minigrid.core.actions import Actions
from minigrid.core.constants import IDX_TO_COLOR, IDX_TO_OBJECT, OBJECT_TO_IDX
from minigrid.minigrid_env import MiniGridEnv

from envs.commands import Command
from envs.events import item_of
from envs.items import SHAPES, TEXTURES, Item
from envs.places import Places

Cell = tuple[int, int]
Lay = Callable[[str, Cell], bool]
STEPS: tuple[Cell, ...] = ((1, 0), (0, 1), (-1, 0), (0, -1))
UNSEEN, EMPTY, FLOOR, DOOR, GOAL = (
    OBJECT_TO_IDX[w] for w in ("unseen", "empty", "floor", "door", "goal")
)
THINGS = {OBJECT_TO_IDX[s] for s in (*SHAPES, "key", "ball", "box", "door")}


@dataclass(frozen=True)
class Pose:
    """Where the agent stands and looks (0 right, 1 down, 2 left, 3 up)."""

    x: int
    y: int
    direction: int

    def front(self) -> Cell:
        dx, dy = STEPS[self.direction]
        return self.x + dx, self.y + dy


def item_at(grid: np.ndarray, cell: Cell) -> Item | None:
    """What lies on a cell, by its encoding."""
    return decode_item(*map(int, grid[cell]))


def decode_item(kind: int, colour: int, state: int) -> Item | None:
    """The item of a cell's encoding: MiniGrid's ``kind``, ``colour`` and ``state``; None for no
    item."""
    if kind not in THINGS:
        return None
    shape = IDX_TO_OBJECT[kind]
    return Item(shape, IDX_TO_COLOR[colour], TEXTURES[state % 3] if shape in SHAPES else None)


def walkable(code: np.ndarray) -> bool:
    """Whether the agent can stand on a cell of this encoding (and would want to)."""
    return code[0] in (EMPTY, FLOOR, GOAL) or bool(code[0] == DOOR and code[2] == 0)


def shortest(
    grid: np.ndarray, start: Pose, is_goal: Callable[[Pose], bool]
) -> tuple[list[int], Pose] | None:
    """The shortest path to a goal pose, opening doors on the way.

    Args:
        grid: ``[width, height, 3] uint8``.
        start: The agent's pose.
        is_goal: Whether a pose is a goal.

    Returns:
        The actions and the goal pose; None where no goal can be reached.
    """
    best: dict[Pose, int] = {start: 0}
    came: dict[Pose, tuple[Pose, tuple[int, ...]]] = {}
    edge: list[tuple[int, int, Pose]] = [(0, 0, start)]
    count = 0
    while edge:
        cost, _, pose = heapq.heappop(edge)
        if cost > best[pose]:
            continue
        if is_goal(pose):
            end: Pose = pose
            actions: list[int] = []
            while pose != start:
                pose, taken = came[pose]
                actions[:0] = taken
            return actions, end
        for after, taken in _moves(grid, pose):
            total = cost + len(taken)
            if total < best.get(after, total + 1):
                best[after] = total
                came[after] = (pose, taken)
                count += 1
                heapq.heappush(edge, (total, count, after))
    return None


def _moves(grid: np.ndarray, pose: Pose) -> Iterator[tuple[Pose, tuple[int, ...]]]:
    yield Pose(pose.x, pose.y, (pose.direction - 1) % 4), (Actions.left,)
    yield Pose(pose.x, pose.y, (pose.direction + 1) % 4), (Actions.right,)
    x, y = pose.front()
    if 0 <= x < grid.shape[0] and 0 <= y < grid.shape[1]:
        code = grid[x, y]
        if walkable(code):
            yield Pose(x, y, pose.direction), (Actions.forward,)
        elif code[0] == DOOR and code[2] == 1:
            yield Pose(x, y, pose.direction), (Actions.toggle, Actions.forward)


def route(
    grid: np.ndarray,
    start: Pose,
    command: Command,
    carried: Item | None,
    lay: Lay = lambda place, cell: False,
) -> list[int] | None:
    """The actions that carry out a command, without the closing ``done``.

    Args:
        grid: ``[width, height, 3] uint8``.
        start: The agent's pose.
        command: The command.
        carried: The item that the agent carries, with its ``place`` at the start of the episode.
        lay: For commands that name a place: whether the thing on a cell lay there when the episode
            began.

    Returns:
        The actions; None where the item, or a path to it, is not on the grid.
    """
    if command.verb == "put":
        return _route_put(grid, start, command, carried, lay)
    if command.verb == "pick up" and carried is not None:
        if _means(command.item, carried):
            return []
        return _after_drop(grid, start, lambda g, p: route(g, p, command, None, lay))
    path = None
    if command.verb == "open":
        # Where several doors match the name, prefer one that is not open yet.
        closed = np.where(_open(grid)[..., None], np.uint8(0), grid)
        path = shortest(grid, start, lambda p: _is(closed, p.front(), command.item, lay))
    path = path or _to_face(grid, start, command.item, lay)
    if path is None:
        return None
    actions, end = path
    last = {"go to": (), "pick up": (Actions.pickup,)}.get(command.verb, (Actions.toggle,))
    if command.verb == "open" and _open(grid)[end.front()]:
        last = (Actions.toggle, Actions.toggle)
    return [*actions, *last]


def route_in(
    world: MiniGridEnv, places: Places, command: Command, grid: np.ndarray | None = None
) -> list[int] | None:
    """The actions that carry out a command in a world (privileged).

    Args:
        world: The world.
        places: Where its things lay when the episode began.
        command: The command.
        grid: A grid to plan on in place of the world's own, ``[width, height, 3] uint8``.

    Returns:
        The actions, without the closing ``done``; None where there is no way.
    """
    pose = Pose(int(world.agent_pos[0]), int(world.agent_pos[1]), int(world.agent_dir))
    carried = item_of(world.carrying)
    if carried is not None and command.item.place in places.of(world.carrying):
        carried = replace(carried, place=command.item.place)

    def lay(place: str, cell: Cell) -> bool:
        return place in places.of(world.grid.get(*cell))

    return route(world.grid.encode() if grid is None else grid, pose, command, carried, lay)


def _open(grid: np.ndarray) -> np.ndarray:
    """Which cells are open doors: ``[width, height] bool``."""
    return (grid[..., 0] == DOOR) & (grid[..., 2] == 0)


def _means(name: Item, carried: Item) -> bool:
    return name.describes(carried) and name.place in (None, carried.place)


def _is(grid: np.ndarray, cell: Cell, name: Item, lay: Lay) -> bool:
    item = item_at(grid, cell)
    if item is None or not name.describes(item):
        return False
    return name.place is None or lay(name.place, cell)


def _to_face(
    grid: np.ndarray, start: Pose, wanted: Item, lay: Lay
) -> tuple[list[int], Pose] | None:
    """The shortest path to face an item that ``wanted`` names."""
    return shortest(grid, start, lambda pose: _is(grid, pose.front(), wanted, lay))


def _route_put(
    grid: np.ndarray, start: Pose, command: Command, carried: Item | None, lay: Lay
) -> list[int] | None:
    target = command.target
    assert target is not None
    if carried is not None and not _means(command.item, carried):
        return _after_drop(grid, start, lambda g, p: _route_put(g, p, command, None, lay))
    if carried is None:
        path = _to_face(grid, start, command.item, lay)
        if path is None:
            return None
        actions, end = path
        rest = _route_put(_with(grid, end.front(), EMPTY), end, command, command.item, lay)
        return None if rest is None else [*actions, Actions.pickup, *rest]

    def beside(pose: Pose) -> bool:
        x, y = pose.front()
        if grid[x, y][0] != EMPTY:
            return False
        return any(_is(grid, (x + dx, y + dy), target, lay) for dx, dy in STEPS)

    path = shortest(grid, start, beside)
    return None if path is None else [*path[0], Actions.drop]


def _after_drop(
    grid: np.ndarray, start: Pose, then: Callable[[np.ndarray, Pose], list[int] | None]
) -> list[int] | None:
    """A route that first drops what is carried, then continues with ``then``.

    It is dropped on the nearest cell where it does not block the rest of the route, and before a
    door only where there is no other cell.
    """
    if then(grid, start) is None:
        return None
    cells = {(int(x), int(y)) for x, y in np.argwhere(grid[..., 0] == EMPTY)}
    doors = {c for c in cells for dx, dy in STEPS if grid[c[0] + dx, c[1] + dy][0] == DOOR}
    for choice in (cells - doors, doors):
        while path := shortest(grid, start, lambda p: p.front() in choice):  # noqa: B023
            actions, end = path
            rest = then(_with(grid, end.front(), OBJECT_TO_IDX["wall"]), end)
            if rest is not None:
                return [*actions, Actions.drop, *rest]
            choice.remove(end.front())
    return None


def _with(grid: np.ndarray, cell: Cell, kind: int) -> np.ndarray:
    changed = grid.copy()
    changed[cell] = (kind, 0, 0)
    return changed
