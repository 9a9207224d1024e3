"""What the training commands share: curves, checkpoints, how they resume."""

from __future__ import annotations

import csv
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from envs.errors import BadInput
from run.storage.folder import RunFolder, discarded_for_nothing
from run.storage.resume import check_resumed
from run.storage.settings import to_json

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
_STATE = "state.safetensors"
_BEST = "best."


class Trainer(Protocol):
    """One run of a training command."""

    def go(self) -> None: ...


def _open_run(args: Any, command: str) -> RunFolder:
    """The run's folder: a new one, or the one that goes on."""
    if args.resume is None:
        return RunFolder.new(args.runs_dir, command, args.name, to_json(args), True)
    check_resumed(args, command)
    return RunFolder.resume(args.resume, command)


def rank() -> int:
    """The number of this process among those of ``accelerate launch``, from 0."""
    return int(os.environ.get("RANK", "0"))


@contextmanager
def _written_once(args: T) -> Iterator[T]:
    """The settings with which this process trains: of several, the first alone writes what stays.

    ``args`` have ``runs_dir``, ``out`` and ``resume``.
    """
    given: Any = args
    if not rank():
        yield args
        return
    with TemporaryDirectory() as scratch:
        resume = given.resume
        if resume is not None:
            resume = Path(shutil.copytree(resume, Path(scratch) / "resume"))
        yield replace(given, runs_dir=Path(scratch), out=None, resume=resume)


def trained(args: Any, command: str, make: Callable[[Any, RunFolder], Trainer]) -> Path:
    """Train as ``args`` say, perhaps as one of several processes; returns the run folder.

    ``make`` reads all that is named; where it raises BadInput, no new folder is left behind.
    ``args`` have ``name``, ``out``, ``resume``, ``runs_dir`` and ``threads``.
    """
    import torch

    with _written_once(args) as mine:
        if mine.threads:
            torch.set_num_threads(mine.threads)
        with _open_run(mine, command) as folder:
            with discarded_for_nothing(mine, folder):
                trainer = make(mine, folder)
            with _kept(folder):
                trainer.go()
    if not rank():
        print(folder.path)
    return folder.path


@contextmanager
def _kept(folder: RunFolder) -> Iterator[None]:
    """What is the user's to mend also says how to go on from the last checkpoint."""
    try:
        yield
    except BadInput as error:
        raise BadInput(
            f"{str(error).rstrip('.')}; every checkpoint is kept: {folder.how_to_resume()}"
        ) from error


def with_best(
    tensors: dict[str, torch.Tensor], best: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """A checkpoint's tensors, and the best weights so far beside them (see ``best_of``)."""
    return tensors | {f"{_BEST}{name}": tensor for name, tensor in best.items()}


def best_of(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The best weights so far that a checkpoint holds."""
    return {n.removeprefix(_BEST): t for n, t in tensors.items() if n.startswith(_BEST)}


class CurveLog:
    """The rows of ``curve.csv``, which go to TensorBoard as well.

    The column ``at`` is what the rows are counted by; numbers in the others become scalars.
    """

    def __init__(
        self, folder: RunFolder, columns: Sequence[str], at: str, rows: list[list[Any]]
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.columns = tuple(columns)
        self.rows = rows
        self.folder = folder
        self._at = self.columns.index(at)
        # What was logged after the checkpoint is trained, and so logged, again.
        self._board = SummaryWriter(
            str(folder.path / "tensorboard"),
            purge_step=rows[-1][self._at] + 1 if rows else None,
        )
        half = folder.path / ".curve.csv.half"
        with open(half, "w", newline="") as file:
            csv.writer(file).writerows([self.columns, *rows])
        os.replace(half, folder.path / "curve.csv")

    def add(self, row: list[Any]) -> None:
        """Enter a row; what is not known is empty."""
        self.rows.append(row)
        with open(self.folder.path / "curve.csv", "a", newline="") as file:
            csv.writer(file).writerow(row)
        for name, value in zip(self.columns, row, strict=True):
            if isinstance(value, float) and name != "seconds":
                self._board.add_scalar(name, value, row[self._at])

    def close(self) -> None:
        self._board.close()


class CheckpointFile:
    """The checkpoint's file, ``checkpoints/state.safetensors``: tensors, and a head of texts."""

    def __init__(self, folder: RunFolder, seconds: float) -> None:
        self.file = folder.part("checkpoints", _STATE)
        self._seconds = seconds
        self._written = 0.0

    def is_due(self) -> bool:
        """Whether the last checkpoint is old enough."""
        return time.monotonic() - self._written >= self._seconds

    def write(self, tensors: dict[str, torch.Tensor], head: dict[str, Any]) -> None:
        """Put a checkpoint in the place of the last."""
        from safetensors.torch import save_file

        half = self.file.with_name(f".{self.file.name}.half")
        texts = {name: json.dumps(value) for name, value in head.items()}
        save_file({k: v.contiguous() for k, v in tensors.items()}, half, texts)
        os.replace(half, self.file)
        self._written = time.monotonic()

    def read(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """The checkpoint, or None where there is none yet. Raises BadInput for a damaged one."""
        from safetensors import SafetensorError, safe_open

        if not self.file.exists():
            return None
        try:
            with safe_open(self.file, "pt") as found:
                head = {name: json.loads(text) for name, text in found.metadata().items()}
                return {n: found.get_tensor(n) for n in found.keys()}, head  # noqa: SIM118
        except (SafetensorError, OSError, ValueError, AttributeError) as error:
            raise BadInput(f"the checkpoint '{self.file}' cannot be read: {error}") from error
