"""What must hold for every registered environment of ours."""

from __future__ import annotations

import subprocess
import sys
import warnings

import gymnasium as gym
import minigrid.wrappers as wrappers
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import envs
from envs import TASKS
from envs.room import RoomEnv

IDS = sorted(i for i in gym.registry if i.startswith("Parley/"))


def trajectory(env: gym.Env, seed: int, steps: int = 40) -> list[np.ndarray]:
    obs, _ = env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    seen = [obs]
    for _ in range(steps):
        obs, reward, terminated, truncated, info = env.step(int(rng.integers(7)))
        seen.append((obs, reward, terminated, truncated, info))
        if terminated or truncated:
            obs, _ = env.reset()
            seen.append(obs)
    return seen


def same(a: object, b: object) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(np.array_equal(a, b))


def test_the_short_names_are_the_registered_ids() -> None:
    assert sorted(TASKS.values()) == IDS


@pytest.mark.parametrize("env_id", IDS)
def test_the_docstring_has_the_headings(env_id: str) -> None:
    doc = type(gym.make(env_id).unwrapped).__doc__
    assert [line.strip(" #") for line in doc.splitlines() if "##" in line] == [
        "Description",
        "Mission space",
        "Action space",
        "Observation",
        "Rewards",
        "Termination",
        "Registered ids",
    ]
    assert f"`{env_id}`" in doc.partition("Registered ids")[2]


@pytest.mark.parametrize("env_id", IDS)
def test_gymnasiums_checker_has_nothing_to_say(env_id: str) -> None:
    # The render check opens a window for "human" mode; rgb_array is tested below.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make(env_id, disable_env_checker=True).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("env_id", IDS)
