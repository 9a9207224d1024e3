"""MiniGrid's rules, compiled: one step of N worlds, and what each agent sees after it.

All functions work on the arrays of ``State`` and ``LayoutArrays``, which ``envs.batched.engine``
owns. The dynamics, their order and their quirks are those of ``MiniGridEnv.step``, of the ``step``
methods of its levels and of BabyAI's verifiers (minigrid 3.2).
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from envs.batched.cells import (
    BOX,
    CLOSED,
    COLOUR_SHIFT,
    DOOR,
    EMPTY,
    FIRST_ITEM,
    FLOOR,
    GOAL,
    KEY,
    LAVA,
    MARK_SHIFT,
    OPAQUE,
    OPEN,
    STATE_SHIFT,
    colour_of,
    is_thing,
    kind_of,
    number_of,
    state_of,
)
from envs.batched.compiled import jit, kernel
from envs.batched.randomness import draw
from envs.batched.rooms import NO_ROOMS, build_room
from envs.batched.rules import (
    COMMAND,
    COMMAND_ALONE,
    FETCH,
    GO_TO,
    GO_TO_TARGET,
    IN_ORDER,
    INSTRUCTION,
    MEMORY,
    NO_PART,
    OPEN_DOOR,
    PICK_TARGET,
    PICK_UP,
    PLAIN,
    PUT_NEAR,
    RED_BLUE_DOORS,
    RIGHT_ITEM,
    UNLOCK,
)
from envs.batched.truth import (
    CLOSED_IT,
    DROPPED,
    EXAMINED,
    FOUND_LOCKED,
    OPENED,
    PICKED,
    UNLOCKED,
    VERB_GO_TO,
    examined_in_order,
    is_command_done,
)
from envs.batched.view import look, step_x, step_y

LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)

CONTINUE, SUCCESS, FAILURE = range(3)


class LayoutArrays(NamedTuple):
    """L layouts, which worlds are reset to (see ``envs.batched.layouts.Pool``)."""

    cells: np.ndarray  # [L, H, W] uint32
    pose: np.ndarray  # [L, 3] int32: x, y, direction
    carried: np.ndarray  # [L] uint32, 0 for nothing
    max_steps: np.ndarray  # [L] int32
    see_through: np.ndarray  # [L] bool
    rule: np.ndarray  # [L] uint8
    target: np.ndarray  # [L, 4] int32, the rule's parameters: places, or a type and a colour
    inside: np.ndarray  # [L, 64] uint32: the cell that a box leaves when it is opened
    places: np.ndarray  # [L, 64] int32: where each thing was at the start, y * W + x, or -1
    parts: np.ndarray  # [L, 4, 2] uint8: a BabyAI instruction's parts: kind, strict
    sets: np.ndarray  # [L, 4, 2] uint64: the things that each part means. In our families:
    # [0] the command's item and target, or the things to examine first and second (0 for
    # none), [1, 0] what may be picked up without failing
    strict_order: np.ndarray  # [L] bool
    command: np.ndarray  # [L, 9] uint8: verb, then four words an item
    facts: np.ndarray  # [L, 64] uint8: what examining each thing reveals
    weight: np.ndarray  # [L] float64: cumulative chance of being drawn


class State(NamedTuple):
    """The current state of N worlds, and the results of the last step."""

    cells: np.ndarray  # [N, H + 2 * pad, W + 2 * pad] uint32, walls all around
    pose: np.ndarray  # [N, 3] int32, x and y within the layout
    carried: np.ndarray  # [N] uint32
    steps: np.ndarray  # [N] int32
    layout: np.ndarray  # [N] int32
    random: np.ndarray  # [N] uint64
    places: np.ndarray  # [N, 64] int32: where BabyAI's verifiers believe each thing to be
    held_before: np.ndarray  # [N, 4] uint8: the parts' memory of what was carried
    part_done: np.ndarray  # [N, 4] uint8
    first_done: np.ndarray  # [N] uint8: the first half of then / after; progress of IN_ORDER
    command_done: np.ndarray  # [N] uint8
    images: np.ndarray  # [N, view, view, 3] uint8
    directions: np.ndarray  # [N] int64
    rewards: np.ndarray  # [N] float64
    terminated: np.ndarray  # [N] bool
    truncated: np.ndarray  # [N] bool
    success: np.ndarray  # [N] bool
    event_kinds: np.ndarray  # [N, 2] uint8
    event_cells: np.ndarray  # [N, 2] uint32
    last_images: np.ndarray  # [N, view, view, 3] uint8: the last view of an episode that ended
    last_directions: np.ndarray  # [N] int64
    last_steps: np.ndarray  # [N] int32


@jit()
def load(layouts, state, w, which, pad):
    """Put a world into a layout, without computing a view.

    Args:
        layouts: The engine's layouts (`LayoutArrays`).
        state: The worlds (`State`).
        w: The world.
        which: The layout.
        pad: Cells of wall around each world's grid.
    """
    height, width = layouts.cells.shape[1], layouts.cells.shape[2]
    for y in range(height):
        for x in range(width):
            state.cells[w, y + pad, x + pad] = layouts.cells[which, y, x]
    for k in range(3):
        state.pose[w, k] = layouts.pose[which, k]
    state.carried[w] = layouts.carried[which]
    state.steps[w] = 0
    state.layout[w] = which
    if layouts.rule[which] == INSTRUCTION:
        for k in range(state.places.shape[1]):
            state.places[w, k] = layouts.places[which, k]
        for k in range(4):
            state.held_before[w, k] = 0
            state.part_done[w, k] = 0
    state.first_done[w] = 0
    state.command_done[w] = 0


@jit()
def look_first(layouts, state, w, pad, view, out):
    """Compute the first view of an episode.

    Where a level puts something into the agent's hands after MiniGrid's reset (BabyAI's
    PutNext...Carrying), the view that reset returned still shows it on the floor.

    Args:
        layouts: The engine's layouts (`LayoutArrays`).
        state: The worlds (`State`).
        w: The world.
        pad: Cells of wall around each world's grid.
        view: Cells a side of a view.
        out: Gets the view, ``[view, view, 3] uint8``.
    """
    which = state.layout[w]
    x, y, direction = state.pose[w, 0] + pad, state.pose[w, 1] + pad, state.pose[w, 2]
    carried = state.carried[w]
    see_through = layouts.see_through[which]
    if carried == 0:
        look(state.cells, w, x, y, direction, carried, see_through, view, out)
        return
    at = layouts.places[which, number_of(carried)]
    ox, oy = at % layouts.cells.shape[2] + pad, at // layouts.cells.shape[2] + pad
    state.cells[w, oy, ox] = carried
    look(state.cells, w, x, y, direction, np.uint32(0), see_through, view, out)
    state.cells[w, oy, ox] = EMPTY


@kernel()
def _part(layouts, state, w, p, action, front_cell, front_at, hands):
    """BabyAI's ``verify_action`` of part ``p``; ``hands`` is the number of the carried thing."""
    which = state.layout[w]
    kind = layouts.parts[which, p, 0]
    strict = layouts.parts[which, p, 1]
    wanted = layouts.sets[which, p, 0]
    one = np.uint64(1)
    if kind == GO_TO:
        for k in range(1, state.places.shape[1]):
            if state.places[w, k] == front_at and (wanted >> np.uint64(k)) & one:
                return SUCCESS
        return CONTINUE
    if kind == OPEN_DOOR:
        if action != TOGGLE:
            return CONTINUE
        if kind_of(front_cell) == DOOR:
            number = np.uint64(number_of(front_cell))
            if (wanted >> number) & one and state_of(front_cell) == OPEN:
                return SUCCESS
            if strict:
                return FAILURE
        return CONTINUE
    before = state.held_before[w, p]
    state.held_before[w, p] = hands
    if kind == PICK_UP:
        if action != PICKUP:
            return CONTINUE
        if before == 0 and hands != 0 and (wanted >> np.uint64(hands)) & one:
            return SUCCESS
        if strict and hands != 0:
            return FAILURE
        return CONTINUE
    # put next
    if strict and action == PICKUP and hands != 0:
        return FAILURE
    if action != DROP or before == 0 or hands == before:
        return CONTINUE
    if not (wanted >> np.uint64(before)) & one:
        return CONTINUE
    # The thing is in front now, unless it was dropped before this part was verified.
    width = layouts.cells.shape[2]
    at = state.places[w, before]
    fixed = layouts.sets[which, p, 1]
    for k in range(1, state.places.shape[1]):
        there = state.places[w, k]
        if there >= 0 and (fixed >> np.uint64(k)) & one:
            distance = abs(there % width - at % width) + abs(there // width - at // width)
            if distance == 1:
                return SUCCESS
    return CONTINUE


@kernel()
def _half(layouts, state, w, first, action, front_cell, front_at, hands):
    """Verify an action, or two joined by "and", whose parts are ``first`` and ``first + 1``."""
    which = state.layout[w]
    if layouts.parts[which, first + 1, 0] == NO_PART:
        return _part(layouts, state, w, first, action, front_cell, front_at, hands)
    for p in range(first, first + 2):
        if not state.part_done[w, p]:
            verdict = _part(layouts, state, w, p, action, front_cell, front_at, hands)
            state.part_done[w, p] = verdict == SUCCESS
    if state.part_done[w, first] and state.part_done[w, first + 1]:
        return SUCCESS
    return CONTINUE


@kernel()
def _verify(layouts, state, w, action, front_cell, front_at, hands):
    """Verify a whole instruction. Parts 0 and 1 come first, 2 and 3 after them."""
    which = state.layout[w]
    if layouts.parts[which, 2, 0] == NO_PART:
        return _half(layouts, state, w, 0, action, front_cell, front_at, hands)
    if not state.first_done[w]:
        verdict = _half(layouts, state, w, 0, action, front_cell, front_at, hands)
        if verdict == FAILURE:
            return FAILURE
        if verdict == SUCCESS:
            state.first_done[w] = 1
        else:
            if (
                layouts.strict_order[which]
                and _half(layouts, state, w, 2, action, front_cell, front_at, hands) == SUCCESS
            ):
                return FAILURE
            return CONTINUE
    return _half(layouts, state, w, 2, action, front_cell, front_at, hands)


@kernel()
def _remember_places(layouts, state, w, pad):
    """Update the places of all things, as BabyAI does whenever the agent tries to drop
    something."""
    height, width = layouts.cells.shape[1], layouts.cells.shape[2]
    for k in range(state.places.shape[1]):
        state.places[w, k] = -1
    for y in range(height):
        for x in range(width):
            number = number_of(state.cells[w, y + pad, x + pad])
            if number:
                state.places[w, number] = y * width + x


@kernel()
def _judge(layouts, state, w, action, rule, x, y, front_cell, picked, dropped_from, pad):
    """The level's own verdict on this step: CONTINUE, SUCCESS or FAILURE.

    ``picked`` is the cell that was picked up in this step and ``dropped_from`` the carried thing
    before the step, each 0 for nothing.
    """
    which = state.layout[w]
    target = layouts.target[which]
    hands = state.carried[w]
    if rule == INSTRUCTION:
        if action == DROP:
            _remember_places(layouts, state, w, pad)
        front_at = (y + step_y(state.pose[w, 2]) - pad) * layouts.cells.shape[2] + (
            x + step_x(state.pose[w, 2]) - pad
        )
        return _verify(layouts, state, w, action, front_cell, front_at, number_of(hands))
    may_pick_up = layouts.sets[which, 1, 0]
    if rule == RIGHT_ITEM:
        if picked:
            return (
                SUCCESS if (may_pick_up >> np.uint64(number_of(picked))) & np.uint64(1) else FAILURE
            )
    elif rule == IN_ORDER:
        first, then = layouts.sets[which, 0, 0], layouts.sets[which, 0, 1]
        for k in range(2):
            if state.event_kinds[w, k] == EXAMINED:
                state.first_done[w] = examined_in_order(
                    state.first_done[w], first, then, state.event_cells[w, k]
                )
        if picked:
            ready = state.first_done[w] == (1 if then == 0 else 2)
            right = (may_pick_up >> np.uint64(number_of(picked))) & np.uint64(1)
            return SUCCESS if ready and right else FAILURE
    elif rule == COMMAND or rule == COMMAND_ALONE:
        verb = layouts.command[which, 0]
        done = is_command_done(
            verb,
            layouts.sets[which, 0, 0],
            layouts.sets[which, 0, 1],
            state.command_done[w] != 0,
            front_cell,
            hands,
            state.event_kinds[w],
            state.event_cells[w],
            state.cells[w],
            x + step_x(state.pose[w, 2]),
            y + step_y(state.pose[w, 2]),
        )
        state.command_done[w] = done
        if picked and not (may_pick_up >> np.uint64(number_of(picked))) & np.uint64(1):
            return FAILURE
        if rule == COMMAND and action == DONE:
            return SUCCESS if done else FAILURE
        if rule == COMMAND_ALONE and done and (verb != VERB_GO_TO or action == DONE):
            return SUCCESS
    elif rule == PICK_TARGET:
        if action == PICKUP and hands != 0 and number_of(hands) == target[0]:
            return SUCCESS
    elif rule == UNLOCK:
        door = state.cells[w, target[1] + pad, target[0] + pad]
        if action == TOGGLE and kind_of(door) == DOOR and state_of(door) == OPEN:
            return SUCCESS
    elif rule == RED_BLUE_DOORS:
        red = state.cells[w, target[1] + pad, target[0] + pad]
        blue = state.cells[w, target[3] + pad, target[2] + pad]
        if state_of(blue) == OPEN:
            return SUCCESS if state_of(red) == OPEN else FAILURE
    elif rule == FETCH:
        if hands != 0:
            right = kind_of(hands) == target[0] and colour_of(hands) == target[1]
            return SUCCESS if right else FAILURE
    elif rule == GO_TO_TARGET:
        if action == DONE:
            beside = abs(x - pad - target[0]) + abs(y - pad - target[1]) == 1
            return SUCCESS if beside else FAILURE
        if action == TOGGLE:
            return FAILURE
    elif rule == MEMORY:
        if x - pad == target[0] and y - pad == target[1]:
            return SUCCESS
        if x - pad == target[2] and y - pad == target[3]:
            return FAILURE
    elif rule == PUT_NEAR:
        if action == DROP and dropped_from:
            fx, fy = x + step_x(state.pose[w, 2]) - pad, y + step_y(state.pose[w, 2]) - pad
            if hands == 0 and abs(fx - target[2]) <= 1 and abs(fy - target[3]) <= 1:
                return SUCCESS
            return FAILURE
        if (
            action == PICKUP
            and hands != 0
            and (kind_of(hands) != target[0] or colour_of(hands) != target[1])
        ):
            return FAILURE
    return CONTINUE


@kernel(forceinline=True)
def _act(layouts, state, w, action, x, y):
    """MiniGrid's ``step`` without its end: apply an action to world ``w``.

    Returns whether goal or lava was stepped on (SUCCESS, FAILURE) and the cell that was picked up.
    Events are written to the state.
    """
    state.event_kinds[w, 0] = 0
    state.event_kinds[w, 1] = 0
    direction = state.pose[w, 2]
    if action == LEFT:
        state.pose[w, 2] = (direction + 3) & 3
        return CONTINUE, np.uint32(0)
    if action == RIGHT:
        state.pose[w, 2] = (direction + 1) & 3
        return CONTINUE, np.uint32(0)
    if action == DONE:
        return CONTINUE, np.uint32(0)
    fx, fy = x + step_x(direction), y + step_y(direction)
    front = state.cells[w, fy, fx]
    kind = kind_of(front)
    if action == FORWARD:
        if kind == EMPTY or kind == FLOOR or (kind == DOOR and state_of(front) == OPEN):
            state.pose[w, 0] += step_x(direction)
            state.pose[w, 1] += step_y(direction)
        elif kind == GOAL or kind == LAVA:
            state.pose[w, 0] += step_x(direction)
            state.pose[w, 1] += step_y(direction)
            return (SUCCESS if kind == GOAL else FAILURE), np.uint32(0)
        return CONTINUE, np.uint32(0)
    if action == PICKUP:
        if is_thing(kind) and state.carried[w] == 0:
            left = np.uint32(EMPTY)
            if kind >= FIRST_ITEM:
                floor = state_of(front) // 9
                if floor:
                    left = np.uint32(FLOOR | (floor - 1) << COLOUR_SHIFT)
                    front = np.uint32(front - ((9 * floor) << STATE_SHIFT))
            state.cells[w, fy, fx] = left
            state.carried[w] = front
            state.event_kinds[w, 0] = PICKED
            state.event_cells[w, 0] = front
            return CONTINUE, front
        return CONTINUE, np.uint32(0)
    if action == DROP:
        if kind == EMPTY and state.carried[w] != 0:
            state.cells[w, fy, fx] = state.carried[w]
            state.event_kinds[w, 0] = DROPPED
            state.event_cells[w, 0] = state.carried[w]
            state.carried[w] = 0
        return CONTINUE, np.uint32(0)
    # toggle
    if kind == DOOR:
        door = state_of(front)
        base = front & ~np.uint32(OPAQUE | (63 << STATE_SHIFT))
        if door == OPEN:
            after = np.uint32(base | (CLOSED << STATE_SHIFT) | OPAQUE)
            state.event_kinds[w, 0] = CLOSED_IT
        elif door == CLOSED:
            after = np.uint32(base | (OPEN << STATE_SHIFT))
            state.event_kinds[w, 0] = OPENED
        else:
            hands = state.carried[w]
            if kind_of(hands) == KEY and colour_of(hands) == colour_of(front):
                after = np.uint32(base | (OPEN << STATE_SHIFT))
                state.event_kinds[w, 0] = UNLOCKED
                state.event_kinds[w, 1] = OPENED
                state.event_cells[w, 1] = after
            else:
                after = front
                state.event_kinds[w, 0] = FOUND_LOCKED
        state.cells[w, fy, fx] = after
        state.event_cells[w, 0] = after
    elif kind == BOX:
        state.cells[w, fy, fx] = layouts.inside[state.layout[w], number_of(front)]
        state.event_kinds[w, 0] = OPENED
        state.event_cells[w, 0] = front
    elif kind >= FIRST_ITEM:
        mark = (front >> MARK_SHIFT) & 3
        before = state_of(front)
        after = before - 3 * (before // 3 % 3) + 3 * mark
        front = np.uint32((front & ~np.uint32(63 << STATE_SHIFT)) | (after << STATE_SHIFT))
        state.cells[w, fy, fx] = front
        state.event_kinds[w, 0] = EXAMINED
        state.event_cells[w, 0] = front
    return CONTINUE, np.uint32(0)


@jit()
def begin(layouts, rooms, state, w, pad, view):
    """Begin a new episode in a world: draw a layout from the pool, or generate one.

    Args:
        layouts: The engine's layouts (`LayoutArrays`).
        rooms: The settings of generated rooms (`RoomArrays`).
        state: The worlds (`State`).
        w: The world.
        pad: Cells of wall around each world's grid.
        view: Cells a side of a view.
    """
    if rooms.family != NO_ROOMS:
        which = w
        state.random[w] = build_room(rooms, layouts, w, state.random[w])
    else:
        state.random[w], chance = draw(state.random[w])
        which = np.searchsorted(layouts.weight, chance, side="right")
        which = min(which, len(layouts.weight) - 1)
    load(layouts, state, w, which, pad)
    look_first(layouts, state, w, pad, view, state.images[w])
    state.directions[w] = state.pose[w, 2]


@kernel()
def step_range(layouts, rooms, state, actions, active, low, high, pad, view, autoreset):
    """Step the active ones of a range of worlds.

    Args:
        layouts: The engine's layouts (`LayoutArrays`).
        rooms: The settings of generated rooms (`RoomArrays`).
        state: The worlds (`State`).
        actions: The worlds' actions, ``[N] int64``.
        active: Which worlds take a step, ``[N] bool``.
        low: The first world of the range.
        high: The end of the range.
        pad: Cells of wall around each world's grid.
        view: Cells a side of a view.
        autoreset: Begin a new episode where one ends.
    """
    for w in range(low, high):
        if not active[w]:
            continue
        action = actions[w]
        which = state.layout[w]
        rule = layouts.rule[which]
        if rule == MEMORY and action == PICKUP:
            action = TOGGLE
        held = state.carried[w]
        state.steps[w] += 1
        steps, limit = state.steps[w], layouts.max_steps[which]
        verdict, picked = _act(
            layouts, state, w, action, state.pose[w, 0] + pad, state.pose[w, 1] + pad
        )
        x, y, direction = state.pose[w, 0] + pad, state.pose[w, 1] + pad, state.pose[w, 2]
        ended = verdict != CONTINUE
        reward = 1 - 0.9 * (steps / limit) if verdict == SUCCESS else 0.0
        if rule != PLAIN:
            front = state.cells[w, y + step_y(direction), x + step_x(direction)]
            judged = _judge(layouts, state, w, action, rule, x, y, front, picked, held, pad)
            if judged != CONTINUE:
                ended = True
                reward = 0.0
                if judged == SUCCESS:
                    ours = rule in (RIGHT_ITEM, COMMAND, COMMAND_ALONE, IN_ORDER)
                    whole = ours or (rule == INSTRUCTION and layouts.target[which, 0] == 1)
                    reward = 1.0 if whole else 1 - 0.9 * (steps / limit)
        truncated = steps >= limit
        state.rewards[w] = reward
        state.terminated[w] = ended
        state.truncated[w] = truncated
        state.success[w] = ended and reward > 0
        over = ended or truncated
        target = state.last_images[w] if over and autoreset else state.images[w]
        look(
            state.cells,
            w,
            x,
            y,
            direction,
            state.carried[w],
            layouts.see_through[which],
            view,
            target,
        )
        if over and autoreset:
            state.last_directions[w] = direction
            state.last_steps[w] = steps
            begin(layouts, rooms, state, w, pad, view)
        else:
            state.directions[w] = direction


@jit(parallel=True)
def step_parallel(layouts, rooms, state, actions, active, n, chunks, pad, view, autoreset):
    """``step_range`` over all worlds, divided among threads.

    Args:
        layouts: The engine's layouts (`LayoutArrays`).
        rooms: The settings of generated rooms (`RoomArrays`).
        state: The worlds (`State`).
        actions: The worlds' actions, ``[N] int64``.
        active: Which worlds take a step, ``[N] bool``.
        n: The number of worlds.
        chunks: The number of ranges to divide them into.
        pad: Cells of wall around each world's grid.
        view: Cells a side of a view.
        autoreset: Begin a new episode where one ends.
    """
    for c in numba.prange(chunks):
        step_range(
            layouts,
            rooms,
            state,
            actions,
            active,
            n * c // chunks,
            n * (c + 1) // chunks,
            pad,
            view,
            autoreset,
        )


@jit()
def begin_some(layouts, rooms, state, which, pad, view):
    """Begin new episodes in some worlds.

    Args:
        layouts: The engine's layouts (`LayoutArrays`).
        rooms: The settings of generated rooms (`RoomArrays`).
        state: The worlds (`State`).
        which: The worlds, ``[K] int64``.
        pad: Cells of wall around each world's grid.
        view: Cells a side of a view.
    """
    for w in which:
        begin(layouts, rooms, state, w, pad, view)
        state.event_kinds[w, 0] = 0
        state.event_kinds[w, 1] = 0


@jit()
def place_all(layouts, state, which, pad, view):
    """Begin an episode in each world ``w`` from layout ``which[w]``.

    Args:
        layouts: The engine's layouts (`LayoutArrays`).
        state: The worlds (`State`).
        which: The layouts, ``[N] int64``.
        pad: Cells of wall around each world's grid.
        view: Cells a side of a view.
    """
    for w in range(len(which)):
        load(layouts, state, w, which[w], pad)
        look_first(layouts, state, w, pad, view, state.images[w])
        state.directions[w] = state.pose[w, 2]
        state.event_kinds[w, 0] = 0
        state.event_kinds[w, 1] = 0


@kernel()
def look_again(layouts, state, which, pad, view, out):
    """Compute what the agents of some worlds see now.

    That is ``state.images``, except for first views that show the thing in the agent's hands on the
    floor (``look_first``).

    Args:
        layouts: The engine's layouts (`LayoutArrays`).
        state: The worlds (`State`).
        which: The worlds, ``[K] int64``.
        pad: Cells of wall around each world's grid.
        view: Cells a side of a view.
        out: Gets the views, ``[K, view, view, 3] uint8``.
    """
    for k in range(len(which)):
        w = which[k]
        see_through = layouts.see_through[state.layout[w]]
        x, y, direction = state.pose[w, 0] + pad, state.pose[w, 1] + pad, state.pose[w, 2]
        look(state.cells, w, x, y, direction, state.carried[w], see_through, view, out[k])
