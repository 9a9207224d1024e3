"""Reward functions that join what agents did with what a detector answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.batched.pixels import view_frames
from rewards.reward import TILE, DetectorReward, command_question, task_question
from rewards.success_vqa.loading import load_detector

if TYPE_CHECKING:
    from agents.actor.vector_env import MultiTaskVectorEnv
    from agents.episode import Episode
    from agents.planner.reinforcement import Reward
    from agents.reporter.reinforcement import ReportSample, RewardComponent
    from envs.trajectory import TrajectoryRecorder


def episode_reward(name: str, device: str = "auto", cache: Path | None = None) -> Reward:
    """The reward of an episode.

    Args:
        name: ``truth``, or a detector as `load_detector` takes it, which is asked whether the task
            was achieved.
        device: where the detector runs.
        cache: folder for fetched and converted weights.
    """
    from agents.planner.reinforcement import success_reward

    if name == "truth":
        return success_reward
    component = episode_component(DetectorReward(load_detector(name, device, cache)))
    return lambda episodes, trajectories: component(episodes, trajectories, ())


def episode_component(reward: DetectorReward) -> RewardComponent:
    """A Reporter's reward: the detector's answer whether the task was achieved, from 8 frames of
    what the agent saw in the episode."""

    def component(
        episodes: Sequence[Episode], trajectories: TrajectoryRecorder, _: Any
    ) -> list[float]:
        clips = [trajectories.clip(i) for i in range(len(episodes))]
        return reward(clips, [task_question(e.task) for e in episodes]).tolist()

    return component


def command_component(reward: DetectorReward) -> RewardComponent:
    """A Reporter's reward: the mean of the detector's answers whether the episode's commands were
    carried out; 0 where no command was given."""

    def component(
        episodes: Sequence[Episode],
        trajectories: TrajectoryRecorder,
        reports: Sequence[Sequence[ReportSample]],
    ) -> list[float]:
        flat = [sample for of_episode in reports for sample in of_episode]
        # Black frames at the beginning stand for no frame.
        clips = [s.clip[int(s.clip.any(axis=(1, 2, 3)).argmax()) :] for s in flat]
        answers = iter(reward(clips, [command_question(s.command) for s in flat]))
        each = [[float(next(answers)) for _ in of_episode] for of_episode in reports]
        return [float(np.mean(rewards)) if rewards else 0.0 for rewards in each]

    return component


class DetectorRewarder:
    """Rewards an Actor that learns by reinforcement: when an episode ends, the detector is asked
    whether the command was carried out, from the last 8 views."""

    def __init__(self, reward: DetectorReward) -> None:
        self._reward = reward
        self._views = np.zeros((0, 8, 7, 7, 3), np.uint8)  # the latest is the last
        self._n_views = np.zeros(0, np.int64)  # how many of them are of this episode
        self._commands: list[str] = []

    def begin(self, gym_: MultiTaskVectorEnv) -> None:
        views = np.concatenate([g.engine.images for g in gym_.vector_envs])
        self._views = np.repeat(views[:, None], 8, 1)
        self._n_views = np.ones(gym_.n, np.int64)
        self._commands = [g.engine.mission(i) for g in gym_.vector_envs for i in range(g.engine.n)]

    def arrays(self) -> dict[str, np.ndarray]:
        return {"views": self._views, "known": self._n_views}

    def step(self, gym_: MultiTaskVectorEnv, over: np.ndarray) -> np.ndarray:
        """The detector's probabilities for the episodes that are ``over``, 0 for the others."""
        now = np.concatenate([g.engine.images for g in gym_.vector_envs])
        last = np.concatenate([g.engine.last_images for g in gym_.vector_envs])
        self._views[:, :-1] = self._views[:, 1:]
        self._views[:, -1] = np.where(over[:, None, None, None], last, now)
        self._n_views = np.minimum(self._n_views + 1, self._views.shape[1])
        rewards = np.zeros(gym_.n, np.float32)
        ended = np.flatnonzero(over)
        if not len(ended):
            return rewards
        clips = [view_frames(self._views[i, -self._n_views[i] :], TILE) for i in ended]
        questions = [task_question(self._commands[i]) for i in ended]
        rewards[ended] = self._reward(clips, questions)
        self._views[ended] = now[ended, None]
        self._n_views[ended] = 1
        for ground, rows in zip(gym_.vector_envs, gym_.slices, strict=True):
            for i in np.flatnonzero(over[rows]):
                self._commands[rows.start + i] = ground.engine.mission(int(i))
        return rewards
