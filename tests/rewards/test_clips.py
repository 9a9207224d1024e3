"""Clips on disk, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from envs.attributes import FLOOR, Attribute
from envs.errors import BadInput
from models.vision.encoder import check_frames
from rewards.success_vqa.clips import (
    Clip,
    ClipEvent,
    ClipOutcome,
    FrameAnnotation,
    QuestionAnswer,
    QuestionSubject,
    read_clips,
    write_clips,
)

RNG = np.random.default_rng(0)


def clip(n: int = 3, side: int = 24) -> Clip:
    frames = RNG.integers(0, 256, (n, side, side, 3), np.uint8)
    conditional = QuestionSubject(
        ("red ring", "blue tee", "green ex"),
        (ClipEvent("pick up", "red ring"), ClipEvent("pick up", "blue tee")),
        "green ex",
        Attribute(FLOOR, "grey"),
    )
    questions = (
        QuestionAnswer("Did it?", "examine", True, 2),
        QuestionAnswer("Did it not?", "order", False, subject=QuestionSubject(("red ring",))),
        QuestionAnswer("Is it so?", "episode", True, 1, conditional),
    )
    annotations = (
        FrameAnnotation(
            "red ring", "white", "", ("red ring", "blue tee"), True, False, "grey", (4, 4), (12, 4)
        ),
        *[FrameAnnotation()] * (n - 1),
    )
    return Clip(
        frames,
        questions,
        "It did.",
        annotations,
        tuple(range(n)),
        "learned",
        "view 8",
        "plain",
        2**40,
        ClipOutcome((ClipEvent("examine", "red ring", 2),), "blue tee", "") if n > 1 else None,
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    made = [clip(), clip(8, 56), clip(1, 64)]
    assert write_clips(tmp_path / "data" / "test1.parquet", made) == 3
    for one, other in zip(made, read_clips(tmp_path, "test1"), strict=True):
        assert np.array_equal(one.frames, other.frames)
        assert replace(one, frames=None) == replace(other, frames=None)  # type: ignore[arg-type]


def test_hugging_face_reads_the_same(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    made = clip()
    write_clips(tmp_path / "data" / "train.parquet", [made])
    file = str(tmp_path / "data" / "train.parquet")
    (row,) = datasets.Dataset.from_parquet(file, cache_dir=str(tmp_path / "cache"))
    assert np.array_equal(np.stack([np.asarray(f) for f in row["frames"]]), made.frames)
    assert row["asked"][0]["answer"] is True
    assert row["asked"][2]["subject"]["condition"] == {"predicate": "floor", "value": "grey"}
    assert row["annotations"][0]["beside_wall"] is True
    assert row["outcome"]["events"] == [{"verb": "examine", "item": "red ring", "step": 2}]


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((3, 24, 24, 3)), "of uint8, not .* of float64"),
        (np.zeros((24, 24, 3), np.uint8), r"not \[24, 24, 3\]"),
        (np.zeros((9, 24, 24, 3), np.uint8), "1 to 8 frames, not 9"),
        (np.zeros((0, 24, 24, 3), np.uint8), "1 to 8 frames, not 0"),
        (np.zeros((1, 4, 24, 3), np.uint8), "8 to 512 pixels a side, not 4 x 24"),
        (np.zeros((1, 24, 24, 4), np.uint8), "frames"),
    ],
)
def test_what_is_no_clip_is_refused(frames: np.ndarray, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        check_frames(frames)


def test_damaged_data_sets_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no split 'test1' in .*; it has none"):
        next(read_clips(tmp_path, "test1"))
    file = tmp_path / "data" / "test1.parquet"
    write_clips(file, [])
    with pytest.raises(BadInput, match="has no clips"):
        next(read_clips(tmp_path, "test1"))
    write_clips(file, [clip()])
    table = pq.read_table(file)
    pq.write_table(table.replace_schema_metadata({"parley-clips": "3"}), file)
    with pytest.raises(BadInput, match="version 3, not 4; make it anew: python -m run make-clips"):
        next(read_clips(tmp_path, "test1"))
    file.write_bytes(b"no parquet")
    with pytest.raises(BadInput, match="cannot be read"):
        next(read_clips(tmp_path, "test1"))


def test_recent_events_are_the_last_four_without_repetitions_in_a_row() -> None:
    events = [ClipEvent("examine", item, k) for k, item in enumerate("abbcabd")]
    recent = ClipOutcome(tuple(events)).recent_events()
    assert [(e.item, e.step) for e in recent] == [("c", 3), ("a", 4), ("b", 5), ("d", 6)]
    other_verb = (ClipEvent("examine", "a", 1), ClipEvent("pick up", "a", 2))
    assert ClipOutcome(other_verb).recent_events() == other_verb
