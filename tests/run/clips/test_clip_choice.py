"""Which part of a rollout a clip shows, and which questions are left out of a split."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import run.clips.splits as splits
from rewards.success_vqa.clips import QuestionAnswer

NOTHING: Any = None


def test_three_quarters_of_the_clips_end_with_the_rollout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others end in its second half."""
    ends: list[int] = []

    def draw_questions(rollout: Any, start: int, end: int, *args: Any) -> list[QuestionAnswer]:
        assert end - start in (7, 14, 21, 28, end)
        ends.append(end)
        return []

    monkeypatch.setattr(splits, "draw_questions", draw_questions)
    rollout: Any = SimpleNamespace(trajectory=SimpleNamespace(n_steps=1000))
    rng = np.random.default_rng(0)
    for _ in range(4000):
        assert splits._clip_of(rollout, "", NOTHING, splits.ClipSplit(), rng) is None
    assert np.mean(np.array(ends) == 1000) == pytest.approx(0.75, abs=0.02)
    earlier = np.array([end for end in ends if end < 1000])
    assert earlier.min() == pytest.approx(500, abs=5) and earlier.min() >= 500
    assert earlier.mean() == pytest.approx(750, abs=20)


@dataclass(frozen=True)
class GivenClip:
    questions: tuple[QuestionAnswer, ...]


def test_no_more_than_four_answers_of_a_kind_are_in_surplus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 10 times yes 4 are kept, and then 8 times no; each kind is counted by itself."""
    answers = [True] * 10 + [False] * 20
    clips = iter(
        GivenClip(tuple(QuestionAnswer("?", kind, answer) for kind in kinds))
        for kinds in (("go", "order"), ("pick",))
        for answer in answers
    )
    monkeypatch.setattr(splits, "BatchedWorlds", SimpleNamespace)
    monkeypatch.setattr(splits, "make_worlds", lambda *args, **settings: SimpleNamespace())
    monkeypatch.setattr(splits, "record_rollouts", lambda worlds, seeds, table: list(seeds))
    monkeypatch.setattr(splits, "_clip_of", lambda *args: next(clips))
    kept = list(splits.film_split("train", 24, 0, NOTHING))
    given = [(q.kind, q.answer) for clip in kept for q in clip.questions]
    for kind in ("go", "order", "pick"):
        assert [answer for k, answer in given if k == kind] == [True] * 4 + [False] * 8
