"""The success detector as a reward: for commands, for episodes, and as a gymnasium wrapper."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from minigrid.minigrid_env import MiniGridEnv

from envs.commands import Command
from envs.errors import BadInput
from envs.states import WorldState, state_of
from envs.trajectory import TrajectoryRecorder

TILE = 8  # pixels a side of a cell in the detector's frames
_CONDITIONAL = re.compile(r"if (the .+?), (pick up .+?), otherwise pick up (.+)", re.IGNORECASE)


class QuestionAnswerer(Protocol):
    """Any model that answers yes-or-no questions about clips: a detector, a baseline."""

    def answer(
        self, clips: Sequence[np.ndarray], questions: Sequence[Sequence[str]], batch: int = 64
    ) -> list[np.ndarray]:
        """The probabilities of "yes".

        Args:
            clips: For each clip 1 to 8 frames, ``[T, height, width, 3] uint8``.
            questions: For each clip any number of questions.
            batch: The number of clips processed at once.

        Returns:
            For each clip an array ``[len(questions)] float`` of numbers from 0 to 1.

        Raises:
            BadInput: A clip has another shape or type.
        """
        ...


def command_question(command: Command) -> str:
    """The question of whether a command was carried out."""
    return f"Did the agent successfully {command}?"


def task_question(task: str) -> str:
    """The question of whether an episode's task was achieved."""
    words = task.strip().rstrip(".")
    if match := _CONDITIONAL.fullmatch(words):
        return f"Did the agent successfully {match[2]} if {match[1]}, and otherwise {match[3]}?"
    return f"Did the agent successfully {words[:1].lower()}{words[1:]}?"


class DetectorReward:
    """Scores clips after rollouts, many in a batch.

    The reward is the probability of success, or, with a ``threshold``, 1 where the probability is
    above it and 0 elsewhere. A failing detector is an error, never a reward of 0.

    Args:
        detector: The detector.
        threshold: The threshold, between 0 and 1; None for probabilities.
        batch: The number of clips processed at once.

    Raises:
        BadInput: The threshold is out of range.
    """

    def __init__(
        self, detector: QuestionAnswerer, threshold: float | None = None, batch: int = 64
    ) -> None:
        if threshold is not None and not 0 < threshold < 1:
            raise BadInput(f"the threshold must be between 0 and 1, not {threshold}")
        self.detector = detector
        self.threshold = threshold
        self.batch = batch

    def __call__(self, clips: Sequence[np.ndarray], questions: Sequence[str]) -> np.ndarray:
        """The rewards of N clips with one question each.

        Args:
            clips: N clips, ``[T, height, width, 3] uint8``.
            questions: N questions.

        Returns:
            ``[N] float64``.

        Raises:
            RuntimeError: The detector returned something other than a number between 0 and 1.
        """
        if not len(clips):
            return np.zeros(0)
        answers = self.detector.answer(clips, [[q] for q in questions], self.batch)
        p = np.concatenate(answers).astype(np.float64)
        if p.shape != (len(clips),) or not ((p >= 0) & (p <= 1)).all():
            raise RuntimeError(f"the detector gave {p} for {len(clips)} clips")
        return p if self.threshold is None else (p > self.threshold).astype(float)


class SuccessReward(gym.Wrapper):
    """A wrapper of any MiniGrid world, with the detector's answer as the reward.

    When the episode ends, the detector is asked whether the mission was achieved, and shown 8
    frames of what the agent saw, evenly spread from the start to the end. Until then the reward is
    0. ``info["true_reward"]`` holds the world's own reward, ``info["question"]`` the question.

    Raises:
        BadInput: The environment is no MiniGrid world.
    """

    def __init__(self, env: gym.Env, reward: DetectorReward) -> None:
        super().__init__(env)
        if not isinstance(env.unwrapped, MiniGridEnv):
            raise BadInput(f"{type(env.unwrapped).__name__} is no MiniGrid world")
        self.reward = reward
        self._trajectories = TrajectoryRecorder()

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(**kwargs)
        self._trajectories.start(0, self._state())
        return obs, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, true_reward, terminated, truncated, info = self.env.step(action)
        self._trajectories.add(0, self._state(), int(action))
        info = {**info, "true_reward": float(true_reward)}
        if not (terminated or truncated):
            return obs, 0.0, terminated, truncated, info
        world: Any = self.env.unwrapped
        info["question"] = task_question(world.mission)
        reward = float(self.reward([self._clip()], [info["question"]])[0])
        return obs, reward, terminated, truncated, info

    def _state(self) -> WorldState:
        world = self.env.unwrapped
        assert isinstance(world, MiniGridEnv)
        return state_of(world)

    def _clip(self) -> np.ndarray:
        """The episode's clip, ``[<= 8, height, width, 3] uint8``."""
        # numba is loaded only where something is drawn.
        from envs.batched.cameras import Camera

        return self._trajectories.clip(0, camera=Camera("view", TILE))
