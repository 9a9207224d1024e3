"""Places: BabyAI's own descriptions are the second way to find them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
from minigrid.envs.babyai.core.verifier import ObjDesc

from envs import make_worlds
from envs.events import item_of
from envs.items import PLACES
from envs.places import Places, seen_from


@pytest.mark.parametrize(
    ("direction", "cell", "places"),
    [
        (0, (5, 3), {"front"}),
        (0, (5, 4), {"front", "right"}),
        (0, (1, 2), {"behind", "left"}),
        (1, (3, 5), {"front"}),
        (1, (2, 3), {"right"}),
        (2, (2, 4), {"front", "left"}),
        (3, (3, 4), {"behind"}),
        (3, (3, 3), set()),
    ],
)
def test_seen_from_the_middle(direction: int, cell: tuple[int, int], places: set[str]) -> None:
    assert seen_from((3, 3), direction, cell) == places


@pytest.mark.parametrize("level", ["BabyAI-SynthLoc-v0", "BabyAI-PickupLoc-v0"])
def test_as_babyai_describes(level: str) -> None:
    worlds = make_worlds(level, 1)
    seen = 0
    for seed in range(10):
        worlds.reset(0, seed)
        world: Any = worlds.world(0)
        for place in PLACES:
            for kind in ("box", "ball", "key", "door"):
                expected, _ = ObjDesc(kind, None, place).find_matching_objs(world)
                found = [
                    t
                    for t in world.grid.grid
                    if (item := item_of(t))
                    and item.shape == kind
                    and place in worlds.places(0).of(t)
                ]
                assert set(map(id, found)) == set(map(id, expected))
                seen += len(found)
    assert seen > 50


def test_a_thing_keeps_its_place_and_what_came_later_has_none() -> None:
    world: Any = gym.make("BabyAI-PickupLoc-v0").unwrapped
    world.reset(seed=0)
    places = Places(world)
    cell, thing = next(
        ((x, y), t)
        for x in range(8)
        for y in range(8)
        if item_of(t := world.grid.get(x, y)) is not None
    )
    before = places.of(thing)
    world.grid.set(*cell, None)
    world.agent_dir = (world.agent_dir + 2) % 4
    assert before and places.of(thing) == before == places.at(cell)
    assert places.of(type(thing)(thing.color)) == places.of(None) == places.at((0, 0)) == set()
