"""Gymnasium worlds from Python."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv, VectorEnv

import parley
from envs.batched.vector import EngineVectorEnv


def test_make_is_the_registered_world_with_its_settings() -> None:
    env = parley.make("search", n_items=3, items="held-out", render_mode="rgb_array")
    assert isinstance(env, gym.Env) and env.spec is not None
    assert env.spec.id == "Parley/SecretSearch-v0"
    obs, _ = env.reset(seed=1)
    picture: Any = env.render()
    assert obs["mission"].startswith("Exactly one of the") and picture.ndim == 3
    other = gym.make("Parley/SecretSearch-v0", n_items=3, items="held-out")
    assert other.reset(seed=1)[0]["mission"] == obs["mission"]
    baby: Any = parley.make("BabyAI-GoToLocal-v0").unwrapped
    assert baby.spec.id == "BabyAI-GoToLocal-v0"


@pytest.mark.parametrize(
    ("task", "settings", "kind"),
    [
        ("conditional", {"n_items": 3, "room_size": 6, "items": "held-out"}, EngineVectorEnv),
        ("Parley/SecretSearch-v0", {"distractors": 1}, EngineVectorEnv),
        ("visual-conditional", {"conditions": "wall"}, EngineVectorEnv),
        ("command", {"verbs": ["go to"]}, EngineVectorEnv),
        # The engine has no phrasings, and none of BabyAI's missions.
        ("search", {"phrasings": ["plain"]}, SyncVectorEnv),
        ("BabyAI-GoToLocal-v0", {}, SyncVectorEnv),
        ("composition", {}, SyncVectorEnv),
    ],
)
def test_what_steps_many_worlds_is_what_can(
    task: str, settings: dict[str, Any], kind: type[VectorEnv]
) -> None:
    env = parley.make_vec(task, 3, **settings)
    assert type(env) is kind and env.num_envs == 3
    one = parley.make(task, **settings)
    obs, _ = env.reset(seed=0)
    alone, _ = one.reset(seed=0)
    assert obs["image"].shape == (3, *alone["image"].shape)
    assert isinstance(obs["mission"], tuple) and len(obs["mission"]) == 3
    assert len({m.split()[0] for m in (*obs["mission"], alone["mission"])}) <= 3
    assert len(set(obs["mission"])) > 1
    _, rewards, *_ = env.step(np.zeros(3, np.int64))
    assert rewards.shape == (3,)


def ends(env: VectorEnv) -> dict[str, Any]:
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(400):
        *_, terminated, truncated, infos = env.step(rng.integers(0, 7, 2))
        if (terminated | truncated).any():
            return infos
    raise AssertionError("no episode has ended")


@pytest.mark.parametrize("stepper", ["engine", "gymnasium"])
def test_both_tell_alike_how_an_episode_ended(stepper: Any) -> None:
    infos = ends(parley.make_vec("search", 2, stepper=stepper, n_items=2, room_size=6))
    assert infos["_final_info"].any()
    success = infos["final_info"]["success"]
    assert success.shape == (2,)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"task": "serch"}, "unknown task 'serch'; did you mean 'search'"),
        ({"n_itms": 3}, "takes no setting n_itms; did you mean 'n_items'"),
        ({"n_items": 99}, "n_items"),
        ({"n": 0}, "number of worlds must be at least 1, not 0"),
        ({"stepper": "engin"}, "unknown stepper 'engin'; did you mean 'engine'"),
        ({"task": "composition", "stepper": "engine"}, "the engine does not generate the rooms"),
    ],
)
def test_bad_input_is_one_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(parley.BadInput) as problem:
        parley.make_vec(**{"task": "search", **given})
    assert sentence in str(problem.value) and "\n" not in str(problem.value)
