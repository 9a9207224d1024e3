"""Map memory: a map that the Actor draws from its own views and actions, and observations of it.

Nothing here reads the world's state. Each view is written into a map around the cell where the
episode began; the agent's pose on it follows from its actions, since ``forward`` moves it if the
cell ahead looked free. An observation lists, for every thing on the map, how well it fits the words
of the command, how many actions away it is over the cells seen so far, and the first of these
actions; and the same path for the nearest pose from which an unseen cell would be seen (a frontier,
as in frontier-based exploration). The policy decides what to do with that.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from minigrid.core.constants import OBJECT_TO_IDX

from envs.batched.cells import (
    BALL,
    BOX,
    CLOSED,
    DOOR,
    EMPTY,
    FIRST_ITEM,
    FLOOR,
    GOAL,
    KEY,
    LOCKED,
    OPEN,
    UNSEEN,
    WALL,
)
from envs.batched.compiled import jit, maker
from envs.batched.truth import VERB_PICK_UP, VERB_PUT
from envs.batched.view import step_x, step_y, sweep
from envs.batched.words import SHAPE_WORDS, WORDS_A_COMMAND

SIZE = 64  # cells a side of the map; larger worlds wrap around and overwrite the farthest part
MIDDLE = SIZE // 2
_AREA = SIZE * SIZE
LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)
NO_ACTION = 7

# A path as one number: its first action and its length, in buckets that begin at these lengths.
FAR = np.array([0, 1, 2, 3, 4, 5, 6, 8, 11, 16, 24, 36])
N_FAR = len(FAR)
HERE = 4  # after left, right, forward and toggle: no action is needed
NO_PATH = 5 * N_FAR
N_PATHS = NO_PATH + 1
FIRST_ACTIONS = np.array([LEFT, RIGHT, FORWARD, TOGGLE])

# What a cell holds, as far as acting on it goes; 0 is no thing.
(
    NOTHING,
    A_KEY,
    A_BALL,
    A_BOX,
    OPEN_DOOR,
    CLOSED_DOOR,
    LOCKED_DOOR,
    LOCKED_WITH_KEY,
    AN_ITEM,
    FREE,
    BLOCKED,
) = range(11)
N_LOOKS = 11

# Observation: four bytes for each of the nearest things on the map, then nine general ones.
N_THINGS = 40
MATCH, LOOK, FACE, BESIDE = range(4)
VERB, HANDS, HANDS_MATCH, FRONT, FRONT_MATCH, LAST, EXPLORE, LAY_DOWN, COUNT = range(9)
N_GENERAL = 9
OBSERVATION_SIZE = 4 * N_THINGS + N_GENERAL
ALL_WORDS = 15  # every word of an item's name fits
_ANY = 255
_KIND_OF_WORD = np.array([0, *(OBJECT_TO_IDX.get(w, _ANY) for w in SHAPE_WORDS)], np.int64)


class MapMemory(NamedTuple):
    """The map memories of N Actors."""

    cells: np.ndarray  # [N, 64, 64] uint16: kind, colour << 5, state << 8; 0 is not seen yet
    pose: np.ndarray  # [N, 3] int64: x, y, direction, as in MiniGrid, from (32, 32) facing east
    hands: np.ndarray  # [N] uint16
    last: np.ndarray  # [N] uint8: the last action since the command was given
    explored: np.ndarray  # [N] bool: no pose would show an unseen cell, until the map changes
    words: np.ndarray  # [N, 9] uint8, by envs.batched.words.encode_command


class Workspace(NamedTuple):
    """Reusable buffers of one path search, for one thread at a time."""

    stamp: np.ndarray  # [1] int64
    reached: np.ndarray  # [64 * 64 * 4] int64: stamp of the search that reached a pose
    distance: np.ndarray  # [64 * 64 * 4] int64
    first: np.ndarray  # [64 * 64 * 4] int64
    queue: np.ndarray  # [3, 64 * 64 * 4] int64
    listed: np.ndarray  # [64 * 64] int64: stamp of the search that listed a thing
    place: np.ndarray  # [64 * 64] int64: its place in the observation


def new_map_memory(n: int) -> MapMemory:
    """Empty map memories of ``n`` Actors."""
    return MapMemory(
        np.zeros((n, SIZE, SIZE), np.uint16),
        np.zeros((n, 3), np.int64),
        np.zeros(n, np.uint16),
        np.full(n, NO_ACTION, np.uint8),
        np.zeros(n, bool),
        np.zeros((n, WORDS_A_COMMAND), np.uint8),
    )


def new_workspace(*threads: int) -> Workspace:
    """A workspace; with a number of threads, one for each of them along the first axis."""
    poses = 4 * _AREA
    sizes = ((1,), (poses,), (poses,), (poses,), (3, poses), (_AREA,), (_AREA,))
    return Workspace(*(np.zeros((*threads, *size), np.int64) for size in sizes))


@numba.njit(inline="always")
def workspace_of(workspaces, t):
    """The workspace of thread ``t``."""
    return Workspace(
        workspaces.stamp[t],
        workspaces.reached[t],
        workspaces.distance[t],
        workspaces.first[t],
        workspaces.queue[t],
        workspaces.listed[t],
        workspaces.place[t],
    )


@numba.njit(inline="always")
def _can_enter(cell):
    kind = cell & 31
    return kind == EMPTY or kind == FLOOR or kind == GOAL or (kind == DOOR and cell >> 8 == OPEN)


@numba.njit(inline="always")
def _is_thing(kind):
    return kind == DOOR or kind == KEY or kind == BALL or kind == BOX or kind >= FIRST_ITEM


@numba.njit(inline="always")
def _blocks_view(cell):
    kind = cell & 31
    return kind == WALL or (kind == DOOR and cell >> 8 != OPEN)


@jit()
def _write_view(memory, w, view):
    """Write a view ``[view, view, 3] uint8`` into the map of Actor ``w``."""
    size = view.shape[0]
    half = size // 2
    x, y, direction = memory.pose[w, 0], memory.pose[w, 1], memory.pose[w, 2]
    fx, fy = step_x(direction), step_y(direction)
    rx, ry = -fy, fx
    changed = False
    for i in range(size):
        for j in range(size):
            kind = np.int64(view[i, j, 0])
            cell = np.uint16(kind | np.int64(view[i, j, 1]) << 5 | np.int64(view[i, j, 2]) << 8)
            if i == half and j == size - 1:
                # There the view shows what the agent carries.
                memory.hands[w] = 0 if kind == EMPTY else cell
                continue
            if kind == UNSEEN:
                continue
            ahead, right = size - 1 - j, i - half
            cx = (x + fx * ahead + rx * right) % SIZE
            cy = (y + fy * ahead + ry * right) % SIZE
            if memory.cells[w, cy, cx] != cell:
                memory.cells[w, cy, cx] = cell
                changed = True
    if memory.cells[w, y, x] == UNSEEN:
        memory.cells[w, y, x] = EMPTY
    if changed:
        memory.explored[w] = False


@jit()
def begin_one(memory, w, view):
    """Clear the ``memory`` of Actor ``w`` and enter the first view ``[view, view, 3] uint8`` of
    an episode."""
    memory.cells[w, :, :] = UNSEEN
    memory.pose[w, 0] = MIDDLE
    memory.pose[w, 1] = MIDDLE
    memory.pose[w, 2] = 0
    memory.last[w] = NO_ACTION
    memory.explored[w] = False
    _write_view(memory, w, view)


@jit()
def step_one(memory, w, action, view):
    """Update the ``memory`` of Actor ``w`` after ``action``, which led to ``view`` (as in
    ``begin_one``)."""
    direction = memory.pose[w, 2]
    if action == LEFT:
        memory.pose[w, 2] = (direction + 3) & 3
    elif action == RIGHT:
        memory.pose[w, 2] = (direction + 1) & 3
    elif action == FORWARD:
        x = (memory.pose[w, 0] + step_x(direction)) % SIZE
        y = (memory.pose[w, 1] + step_y(direction)) % SIZE
        if _can_enter(memory.cells[w, y, x]):
            memory.pose[w, 0] = x
            memory.pose[w, 1] = y
    memory.last[w] = action
    _write_view(memory, w, view)


@jit()
def begin_some(memory, which, views):
    """``begin_one`` for several Actors.

    Args:
        memory: The map memories.
        which: The Actors' indices ``[K]``.
        views: Their first views ``[K, view, view, 3] uint8``.
    """
    for k in range(len(which)):
        begin_one(memory, which[k], views[k])


@jit()
def step_some(memory, which, actions, views):
    """``step_one`` for several Actors.

    Args:
        memory: The map memories.
        which: The Actors' indices ``[K]``.
        actions: Their actions ``[K]``.
        views: The views ``[K, view, view, 3] uint8`` that these led to.
    """
    for k in range(len(which)):
        step_one(memory, which[k], actions[k], views[k])


@jit()
def _fits(cell, x, y, words, first):
    """Which words of a name fit a cell at (x, y) of the map: texture, colour, shape and place, from
    bit 0 to bit 3. A word that the name does not have fits. ``first`` is the name's first word."""
    kind, colour, state = cell & 31, (cell >> 5) & 7, cell >> 8
    texture, tint, shape, place = words[first], words[first + 1], words[first + 2], words[first + 3]
    fits = 0
    if texture == 0 or (kind >= FIRST_ITEM and state % 3 == texture - 1):
        fits |= 1
    if tint == 0 or colour == tint - 1:
        fits |= 2
    wanted = _KIND_OF_WORD[shape]
    takes = words[0] == VERB_PICK_UP or (words[0] == VERB_PUT and first == 1)
    anything = wanted == _ANY and _is_thing(kind) and not (takes and kind == DOOR)
    if shape == 0 or wanted == kind or anything:
        fits |= 4
    dx, dy = x - MIDDLE, y - MIDDLE
    if (
        place == 0
        or (place == 1 and dy < 0)
        or (place == 2 and dy > 0)
        or (place == 3 and dx > 0)
        or (place == 4 and dx < 0)
    ):
        fits |= 8
    return fits


