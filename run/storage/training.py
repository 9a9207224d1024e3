"""What the training commands share: run folders, curves, progress bars, how they resume."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from envs.errors import BadInput
from models.training.checkpoints import CheckpointManager
from models.training.trainer import Trainer, TrainerCallback
from run.display.progress import ProgressBar
from run.storage.folder import RunFolder, discarded_on_bad_input
from run.storage.resume import check_resumed
from run.storage.settings import to_json

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")


class TrainingRun(Protocol):
    """One run of a training command."""

    def run(self) -> None:
        """Train, and write what the run promises. Raises BadInput where training does."""


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


def trained(args: Any, command: str, make: Callable[[Any, RunFolder], TrainingRun]) -> Path:
    """Train as ``args`` say, perhaps as one of several processes; returns the run folder.

    ``make`` reads all that is named; where it raises BadInput, no new folder is left behind.
    ``args`` have ``name``, ``out``, ``resume``, ``runs_dir`` and ``threads``.
    """
    import torch

    with _written_once(args) as mine:
        if mine.threads:
            torch.set_num_threads(mine.threads)
        with _open_run(mine, command) as folder:
            with discarded_on_bad_input(folder):
                training = make(mine, folder)
            with _with_advice(folder):
                training.run()
    if not rank():
        print(folder.path)
    return folder.path


@contextmanager
def _with_advice(folder: RunFolder) -> Iterator[None]:
    """Errors of the user's also say how to go on from the last checkpoint."""
    try:
        yield
    except BadInput as error:
        raise BadInput(
            f"{str(error).rstrip('.')}; every checkpoint is kept: {folder.how_to_resume()}"
        ) from error


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


class CurveCallback(TrainerCallback):
    """Writes a row of ``curve.csv`` and TensorBoard after each step.

    A row has the step's metrics and ``stage``, ``step`` (of all stages together) and ``seconds``;
    what is missing is empty.
    """

    name = "curve"

    def __init__(self, folder: RunFolder, columns: Sequence[str], at: str = "step") -> None:
        """
        Args:
            folder: Of the run.
            columns: Names of metrics, and ``stage``, ``step`` and ``seconds``.
            at: The column that counts the rows.
        """
        self.columns = tuple(columns)
        self._folder = folder
        self._at = at
        self._rows: list[list[Any]] = []
        self._log: CurveLog | None = None

    def on_train_begin(self, trainer: Trainer) -> None:
        self._log = CurveLog(self._folder, self.columns, self._at, self._rows)

    def on_step_end(self, trainer: Trainer) -> None:
        assert self._log is not None, "training has not begun"
        values = {"stage": trainer.stage.name, "step": trainer.total_step, **trainer.metrics}
        values["seconds"] = round(trainer.seconds, 1)
        self._log.add([values.get(name, "") for name in self.columns])

    def close(self) -> None:
        if self._log is not None:
            self._log.close()

    def records(self, stage: str | None = None) -> list[dict[str, Any]]:
        """The rows, of one stage or of all, by column."""
        records = [dict(zip(self.columns, row, strict=True)) for row in self._rows]
        return [r for r in records if stage is None or r["stage"] == stage]

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self._rows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._rows = state["rows"]


class ProgressCallback(TrainerCallback):
    """Shows each stage's progress bar with some of the last step's metrics."""

    def __init__(self, console: Console, metrics: Mapping[str, str], unit: str = "steps") -> None:
        """
        Args:
            console: On which the bar is drawn.
            metrics: Names of the metrics to show, with their formats.
            unit: Of progress.
        """
        self._console = console
        self._metrics = metrics
        self._unit = unit
        self._bar: ProgressBar | None = None

    def on_stage_begin(self, trainer: Trainer) -> None:
        stage = trainer.stage
        total = stage.steps * stage.step_size
        self._bar = ProgressBar(self._console, stage.name, total, self._unit)
        self._bar.__enter__()

    def on_step_end(self, trainer: Trainer) -> None:
        assert self._bar is not None, "no stage has begun"
        shown = ", ".join(
            f"{name.replace('_', ' ')} {trainer.metrics[name]:{form}}"
            for name, form in self._metrics.items()
            if name in trainer.metrics
        )
        done = trainer.step * trainer.stage.step_size
        self._bar.update(f"{trainer.stage.name}: {shown}", done)

    def on_stage_end(self, trainer: Trainer) -> None:
        self.close()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None


def checkpoint_manager(folder: RunFolder, seconds: float) -> CheckpointManager:
    """Checkpoints in the run's folder, at most every ``seconds`` seconds."""
    return CheckpointManager(folder.part("checkpoints", "state.safetensors"), seconds)
