"""The success detector as a function of frames and a question."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from envs.errors import BadInput
from envs.trajectory import evenly
from models.components import check_methods
from rewards.reward import DetectorReward, QuestionAnswerer, SuccessReward, task_question
from rewards.success_vqa.loading import DETECTOR
from rewards.success_vqa.loading import load_detector as load

if TYPE_CHECKING:
    import gymnasium as gym

    from agents.episode import Episode

Frames = np.ndarray | Sequence[Any]


class Detector:
    """Answers yes-or-no questions about what an agent saw: ``detector(frames, question)``.

    Attributes:
        model: The model that answers, with its own interface for many clips at once (`answer`).
    """

    def __init__(self, model: QuestionAnswerer) -> None:
        """Wrap a model. Raises BadInput for an object that does not answer questions."""
        check_methods(DETECTOR, model, repr(model))
        self.model = model

    @overload
    def __call__(self, frames: Frames, question: str) -> float: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, frames: Frames, question: Sequence[str]) -> list[float]: ...

    def __call__(self, frames: Frames, question: str | Sequence[str]) -> float | list[float]:
        """The probability that the answer is yes.

        Args:
            frames: An array ``[time, height, width, 3] uint8`` or a list of its frames, as arrays
                or Pillow images. Of more than 8, the detector sees 8 from the first to the last.
            question: Such as ``Did the agent successfully pick up the solid red ring?``, or several
                of them.

        Returns:
            A number from 0 to 1; for several questions a list of them.

        Raises:
            BadInput: The frames have another shape or type, or a question is empty or too long.
        """
        questions = [question] if isinstance(question, str) else list(question)
        for one in questions:
            if not isinstance(one, str):
                raise BadInput(f"a question must be a text, not {one!r}")
        clip = clip_of(frames)
        if not questions:
            return []
        answers = [float(p) for p in self.model.answer([clip], [questions])[0]]
        return answers[0] if isinstance(question, str) else answers

    def judge(self, episode: Episode) -> float:
        """The probability that an episode of ``parley.play(..., frames=True)`` was a success.

        Args:
            episode: The episode, which must have its frames.

        Raises:
            BadInput: It has no frames.
        """
        if episode.frames is None:
            raise BadInput("the episode has no frames; play it with frames=True")
        return self(episode.frames, task_question(episode.task))

    def reward_wrapper(self, env: gym.Env, threshold: float | None = None) -> SuccessReward:
        """A MiniGrid world whose reward is the detector's answer at the end of each episode.

        Args:
            env: The world.
            threshold: Above which probability the reward is 1, and below which 0; None for the
                probability itself.

        Raises:
            BadInput: It is no MiniGrid world, or the threshold is not between 0 and 1.
        """
        return SuccessReward(env, DetectorReward(self.model, threshold))


def load_detector(
    name: str | os.PathLike[str] = "detector",
    *,
    device: str = "auto",
    cache: str | os.PathLike[str] | None = None,
) -> Detector:
    """Load a success detector.

    Args:
        name: Whatever ``--detector`` takes on the command line: ``detector``, ``baseline``, a
            run folder of train-detector, a folder of weights, a hub id, or ``module:Class``.
        device: cpu, cuda, or auto for the best available.
        cache: The folder of fetched and converted weights of language models.

    Raises:
        BadInput: There is no such detector.
    """
    return Detector(load(os.fspath(name), device, None if cache is None else Path(cache)))


def clip_of(frames: Frames) -> np.ndarray:
    """Frames as the detector reads them: ``[<= 8, height, width, 3] uint8``.

    Raises:
        BadInput: They have another shape or type.
    """
    wanted = "frames must be [time, height, width, 3] uint8, or a list of such pictures"
    if isinstance(frames, str | bytes | os.PathLike) or not hasattr(frames, "__len__"):
        raise BadInput(f"{wanted}, not {frames!r}")
    try:
        # A Pillow image is drawn in whatever colours it has.
        pictures = [np.asarray(f.convert("RGB") if hasattr(f, "convert") else f) for f in frames]
        clip = np.stack(pictures) if pictures else np.zeros((0,))
    except (TypeError, ValueError) as error:
        raise BadInput(f"{wanted}; these have several sizes or are no pictures") from error
    if clip.ndim != 4 or clip.shape[-1] != 3 or clip.dtype != np.uint8 or 0 in clip.shape:
        one = "; put a single picture into a list" if clip.ndim == 3 else ""
        raise BadInput(f"{wanted}, not {list(clip.shape)} {clip.dtype}{one}")
    return clip[list(evenly(0, len(clip) - 1))]
