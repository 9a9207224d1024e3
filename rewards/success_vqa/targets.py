"""Training targets besides the answers: the contents of single frames, the subjects of questions.

All targets are numbers. -1 (`UNKNOWN`) stands where the truth is not known, and has no loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from envs import attributes as predicates
from envs.items import ALL_ITEMS, COLOURS, SHAPES, TEXTURES, find_items
from envs.objects import MARKS
from models.vision.encoder import N_FRAMES, PATCH
from rewards.success_vqa.clips import (
    Clip,
    ClipOutcome,
    FrameAnnotation,
    QuestionAnswer,
    QuestionSubject,
)
from rewards.success_vqa.cross_modal_encoder import MOST_NAMED
from rewards.success_vqa.questions import VERBS

UNKNOWN = -1
ITEM_WORDS = (TEXTURES, COLOURS, SHAPES)
_ITEM_NUMBER = {str(item): k for k, item in enumerate(ALL_ITEMS)}
# Which words make each item's name, by their places in ITEM_WORDS, counted from 1.
_WORDS_OF = {
    str(i): tuple(
        1 + words.index(word)
        for word, words in zip((i.texture, i.colour, i.shape), ITEM_WORDS, strict=True)
        if word is not None
    )
    for i in ALL_ITEMS
}
# Columns of `FrameTargets.attributes`.
FACED, HELD, MARK, BESIDE_WALL, IN_CORNER, FLOOR = slice(0, 3), slice(3, 6), 6, 7, 8, 9
N_ATTRIBUTES = 10


@dataclass(frozen=True)
class FrameTargets:
    """The contents of frames, for any leading dimensions; `UNKNOWN` for frames without an
    annotation.

    Attributes:
        attributes: ``[..., 10] int8``: texture, colour and shape of the item that is faced and of
            the item that is held (0 for no item), the mark, whether the faced item is beside a
            wall, whether it is in a corner, and the colour of its floor (0 for none).
        patches: ``[..., 4] int8``: row and column of the patch of the cell in front of the agent,
            then of the agent's own.
        in_sight: ``[..., items] bool``: which items are visible.
    """

    attributes: np.ndarray
    patches: np.ndarray
    in_sight: np.ndarray

    def __getitem__(self, which: np.ndarray | tuple[np.ndarray, ...]) -> FrameTargets:
        return FrameTargets(self.attributes[which], self.patches[which], self.in_sight[which])


def frame_targets(annotations: Sequence[FrameAnnotation], scale: float) -> FrameTargets:
    """Targets ``[8, ...]`` of a clip's annotated frames.

    ``scale`` is the factor by which the frames were resized. Fewer than 8 frames are the last ones;
    those before them stay unknown.
    """
    attributes = np.full((N_FRAMES, N_ATTRIBUTES), UNKNOWN, np.int8)
    patches = np.full((N_FRAMES, 4), UNKNOWN, np.int8)
    in_sight = np.zeros((N_FRAMES, len(ALL_ITEMS)), bool)
    for k, frame in enumerate(annotations, N_FRAMES - len(annotations)):
        for columns, name in ((FACED, frame.faced), (HELD, frame.held)):
            if name and name not in _WORDS_OF:
                continue  # a ball, a key or a box
            attributes[k, columns] = _WORDS_OF[name] if name else 0
        attributes[k, MARK] = MARKS.index(frame.mark)
        attributes[k, BESIDE_WALL] = frame.beside_wall
        attributes[k, IN_CORNER] = frame.in_corner
        attributes[k, FLOOR] = 1 + COLOURS.index(frame.floor) if frame.floor else 0
        if frame.front and frame.agent:
            patches[k] = [int(scale * v) // PATCH for v in (*frame.front, *frame.agent)]
        in_sight[k, [_ITEM_NUMBER[n] for n in frame.in_sight if n in _ITEM_NUMBER]] = True
    return FrameTargets(attributes, patches, in_sight)


def stack_targets(targets: Sequence[FrameTargets]) -> FrameTargets:
    """Targets of many clips as one, ``[clips, 8, ...]``."""
    return FrameTargets(
        np.stack([t.attributes for t in targets]),
        np.stack([t.patches for t in targets]),
        np.stack([t.in_sight for t in targets]),
    )


def items_of_clip(clip: Clip) -> frozenset[str]:
    """The names of all items that a clip shows or that something was done to.

    The set is empty only if nothing is known of the clip, since the name "" stands for no faced or
    no held item.
    """
    names: set[str] = set()
    for frame in clip.annotations:
        names |= {frame.faced, frame.held, *frame.in_sight}
    if clip.outcome is not None:
        names |= {clip.outcome.faced, clip.outcome.held}
        names |= {event.item for event in clip.outcome.recent_events()}
    return frozenset(names)


def subject_of(question: QuestionAnswer) -> QuestionSubject:
    """What a question asks.

    If it does not come as data, the items that it names are read from its text, and nothing else.
    """
    return _named_in(question.text) if question.subject is None else question.subject


@lru_cache(maxsize=65536)
def _named_in(text: str) -> QuestionSubject:
    return QuestionSubject(tuple(map(str, find_items(text))))


def named_item_targets(attributes: np.ndarray, question: QuestionAnswer) -> np.ndarray:
    """Targets ``[8, 2]`` of `AuxiliaryLogits.items`, from ``attributes [8, 10]`` of the frames."""
    words = attributes[:, :6].reshape(-1, 2, 3)
    targets = np.where((words == UNKNOWN).any(-1), UNKNOWN, 0)
    for k, name in enumerate(subject_of(question).items[:MOST_NAMED], 1):
        if name in _WORDS_OF:
            targets[(words == _WORDS_OF[name]).all(-1)] = k
    return targets


def condition_targets(attributes: np.ndarray, question: QuestionAnswer) -> np.ndarray:
    """Targets ``[8]`` of `AuxiliaryLogits.condition`, from ``attributes [8, 10]`` of the frames.

    Unknown where no item is faced, where its mark does not show, or without a condition.
    """
    condition = subject_of(question).condition
    has_target = attributes[:, 0] > 0
    if condition is None:
        return np.full(len(attributes), UNKNOWN)
    if condition.predicate == predicates.MARK:
        has_target &= attributes[:, MARK] > 0
        holds = attributes[:, MARK] == MARKS.index(condition.value)
    elif condition.predicate == predicates.BESIDE_WALL:
        holds = attributes[:, BESIDE_WALL] == 1
    elif condition.predicate == predicates.IN_CORNER:
        holds = attributes[:, IN_CORNER] == 1
    elif condition.predicate == predicates.FLOOR:
        holds = attributes[:, FLOOR] == 1 + COLOURS.index(condition.value)
    else:
        return np.full(len(attributes), UNKNOWN)
    return np.where(has_target, holds.astype(int), UNKNOWN)


def event_targets(outcome: ClipOutcome | None, question: QuestionAnswer) -> np.ndarray:
    """Targets ``[3, 3]`` of `AuxiliaryLogits.events`.

    Unknown without an outcome, and in the rows of a second and third item where fewer are named. As
    in the answers, picking up an item counts if it is still held, and going to it if it is faced at
    the end.
    """
    targets = np.full((MOST_NAMED, len(VERBS)), UNKNOWN)
    if outcome is None:
        return targets
    recent = {(event.verb, event.item) for event in outcome.recent_events()}
    for k, name in enumerate(subject_of(question).items[:MOST_NAMED]):
        picked_up = ("pick up", name) in recent and outcome.held == name
        targets[k] = [outcome.faced == name, ("examine", name) in recent, picked_up]
    return targets
