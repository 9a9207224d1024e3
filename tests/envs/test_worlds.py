"""Batches of worlds: ours, and all of BabyAI's, behind one face."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from minigrid.core.actions import Actions as A

from envs import make_worlds
from envs.commands import VERBS, Command
from envs.worlds import Worlds

BABYAI = sorted(i for i in gym.registry if i.startswith("BabyAI-"))


@pytest.mark.parametrize("env_id", BABYAI)
def test_babyai_levels_play_in_silence(env_id: str, capsys: pytest.CaptureFixture) -> None:
    worlds = make_worlds(env_id, 1)
    worlds.reset(0, seed=4)
    rng = np.random.default_rng(4)
    task = worlds.world(0).mission
    steps = 0
    for _ in range(50):
        worlds.step(rng.integers(7, size=1), np.array([True]))
        steps += 1
        if worlds.over[0]:
            break
    assert worlds.tasks[0] == task and len(task.split()) >= 3
    assert worlds.steps[0] == steps
    assert worlds.verbs(0) == tuple(v for v in VERBS if v != "examine")
    assert worlds.judged(0)
    printed = capsys.readouterr()
    assert printed.out == ""


def test_there_are_babyai_levels() -> None:
    assert len(BABYAI) > 50


def test_babyais_own_success_is_success() -> None:
    """Side by side with the bare level: ended with a reward is success, and nothing else is."""
    worlds = make_worlds("BabyAI-GoToObjS4-v0", 1)
    bare = gym.make("BabyAI-GoToObjS4-v0").unwrapped
    outcomes = set()
    for seed in range(25):
        worlds.reset(0, seed)
        bare.reset(seed=seed)
        rng = np.random.default_rng(seed)
        while not worlds.over[0]:
            action = int(rng.integers(3))
            worlds.step(np.array([action]), np.array([True]))
            _, reward, terminated, truncated, _ = bare.step(action)
        assert terminated or truncated
        assert worlds.success[0] == (reward > 0)
        assert worlds.truncated[0] == (not terminated)
        outcomes.add(bool(worlds.success[0]))
    assert outcomes == {True, False}


def test_only_active_worlds_step_and_none_that_are_over() -> None:
    worlds = make_worlds("search", 3, max_steps=2)
    for i in range(3):
        worlds.reset(i, seed=i)
    before = worlds.images.copy(), worlds.directions.copy()
    worlds.step(np.array([A.left] * 3), np.array([True, False, True]))
    assert worlds.steps.tolist() == [1, 0, 1]
    assert (worlds.images[1] == before[0][1]).all()
    assert worlds.directions.tolist() == [
        (before[1][0] - 1) % 4,
        before[1][1],
        (before[1][2] - 1) % 4,
    ]
    for _ in range(3):
        worlds.step(np.array([A.left] * 3), np.array([True, False, True]))
    assert worlds.steps.tolist() == [2, 0, 2]
    assert worlds.over.tolist() == worlds.truncated.tolist() == [True, False, True]
    assert not worlds.success.any()
    worlds.reset(0, seed=0)
    assert worlds.steps[0] == 0 and not worlds.over[0] and not worlds.truncated[0]


def test_one_world_of_a_batch_is_the_same_as_alone() -> None:
    def run(worlds: Worlds, i: int, seeds: list[int]) -> list[list[int]]:
        for k, seed in enumerate(seeds):
            worlds.reset(k, seed)
        rng = np.random.default_rng(0)
        seen = []
        for _ in range(30):
            worlds.step(np.full(len(worlds), rng.integers(7)), ~worlds.over)
            seen.append(worlds.images[i].ravel().tolist())
        return seen

    together = run(make_worlds("visual-conditional", 4), 2, [5, 6, 7, 8])
    assert together == run(make_worlds("visual-conditional", 1), 0, [7])


def test_an_unknown_action_is_an_error() -> None:
    worlds = make_worlds("search", 1)
    worlds.reset(0, 0)
    with pytest.raises(ValueError):
        worlds.step(np.array([99]), np.array([True]))


def test_frames() -> None:
    worlds = make_worlds("search", 1, room_size=9)
    worlds.reset(0, 0)
    assert worlds.frame(0).shape == (9 * 32, 9 * 32, 3)
    assert worlds.frame(0, tile_size=8).shape == (72, 72, 3)


@pytest.mark.parametrize("batched", [False, True])
def test_an_end_without_reward_is_no_success(batched: bool) -> None:
    # Toggling anything ends this level as failure.
    worlds = make_worlds("MiniGrid-GoToObject-6x6-N2-v0", 1, batched=batched)
    worlds.reset(0, seed=0)
    worlds.step(np.array([A.toggle]), np.array([True]))
    assert (worlds.over[0], worlds.success[0], worlds.truncated[0]) == (True, False, False)


@pytest.mark.parametrize("batched", [False, True])
def test_an_end_in_the_last_step_is_no_truncation(batched: bool) -> None:
    worlds = make_worlds("command", 1, batched=batched, max_steps=1)
    for action, truncated in ((A.done, False), (A.left, True)):
        worlds.reset(0, seed=0)
        worlds.step(np.array([action]), np.array([True]))
        assert (worlds.over[0], worlds.truncated[0]) == (True, truncated)


@pytest.mark.parametrize("batched", [False, True])
def test_a_reset_forgets_the_command(batched: bool) -> None:
    """In so crowded a room a turn on the spot soon faces some item."""
    worlds = make_worlds("search", 1, batched=batched, n_items=10, room_size=6)
    command = Command.parse("go to the object")
    for reset in (False, True):
        worlds.reset(0, seed=1)
        worlds.watch(0, command)
        if reset:
            worlds.reset(0, seed=1)
        done = False
        for _ in range(4):
            worlds.step(np.array([A.left]), np.array([True]))
            done |= bool(worlds.done[0])
        assert done is not reset
