"""The detector's answer as a reward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import envs  # noqa: F401
from envs.commands import Command
from envs.errors import BadInput
from rewards.reward import DetectorReward, SuccessReward, command_question, task_question


class Fixed:
    """Answers with what it was made with, and keeps what it was asked."""

    def __init__(self, *p: float) -> None:
        self.p = p
        self.clips: list[np.ndarray] = []
        self.questions: list[str] = []

    def answer(
        self, clips: Sequence[np.ndarray], questions: Sequence[Sequence[str]], batch: int = 64
    ) -> list[np.ndarray]:
        self.clips += clips
        self.questions += [q for texts in questions for q in texts]
        return [np.array([self.p[k]]) for k in range(len(clips))]


def test_probability_or_thresholded() -> None:
    two = [np.zeros((1, 8, 8, 3), np.uint8)] * 2
    assert DetectorReward(Fixed(0.2, 0.9))(two, ["a?", "b?"]).tolist() == [0.2, 0.9]
    assert DetectorReward(Fixed(0.2, 0.9), 0.5)(two, ["a?", "b?"]).tolist() == [0.0, 1.0]
    # The reward is 1 above the threshold, not at it.
    assert DetectorReward(Fixed(0.5, 0.51), 0.5)(two, ["a?", "b?"]).tolist() == [0.0, 1.0]
    assert DetectorReward(Fixed())([], []).tolist() == []
    with pytest.raises(BadInput, match="threshold"):
        DetectorReward(Fixed(), 1.0)


@pytest.mark.parametrize("p", [float("nan"), -0.1, 1.5])
def test_a_detector_that_fails_is_an_error_not_a_reward(p: float) -> None:
    with pytest.raises(RuntimeError, match="the detector gave"):
        DetectorReward(Fixed(p))([np.zeros((1, 8, 8, 3), np.uint8)], ["a?"])


def test_questions_of_commands_and_tasks() -> None:
    command = Command.parse("pick up the striped red cross")
    assert command_question(command) == "Did the agent successfully pick up the striped red cross?"
    task = "If the red ring is beside a wall, pick up the blue tee, otherwise pick up the grey ex."
    assert task_question(task) == (
        "Did the agent successfully pick up the blue tee if the red ring is beside a wall, and "
        "otherwise the grey ex?"
    )
    assert task_question("Go to the red ball.") == "Did the agent successfully go to the red ball?"


def test_the_wrapper_asks_once_the_episode_ends() -> None:
    judge = Fixed(0.7)
    env = SuccessReward(gym.make("Parley/Command-v0", max_steps=10), DetectorReward(judge))
    world: Any = env.unwrapped
    # Twice, for nothing of an episode may be left when the next begins.
    for seed, episode in ((1, 0), (2, 1)):
        env.reset(seed=seed)
        mission = world.mission
        rewards, over = [], False
        views = [world.get_frame(tile_size=8, agent_pov=True)]
        while not over:
            _, reward, terminated, truncated, info = env.step(1 if len(rewards) % 3 else 2)
            views.append(world.get_frame(tile_size=8, agent_pov=True))
            rewards.append(reward)
            over = terminated or truncated
        assert rewards == [0.0] * 9 + [0.7] and info["true_reward"] == 0.0
        assert judge.questions[episode:] == [f"Did the agent successfully {mission}?"]
        # The start and the end, and of what lies between six moments, evenly spread.
        expected = np.stack([views[k] for k in (0, 1, 3, 4, 6, 7, 9, 10)])
        assert np.array_equal(judge.clips[episode], expected)
        assert len(np.unique(np.stack(views[-3:]), axis=0)) == 3
    with pytest.raises(BadInput, match="no MiniGrid world"):
        SuccessReward(gym.make("CartPole-v1"), DetectorReward(judge))


def test_a_short_episode_is_shown_whole() -> None:
    judge = Fixed(0.7)
    env = SuccessReward(gym.make("Parley/Command-v0", max_steps=3), DetectorReward(judge))
    world: Any = env.unwrapped
    env.reset(seed=1)
    views = [world.get_frame(tile_size=8, agent_pov=True)]
    for action in (0, 2, 0):
        env.step(action)
        views.append(world.get_frame(tile_size=8, agent_pov=True))
    assert np.array_equal(judge.clips[0], np.stack(views))


def test_the_worlds_own_reward_is_information_alone() -> None:
    class Paid(gym.Wrapper):
        def step(self, action: Any) -> Any:
            obs, _, terminated, truncated, info = self.env.step(action)
            return obs, 0.3, terminated, truncated, info

    env = SuccessReward(
        Paid(gym.make("Parley/Command-v0", max_steps=2)), DetectorReward(Fixed(0.7))
    )
    env.reset(seed=1)
    steps = [env.step(0) for _ in range(2)]
    assert [step[1] for step in steps] == [0.0, 0.7]
    assert [step[4]["true_reward"] for step in steps] == [0.3, 0.3]
