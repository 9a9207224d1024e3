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
from models.vision.encoder import evenly

TILE = 8  # pixels of a cell in what the detector is shown
_CONDITIONAL = re.compile(r"if (the .+?), (pick up .+?), otherwise pick up (.+)", re.IGNORECASE)


class QuestionAnswerer(Protocol):
    """What can be asked: a detector, a baseline, any model that says how likely "yes" is."""

    def answer(
        self, clips: Sequence[np.ndarray], questions: Sequence[Sequence[str]], batch: int = 64
    ) -> list[np.ndarray]: ...


def command_question(command: Command) -> str:
    """The question whether a command was carried out."""
    return f"Did the agent successfully {command}?"


def task_question(task: str) -> str:
    """The question whether an episode's task was achieved."""
    words = task.strip().rstrip(".")
    if match := _CONDITIONAL.fullmatch(words):
        return f"Did the agent successfully {match[2]} if {match[1]}, and otherwise {match[3]}?"
    return f"Did the agent successfully {words[:1].lower()}{words[1:]}?"


class DetectorReward:
    """Scores clips after rollouts, many in a batch: the probability of success, or, with a
    ``threshold``, 1 where that is above it and else 0.

    Whatever goes wrong is raised: a detector that fails is an error, never a reward of 0.
    """

    def __init__(
        self, judge: QuestionAnswerer, threshold: float | None = None, batch: int = 64
    ) -> None:
        if threshold is not None and not 0 < threshold < 1:
            raise BadInput(f"the threshold must be between 0 and 1, not {threshold}")
        self.judge = judge
        self.threshold = threshold
        self.batch = batch

    def __call__(self, clips: Sequence[np.ndarray], questions: Sequence[str]) -> np.ndarray:
        """Rewards ``[N] float64`` of clips ``[T, height, width, 3] uint8`` and a question each.

        Raises RuntimeError where the detector gives no number between 0 and 1.
        """
        if not len(clips):
            return np.zeros(0)
        sure = np.concatenate(self.judge.answer(clips, [[q] for q in questions], self.batch))
        sure = sure.astype(np.float64)
        if sure.shape != (len(clips),) or not ((sure >= 0) & (sure <= 1)).all():
            raise RuntimeError(f"the detector gave {sure} for {len(clips)} clips")
        return sure if self.threshold is None else (sure > self.threshold).astype(float)


class SuccessReward(gym.Wrapper):
    """Any MiniGrid world with the detector's answer as its reward.

    What the agent sees is filmed; when the episode ends, the detector is asked of 8 frames whether
    the mission was achieved. Until then the reward is 0. What the world itself gave is in
    ``info["true_reward"]``, the question in ``info["question"]``.

    Raises BadInput for what is no MiniGrid world.
    """

    def __init__(self, env: gym.Env, reward: DetectorReward) -> None:
        super().__init__(env)
        if not isinstance(env.unwrapped, MiniGridEnv):
            raise BadInput(f"{type(env.unwrapped).__name__} is no MiniGrid world")
        self.reward = reward
        self._frames: list[np.ndarray] = []

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(**kwargs)
        self._frames = [self._look()]
        return obs, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, true, terminated, truncated, info = self.env.step(action)
        self._frames.append(self._look())
        found = 0.0
        info = {**info, "true_reward": float(true)}
        if terminated or truncated:
            world: Any = self.env.unwrapped
            info["question"] = task_question(world.mission)
            clip = np.stack([self._frames[k] for k in evenly(0, len(self._frames) - 1)])
            found = float(self.reward([clip], [info["question"]])[0])
        return obs, found, terminated, truncated, info

    def _look(self) -> np.ndarray:
        world: Any = self.env.unwrapped
        frame: np.ndarray = world.get_frame(tile_size=TILE, agent_pov=True)
        return frame