@jit()
def _match(cell, x, y, words):
    """How a cell fits the command's item (low four bits) and its target (high four bits)."""
    return _fits(cell, x, y, words, 1) | _fits(cell, x, y, words, 5) << 4


@jit()
def _look(cell, hands):
    """What a cell holds, as far as acting on it with ``hands`` goes: a number below ``N_LOOKS``."""
    kind = cell & 31
    if kind == DOOR:
        state = cell >> 8
        if state == OPEN:
            return OPEN_DOOR
        if state == CLOSED:
            return CLOSED_DOOR
        return LOCKED_WITH_KEY if _opens(hands, cell) else LOCKED_DOOR
    if kind == KEY:
        return A_KEY
    if kind == BALL:
        return A_BALL
    if kind == BOX:
        return A_BOX
    if kind >= FIRST_ITEM:
        return AN_ITEM
    return FREE if kind == EMPTY else BLOCKED


@numba.njit(inline="always")
def _opens(hands, door):
    return hands & 31 == KEY and (hands >> 5) & 7 == (door >> 5) & 7


@jit()
def _path_code(action, distance):
    """A path of ``distance`` actions that begins with ``action``, as one number."""
    if distance == 0:
        return HERE * N_FAR
    step = N_FAR - 1
    while FAR[step] > distance:
        step -= 1
    return (3 if action == TOGGLE else action) * N_FAR + step


