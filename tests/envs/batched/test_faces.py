"""The engine's faces: gymnasium's vectors and Stable-Baselines3's, each beside its own kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from minigrid.wrappers import RGBImgPartialObsWrapper
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecCheckNan, VecMonitor

from envs.batched import Engine, Pool, Rooms
from envs.batched.sb3 import EngineVecEnv
from envs.batched.vector import EngineVectorEnv
from envs.errors import BadInput

LEVEL = "BabyAI-GoToObjS4-v0"  # a level whose episodes are soon over, either way
N = 5


class Given(gym.Wrapper):
    """A MiniGrid world that begins its episodes with the seeds that it is given, one by one."""

    def __init__(self, seeds: Sequence[int]) -> None:
        super().__init__(gym.make(LEVEL))
        self.seeds = iter(seeds)

    def reset(self, **_: Any) -> Any:
        return self.env.reset(seed=next(self.seeds))


def layouts_drawn(pool: Pool, actions: np.ndarray, seed: int) -> list[list[int]]:
    """Which layout each of the worlds drew at its first, second, ... reset."""
    engine = Engine(pool, N)
    engine.reset(seed)
    drawn = [[k] for k in engine.state.layout.tolist()]
    for row in actions:
        engine.step(row)
        for i in np.flatnonzero(engine.terminated | engine.truncated):
            drawn[i].append(int(engine.state.layout[i]))
    return drawn


def test_a_run_is_that_of_gymnasiums_own_vector_of_minigrid() -> None:
    """All that five values of ``step`` hold, step by step, but for the success that we add."""
    pool = Pool.draw(LEVEL, 12)  # layout i has the seed i
    actions = np.random.default_rng(5).integers(3, size=(400, N))
    seeds = layouts_drawn(pool, actions, seed=3)
    theirs = SyncVectorEnv(
        [lambda s=s: Given(s) for s in seeds], autoreset_mode=AutoresetMode.SAME_STEP
    )
    ours = EngineVectorEnv(Engine(pool, N))
    seen, infos = ours.reset(seed=3)
    same, other = theirs.reset()
    assert data_equivalence(dict(sorted(seen.items())), dict(sorted(same.items())))
    assert infos == other == {}
    ended = {"terminated": 0, "truncated": 0}
    for row in actions:
        seen, *outcome, infos = ours.step(row)
        same, *expected, other = theirs.step(row)
        assert data_equivalence(dict(sorted(seen.items())), dict(sorted(same.items())))
        for mine, his in zip(outcome, expected, strict=True):
            assert mine.dtype == his.dtype and np.allclose(mine, his, rtol=1e-12)
        over = expected[1] | expected[2]
        assert infos.keys() == other.keys()
        if over.any():
            ended["terminated"] += int(expected[1].sum())
            ended["truncated"] += int(expected[2].sum())
            assert (infos["_final_obs"] == other["_final_obs"]).all()
            assert (infos["_final_info"] == other["_final_info"]).all()
            for i in np.flatnonzero(over):
                assert infos["final_obs"][i]["mission"] == other["final_obs"][i]["mission"]
                assert infos["final_obs"][i]["direction"] == other["final_obs"][i]["direction"]
                assert (infos["final_obs"][i]["image"] == other["final_obs"][i]["image"]).all()
                assert infos["final_info"]["success"][i] == (expected[0][i] > 0)
    assert min(ended.values()) > 5
    theirs.close()


def test_pictures_are_those_of_minigrids_own_wrapper() -> None:
    pool = Pool.draw(LEVEL, 1)
    env = EngineVectorEnv(Engine(pool, 2), rgb=8)
    theirs = RGBImgPartialObsWrapper(gym.make(LEVEL), tile_size=8)
    seen, _ = env.reset(seed=0)
    same, _ = theirs.reset(seed=0)
    ends = 0
    for action in np.random.default_rng(1).integers(3, size=200).tolist():
        assert (seen["image"] == same["image"]).all()
        assert seen in env.observation_space
        seen, *_, infos = env.step(np.full(2, action))
        same, _, terminated, truncated, _ = theirs.step(action)
        if terminated or truncated:
            assert (infos["final_obs"][1]["image"] == same["image"]).all()
            same, _ = theirs.reset(seed=0)
            ends += 1
    assert ends > 1


@pytest.mark.parametrize("source", ["pool", "rooms"])
def test_observations_lie_in_the_spaces(source: str) -> None:
    made = Pool.draw(LEVEL, 3) if source == "pool" else Rooms("conditional")
    env = EngineVectorEnv(Engine(made, N, view=5))
    env.action_space.seed(1)
    seen, _ = env.reset(seed=1)
    for _ in range(30):
        assert seen in env.observation_space
        one = {"image": seen["image"][0], "direction": int(seen["direction"][0])}
        assert {**one, "mission": seen["mission"][0]} in env.single_observation_space
        assert all(seen["mission"])
        seen, *_ = env.step(env.action_space.sample())
    assert env.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    env.close()


def test_one_seed_one_run() -> None:
    def run() -> list[Any]:
        env = EngineVectorEnv(Engine(Rooms("search"), 3))
        env.reset(seed=8)
        env.action_space.seed(8)
        return [env.step(env.action_space.sample())[:4] for _ in range(50)]

    assert data_equivalence(run(), run())


def test_copies_stay_and_views_do_not() -> None:
    pool = Pool.draw(LEVEL, 4)
    turn = np.zeros(N, np.int64)
    for copy in (True, False):
        env = EngineVectorEnv(Engine(pool, N), copy=copy)
        first, _ = env.reset(seed=0)
        before = first["image"].copy()
        second, *_ = env.step(turn)
        assert (first["image"] == before).all() == copy
        assert np.shares_memory(second["image"], env.engine.images) != copy


def test_only_the_masked_worlds_begin_anew() -> None:
    env = EngineVectorEnv(Engine(Pool.draw(LEVEL, 30), N), missions=False)
    env.reset(seed=0)
    env.step(np.zeros(N, np.int64))
    mask = np.array([True, False, False, True, False])
    seen, _ = env.reset(options={"reset_mask": mask})
    assert env.engine.steps.tolist() == [0, 1, 1, 0, 1]
    assert seen.keys() == {"image", "direction"} and seen in env.observation_space
    for wrong in (mask[:3], mask.astype(int), np.zeros(N, bool)):
        with pytest.raises(BadInput, match="reset_mask"):
            env.reset(options={"reset_mask": wrong})


def test_gymnasiums_own_wrapper_counts_the_episodes() -> None:
    engine = Engine(Pool.draw("MiniGrid-Empty-5x5-v0", 1), N)
    env = RecordEpisodeStatistics(EngineVectorEnv(engine))
    env.reset(seed=0)
    path = [2, 2, 1, 2, 2]  # down the side and along the floor, to the goal
    for action in path:
        *_, infos = env.step(np.full(N, action))
    reward = 1 - 0.9 * len(path) / 100
    told = infos.get("episode") or infos["final_info"]["episode"]
    assert np.allclose(told["r"], reward) and (told["l"] == len(path)).all()


def test_an_engine_must_reset_by_itself_and_be_reset_first() -> None:
    pool = Pool.draw(LEVEL, 1)
    for face in (EngineVectorEnv, EngineVecEnv):
        with pytest.raises(BadInput, match="autoreset"):
            face(Engine(pool, N, autoreset=False))
    with pytest.raises(gym.error.ResetNeeded):
        EngineVectorEnv(Engine(pool, N)).step(np.zeros(N, np.int64))


def test_stable_baselines_own_vector_of_minigrid_says_the_same() -> None:
    pool = Pool.draw(LEVEL, 12)
    actions = np.random.default_rng(6).integers(3, size=(400, N))
    seeds = layouts_drawn(pool, actions, seed=2)

    def plain(s: list[int]) -> gym.Env:
        class Image(gym.ObservationWrapper):
            def __init__(self) -> None:
                super().__init__(Given(s))
                self.observation_space = self.env.observation_space["image"]

            def observation(self, observation: Any) -> Any:
                return observation["image"]

        return Image()

    theirs = VecMonitor(DummyVecEnv([lambda s=s: plain(s) for s in seeds]))
    ours = EngineVecEnv(Engine(pool, N), directions=False)
    ours.seed(2)
    assert (ours.reset() == theirs.reset()).all()
    ended = set()
    for row in actions:
        seen, rewards, over, infos = ours.step(row)
        same, expected, dones, other = theirs.step(row)
        assert (seen == same).all() and (over == dones).all()
        assert rewards.dtype == np.float32 and np.allclose(rewards, expected)
        for mine, his in zip(infos, other, strict=True):
            if "episode" not in his:
                assert mine == {}
                continue
            assert (mine["terminal_observation"] == his["terminal_observation"]).all()
            assert mine["TimeLimit.truncated"] == his["TimeLimit.truncated"]
            assert mine["episode"]["r"] == pytest.approx(his["episode"]["r"], abs=1e-6)
            assert mine["episode"]["l"] == his["episode"]["l"]
            ended.add((mine["TimeLimit.truncated"], mine["is_success"]))
    assert ended == {(True, False), (False, True)}


def test_what_goes_into_the_buffer_is_what_was_seen() -> None:
    """Stable-Baselines3 stores an observation after the next step; views would have changed."""
    env = EngineVecEnv(Engine(Rooms("command"), N, seed=1))
    model = PPO("MultiInputPolicy", env, n_steps=16, batch_size=40, n_epochs=1, device="cpu")
    model.learn(16 * N)
    stored = model.rollout_buffer.observations["image"].reshape(N, 16, 7, 7, 3).swapaxes(0, 1)
    assert stored.shape == (16, N, 7, 7, 3)
    again = Engine(Rooms("command"), N, seed=1)
    again.reset()
    taken = model.rollout_buffer.actions.reshape(N, 16).swapaxes(0, 1)
    for image, actions in zip(stored, taken, strict=True):
        assert (image == again.images).all()
        again.step(actions.astype(np.int64))


@pytest.mark.parametrize("policy", ["MlpPolicy", "MultiInputPolicy"])
def test_ppo_learns_the_empty_room(policy: str) -> None:
    torch.set_num_threads(1)
    pool = Pool.draw("MiniGrid-Empty-5x5-v0", 1)
    env = VecCheckNan(EngineVecEnv(Engine(pool, 16), directions=policy == "MultiInputPolicy"))
    model = PPO(
        policy, env, n_steps=64, batch_size=256, n_epochs=6, learning_rate=1e-3, gamma=0.95, seed=0
    )
    before, _ = evaluate_policy(model, model.get_env(), 16, warn=False)
    model.learn(24_000)
    after, _ = evaluate_policy(model, model.get_env(), 32, warn=False)
    assert after > 0.9 > before, "at best 1 - 0.9 * 5 / 100"
