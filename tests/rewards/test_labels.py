"""Labels of people: their files, what they stand for, and how far two people agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import rewards.success_vqa.labels as labels_module
from envs.errors import BadInput
from rewards.success_vqa.clips import Clip, QuestionAnswer
from rewards.success_vqa.labels import (
    RESAMPLES,
    Label,
    _kappa,
    agreed,
    agreement,
    all_labels,
    labelled,
    read_labels,
)

TEXTS = ("Did the agent go to the red ring?", "Did the agent pick up the blue cross?")
SEEN = np.zeros((3, 16, 16, 3), np.uint8)
CLIPS = [
    Clip(SEEN, tuple(QuestionAnswer(t, "go", True, 2) for t in TEXTS), steps=(4, 6, 8), seed=50 + k)
    for k in range(4)
]


def given(clip: int, answer: str, by: str = "anna", text: int = 0, frame: int = 0) -> Label:
    return Label("test1", clip, 50 + clip, TEXTS[text], answer, by, frame)


def write(file: Path, *labels: Label) -> Path:
    file.write_text("".join(label.line() for label in labels), encoding="utf-8")
    return file


def test_the_later_of_two_answers_counts(tmp_path: Path) -> None:
    file = write(tmp_path / "a", given(0, "yes"), given(1, "no"), given(0, "no"))
    assert read_labels(file) == [given(0, "no"), given(1, "no")]


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    file = write(tmp_path / "a", given(0, "yes"), given(1, "no"))
    file.write_text(file.read_text()[:-9])
    assert read_labels(file) == [given(0, "yes")]


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "[1]",
        "yes",
        "[" * 100_000,
        given(0, "perhaps").line(),
        given(0, "yes", frame=9).line(),
        given(-1, "yes").line(),
        replace(given(0, "yes"), split="test9").line(),
        given(0, "yes").line().replace('"clip": 0', '"clip": "0"'),
        given(0, "yes").line().replace('"clip": 0', '"clip": 0, "more": 1'),
        given(0, "yes").line().replace('"by": "anna", ', ""),
        given(0, "yes").line().replace('"parley_labels": 1', '"parley_labels": 2'),
    ],
)
def test_a_line_of_another_kind_is_told_by_its_number(line: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text(given(0, "yes").line() + line.strip() + "\n")
    with pytest.raises(BadInput, match=r"line 2 of the labels .* is none"):
        read_labels(tmp_path / "a")


def test_labels_take_the_place_of_the_truth(tmp_path: Path) -> None:
    first = write(tmp_path / "a", given(0, "no"), given(2, "yes", frame=2), given(3, "skip"))
    second = write(tmp_path / "b", given(2, "yes", "ben", text=1))
    found = list(labelled(CLIPS, "test1", all_labels([first, second])))
    assert [c.seed for c in found] == [50, 52]
    assert found[0].questions == (QuestionAnswer(TEXTS[0], "go", False, -1),)
    assert found[1].questions == (
        QuestionAnswer(TEXTS[0], "go", True, 6),
        QuestionAnswer(TEXTS[1], "go", True, 8),
    )


def test_labels_of_other_clips_are_refused(tmp_path: Path) -> None:
    for wrong in (
        replace(given(0, "yes"), seed=1),
        replace(given(0, "yes"), text="Did it rain?"),
        given(4, "yes"),
        given(0, "yes", frame=4),
    ):
        labels = all_labels([write(tmp_path / "a", wrong)])
        with pytest.raises(BadInput, match="given to other clips"):
            list(labelled(CLIPS, "test1", labels))
        with pytest.raises(BadInput, match="no labels for the split 'train', only for test1"):
            list(labelled(CLIPS, "train", labels))


def test_labels_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    labels = [given(0, "yes"), given(1, "yes"), given(1, "no", "ben"), given(0, "skip", "ben")]
    with pytest.raises(BadInput, match=r"contradict .* 1 questions.*yes \(anna\) and no \(ben\)"):
        all_labels([write(tmp_path / "a", *labels)])
    alike, differ = agreed(labels)
    assert list(alike.values()) == [given(0, "yes")] and differ == [given(1, "no").key]
    with pytest.raises(BadInput, match="no question is answered"):
        all_labels([write(tmp_path / "b", given(0, "skip"))])


def test_agreement_is_cohens_kappa() -> None:
    """The example of Cohen's kappa in many textbooks: 50 proposals, 20 + 15 alike: 0.4."""
    said = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    one = [given(k, a) for k, (a, _) in enumerate(said)]
    other = [given(k, b, "ben") for k, (_, b) in enumerate(said)]
    found = agreement([*one, given(60, "skip")], [*other, given(60, "yes", "ben")])
    assert found is not None and found.ci95 is not None
    assert (found.n, found.share) == (50, 0.7) and found.kappa == pytest.approx(0.4)
    assert 0.05 < found.ci95[0] < 0.3 and 0.5 < found.ci95[1] < 0.75
    # 9 of 10 alike; by chance 0.9 * 0.8 + 0.1 * 0.2 = 0.74 would be.
    skewed = [("yes", "yes")] * 8 + [("yes", "no"), ("no", "no")]
    answers = np.array([[a == "yes", b == "yes"] for a, b in skewed])
    assert _kappa(answers) == pytest.approx((0.9 - 0.74) / 0.26)
    always = agreement(one[:20], other[:20])
    assert always is not None and (always.share, always.kappa) == (1.0, None)
    assert agreement(one, [given(99, "yes", "ben")]) is None


def test_the_interval_of_kappa_leaves_out_a_fortieth_at_each_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Resampled kappas of 0, 0.001, … 0.999: 2.5 % of the way from the first to the last is
    0.024975."""
    kappas = iter([0.5, *(k / 1000 for k in range(RESAMPLES))])
    monkeypatch.setattr(labels_module, "_kappa", lambda answers: next(kappas))
    one = [given(k, "yes") for k in range(4)]
    result = agreement(one, one)
    assert result is not None and result.ci95 == pytest.approx((0.024975, 0.974025))


def test_the_interval_of_kappa_is_that_of_questions_drawn_with_the_seed_0() -> None:
    answers = [("yes", "yes")] * 5 + [("yes", "no")] * 2 + [("no", "no")] * 4
    one = [given(k, a) for k, (a, _) in enumerate(answers)]
    other = [given(k, b, "ben") for k, (_, b) in enumerate(answers)]
    result = agreement(one, other)
    kappas = []
    for rows in np.random.default_rng(0).integers(11, size=(1000, 11)):
        first, second = (np.array([answers[k][i] == "yes" for k in rows]) for i in (0, 1))
        chance = first.mean() * second.mean() + (1 - first.mean()) * (1 - second.mean())
        if chance < 1:
            kappas.append(((first == second).mean() - chance) / (1 - chance))
    kappas.sort()
    place = 0.025 * (len(kappas) - 1)
    low = np.interp(place, range(len(kappas)), kappas)
    high = np.interp(len(kappas) - 1 - place, range(len(kappas)), kappas)
    assert result is not None and result.ci95 == pytest.approx((low, high))
