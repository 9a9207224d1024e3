"""Routes: the shortest sequence of actions that carries out a command on a known grid.

A grid is MiniGrid's encoding, ``[width, height, 3] uint8`` (type, colour, state). The scripted
Actor gives the whole world; the teacher of the learned Actor gives only what has been seen, where
type 0 is a cell not seen yet.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from minigrid.core.actions import Actions
from minigrid.core.constants import IDX_TO_COLOR, IDX_TO_OBJECT, OBJECT_TO_IDX

from envs.commands import Command
from envs.items import SHAPES, TEXTURES, Item

Cell = tuple[int, int]
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
    """The item that MiniGrid's three numbers stand for, or None."""
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
    """The fewest actions from ``start`` to a pose that is a goal, opening doors on the way.

    Returns the actions and the pose, or None where no goal can be reached.
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
    grid: np.ndarray, start: Pose, command: Command, carried: Item | None
) -> list[int] | None:
    """The actions that carry out ``command``, without the closing ``done``.

    None where the item, or a way to it, is not on the grid.
    """
    if command.verb == "put":
        return _route_put(grid, start, command, carried)
    if command.verb == "pick up" and carried is not None:
        if command.item.describes(carried):
            return []
        return _after_drop(grid, start, lambda g, p: route(g, p, command, None))
    found = _to_face(grid, start, command.item)
    if found is None:
        return None
    actions, end = found
    last = {"go to": (), "pick up": (Actions.pickup,)}.get(command.verb, (Actions.toggle,))
    if command.verb == "open" and grid[end.front()][0] == DOOR and grid[end.front()][2] == 0:
        last = (Actions.toggle, Actions.toggle)
    return [*actions, *last]


def _to_face(grid: np.ndarray, start: Pose, wanted: Item) -> tuple[list[int], Pose] | None:
    """The shortest way to face an item that ``wanted`` describes."""

    def facing(pose: Pose) -> bool:
        item = item_at(grid, pose.front())
        return item is not None and wanted.describes(item)

    return shortest(grid, start, facing)


def _route_put(
    grid: np.ndarray, start: Pose, command: Command, carried: Item | None
) -> list[int] | None:
    target = command.target
    assert target is not None
    if carried is not None and not command.item.describes(carried):
        return _after_drop(grid, start, lambda g, p: _route_put(g, p, command, None))
    if carried is None:
        found = _to_face(grid, start, command.item)
        if found is None:
            return None
        actions, end = found
        item = item_at(grid, end.front())
        rest = _route_put(_with(grid, end.front(), EMPTY), end, command, item)
        return None if rest is None else [*actions, Actions.pickup, *rest]

    def beside(pose: Pose) -> bool:
        x, y = pose.front()
        if grid[x, y][0] != EMPTY:
            return False
        near = (item_at(grid, (x + dx, y + dy)) for dx, dy in STEPS)
        return any(i is not None and target.describes(i) for i in near)

    found = shortest(grid, start, beside)
    return None if found is None else [*found[0], Actions.drop]


def _after_drop(
    grid: np.ndarray, start: Pose, then: Callable[[np.ndarray, Pose], list[int] | None]
) -> list[int] | None:
    """First lay down what is carried on the nearest free cell, then do the rest."""
    found = shortest(grid, start, lambda p: grid[p.front()][0] == EMPTY)
    if found is None:
        return None
    actions, end = found
    rest = then(_with(grid, end.front(), OBJECT_TO_IDX["wall"]), end)
    return None if rest is None else [*actions, Actions.drop, *rest]


def _with(grid: np.ndarray, cell: Cell, kind: int) -> np.ndarray:
    changed = grid.copy()
    changed[cell] = (kind, 0, 0)
    return changed
