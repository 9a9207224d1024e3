"""Detectors by name: what ``--reward``, ``score-detector`` and ``train-detector`` load."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.errors import BadInput, unknown

if TYPE_CHECKING:
    from agents.film import Film
    from agents.planner.training import Reward
    from agents.team import Episode
    from rewards.reward import Answers
    from rewards.success_vqa.detector import Judge

SHIPPED = Path(__file__).parents[1] / "rewards" / "success_vqa" / "weights"
NAMES = ("detector", "baseline")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def language_model(base: str, device: str = "auto", cache: Path | None = None) -> tuple[Any, Any]:
    """A frozen language model for a detector, and its tokenizer."""
    from agents.planner.loading import load_model
    from agents.planner.options import PlannerOptions

    return load_model(base, PlannerOptions(device=device, cache=cache))


def check_detector(name: str) -> None:
    """Raise BadInput for what is no detector's name, no folder and not like an id on the hub."""
    if name not in NAMES and not Path(name).is_dir() and not _HUB_ID.fullmatch(name):
        raise unknown("detector", name, NAMES)


def load_detector(name: str, device: str = "auto", cache: Path | None = None) -> Answers:
    """Whatever can be asked: a shipped detector by its name, one of ``train-detector`` by its
    folder, or any vision-language model of transformers by its folder or its id on the hub.

    Raises BadInput for what is none of these and for damaged ones.
    """
    from rewards.success_vqa.vlm import load_vision_language

    check_detector(name)
    folder = SHIPPED / name if name in NAMES else Path(name)
    if name in NAMES or ((folder / "config.json").is_file() and _is_ours(folder)):
        return load_judge(folder, device, cache)
    return load_vision_language(name, device)


def _is_ours(folder: Path) -> bool:
    try:
        about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True  # and will be told what is wrong with it
    return not isinstance(about, dict) or "architectures" not in about


def load_judge(folder: Path, device: str = "auto", cache: Path | None = None) -> Judge:
    """A trained detector or baseline, ready to answer.

    Raises BadInput for damaged weights and for those of another language model.
    """
    from rewards.success_vqa.baseline import Baseline, BaselineConfig
    from rewards.success_vqa.detector import Detector, DetectorConfig, read_config

    about = read_config(folder)
    try:
        judge: Judge
        if about["kind"] == "baseline":
            about["words"] = tuple(about["words"])
            judge = Baseline(BaselineConfig(**about))
        else:
            config = DetectorConfig(**about)
            judge = Detector(*language_model(config.base, device, cache), config)
    except TypeError as error:
        raise BadInput(f"'{folder}' does not describe a detector: {error}") from error
    judge.load(folder)
    judge.eval()
    return judge


def episode_reward(name: str, device: str = "auto", cache: Path | None = None) -> Reward:
    """What rewards an episode: ``truth``, or a detector by name or folder, which is asked of 8
    frames of what the agent saw whether the task was achieved."""
    from agents.planner.training import truth
    from rewards.reward import DetectorReward, task_question
    from rewards.success_vqa.clips import evenly

    if name == "truth":
        return truth
    reward = DetectorReward(load_detector(name, device, cache))

    def judged(episodes: Sequence[Episode], film: Film) -> list[float]:
        clips = [film.frames(i, evenly(0, len(film.views[i]) - 1)) for i in range(len(episodes))]
        return reward(clips, [task_question(e.task) for e in episodes]).tolist()

    return judged
