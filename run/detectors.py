"""Detectors by name: what ``--reward``, ``score-detector`` and ``train-detector`` load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.errors import BadInput, unknown
from models.vision.vision_language import HUB_ID, is_of_transformers

if TYPE_CHECKING:
    from agents.actor.vector_env import MultiTaskVectorEnv
    from agents.planner.reinforcement import Reward
    from agents.reporter.reinforcement import ReportSample, RewardComponent
    from agents.team import Episode
    from envs.trajectory import TrajectoryRecorder
    from rewards.reward import DetectorReward, QuestionAnswerer
    from rewards.success_vqa.detector import SuccessDetector

SHIPPED = Path(__file__).parents[1] / "rewards" / "success_vqa" / "weights"
NAMES = ("detector", "baseline")


def language_model(base: str, device: str = "auto", cache: Path | None = None) -> tuple[Any, Any]:
    """A frozen language model for a detector, and its tokenizer."""
    from models.language.loading import load_model

    return load_model(base, device=device, cache=cache)


def check_detector(name: str) -> None:
    """Raise BadInput for what is no detector's name, no folder and not like an id on the hub."""
    if name not in NAMES and not Path(name).is_dir() and not HUB_ID.fullmatch(name):
        raise unknown("detector", name, NAMES)


def load_detector(name: str, device: str = "auto", cache: Path | None = None) -> QuestionAnswerer:
    """Whatever can be asked: a shipped detector by its name, one of ``train-detector`` by its
    folder, or any vision-language model of transformers by its folder or its id on the hub.

    Raises BadInput for what is none of these and for damaged ones.
    """
    from rewards.success_vqa import vlm

    check_detector(name)
    folder = SHIPPED / name if name in NAMES else Path(name)
    if name in NAMES or ((folder / "config.json").is_file() and not is_of_transformers(folder)):
        return load_judge(folder, device, cache)
    return vlm.load_whole(name, device)


def load_judge(folder: Path, device: str = "auto", cache: Path | None = None) -> SuccessDetector:
    """A trained detector or baseline, ready to answer.

    Raises BadInput for damaged weights and for those of another language model.
    """
    from rewards.success_vqa.baseline import BaselineConfig, BaselineDetector
    from rewards.success_vqa.detector import FlamingoConfig, FlamingoDetector, read_config
    from rewards.success_vqa.vlm import (
        TunedVisionLanguageConfig,
        TunedVisionLanguageDetector,
        load_whole,
    )

    about = read_config(folder)
    try:
        judge: SuccessDetector
        if about["kind"] == "vision-language":
            tuned = TunedVisionLanguageConfig(**about)
            judge = TunedVisionLanguageDetector(load_whole(tuned.base, device), tuned)
        elif about["kind"] == "baseline":
            about["words"] = tuple(about["words"])
            judge = BaselineDetector(BaselineConfig(**about))
        else:
            config = FlamingoConfig(**about)
            judge = FlamingoDetector(*language_model(config.base, device, cache), config)
    except TypeError as error:
        raise BadInput(f"'{folder}' does not describe a detector: {error}") from error
    judge.load(folder)
    judge.eval()
    return judge


def episode_reward(name: str, device: str = "auto", cache: Path | None = None) -> Reward:
    """What rewards an episode: ``truth``, or a detector by name or folder, which is asked of 8
    frames of what the agent saw whether the task was achieved."""
    from agents.planner.reinforcement import success_reward
    from rewards.reward import DetectorReward

    if name == "truth":
        return success_reward
    term = episode_term(DetectorReward(load_detector(name, device, cache)))
    return lambda episodes, trajectories: term(episodes, trajectories, ())


def episode_term(reward: DetectorReward) -> RewardComponent:
    """Rewards a Reporter by the detector's answer whether the task was achieved."""
    from rewards.reward import task_question

    def judged(
        episodes: Sequence[Episode], trajectories: TrajectoryRecorder, _: Any
    ) -> list[float]:
        clips = [trajectories.clip(i) for i in range(len(episodes))]
        return reward(clips, [task_question(e.task) for e in episodes]).tolist()

    return judged


def command_term(reward: DetectorReward) -> RewardComponent:
    """Rewards a Reporter by the detector's answers whether the commands that were given were
    carried out: their mean in each episode, 0 where none was given."""
    from rewards.reward import command_question

    def judged(
        episodes: Sequence[Episode],
        trajectories: TrajectoryRecorder,
        reports: Sequence[Sequence[ReportSample]],
    ) -> list[float]:
        flat = [r for its in reports for r in its]
        # The black frames at the beginning stand for none.
        clips = [r.clip[int(r.clip.any(axis=(1, 2, 3)).argmax()) :] for r in flat]
        sure = iter(reward(clips, [command_question(r.command) for r in flat]))
        each = [[float(next(sure)) for _ in its] for its in reports]
        return [float(np.mean(its)) if its else 0.0 for its in each]

    return judged


class DetectorRewarder:
    """Rewards the Actor's practice by a detector: when an episode ends, it is asked of the last 8
    views whether the command was carried out."""

    def __init__(self, reward: DetectorReward) -> None:
        self._reward = reward
        self._views = np.zeros((0, 8, 7, 7, 3), np.uint8)  # the latest is the last
        self._known = np.zeros(0, np.int64)  # how many of them are of this episode
        self._commands: list[str] = []

    def begin(self, gym_: MultiTaskVectorEnv) -> None:
        views = np.concatenate([g.engine.images for g in gym_.vector_envs])
        self._views = np.repeat(views[:, None], 8, 1)
        self._known = np.ones(gym_.n, np.int64)
        self._commands = [g.engine.mission(i) for g in gym_.vector_envs for i in range(g.engine.n)]

    def arrays(self) -> dict[str, np.ndarray]:
        return {"views": self._views, "known": self._known}

    def step(self, gym_: MultiTaskVectorEnv, over: np.ndarray) -> np.ndarray:
        """The detector's probabilities for the episodes that are ``over``, 0 for the others."""
        from envs.batched.pixels import view_frames
        from rewards.reward import TILE, task_question

        now = np.concatenate([g.engine.images for g in gym_.vector_envs])
        last = np.concatenate([g.engine.last_images for g in gym_.vector_envs])
        self._views[:, :-1] = self._views[:, 1:]
        self._views[:, -1] = np.where(over[:, None, None, None], last, now)
        self._known = np.minimum(self._known + 1, self._views.shape[1])
        rewards = np.zeros(gym_.n, np.float32)
        ended = np.flatnonzero(over)
        if not len(ended):
            return rewards
        clips = [view_frames(self._views[i, -self._known[i] :], TILE) for i in ended]
        questions = [task_question(self._commands[i]) for i in ended]
        rewards[ended] = self._reward(clips, questions)
        self._views[ended] = now[ended, None]
        self._known[ended] = 1
        for ground, rows in zip(gym_.vector_envs, gym_.slices, strict=True):
            for i in np.flatnonzero(over[rows]):
                self._commands[rows.start + i] = ground.engine.mission(int(i))
        return rewards
