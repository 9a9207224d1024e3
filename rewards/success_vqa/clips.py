"""Clips and what is asked of them: how frames are chosen, and the data set on disk.

A data set is a folder with one Parquet file a split, frames as PNG, and a card, ``README.md``; it
opens with ``datasets.load_dataset(FOLDER)`` too.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from envs.errors import BadInput
from models.vision.encoder import check_frames

VERSION = 3
SPLITS = ("train", "validation", "test1", "test2", "test3", "test4", "test5", "test6")


@dataclass(frozen=True)
class QuestionAnswer:
    """A question about a clip, with its true answer. ``kind`` is as in `questions.Query`;
    ``success_step`` the step at which what is asked was done, -1 where the answer is no."""

    text: str
    kind: str
    answer: bool
    success_step: int = -1


@dataclass(frozen=True)
class FrameAnnotation:
    """What one frame shows, in words: the item before the agent, the mark that it shows, the item
    in the agent's hands ("" for none), all items in sight, and what is true of where the item
    before the agent is ("is beside a wall"). ``agent`` and ``front`` are the pixels (row, column)
    in the middle of the agent's cell and of the one before it; empty where they are not known."""

    faces: str = ""
    mark: str = ""
    holds: str = ""
    shows: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    agent: tuple[int, ...] = ()
    front: tuple[int, ...] = ()


@dataclass(frozen=True)
class Clip:
    """Up to 8 frames ``[T, height, width, 3] uint8`` and what is asked of them.

    ``steps`` are those of the frames in the rollout; ``caption`` is a sentence that says what
    happened, ``notes`` say what each frame shows, ``behaviour``, ``camera`` and ``look`` how the
    clip came about, ``seed`` the world's.
    """

    frames: np.ndarray
    asked: tuple[QuestionAnswer, ...]
    caption: str = ""
    notes: tuple[FrameAnnotation, ...] = ()
    steps: tuple[int, ...] = ()
    behaviour: str = ""
    camera: str = ""
    look: str = ""
    seed: int = 0


def _schema() -> Any:
    import pyarrow as pa

    asked = pa.struct(
        [
            ("text", pa.string()),
            ("kind", pa.string()),
            ("answer", pa.bool_()),
            ("success_step", pa.int32()),
        ]
    )
    note = pa.struct(
        [
            ("faces", pa.string()),
            ("mark", pa.string()),
            ("holds", pa.string()),
            ("shows", pa.list_(pa.string())),
            ("where", pa.list_(pa.string())),
            ("agent", pa.list_(pa.int32())),
            ("front", pa.list_(pa.int32())),
        ]
    )
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    fields = [
        ("frames", pa.list_(image)),
        ("asked", pa.list_(asked)),
        ("caption", pa.string()),
        ("notes", pa.list_(note)),
        ("steps", pa.list_(pa.int32())),
        ("behaviour", pa.string()),
        ("camera", pa.string()),
        ("look", pa.string()),
        ("seed", pa.int64()),
    ]

    def value(dtype: str) -> dict[str, str]:
        return {"dtype": dtype, "_type": "Value"}

    # How Hugging Face's datasets knows that the bytes are pictures.
    features = {
        "frames": {"feature": {"_type": "Image"}, "_type": "List"},
        "asked": {
            "feature": {
                "text": value("string"),
                "kind": value("string"),
                "answer": value("bool"),
                "success_step": value("int32"),
            },
            "_type": "List",
        },
        "caption": value("string"),
        "notes": {
            "feature": {
                "faces": value("string"),
                "mark": value("string"),
                "holds": value("string"),
                "shows": {"feature": value("string"), "_type": "List"},
                "where": {"feature": value("string"), "_type": "List"},
                "agent": {"feature": value("int32"), "_type": "List"},
                "front": {"feature": value("int32"), "_type": "List"},
            },
            "_type": "List",
        },
        "steps": {"feature": value("int32"), "_type": "List"},
        "behaviour": value("string"),
        "camera": value("string"),
        "look": value("string"),
        "seed": value("int64"),
    }
    about = {
        "huggingface": json.dumps({"info": {"features": features}}),
        "parley-clips": str(VERSION),
    }
    return pa.schema(fields, about)


