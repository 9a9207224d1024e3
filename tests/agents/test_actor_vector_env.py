"""The Actor's vector environments, task sources and path lengths, by cases worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from minigrid.core.actions import Actions

from agents.actor import map_memory, task_sources
from agents.actor.expert import expert_action, expert_actions
from agents.actor.task_sources import draw_pools, training_sources, validation, with_key
from agents.actor.vector_env import CommandVectorEnv, MultiTaskVectorEnv, measure
from envs.batched import Pool, Rooms
from envs.batched.cells import KEY
from envs.batched.truth import VERB_OPEN

ROOMS = Rooms("command", n_items=(3,), room_sizes=(6,), verbs=("go to",), max_steps=16)


@pytest.mark.parametrize(
    ("distance", "bucket"),
    [
        (1, 1),
        (5, 5),
        (6, 6),
        (7, 6),
        (8, 7),
        (10, 7),
        (11, 8),
        (15, 8),
        (16, 9),
        (36, 11),
        (99, 11),
    ],
)
def test_path_lengths_fall_into_the_buckets_that_the_weights_were_trained_with(
    distance: int, bucket: int
) -> None:
    code = map_memory._path_code(int(Actions.right), distance)
    assert code == int(Actions.right) * 12 + bucket
    assert map_memory._path_code(int(Actions.toggle), distance) == 3 * 12 + bucket


def test_of_doors_of_one_name_the_expert_opens_one_that_is_closed() -> None:
    """The nearer door is open already, so what is to be opened is the other one."""
    observation = np.zeros(map_memory.OBSERVATION_SIZE, np.uint8)
    general = observation[4 * map_memory.N_THINGS :]
    general[map_memory.VERB] = VERB_OPEN
    general[map_memory.LAST] = map_memory.NO_ACTION
    general[map_memory.FRONT] = map_memory.FREE
    general[map_memory.EXPLORE] = general[map_memory.LAY_DOWN] = map_memory.NO_PATH
    general[map_memory.COUNT] = 2
    near = map_memory._path_code(map_memory.LEFT, 2)
    far = map_memory._path_code(map_memory.FORWARD, 9)
    fits, no_path = map_memory.ALL_WORDS, map_memory.NO_PATH
    observation[:4] = (fits, map_memory.OPEN_DOOR, near, no_path)
    observation[4:8] = (fits, map_memory.CLOSED_DOOR, far, no_path)
    assert expert_action(observation) == map_memory.FORWARD
    observation[1] = map_memory.CLOSED_DOOR
    assert expert_action(observation) == map_memory.LEFT


def test_an_episode_that_ends_in_its_last_step_is_not_truncated() -> None:
    env = MultiTaskVectorEnv([(ROOMS, 4)], seed=0)
    env.reset()
    for action, truncated in ((Actions.done, False), (Actions.left, True)):
        env.vector_envs[0].engine.steps[:] = 15
        assert env.step(np.full(4, int(action))).all()
        assert env.truncated.tolist() == [truncated] * 4
        assert env.lengths.tolist() == [16] * 4


def test_each_task_source_has_a_seed_of_its_own() -> None:
    env = MultiTaskVectorEnv([(ROOMS, 4), (ROOMS, 4)], seed=5)
    env.reset()
    for seed, rows in zip((5, 6), env.slices, strict=True):
        alone = CommandVectorEnv(ROOMS, 4, seed)
        alone.reset()
        assert np.array_equal(env.observations[rows], alone.observations)


class Late:
    """The expert, which turns left some times before it says ``done``."""

    def __init__(self, n: int, turns: int) -> None:
        self.turns = np.full(n, turns)
        self.arrived = np.zeros(n, bool)

    def __call__(self, observations: np.ndarray) -> np.ndarray:
        actions = expert_actions(observations)
        self.arrived |= actions == Actions.done
        waits = self.arrived & (self.turns > 0)
        actions[self.arrived] = int(Actions.done)
        actions[waits] = int(Actions.left)
        self.turns[waits] -= 1
        return actions


@pytest.mark.parametrize(
    ("verb", "turns", "in_time"),
    [
        ("examine", 0, True),
        ("examine", 2, True),  # done is said 3 steps after the command was done
        ("examine", 3, False),
        # Four turns later the agent faces the item again, and says done one step after that.
        ("go to", 4, True),
    ],
)
def test_done_is_said_in_time_at_most_three_steps_late(
    verb: str, turns: int, in_time: bool
) -> None:
    n = 10
    source = replace(ROOMS, verbs=(verb,), max_steps=100)
    score = measure(Late(n, turns), source, n, seed=0)
    assert (score.carried_out, score.done_on_time) == (n, n if in_time else 0)


@pytest.mark.parametrize("n", [37, 100, 128])
def test_training_shares_out_all_worlds(n: int) -> None:
    pool = Pool.draw("Parley/BabyAIMixedLocal-v0", 30, seed=10)
    counts = [count for _, count in training_sources(n, dict.fromkeys(task_sources.LEVELS, pool))]
    assert sum(counts) == n and min(counts) >= 1


def test_a_key_in_the_hands_lies_nowhere_else() -> None:
    pool = with_key(
        Pool.draw("Parley/BabyAIMixedLocal-v0", 6, seed=0, kinds=["open"]).as_commands()
    )
    assert len(pool) == 6
    for cells, carried in zip(pool.arrays.cells, pool.arrays.carried, strict=True):
        assert carried & 31 == KEY and (cells != carried).all()


def test_training_validation_and_scores_have_seeds_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool, seeds = Pool.draw("BabyAI-GoToLocal-v0", 1, seed=0), []

    def draw(level: str, n: int, seed: int = 0) -> Pool:
        seeds.append(seed)
        return pool

    monkeypatch.setattr(task_sources.Pool, "draw", draw)
    draw_pools(1, 3, None)
    assert set(seeds) == {1_003_000_000}
    seeds.clear()
    validation(1)
    assert set(seeds) == {500_000_000}
    seeds.clear()
    for test in task_sources.TESTS:
        test.source(1)
    assert set(seeds) == {0}
