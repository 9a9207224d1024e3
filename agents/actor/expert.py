"""The expert: a rule-based policy over the Actor's own observations.

It uses nothing that the Actor does not observe, so the Actor can imitate it. Where no item on the
map fits the command, it explores; where nothing is left to explore, it gives up with ``done``.
"""

from __future__ import annotations

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
    FIRST_ACTIONS,
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
    NO_PATH,
    NOTHING,
    OPEN_DOOR,
    PICKUP,
    TOGGLE,
    VERB,
)
from envs.batched.compiled import jit
from envs.batched.truth import VERB_EXAMINE, VERB_GO_TO, VERB_OPEN, VERB_PICK_UP

_GENERAL = 4 * N_THINGS


@jit()
def _follow(path, here):
    """The first action of a path; ``here`` where the agent has arrived."""
    return here if path // N_FAR == HERE else FIRST_ACTIONS[path // N_FAR]


@jit()
def _nearest(observation, column, shift, not_open):
    """The path to the nearest thing that matches all words of a name.

    Args:
        observation: ``[OBSERVATION_SIZE] uint8``.
        column: Which of a thing's paths: ``FACE`` or ``BESIDE``.
        shift: Whose name: 0 for the command's item, 4 for its target.
        not_open: Whether open doors are left out.
    """
    best, best_far = NO_PATH, 1000
    for k in range(observation[_GENERAL + COUNT]):
        path = observation[4 * k + column]
        if path == NO_PATH or (observation[4 * k + MATCH] >> shift) & 15 != ALL_WORDS:
            continue
        if not_open and observation[4 * k + LOOK] == OPEN_DOOR:
            continue
        far = path % N_FAR
        if far < best_far:
            best, best_far = path, far
    return best


@jit()
def expert_action(observation):
    """The expert's action for one observation ``[OBSERVATION_SIZE] uint8``."""
    verb, last = observation[_GENERAL + VERB], observation[_GENERAL + LAST]
    front, hands = observation[_GENERAL + FRONT], observation[_GENERAL + HANDS]
    is_front = observation[_GENERAL + FRONT_MATCH] & 15 == ALL_WORDS
    is_hands = hands != NOTHING and observation[_GENERAL + HANDS_MATCH] & 15 == ALL_WORDS
    act = -1
    if verb == VERB_GO_TO:
        if is_front:
            return DONE
    elif verb == VERB_EXAMINE:
        if is_front:
            return DONE if last == TOGGLE else TOGGLE
    elif verb == VERB_OPEN:
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
                # Locked: try once, so that the report says so, then give up.
                return DONE if last == TOGGLE else TOGGLE
        path = _nearest(observation, FACE, 0, True)
        if act == TOGGLE and path == NO_PATH:
            return TOGGLE
        if path != NO_PATH:
            return _follow(path, TOGGLE)
    elif is_hands:
        if verb == VERB_PICK_UP:
            return DONE
        path = _nearest(observation, BESIDE, 4, False)
        if path != NO_PATH:
            return _follow(path, DROP)
        if observation[_GENERAL + EXPLORE] == NO_PATH:
            return DONE
        return _follow(observation[_GENERAL + EXPLORE], DONE)
    else:
        if verb != VERB_PICK_UP and last == DROP and is_front:
            return DONE
        on_map = is_front or _nearest(observation, FACE, 0, False) != NO_PATH
        if hands != NOTHING and on_map:
            if front == FREE:
                return DROP
            if observation[_GENERAL + LAY_DOWN] != NO_PATH:
                return _follow(observation[_GENERAL + LAY_DOWN], DROP)
        elif is_front:
            return PICKUP
    path = _nearest(observation, FACE, 0, False)
    if path != NO_PATH:
        return _follow(path, DONE)
    if observation[_GENERAL + EXPLORE] != NO_PATH:
        return _follow(observation[_GENERAL + EXPLORE], DONE)
    return DONE


@jit()
def fill_expert_actions(observations, actions):
    """Write the expert's actions for observations ``[N, OBSERVATION_SIZE] uint8`` to ``actions
    [N] int64``."""
    for k in range(len(observations)):
        actions[k] = expert_action(observations[k])


def expert_actions(observations: np.ndarray) -> np.ndarray:
    """The expert's actions ``[N] int64`` for observations ``[N, OBSERVATION_SIZE] uint8``."""
    actions = np.empty(len(observations), np.int64)
    fill_expert_actions(observations, actions)
    return actions
