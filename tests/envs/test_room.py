"""The room: its limits, its layouts, what is seen, and what is left of an item picked up."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
from minigrid.core.actions import Actions as A
from minigrid.core.world_object import Floor

from envs.conditional import SecretConditional, VisualConditional
from envs.errors import BadInput
from envs.items import HELD_OUT_ITEMS, TRAIN_ITEMS
from envs.objects import ItemObject
from envs.room import RoomEnv, join, neighbours
from envs.search import SecretSearch


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"n_items": 2}, "n_items must be between 3 and 10, not 2"),
        ({"n_items": 11}, "n_items must be between 3 and 10, not 11"),
        ({"n_items": 0}, "n_items must be"),
        ({"n_items": "x"}, "n_items must be a whole number between 3 and 10, not 'x'"),
        ({"room_size": 5}, "room_size must be between 6 and 16, not 5"),
        ({"room_size": 7.5}, "room_size must be a whole number between 6 and 16, not 7.5"),
        ({"max_steps": 0}, "max_steps must be at least 1, not 0"),
        ({"max_steps": -5}, "max_steps must be at least 1, not -5"),
        ({"items": "heldout"}, "unknown item set 'heldout'; did you mean 'held-out'"),
        ({"show_marks": "no"}, "show_marks must be True or False"),
    ],
)
def test_bad_settings_are_told(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        SecretConditional(**wrong)


@pytest.mark.parametrize(("name", "known"), [("train", TRAIN_ITEMS), ("held-out", HELD_OUT_ITEMS)])
def test_items_come_from_their_set_only(name: str, known: tuple) -> None:
    env = SecretConditional(items=name, n_items=10)
    seen = set()
    for seed in range(60):
        env.reset(seed=seed)
        lying = {t.item for t in env.things}
        assert len(lying) == 10
        seen |= lying
    assert seen <= set(known) and len(seen) > 0.9 * len(known)


def walked(env: RoomEnv) -> set[tuple[int, int]]:
    """The cells that the agent can stand on, found by flood fill of the grid itself."""
    todo, seen = [tuple(map(int, env.agent_pos))], set()
    while todo:
        cell = todo.pop()
        thing = env.grid.get(*cell)
        if cell in seen or not (thing is None or thing.can_overlap()):
            continue
        seen.add(cell)
        todo += neighbours(cell)
    return seen


@pytest.mark.parametrize("room_size", [6, 7, 8, 16])
@pytest.mark.parametrize("n_items", [3, 10])
def test_layouts(room_size: int, n_items: int) -> None:
    env = VisualConditional(n_items=n_items, room_size=room_size)
    complete = 0
    for seed in range(40):
        env.reset(seed=seed)
        lying = {
            (x, y): env.grid.get(x, y)
            for x in range(room_size)
            for y in range(room_size)
            if isinstance(env.grid.get(x, y), ItemObject)
        }
        assert sorted(str(t.item) for t in lying.values()) == sorted(
            str(t.item) for t in env.things
        )
        assert env.grid.get(*env.agent_pos) is None
        standable = walked(env)
        reachable = {t.item for c, t in lying.items() if standable & {*neighbours(c)}}
        assert reachable == env.reachable
        assert env._needed() <= reachable
        complete += len(reachable) == n_items
    assert complete == 40 or (room_size == 6 and n_items == 10)


def test_all_of_the_room_and_all_directions_are_used() -> None:
    env = SecretConditional(n_items=4, room_size=6)
    agents, things, directions = set(), set(), set()
    for seed in range(200):
        env.reset(seed=seed)
        agents.add(tuple(map(int, env.agent_pos)))
        directions.add(env.agent_dir)
        things |= {t.cur_pos for t in env.things}
    assert len(agents) == len(things) == 16 and len(directions) == 4


def stand_before(env: RoomEnv, thing: ItemObject) -> None:
    """Put the agent in front of a thing, by hand."""
    x, y = thing.cur_pos
    for direction, (dx, dy) in enumerate(((1, 0), (0, 1), (-1, 0), (0, -1))):
        behind = env.grid.get(x - dx, y - dy)
        if behind is None or isinstance(behind, Floor):
            env.agent_pos, env.agent_dir = (x - dx, y - dy), direction
            return
    raise AssertionError("nowhere to stand")


def test_the_floor_stays_when_the_item_is_picked_up() -> None:
    env = VisualConditional(conditions=("floor",), room_size=10)
    for seed in range(10):
        env.reset(seed=seed)
        thing = env.things[1]
        floor, cell = thing.floor, thing.cur_pos
        assert floor is not None and floor != thing.item.colour
        stand_before(env, thing)
        obs, *_ = env.step(A.pickup)
        left = env.grid.get(*cell)
        assert isinstance(left, Floor) and left.color == floor
        assert thing.floor is None, "the floor must not travel with the item"
        # What is seen is what is there: the carried item where the agent is, the floor ahead.
        assert tuple(obs["image"][3, 6]) == thing.encode()
        assert tuple(obs["image"][3, 5]) == left.encode()


def test_sees_what_is_in_the_view_and_nothing_behind() -> None:
    env = SecretConditional(n_items=3, room_size=16)
    for seed in range(20):
        obs, _ = env.reset(seed=seed)
        codes = {tuple(c) for row in obs["image"].tolist() for c in row}
        for thing in env.things:
            # Items are distinct, so one is in view exactly if its code is in the image.
            assert env.agent_sees(*thing.cur_pos) == (thing.encode() in codes)


@pytest.mark.parametrize("env_class", [SecretConditional, SecretSearch, VisualConditional])
def test_reward_is_success_and_ends_the_episode(env_class: type[RoomEnv]) -> None:
    outcomes = set()
    for seed in range(30):
        env = env_class(n_items=4)
        env.reset(seed=seed)
        thing = env.things[seed % 4]
        stand_before(env, thing)
        _, reward, terminated, truncated, info = env.step(A.pickup)
        assert terminated and not truncated
        right = env.good if isinstance(env, SecretSearch) else env.right
        assert info["success"] is (thing.item == right) and reward == float(info["success"])
        assert [(e.kind, e.item) for e in info["events"]] == [("picked up", thing.item)]
        outcomes.add(info["success"])
        _, again = env.reset(seed=seed)
        assert again["success"] is False
    assert outcomes == {True, False}


def test_vector_environments_work() -> None:
    envs = gym.make_vec("Parley/SecretSearch-v0", num_envs=3, vectorization_mode="sync")
    obs, _ = envs.reset(seed=0)
    assert obs["image"].shape == (3, 7, 7, 3) and len(set(obs["mission"])) == 3
    envs.step(envs.action_space.sample())


def test_join() -> None:
    a, b, c = TRAIN_ITEMS[:3]
    assert join([a]) == f"the {a}"
    assert join([a, b], "or") == f"the {a} or the {b}"
    assert join([a, b, c]) == f"the {a}, the {b} and the {c}"


@pytest.mark.parametrize(
    ("room_size", "n_items", "max_steps"), [(6, 3, 216), (8, 4, 384), (16, 10, 1664)]
)
def test_the_step_limit_grows_with_the_room_and_its_items(
    room_size: int, n_items: int, max_steps: int
) -> None:
    assert SecretSearch(n_items=n_items, room_size=room_size).max_steps == max_steps
