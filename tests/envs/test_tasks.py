"""Tasks by name, and what is told when there is no such task or setting."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
from minigrid.envs import EmptyEnv

from envs import TASKS, make_worlds
from envs.errors import BadInput


@pytest.mark.parametrize("task", [*TASKS, "MiniGrid-DoorKey-5x5-v0", "BabyAI-GoToLocal-v0"])
def test_makes_worlds_that_differ(task: str) -> None:
    worlds = make_worlds(task, 3)
    assert len(worlds) == 3
    for i in range(3):
        worlds.reset(i, seed=i)
        assert worlds.tasks[i]
    assert len({str(image.tolist()) for image in worlds.images}) > 1
    if task in TASKS:
        assert worlds.world(0).spec.id == TASKS[task]


def test_settings_reach_the_world() -> None:
    worlds = make_worlds("search", 2, n_items=3, distractors=2, room_size=11, items="held-out")
    worlds.reset(1, seed=0)
    world = worlds.world(1)
    assert world.width == 11 and len(world.things) == 5
    assert make_worlds("BabyAI-GoToLocal-v0", 1, room_size=6).world(0).width == 6


@pytest.mark.parametrize(
    ("task", "settings", "told"),
    [
        ("condtional", {}, "unknown task 'condtional'; did you mean 'conditional'"),
        ("Conditional", {}, "did you mean 'conditional'"),
        ("Parley/SecretSerch-v0", {}, "did you mean 'Parley/SecretSearch-v0'"),
        ("babyai-gotolocal", {}, "did you mean 'BabyAI-GoToLocal-v0'"),
        (
            "zzz",
            {},
            "known: conditional, search, .*, command, instruction, playground, babyai-mixed",
        ),
        ("", {}, "unknown task ''"),
        ("CartPole-v1", {}, "'CartPole-v1' is registered, but it is no MiniGrid world"),
        ("Ant-v5", {}, "no MiniGrid world|cannot be made"),
        ("GymV26Environment-v0", {}, "no MiniGrid world|cannot be made"),
        ("no_such_module:X-v0", {}, "the module of task .* cannot be imported"),
        ("conditional", {"nitems": 3}, "takes no setting nitems; did you mean 'n_items'"),
        ("conditional", {"zz": 1, "yy": 2}, "takes no setting zz, yy; it takes .*n_items"),
        ("BabyAI-GoToLocal-v0", {"n_items": 3}, "takes no setting n_items"),
        ("BabyAI-GoToLocal-v0", {"room_size": "x"}, "cannot be made with room_size='x'"),
        ("conditional", {"n_items": "x"}, "n_items must be a whole number"),
        ("conditional", {"width": 3}, "cannot be made with width=3"),
        ("visual-conditional", {"conditions": ("walls",)}, "did you mean 'wall'"),
    ],
)
def test_bad_input_is_told_in_one_line(task: str, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told) as error:
        make_worlds(task, 1, **settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("n", [0, -1, 1.5, "2"])
def test_the_number_of_worlds(n: Any) -> None:
    with pytest.raises(BadInput, match="number of worlds must be"):
        make_worlds("search", n)


def test_a_users_own_world_by_class_or_function() -> None:
    gym.register("Own/ByFunction-v0", entry_point=lambda **settings: EmptyEnv(**settings))
    gym.register("Own/NoWorld-v0", entry_point=lambda: gym.make("CartPole-v1").unwrapped)
    try:
        assert make_worlds("Own/ByFunction-v0", 1, size=6).world(0).width == 6
        with pytest.raises(BadInput, match="no MiniGrid world"):
            make_worlds("Own/NoWorld-v0", 1)
        assert make_worlds("envs:Parley/SecretSearch-v0", 1).world(0).width == 8
    finally:
        for name in ("Own/ByFunction-v0", "Own/NoWorld-v0"):
            del gym.registry[name]
