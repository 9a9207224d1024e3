"""Clips, their questions and annotations, and the data set on disk.

A data set is a folder with one Parquet file for each split, frames as PNG, and a card,
``README.md``. ``datasets.load_dataset(FOLDER)`` opens it too.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from envs.attributes import Attribute
from envs.errors import BadInput
from models.vision.encoder import check_frames

VERSION = 4
SPLITS = ("train", "validation", "test1", "test2", "test3", "test4", "test5", "test6")
CAPTION_EVENTS = 4


@dataclass(frozen=True)
class ClipEvent:
    """An event of an item.

    Attributes:
        verb: A verb of `questions.VERBS`.
        item: The item's name.
        step: The step of the event; -1 where none is meant, as in a question.
    """

    verb: str
    item: str
    step: int = -1


@dataclass(frozen=True)
class QuestionSubject:
    """What a question asks, as data.

    Attributes:
        items: The names of all items in the question, each once, in the order of the text.
        events: The events that make the answer yes, in order. For a conditional task: the right
            event if the condition holds, and the right one if it does not.
        decider: The name of the item that the condition is about; "" for none.
        condition: The condition of a conditional task.
    """

    items: tuple[str, ...] = ()
    events: tuple[ClipEvent, ...] = ()
    decider: str = ""
    condition: Attribute | None = None


@dataclass(frozen=True)
class QuestionAnswer:
    """A question about a clip, with its true answer.

    Attributes:
        text: The question.
        kind: As in `questions.QuestionSpec`.
        answer: Whether the answer is yes.
        success_step: The step of the event that makes the answer yes; -1 where it is no.
        subject: What it asks as data; None for a question of which only the text is known.
    """

    text: str
    kind: str
    answer: bool
    success_step: int = -1
    subject: QuestionSubject | None = None


@dataclass(frozen=True)
class FrameAnnotation:
    """The contents of one frame.

    Attributes:
        faced: The name of the item in front of the agent, "" for none.
        mark: The mark that this item shows.
        held: The name of the item that the agent carries, "" for none.
        in_sight: The names of all visible items.
        beside_wall: Whether the faced item is beside a wall.
        in_corner: Whether it is in a corner.
        floor: The colour of the floor under it, "" for none.
        agent: The pixel (row, column) in the middle of the agent's cell; empty if not known.
        front: That of the cell in front of the agent.
    """

    faced: str = ""
    mark: str = ""
    held: str = ""
    in_sight: tuple[str, ...] = ()
    beside_wall: bool = False
    in_corner: bool = False
    floor: str = ""
    agent: tuple[int, ...] = ()
    front: tuple[int, ...] = ()


@dataclass(frozen=True)
class ClipOutcome:
    """What was done in a clip.

    Attributes:
        events: The examinations and pick-ups, in order.
        faced: The name of the item that the agent faces at the end, "" for none.
        held: The name of the item that it carries at the end, "" for none.
    """

    events: tuple[ClipEvent, ...] = ()
    faced: str = ""
    held: str = ""

    def recent_events(self) -> tuple[ClipEvent, ...]:
        """The last four events, counting immediate repetitions as one. Captions and training
        targets mention only these."""
        distinct: list[ClipEvent] = []
        for event in self.events:
            if not distinct or (event.verb, event.item) != (distinct[-1].verb, distinct[-1].item):
                distinct.append(event)
        return tuple(distinct[-CAPTION_EVENTS:])


@dataclass(frozen=True)
class Clip:
    """Up to 8 frames and questions about them.

    Attributes:
        frames: ``[T, height, width, 3] uint8``.
        questions: The questions, with their answers.
        caption: A sentence that says what happened, for language models to learn.
        annotations: The contents of each frame.
        steps: The frames' steps in the rollout.
        behaviour: How the agent behaved.
        camera: Which camera drew the frames.
        look: How their colours were changed.
        seed: The world's seed.
        outcome: What was done in the clip, as data; None if that is not known.
    """

    frames: np.ndarray
    questions: tuple[QuestionAnswer, ...]
    caption: str = ""
    annotations: tuple[FrameAnnotation, ...] = ()
    steps: tuple[int, ...] = ()
    behaviour: str = ""
    camera: str = ""
    look: str = ""
    seed: int = 0
    outcome: ClipOutcome | None = None


def _schema() -> Any:
    """The columns of a split's file, with the metadata that Hugging Face's datasets needs."""
    import pyarrow as pa

    text, number, yes_or_no = pa.string(), pa.int32(), pa.bool_()
    subject_event = pa.struct([("verb", text), ("item", text)])
    subject = pa.struct(
        [
            ("items", pa.list_(text)),
            ("events", pa.list_(subject_event)),
            ("decider", text),
            ("condition", pa.struct([("predicate", text), ("value", text)])),
        ]
    )
    question = pa.struct(
        [
            ("text", text),
            ("kind", text),
            ("answer", yes_or_no),
            ("success_step", number),
            ("subject", subject),
        ]
    )
    annotation = pa.struct(
        [
            ("faced", text),
            ("mark", text),
            ("held", text),
            ("in_sight", pa.list_(text)),
            ("beside_wall", yes_or_no),
            ("in_corner", yes_or_no),
            ("floor", text),
            ("agent", pa.list_(number)),
            ("front", pa.list_(number)),
        ]
    )
    event = pa.struct([("verb", text), ("item", text), ("step", number)])
    outcome = pa.struct([("events", pa.list_(event)), ("faced", text), ("held", text)])
    image = pa.struct([("bytes", pa.binary()), ("path", text)])
    fields = {
        "frames": pa.list_(image),
        "asked": pa.list_(question),
        "caption": text,
        "annotations": pa.list_(annotation),
        "outcome": outcome,
        "steps": pa.list_(number),
        "behaviour": text,
        "camera": text,
        "look": text,
        "seed": pa.int64(),
    }

    def feature(column: Any) -> dict[str, Any]:
        if column == image:
            return {"_type": "Image"}
        if pa.types.is_list(column):
            return {"feature": feature(column.value_type), "_type": "List"}
        if pa.types.is_struct(column):
            return {f.name: feature(f.type) for f in column}
        return {"dtype": str(column), "_type": "Value"}

    features = {name: feature(column) for name, column in fields.items()}
    about = {
        "huggingface": json.dumps({"info": {"features": features}}),
        "parley-clips": str(VERSION),
    }
    return pa.schema(list(fields.items()), about)


def _png(frame: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(frame).save(out, "png", compress_level=4)
    return out.getvalue()


def _row(clip: Clip) -> dict[str, Any]:
    """A clip as a row of the file."""
    row: dict[str, Any] = asdict(replace(clip, frames=check_frames(clip.frames)))
    row["frames"] = [{"bytes": _png(frame), "path": None} for frame in row["frames"]]
    row["asked"] = row.pop("questions")
    return row


def write_clips(file: Path, clips: Iterable[Clip], group: int = 512) -> int:
    """Write a split. The file appears when it is complete.

    Args:
        file: The Parquet file.
        clips: The clips.
        group: The number of clips in a row group.

    Returns:
        The number of clips.
    """
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
            rows.append(_row(clip))
            n += 1
            if len(rows) == group:
                flush(writer)
        flush(writer)
    half.replace(file)
    return n


@contextmanager
def _table(folder: Path, split: str) -> Iterator[Any]:
    """Open a split's Parquet file. Raises BadInput as `read_clips` does."""
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
            version = (table.schema_arrow.metadata or {}).get(b"parley-clips", b"").decode()
            if version != str(VERSION):
                raise BadInput(
                    f"'{file}' has clips of version {version or 'unknown'}, not {VERSION}; make it "
                    "anew: python -m run make-clips"
                )
            if table.metadata.num_rows == 0:
                raise BadInput(f"'{file}' has no clips")
            yield table
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"the clips '{file}' cannot be read: {error}") from error


