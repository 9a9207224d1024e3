"""Every episode can be solved: the oracle and the scripted Actor do, whatever the settings.

``PARLEY_SOLVABLE=40`` plays 40 times as many seeds.
"""

from __future__ import annotations

import os
from itertools import product

import pytest

from envs import make_worlds
from tests.envs.play import play_oracle

TIMES = int(os.environ.get("PARLEY_SOLVABLE", "1"))
CELLS = {
    "conditional": product((3, 6, 10), (6, 8, 16)),
    "search": product((2, 5, 10), (6, 8, 16)),
    "visual-conditional": product((3, 6, 10), (6, 8, 16)),
    "composition": product((5, 10), (6, 8, 16)),
    "command": product((3, 6, 10), (6, 8, 16)),
}
EPISODES = {6: 30, 8: 24, 16: 10}


@pytest.mark.parametrize(
    ("task", "n_items", "room_size"), [(t, n, s) for t, cells in CELLS.items() for n, s in cells]
)
def test_every_episode_is_solved(task: str, n_items: int, room_size: int) -> None:
    settings = {"verbs": ("go to", "examine", "pick up")} if task == "command" else {}
    worlds = make_worlds(task, 1, n_items=n_items, room_size=room_size, items="all", **settings)
    for seed in range(EPISODES[room_size] * TIMES):
        play_oracle(worlds, seed)
        assert worlds.success[0], (seed, worlds.tasks[0], str(worlds.world(0)))


@pytest.mark.parametrize("room_size", range(6, 17))
def test_every_room_size(room_size: int) -> None:
    worlds = make_worlds("visual-conditional", 1, n_items=7, room_size=room_size)
    for seed in range(5 * TIMES):
        play_oracle(worlds, seed)
        assert worlds.success[0], seed


def test_the_steps_that_are_allowed_are_enough_with_room_to_spare() -> None:
    worlds = make_worlds("search", 1, n_items=10, room_size=16)
    world = worlds.world(0)
    for seed in range(15 * TIMES):
        play_oracle(worlds, seed)
        assert worlds.steps[0] < world.max_steps / 2
