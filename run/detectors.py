"""Detectors by name: what ``--reward``, ``score-detector`` and ``train-detector`` load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.errors import BadInput, unknown

if TYPE_CHECKING:
    from agents.film import Film
    from agents.planner.training import Reward
    from agents.team import Episode
    from rewards.success_vqa.detector import Judge

SHIPPED = Path(__file__).parents[1] / "rewards" / "success_vqa" / "weights"
NAMES = ("detector", "baseline")


def language_model(base: str, device: str = "auto", cache: Path | None = None) -> tuple[Any, Any]:
    """A frozen language model for a detector, and its tokenizer."""
    from agents.planner.loading import load_model
    from agents.planner.options import PlannerOptions

    return load_model(base, PlannerOptions(device=device, cache=cache))


def detector_folder(name: str | Path) -> Path:
    """The folder of a shipped detector by its name, or of one of the user's by its path.

    Raises BadInput for what is neither.
    """
    if str(name) in NAMES:
        return SHIPPED / str(name)
    folder = Path(name)
    if not folder.is_dir():
        raise unknown("detector", str(name), NAMES)
    return folder


def load_judge(name: str | Path, device: str = "auto", cache: Path | None = None) -> Judge:
    """A trained detector or baseline, ready to answer.

    Raises BadInput for a name that is unknown, for damaged weights, and for those of another
    language model.
    """
    from rewards.success_vqa.baseline import Baseline, BaselineConfig
    from rewards.success_vqa.detector import Detector, DetectorConfig, read_config

    folder = detector_folder(name)
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
    reward = DetectorReward(load_judge(name, device, cache))

    def judged(episodes: Sequence[Episode], film: Film) -> list[float]:
        clips = [film.frames(i, evenly(0, len(film.views[i]) - 1)) for i in range(len(episodes))]
        return reward(clips, [task_question(e.task) for e in episodes]).tolist()

    return judged