def count_clips(folder: Path, split: str) -> int:
    """The number of clips of a split. Raises BadInput as `read_clips` does."""
    with _table(folder, split) as table:
        return int(table.metadata.num_rows)


def read_clips(folder: Path, split: str, only: Collection[int] | None = None) -> Iterator[Clip]:
    """Read the clips of a split, one after another.

    Args:
        folder: The folder of the data set.
        split: The split's name.
        only: The positions of the clips to read; None for all.

    Raises:
        BadInput: There is no such split, or the file is empty, of another kind or of another
            version.
    """
    with _table(folder, split) as table:
        at = 0
        for batch in table.iter_batches(256):
            for k, row in enumerate(batch.to_pylist(), at):
                if only is None or k in only:
                    yield _clip(row, folder / "data" / f"{split}.parquet")
            at += len(batch)


def _question(row: dict[str, Any]) -> QuestionAnswer:
    about = row["subject"]
    if about is None:
        return QuestionAnswer(**row)
    condition = about["condition"]
    subject = QuestionSubject(
        tuple(about["items"]),
        tuple(ClipEvent(**e) for e in about["events"]),
        about["decider"],
        None if condition is None else Attribute(**condition),
    )
    return QuestionAnswer(**{**row, "subject": subject})


def _annotation(row: dict[str, Any]) -> FrameAnnotation:
    lists = {name: tuple(row[name]) for name in ("in_sight", "agent", "front")}
    return FrameAnnotation(**{**row, **lists})


def _outcome(row: dict[str, Any] | None) -> ClipOutcome | None:
    if row is None:
        return None
    return ClipOutcome(tuple(ClipEvent(**e) for e in row["events"]), row["faced"], row["held"])


def _clip(row: dict[str, Any], file: Path) -> Clip:
    try:
        frames = [
            np.asarray(Image.open(io.BytesIO(f["bytes"])).convert("RGB")) for f in row["frames"]
        ]
        return Clip(
            check_frames(np.stack(frames)),
            tuple(_question(q) for q in row["asked"]),
            row["caption"],
            tuple(_annotation(a) for a in row["annotations"]),
            tuple(row["steps"]),
            row["behaviour"],
            row["camera"],
            row["look"],
            row["seed"],
            _outcome(row["outcome"]),
        )
    except (OSError, ValueError, KeyError, TypeError, Image.DecompressionBombError) as error:
        raise BadInput(f"'{file}' has a clip that cannot be read: {error}") from error