@jit()
def _shows_more(cells, w, x, y, direction, size):
    """Whether a view of ``size`` cells from this pose would show a cell not seen yet.

    MiniGrid's shadow casting over the map. The first unseen cell that it meets is lit through seen
    ones only, so it will be seen for certain.
    """
    half = size // 2
    fx, fy = step_x(direction), step_y(direction)
    rx, ry = -fy, fx
    full = (1 << size) - 1
    mask = 1 << half
    for ahead in range(size):
        clear, unknown = 0, 0
        for i in range(size):
            cx = (x + fx * ahead + rx * (i - half)) % SIZE
            cy = (y + fy * ahead + ry * (i - half)) % SIZE
            cell = cells[w, cy, cx]
            if cell == UNSEEN:
                unknown |= 1 << i
                clear |= 1 << i
            elif not _blocks_view(cell) or (ahead == 0 and i == half):
                clear |= 1 << i  # a closed door is open by the time the agent stands in it
        mask, beyond = sweep(mask, clear, full)
        if mask & unknown:
            return True
        mask = beyond
        if mask == 0:
            return False
    return False


@jit()
def _list(memory, w, workspace, x, y, column, path, out):
    """Enter the path to a thing at (x, y) into the observation, if it is the first one met."""
    cell = memory.cells[w, y, x]
    at = y * SIZE + x
    if workspace.listed[at] != workspace.stamp[0]:
        count = out[4 * N_THINGS + COUNT]
        if count == N_THINGS:
            return
        workspace.listed[at] = workspace.stamp[0]
        workspace.place[at] = count
        out[4 * N_THINGS + COUNT] = count + 1
        k = 4 * count
        out[k + MATCH] = _match(cell, x, y, memory.words[w])
        out[k + LOOK] = _look(cell, memory.hands[w])
        out[k + FACE] = NO_PATH
        out[k + BESIDE] = NO_PATH
    k = 4 * workspace.place[at] + column
    if out[k] == NO_PATH:
        out[k] = path


