"""An annotation session: questions about clips, and the file of a person's answers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from envs.errors import BadInput

if TYPE_CHECKING:
    from rewards.success_vqa.clips import Clip
    from rewards.success_vqa.labels import Label


@dataclass(frozen=True)
class LabelQuestion:
    """A clip, its place in the split, and what is asked of it."""

    clip: Clip
    place: int
    text: str


class AnnotationSession:
    """The questions of one session, the answers given so far, and the file that keeps them.

    Args:
        split: The split of the clips.
        questions: The questions, in the order in which they are asked.
        file: Answers are read from it and appended to it, one JSON line each.
        by: Who answers.

    Raises:
        BadInput: Where there are no questions, or where the file holds another person's answers or
            answers to other clips, or cannot be written.
    """

    def __init__(self, split: str, questions: Sequence[LabelQuestion], file: Path, by: str) -> None:
        from rewards.success_vqa.labels import read_labels

        if not questions:
            raise BadInput(f"the clips of {split} have no questions")
        self.split = split
        self.questions = questions
        self.file = file
        self.by = by
        self.answers: dict[int, Label] = {}
        number_of = {(split, q.place, q.text): k for k, q in enumerate(questions)}
        for label in read_labels(file) if file.exists() else ():
            if label.by != by:
                raise BadInput(f"'{file}' has answers of '{label.by}'; choose another --out")
            k = number_of.get(label.key)
            if k is None:
                continue  # of another seed, or asked when there were more questions
            if label.seed != questions[k].clip.seed:
                raise BadInput(f"'{file}' has answers to other clips than these; choose another")
            self.answers[k] = label
        self._open()

    def first_open(self) -> int:
        """The place of the first question without an answer; their number if there is none."""
        n = len(self.questions)
        return next((k for k in range(n) if k not in self.answers), n)

    def take(self, k: int, answer: str, frame: int, seconds: float) -> None:
        """Keep an answer to question ``k``; it is on disk when this returns."""
        from rewards.success_vqa.labels import Label

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
            raise self._refused(error) from error
        self.answers[k] = label

    def _open(self) -> None:
        """Make the file if it is not there; take off a last line that a kill has cut off."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a+b") as out:
                out.seek(0)
                out.truncate(out.read().rfind(b"\n") + 1)
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> BadInput:
        return BadInput(f"the answers cannot be written to '{self.file}': {error}")
