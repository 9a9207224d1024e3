"""The teacher: what one who knows the rules does with what the Actor itself senses.

Its demonstrations can be imitated, since it knows nothing that the Actor does not know. Where
nothing that it knows fits the command, it goes where there is something new to see; where there
is nothing left to see, it gives up.
"""

from __future__ import annotations

import numba
import numpy as np

from agents.actor.map_memory import (
    ALL_WORDS,
    BESIDE,
    CLOSED_DOOR,
    COUNT,
    DONE,
    DROP,
    EXPLORE,
    FACE,
    FREE,
    FRONT,
    FRONT_MATCH,
    HANDS,
    HANDS_MATCH,
    HERE,
    LAST,
    LAY_DOWN,
    LOCKED_WITH_KEY,
    LOOK,
    MATCH,
    N_FAR,
    N_THINGS,
    NO_WAY,
    NOTHING,
    OPEN_DOOR,
    PICKUP,
    TOGGLE,
    VERB,
    WAY_ACTIONS,
)
from envs.batched.truth import TOLD_EXAMINE, TOLD_GO_TO, TOLD_OPEN, TOLD_PICK_UP

_GENERAL = 4 * N_THINGS


@numba.njit(cache=True)
def _follow(way, here):
    """The first action of a way; ``here`` where one has arrived."""
    return here if way // N_FAR == HERE else WAY_ACTIONS[way // N_FAR]


@numba.njit(cache=True)
def _nearest(seen, column, shift, not_open):
    """The way to the nearest thing all of whose words fit; things are listed nearest first."""
    best, best_far = NO_WAY, 1000
    for k in range(seen[_GENERAL + COUNT]):
        way = seen[4 * k + column]
        if way == NO_WAY or (seen[4 * k + MATCH] >> shift) & 15 != ALL_WORDS:
            continue
        if not_open and seen[4 * k + LOOK] == OPEN_DOOR:
            continue
        far = way % N_FAR
        if far < best_far:
            best, best_far = way, far
    return best


@numba.njit(cache=True)
def teach_one(seen):
    """The teacher's action for one observation ``[OBSERVATION_SIZE] uint8``."""
    verb, last = seen[_GENERAL + VERB], seen[_GENERAL + LAST]
    front, hands = seen[_GENERAL + FRONT], seen[_GENERAL + HANDS]
    is_front = seen[_GENERAL + FRONT_MATCH] & 15 == ALL_WORDS
    is_hands = hands != NOTHING and seen[_GENERAL + HANDS_MATCH] & 15 == ALL_WORDS
    act = -1
    if verb == TOLD_GO_TO:
        if is_front:
            return DONE
    elif verb == TOLD_EXAMINE:
        if is_front:
            return DONE if last == TOGGLE else TOGGLE
    elif verb == TOLD_OPEN:
        if (last == TOGGLE and front < OPEN_DOOR) or (last == TOGGLE and front > LOCKED_WITH_KEY):
            return DONE  # a box, which is gone now
        if is_front:
            if front == OPEN_DOOR:
                if last == TOGGLE:
                    return DONE
                act = TOGGLE
            elif front == CLOSED_DOOR or front == LOCKED_WITH_KEY:
                return TOGGLE
            else:
                # Locked: try once, so that it is found out, then give up.
                return DONE if last == TOGGLE else TOGGLE
        way = _nearest(seen, FACE, 0, True)
        if act == TOGGLE and way == NO_WAY:
            return TOGGLE
        if way != NO_WAY:
            return _follow(way, TOGGLE)
    elif is_hands:
        if verb == TOLD_PICK_UP:
            return DONE
        way = _nearest(seen, BESIDE, 4, False)
        if way != NO_WAY:
            return _follow(way, DROP)
        if seen[_GENERAL + EXPLORE] == NO_WAY:
            return DONE
        return _follow(seen[_GENERAL + EXPLORE], DONE)
    else:
        if verb != TOLD_PICK_UP and last == DROP and is_front:
            return DONE
        known = is_front or _nearest(seen, FACE, 0, False) != NO_WAY
        if hands != NOTHING and known:
            if front == FREE:
                return DROP
            if seen[_GENERAL + LAY_DOWN] != NO_WAY:
                return _follow(seen[_GENERAL + LAY_DOWN], DROP)
        elif is_front:
            return PICKUP
    way = _nearest(seen, FACE, 0, False)
    if way != NO_WAY:
        return _follow(way, DONE)
    if seen[_GENERAL + EXPLORE] != NO_WAY:
        return _follow(seen[_GENERAL + EXPLORE], DONE)
    return DONE


@numba.njit(cache=True)
def teach(seen, actions):
    """The teacher's ``actions [N] int64`` for observations ``[N, OBSERVATION_SIZE] uint8``."""
    for k in range(len(seen)):
        actions[k] = teach_one(seen[k])


def taught(seen: np.ndarray) -> np.ndarray:
    """``teach``, with the actions made anew."""
    actions = np.empty(len(seen), np.int64)
    teach(seen, actions)
    return actions