@maker()
def observe_one(memory, w, workspace, view_size, out):
    """Write the observation of one Actor.

    A search over poses (cell and direction) in order of distance, with one queue for each distance
    modulo 3, since a move costs 1 action, or 2 through a closed door that is opened first.

    Args:
        memory: The map memories.
        w: The Actor's index.
        workspace: Buffers of the search.
        view_size: The side of a view in cells.
        out: Where the observation goes, ``[OBSERVATION_SIZE] uint8``.
    """
    general = 4 * N_THINGS
    out[:] = 0
    hands = memory.hands[w]
    x, y, direction = memory.pose[w, 0], memory.pose[w, 1], memory.pose[w, 2]
    front_x, front_y = (x + step_x(direction)) % SIZE, (y + step_y(direction)) % SIZE
    front = memory.cells[w, front_y, front_x]
    out[general + VERB] = memory.words[w, 0]
    out[general + HANDS] = 0 if hands == 0 else _look(hands, 0)
    # What is carried lies nowhere, so whatever place the name has fits.
    out[general + HANDS_MATCH] = (
        0 if hands == 0 else _match(hands, x, y, memory.words[w]) | 0b10001000
    )
    out[general + FRONT] = _look(front, hands)
    if _is_thing(front & 31):
        out[general + FRONT_MATCH] = _match(front, front_x, front_y, memory.words[w])
    out[general + LAST] = memory.last[w]
    out[general + EXPLORE] = NO_PATH
    out[general + LAY_DOWN] = NO_PATH

    workspace.stamp[0] += 1
    stamp = workspace.stamp[0]
    counts = np.zeros(3, np.int64)
    start = (y * SIZE + x) * 4 + direction
    workspace.reached[start] = stamp
    workspace.distance[start] = 0
    workspace.first[start] = DONE
    workspace.queue[0, 0] = start
    counts[0] = 1
    looking = not memory.explored[w]
    distance = 0
    while counts[0] + counts[1] + counts[2]:
        now = distance % 3
        k = 0
        while k < counts[now]:
            pose = workspace.queue[now, k]
            k += 1
            if workspace.distance[pose] != distance:
                continue  # a shorter path was entered later
            first = workspace.first[pose]
            direction = pose & 3
            x, y = (pose >> 2) % SIZE, (pose >> 2) // SIZE
            fx, fy = (x + step_x(direction)) % SIZE, (y + step_y(direction)) % SIZE
            front = memory.cells[w, fy, fx]
            kind = front & 31
            if _is_thing(kind):
                _list(memory, w, workspace, fx, fy, FACE, _path_code(first, distance), out)
            elif kind == EMPTY:
                if out[general + LAY_DOWN] == NO_PATH:
                    out[general + LAY_DOWN] = _path_code(first, distance)
                for side in range(4):
                    nx, ny = (fx + step_x(side)) % SIZE, (fy + step_y(side)) % SIZE
                    if _is_thing(memory.cells[w, ny, nx] & 31):
                        _list(
                            memory, w, workspace, nx, ny, BESIDE, _path_code(first, distance), out
                        )
            if looking and _shows_more(memory.cells, w, x, y, direction, view_size):
                out[general + EXPLORE] = _path_code(first, distance)
                looking = False
            for action in range(3):
                cost = 1
                step = action
                if action == FORWARD:
                    if not _can_enter(front):
                        if kind != DOOR or (front >> 8 == LOCKED and not _opens(hands, front)):
                            continue
                        cost = 2
                        step = TOGGLE
                    after = (fy * SIZE + fx) * 4 + direction
                elif action == LEFT:
                    after = (pose & ~3) | ((direction + 3) & 3)
                else:
                    after = (pose & ~3) | ((direction + 1) & 3)
                total = distance + cost
                if workspace.reached[after] == stamp and workspace.distance[after] <= total:
                    continue
                workspace.reached[after] = stamp
                workspace.distance[after] = total
                workspace.first[after] = step if distance == 0 else first
                line = total % 3
                workspace.queue[line, counts[line]] = after
                counts[line] += 1
        counts[now] = 0
        distance += 1
    if looking:
        memory.explored[w] = True


@jit()
def observe_some(memory, which, workspace, view_size, out):
    """``observe_one`` for several Actors.

    Args:
        memory: The map memories.
        which: The Actors' indices ``[K]``.
        workspace: Buffers of the search.
        view_size: The side of a view in cells.
        out: Where the observations go, ``[K, OBSERVATION_SIZE] uint8``.
    """
    for k in range(len(which)):
        observe_one(memory, which[k], workspace, view_size, out[k])