def test_stable_baselines3s_checker_has_nothing_to_say(env_id: str) -> None:
    """As pixels: SB3 takes no text in an observation, nor any image below 36x36 for its CNN.

    So the check goes through MiniGrid's own wrappers, as for every MiniGrid environment.
    """
    env = wrappers.RGBImgPartialObsWrapper(gym.make(env_id), tile_size=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sb3_check_env(wrappers.ImgObsWrapper(env), warn=True)


@pytest.mark.parametrize("env_id", IDS)
def test_renders(env_id: str) -> None:
    env = gym.make(env_id, render_mode="rgb_array")
    env.reset(seed=0)
    frame = env.render()
    assert isinstance(frame, np.ndarray) and frame.dtype == np.uint8
    width = env.unwrapped.width
    assert width == (15 if "BabyAI" in env_id else 8)
    assert frame.shape == (8 * 32, width * 32, 3) and len(np.unique(frame)) > 8


WRAPPERS = {
    "RGBImgPartialObs": lambda e: wrappers.RGBImgPartialObsWrapper(e, tile_size=8),
    "RGBImgObs": wrappers.RGBImgObsWrapper,
    "FullyObs": wrappers.FullyObsWrapper,
    "OneHotPartialObs": wrappers.OneHotPartialObsWrapper,
    "ImgObs": wrappers.ImgObsWrapper,
    "RGB and ImgObs": lambda e: wrappers.ImgObsWrapper(wrappers.RGBImgObsWrapper(e)),
    "SymbolicObs": wrappers.SymbolicObsWrapper,
    "ViewSize": lambda e: wrappers.ViewSizeWrapper(e, agent_view_size=5),
    "Reseed": lambda e: wrappers.ReseedWrapper(e, seeds=(3, 4)),
    "ActionBonus": wrappers.ActionBonus,
    "PositionBonus": wrappers.PositionBonus,
    "StochasticAction": wrappers.StochasticActionWrapper,
    "NoDeath": lambda e: wrappers.NoDeath(e, no_death_types=("lava",)),
    "FlattenObservation": lambda e: gym.wrappers.FlattenObservation(wrappers.ImgObsWrapper(e)),
}


@pytest.mark.filterwarnings("ignore:.*ReseedWrapper")
@pytest.mark.parametrize("name", WRAPPERS)
@pytest.mark.parametrize("env_id", IDS)
def test_minigrids_wrappers_work(env_id: str, name: str) -> None:
    env = WRAPPERS[name](gym.make(env_id))
    obs, _ = env.reset(seed=5)
    rng = np.random.default_rng(5)
    for _ in range(30):
        assert env.observation_space.contains(obs)
        obs, _, terminated, truncated, info = env.step(int(rng.integers(7)))
        assert {"events", "success"} <= info.keys()
        if terminated or truncated:
            obs, _ = env.reset()


def test_flat_obs_takes_sentences_of_letters_spaces_and_commas_only() -> None:
    """MiniGrid's FlatObsWrapper has no full stop and 96 places: it fits commands, no more."""
    env = wrappers.FlatObsWrapper(gym.make("Parley/Command-v0"))
    obs, _ = env.reset(seed=0)
    assert env.observation_space.contains(obs)
    with pytest.raises((AssertionError, ValueError)):
        wrappers.FlatObsWrapper(gym.make("Parley/SecretConditional-v0")).reset(seed=0)


def test_one_hot_tells_every_state_apart() -> None:
    env = wrappers.OneHotPartialObsWrapper(gym.make("Parley/VisualConditional-v0"))
    for seed in range(10):
        obs, _ = env.reset(seed=seed)
        # Type, colour and state each set exactly one bit of a cell.
        assert (obs["image"].sum(-1) == 3).all()


@pytest.mark.parametrize("env_id", IDS)
def test_one_seed_one_trajectory(env_id: str) -> None:
    a, b = gym.make(env_id), gym.make(env_id)
    b.reset(seed=99)  # what was before a seeded reset leaves no trace
    assert same(trajectory(a, 7), trajectory(b, 7))
    starts = [str(trajectory(a, s, 0)[0]["image"].tolist()) for s in range(10)]
    assert len(set(starts)) == 10


@pytest.mark.parametrize("env_id", IDS)
def test_the_mission_before_reset_is_a_sentence(env_id: str) -> None:
    env = gym.make(env_id)
    assert isinstance(env.unwrapped.mission, str) and env.unwrapped.mission
    obs, _ = env.reset(seed=1)
    assert obs["mission"] == env.unwrapped.mission


@pytest.mark.parametrize("env_id", IDS)
def test_info_of_reset_and_step(env_id: str) -> None:
    env = gym.make(env_id)
    _, info = env.reset(seed=1)
    assert info["events"] == () and info["success"] is False
    _, reward, _, _, info = env.step(0)
    assert info["events"] == () and info["success"] is False and reward == 0


@pytest.mark.parametrize("env_id", [i for i in IDS if "BabyAI" not in i])
def test_shows_as_text(env_id: str) -> None:
    env = gym.make(env_id).unwrapped
    assert isinstance(env, RoomEnv)
    env.reset(seed=2)
    rows = str(env.pprint_grid()).split("\n")
    assert len(rows) == 8 and {len(r) for r in rows} == {16}
    free = sum(r[k : k + 2] == "  " for r in rows for k in range(0, 16, 2))
    floors = sum(t.type == "floor" for t in env.grid.grid if t is not None)
    assert free + floors == 36 - len(env.things) - 1


def test_ends_by_itself_after_max_steps() -> None:
    for env_id in IDS:
        env = gym.make(env_id, max_steps=5)
        env.reset(seed=0)
        ended = [env.step(0)[3] for _ in range(5)]
        assert ended == [False] * 4 + [True]


def test_importing_and_playing_prints_nothing() -> None:
    code = (
        "import envs\n"
        "for task in (*envs.TASKS, 'BabyAI-SynthLoc-v0', 'BabyAI-BossLevel-v0'):\n"
        "    worlds = envs.make_worlds(task, 1)\n"
        "    for seed in range(3): worlds.reset(0, seed)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "" and done.stderr == ""
    assert envs.__all__
