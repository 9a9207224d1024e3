"""Clips in memory, for training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from envs.errors import BadInput
from models.vision.encoder import N_FRAMES, fit, prepare, stack
from rewards.success_vqa.clips import Clip, ClipOutcome, QuestionAnswer
from rewards.success_vqa.targets import (
    FACED,
    HELD,
    MARK,
    UNKNOWN,
    FrameTargets,
    frame_targets,
    items_of_clip,
    stack_targets,
    subject_of,
)


def _append(frames: np.ndarray, clips: list[np.ndarray]) -> np.ndarray:
    """``frames`` followed by ``clips``, which are removed from the list. The memory grows in place:
    there is seldom room for all clips twice."""
    more = stack(clips)
    clips.clear()
    side = max(frames.shape[2], more.shape[2])
    if side > frames.shape[2]:
        frames = stack([frames, more[:0]])
    n = len(frames)
    frames.resize((n + len(more), *frames.shape[1:]), refcheck=False)
    frames[n:] = stack([more, frames[:0]])
    return frames


@dataclass
class ClipDataset:
    """N clips in memory.

    Attributes:
        frames: The vision encoder's input, ``[N, 8, side, side, 3] uint8``.
        questions: Each clip's questions, with their answers.
        captions: Each clip's sentence that says what happened.
        outcomes: The same as data.
        items: The names of all items that each clip shows or that something was done to.
        targets: The contents of the frames, ``[N, 8, ...]``.
    """

    frames: np.ndarray
    questions: list[tuple[QuestionAnswer, ...]]
    captions: list[str]
    outcomes: list[ClipOutcome | None]
    items: list[frozenset[str]]
    targets: FrameTargets

    @classmethod
    def from_clips(cls, clips: Iterable[Clip]) -> ClipDataset:
        """Load all clips of a split. Raises BadInput as `check` does."""
        frames = np.zeros((0, N_FRAMES, 0, 0, 3), np.uint8)
        pending: list[np.ndarray] = []
        targets: list[FrameTargets] = []
        questions, captions, outcomes, items = [], [], [], []
        for clip in clips:
            size = fit(clip.frames)
            targets.append(frame_targets(clip.annotations, size[0] / clip.frames.shape[1]))
            pending.append(prepare(clip.frames, size))
            questions.append(clip.questions)
            captions.append(clip.caption)
            outcomes.append(clip.outcome)
            items.append(items_of_clip(clip))
            if len(pending) == 1024:
                frames = _append(frames, pending)
        frames = _append(frames, pending) if pending else frames
        dataset = cls(frames, questions, captions, outcomes, items, stack_targets(targets))
        dataset.check()
        return dataset

    def __len__(self) -> int:
        return len(self.frames)

    def check(self) -> None:
        """Check that there is something to learn.

        Raises:
            BadInput: There are no questions, all have the same answer, or one question about one
                clip has two answers.
        """
        answers = {q.answer for questions in self.questions for q in questions}
        if len(answers) < 2:
            only = {True: "yes", False: "no"}[answers.pop()] if answers else "none"
            raise BadInput(f"questions with both answers are needed; here all are {only}")
        for k, questions in enumerate(self.questions):
            first_answers: dict[str, bool] = {}
            for q in questions:
                if first_answers.setdefault(q.text, q.answer) != q.answer:
                    raise BadInput(f"clip {k} has labels that contradict each other: '{q.text}'")

    def kind_weights(self) -> dict[str, float]:
        """The weight of a question of each kind: the square root of the kind's rarity."""
        kinds = Counter(q.kind for questions in self.questions for q in questions)
        return {kind: (kinds.total() / n) ** 0.5 for kind, n in kinds.items()}

    def annotated_frames(self) -> np.ndarray:
        """The indices of all frames with an annotation, counted through all clips."""
        return np.flatnonzero((self.targets.attributes[..., MARK] != UNKNOWN).ravel())

    def interaction_frames(self) -> np.ndarray:
        """The indices of the frames in which an item is faced or held, counted through all clips;
        of all annotated frames if there are none."""
        attributes = self.targets.attributes
        first_words = attributes[..., [FACED.start, HELD.start]].reshape(-1, 2)
        which = np.flatnonzero((first_words > 0).any(1))
        return which if len(which) else self.annotated_frames()

    def subset(self, share: float, rng: np.random.Generator) -> ClipDataset:
        """A random share of the clips, at least one, in their order."""
        n = max(1, round(share * len(self)))
        which = np.sort(rng.permutation(len(self))[:n])
        return ClipDataset(
            self.frames[which],
            [self.questions[k] for k in which],
            [self.captions[k] for k in which],
            [self.outcomes[k] for k in which],
            [self.items[k] for k in which],
            self.targets[which],
        )

    def texts(self) -> set[str]:
        """All questions and captions."""
        return {q.text for questions in self.questions for q in questions} | {*self.captions}


def cross_clip_negatives(
    dataset: ClipDataset, which: np.ndarray, p: float, rng: np.random.Generator
) -> list[QuestionAnswer]:
    """Draw one question for each of some clips, some of them from other clips.

    With probability ``p`` it is a question that is true of another clip and names no item of this
    one, so that its answer is no; otherwise it is one of the clip's own.

    Args:
        dataset: The clips.
        which: The numbers of the clips, ``[batch]``.
        p: The probability of a question of another clip.
        rng: Draws the questions.
    """
    negatives = []
    for k in which:
        own = dataset.questions[k]
        others = dataset.questions[int(rng.integers(len(dataset)))]
        true_elsewhere = [q for q in others if q.answer]
        if rng.random() < p and true_elsewhere:
            other = true_elsewhere[int(rng.integers(len(true_elsewhere)))]
            if dataset.items[k] and not dataset.items[k] & {*subject_of(other).items}:
                negatives.append(replace(other, answer=False, success_step=-1))
                continue
        negatives.append(own[int(rng.integers(len(own)))])
    return negatives
