"""People's answers to questions about clips: label files, and how far two people agree.

A label file is JSON Lines with one answer per line. Of several answers of one person to the same
question the last one counts::

    {"parley_labels": 1, "split": "test1", "clip": 12, "seed": 815, "text": "Did the agent …?",
     "answer": "yes", "frame": 3, "by": "anna", "seconds": 4.2, "at": "2026-01-02T03:04:05+00:00"}
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from envs.errors import BadInput
from models.vision.encoder import N_FRAMES
from rewards.success_vqa.clips import SPLITS, Clip

VERSION = 1
ANSWERS = ("yes", "no", "skip")
RESAMPLES = 1000
LONGEST_NAME = 40

Key = tuple[str, int, str]
"""A question: the split, the clip's place in it, the question's text."""


@dataclass(frozen=True)
class Label:
    """One answer of one person.

    Attributes:
        split: The split.
        clip: The clip's position in the split.
        seed: The seed of the clip's world.
        text: The question.
        answer: yes, no or skip.
        by: The person.
        frame: The number, from 1, of the first frame that shows the success; 0 if not given.
        seconds: How long the answer took.
        at: When it was given.
    """

    split: str
    clip: int
    seed: int
    text: str
    answer: str
    by: str
    frame: int = 0
    seconds: float = 0.0
    at: str = ""

    @property
    def key(self) -> Key:
        return self.split, self.clip, self.text

    def line(self) -> str:
        return json.dumps({"parley_labels": VERSION} | vars(self), ensure_ascii=False) + "\n"


_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("split", "text", "answer", "by", "at"), (str,)),
    **dict.fromkeys(("clip", "seed", "frame"), (int,)),
    "seconds": (int, float),
}


def _label(line: str) -> Label:
    """Parse a line of a label file. Raises ValueError or TypeError for any other line."""
    row: Any = json.loads(line)
    if not isinstance(row, dict) or row.pop("parley_labels", None) != VERSION:
        raise ValueError(f'it has no "parley_labels": {VERSION}')
    for name, types in _TYPES.items():
        value = row.get(name)
        if not isinstance(value, types) or isinstance(value, bool):
            raise ValueError(f"its '{name}' is missing or no {types[-1].__name__}")
    label = Label(**row)
    if label.answer not in ANSWERS or label.split not in SPLITS:
        raise ValueError(f"the answer '{label.answer}' or the split '{label.split}' is unknown")
    if label.clip < 0 or not 0 <= label.frame <= N_FRAMES:
        raise ValueError(f"there is no clip {label.clip}, or no frame {label.frame}")
    return label


def read_labels(file: Path) -> list[Label]:
    """A file's labels, each person's latest to each question, in the order of their first ones.

    A last line that was cut off, as by a killed process, is ignored.

    Raises:
        BadInput: The file is of another kind; the message gives the line's number.
    """
    try:
        lines = file.read_text("utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"the labels '{file}' cannot be read: {error}") from error
    latest: dict[tuple[str, Key], Label] = {}
    for number, line in enumerate(lines, 1):
        try:
            label = _label(line)
        except (ValueError, TypeError, RecursionError) as error:
            if number == len(lines) and not line.endswith("\n"):
                break
            raise BadInput(f"line {number} of the labels '{file}' is none: {error}") from error
        latest[label.by, label.key] = label
    return list(latest.values())


def agreed(labels: Iterable[Label]) -> tuple[dict[Key, Label], list[Key]]:
    """One label for each question on which all answers agree, and the questions on which they
    differ. Skipped questions do not count."""
    answers: dict[Key, list[Label]] = {}
    for label in labels:
        if label.answer != "skip":
            answers.setdefault(label.key, []).append(label)
    alike = {k: ls[0] for k, ls in answers.items() if len({label.answer for label in ls}) == 1}
    return alike, [k for k in answers if k not in alike]


def all_labels(files: Sequence[Path]) -> dict[Key, Label]:
    """All yes and no answers of several files.

    Raises:
        BadInput: Two answers contradict each other, or there are none.
    """
    labels = [label for file in files for label in read_labels(file)]
    alike, differ = agreed(labels)
    if differ:
        split, clip, text = differ[0]
        who = " and ".join(
            f"{label.answer} ({label.by})" for label in labels if label.key == differ[0]
        )
        raise BadInput(
            f"labels contradict each other on {len(differ)} questions, such as clip {clip} of "
            f"{split}, '{text}': {who}; what they agree on: python -m run label --compare FILES "
            "--export FILE"
        )
    if not alike:
        raise BadInput(f"no question is answered yes or no in {', '.join(map(str, files))}")
    return alike


def labelled(clips: Iterable[Clip], split: str, labels: Mapping[Key, Label]) -> Iterator[Clip]:
    """The labelled clips, with only the labelled questions and people's answers to them.

    Args:
        clips: All clips of the split, in order.
        split: The split's name.
        labels: As `all_labels` returns them.

    Raises:
        BadInput: The split has no labels, or a label belongs to another clip or question.
    """
    by_clip: dict[int, list[Label]] = {}
    for label in labels.values():
        if label.split == split:
            by_clip.setdefault(label.clip, []).append(label)
    if not by_clip:
        raise BadInput(
            f"there are no labels for the split '{split}', only for "
            + ", ".join(sorted({label.split for label in labels.values()}))
        )
    for k, clip in enumerate(clips):
        if k not in by_clip:
            continue
        by_text = {question.text: question for question in clip.questions}
        answered = []
        for label in by_clip.pop(k):
            question = by_text.get(label.text)
            if label.seed != clip.seed or question is None or label.frame > len(clip.frames):
                raise _other(label)
            yes = label.answer == "yes"
            step = clip.steps[label.frame - 1 if label.frame else -1] if yes else -1
            answered.append(replace(question, answer=yes, success_step=step))
        yield replace(clip, questions=tuple(answered))
    if by_clip:
        raise _other(next(iter(by_clip.values()))[0])


def _other(label: Label) -> BadInput:
    return BadInput(
        f"the labels were given to other clips than these: clip {label.clip} of {label.split} "
        f"with seed {label.seed} and the question '{label.text}' is not there"
    )


@dataclass(frozen=True)
class Agreement:
    """How far two people agree.

    Attributes:
        n: The number of questions that both answered yes or no.
        share: The share of equal answers.
        kappa: Cohen's kappa (0 for chance, 1 for perfect agreement); None where both always gave
            the same one answer.
        ci95: Its 95 % interval.
    """

    n: int
    share: float
    kappa: float | None
    ci95: tuple[float, float] | None


def agreement(one: Collection[Label], other: Collection[Label]) -> Agreement | None:
    """How far two people agree; None if they have no question in common."""
    theirs = {label.key: label for label in other if label.answer != "skip"}
    both = [(a, theirs[a.key]) for a in one if a.answer != "skip" and a.key in theirs]
    if not both:
        return None
    answers = np.array([[a.answer == "yes", b.answer == "yes"] for a, b in both])
    drawn = np.random.default_rng(0).integers(len(answers), size=(RESAMPLES, len(answers)))
    kappa = _kappa(answers)
    resampled = [k for rows in drawn if (k := _kappa(answers[rows])) is not None]
    share = float((answers[:, 0] == answers[:, 1]).mean())
    if kappa is None or not resampled:
        return Agreement(len(answers), share, None, None)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Agreement(len(answers), share, kappa, (float(low), float(high)))


def _kappa(answers: np.ndarray) -> float | None:
    """Cohen's kappa of ``answers [N, 2] bool``; None where chance alone makes all equal."""
    share = (answers[:, 0] == answers[:, 1]).mean()
    one, other = answers.mean(0)
    chance = one * other + (1 - one) * (1 - other)
    return None if chance == 1 else float((share - chance) / (1 - chance))