def _png(frame: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(frame).save(out, "png", compress_level=4)
    return out.getvalue()


def write_clips(file: Path, clips: Iterable[Clip], group: int = 512) -> int:
    """Write a split; returns how many clips it has. The file appears when it is complete."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema()
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_name(f".{file.name}.half")
    n = 0
    rows: list[dict[str, Any]] = []

    def flush(writer: Any) -> None:
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema))
            rows.clear()

    with pq.ParquetWriter(half, schema, compression="zstd") as writer:
        for clip in clips:
            row = {name: getattr(clip, name) for name in schema.names if name != "frames"}
            row["frames"] = [{"bytes": _png(f), "path": None} for f in check_frames(clip.frames)]
            row["asked"] = [vars(a) for a in clip.asked]
            row["notes"] = [vars(n) for n in clip.notes]
            rows.append(row)
            n += 1
            if len(rows) == group:
                flush(writer)
        flush(writer)
    half.replace(file)
    return n


@contextmanager
def _table(folder: Path, split: str) -> Iterator[Any]:
    """A split's Parquet file, open. Raises BadInput as `read_clips` says."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = folder / "data" / f"{split}.parquet"
    if not file.is_file():
        there = [s for s in SPLITS if (folder / "data" / f"{s}.parquet").is_file()]
        raise BadInput(
            f"there is no split '{split}' in '{folder}'; it has {', '.join(there) or 'none'}"
        )
    try:
        with pq.ParquetFile(file) as table:
            told = (table.schema_arrow.metadata or {}).get(b"parley-clips", b"").decode()
            if told != str(VERSION):
                raise BadInput(
                    f"'{file}' has clips of version {told or 'unknown'}, not {VERSION}; make it "
                    "anew: python -m run make-clips"
                )
            if table.metadata.num_rows == 0:
                raise BadInput(f"'{file}' has no clips")
            yield table
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"the clips '{file}' cannot be read: {error}") from error


def count_clips(folder: Path, split: str) -> int:
    """How many clips a split has. Raises BadInput as `read_clips` does."""
    with _table(folder, split) as table:
        return int(table.metadata.num_rows)


def read_clips(folder: Path, split: str, only: Collection[int] | None = None) -> Iterator[Clip]:
    """The clips of a split, one after another; those at the places ``only`` where it is given.

    Raises BadInput, in one sentence, for a split that is not there, a file that is no such file
    or of another version, and for an empty one.
    """
    with _table(folder, split) as table:
        at = 0
        for batch in table.iter_batches(256):
            for k, row in enumerate(batch.to_pylist(), at):
                if only is None or k in only:
                    yield _clip(row, folder / "data" / f"{split}.parquet")
            at += len(batch)


def _note(row: dict[str, Any]) -> FrameAnnotation:
    lists = {n: tuple(row[n]) for n in ("shows", "where", "agent", "front")}
    return FrameAnnotation(row["faces"], row["mark"], row["holds"], **lists)


def _clip(row: dict[str, Any], file: Path) -> Clip:
    try:
        frames = [
            np.asarray(Image.open(io.BytesIO(f["bytes"])).convert("RGB")) for f in row["frames"]
        ]
        return Clip(
            check_frames(np.stack(frames)),
            tuple(QuestionAnswer(**a) for a in row["asked"]),
            row["caption"],
            tuple(_note(n) for n in row["notes"]),
            tuple(row["steps"]),
            row["behaviour"],
            row["camera"],
            row["look"],
            row["seed"],
        )
    except (OSError, ValueError, KeyError, TypeError, Image.DecompressionBombError) as error:
        raise BadInput(f"'{file}' has a clip that cannot be read: {error}") from error
