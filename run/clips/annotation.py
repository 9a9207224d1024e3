"""An annotation session: which questions a person is asked, and the file that keeps the answers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from envs.errors import BadInput
from rewards.success_vqa.clips import Clip, count_clips, read_clips
from rewards.success_vqa.labels import Label, read_labels


@dataclass(frozen=True)
class LabelQuestion:
    """A question about a clip, with the clip's place in its split."""

    clip: Clip
    place: int
    text: str


def draw_label_questions(
    data: Path, split: str, n: int = 100, seed: int = 0
) -> list[LabelQuestion]:
    """The questions to ask: one about each of ``n`` clips.

    Args:
        data: folder of clips.
        split: whose clips to show.
        n: how many clips; 0 for all. Fewer are the first of more.
        seed: which clips and questions, and in which order.

    Raises:
        BadInput: as `read_clips` does.
    """
    rng = np.random.default_rng([seed, 11])
    order = rng.permutation(count_clips(data, split))
    places = [int(k) for k in order[: n or None]]
    draws = dict(zip(places, rng.random(len(places)), strict=True))
    clips = dict(zip(sorted(places), read_clips(data, split, set(places)), strict=True))
    questions = []
    for place in places:
        clip = clips[place]
        if clip.questions:
            text = clip.questions[int(draws[place] * len(clip.questions))].text
            questions.append(LabelQuestion(clip, place, text))
    return questions


class AnnotationSession:
    """The questions that one person is asked, the answers so far, and the file that keeps them.

    ``answers`` holds the label of each answered question by the question's number.

    Args:
        split: whose clips are shown.
        questions: what is asked, in order.
        file: where the answers go; those that it has already are taken up.
        by: who answers.

    Raises:
        BadInput: there are no questions, or the file holds another person's answers, or answers to
            other clips, or cannot be written.
    """

    def __init__(self, split: str, questions: Sequence[LabelQuestion], file: Path, by: str) -> None:
        if not questions:
            raise BadInput(f"the clips of {split} have no questions")
        self.split = split
        self.questions = questions
        self.file = file
        self.by = by
        self.answers: dict[int, Label] = {}
        numbers = {(split, q.place, q.text): k for k, q in enumerate(questions)}
        for label in read_labels(file) if file.exists() else ():
            if label.by != by:
                raise BadInput(f"'{file}' has answers of '{label.by}'; choose another --out")
            k = numbers.get(label.key)
            if k is None:
                continue  # of another seed, or asked when there were more questions
            if label.seed != questions[k].clip.seed:
                raise BadInput(f"'{file}' has answers to other clips than these; choose another")
            self.answers[k] = label
        self._open()

    def first_open(self) -> int:
        """The number of the first question without an answer; the number of all where there is
        none."""
        n = len(self.questions)
        return next((k for k in range(n) if k not in self.answers), n)

    def record(self, k: int, answer: str, frame: int, seconds: float) -> None:
        """Keep an answer; it is on disk when this returns.

        Args:
            k: the number of the question.
            answer: one of `labels.ANSWERS`.
            frame: the number, from 1, of the first frame that shows the success; 0 if not said.
            seconds: how long the answer took.

        Raises:
            BadInput: the file cannot be written.
        """
        question = self.questions[k]
        label = Label(
            self.split,
            question.place,
            question.clip.seed,
            question.text,
            answer,
            self.by,
            frame=frame,
            seconds=round(seconds, 1),
            at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        try:
            with self.file.open("ab") as out:
                out.write(label.line().encode())
                out.flush()
                os.fsync(out.fileno())
        except OSError as error:
            raise self._not_writable(error) from error
        self.answers[k] = label

    def _open(self) -> None:
        """Make the file if it is not there; cut off a last line that a kill left incomplete."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a+b") as out:
                out.seek(0)
                out.truncate(out.read().rfind(b"\n") + 1)
        except OSError as error:
            raise self._not_writable(error) from error

    def _not_writable(self, error: OSError) -> BadInput:
        return BadInput(f"the answers cannot be written to '{self.file}': {error}")
