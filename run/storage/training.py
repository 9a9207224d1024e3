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
from run.display.messages import saying
from run.display.progress import ProgressBar
from run.storage.folder import RunFolder
from run.storage.overwriting import check_free, replace_folder
from run.storage.resume import ResumableSettings, check_resumed, stored_settings
from run.storage.settings import to_json

if TYPE_CHECKING:
    from rich.console import Console


class TrainingRun(Protocol):
    """One run of a training command."""

    def run(self) -> None:
        """Train, and write curves, checkpoints and summary.

        Raises:
            BadInput: Training fails.
        """


class TrainingSettings(ResumableSettings, Protocol):
    """Settings that every training command has."""

    @property
    def name(self) -> str: ...
    @property
    def out(self) -> Path | None: ...
    @property
    def force(self) -> bool: ...
    @property
    def runs_dir(self) -> Path: ...
    @property
    def threads(self) -> int: ...


S = TypeVar("S", bound=TrainingSettings)
# The usual options that every training command has.
USUAL_IN_TRAINING = ("init", "seed", "out", "force", "resume", "device", "threads")


def _open_run(args: TrainingSettings, command: str) -> RunFolder:
    """The run's folder: a new one, or the one that is resumed."""
    if args.resume is None:
        return RunFolder.new(args.runs_dir, command, args.name, to_json(args), True)
    check_resumed(args, command)
    return RunFolder.resume(args.resume, command)


def rank() -> int:
    """The number of this process among those of ``accelerate launch``, from 0."""
    return int(os.environ.get("RANK", "0"))


@contextmanager
def _written_once(args: S) -> Iterator[S]:
    """The settings of this process: of several processes, only the first writes to the run folder.

    The others write to a temporary folder.
    """
    if not rank():
        yield args
        return
    with TemporaryDirectory() as temporary:
        resume = args.resume
        if resume is not None:
            resume = Path(shutil.copytree(resume, Path(temporary) / "resume"))
        changed: Any = args  # replace() does not know that it is a dataclass
        yield replace(changed, runs_dir=Path(temporary), out=None, resume=resume)


def trained(
    args: S,
    command: str,
    make: Callable[[S, RunFolder], TrainingRun],
    check: Callable[[S], object] = lambda args: None,
) -> Path:
    """Train, perhaps as one of several processes, and return the run folder.

    Args:
        args: The command's settings.
        command: The command's name.
        make: Makes the training run. It reads all files that the settings name.
        check: Raises BadInput for names of parts that name nothing, before anything is loaded and
            before there is a run folder.

    Raises:
        BadInput: Settings cannot be used, or training fails. Where ``make`` raises it, no new run
            folder is left behind.
    """
    check(args)
    _check_out(args, command)
    with saying("loading torch"):
        import torch

    with _written_once(args) as own_args:
        if own_args.threads:
            torch.set_num_threads(own_args.threads)
        with _open_run(own_args, command) as folder:
            with saying("loading models and data", quiet=rank() > 0):
                training = make(own_args, folder)
            with _with_advice(folder):
                training.run()
    if not rank():
        print(folder.path)
    return folder.path


def _check_out(args: TrainingSettings, command: str) -> None:
    """Raise BadInput where ``--out`` would replace what this run has not written."""
    if args.resume is not None and args.out is not None:
        stored = stored_settings(type(args), command, args.resume)
        if stored.out == args.out:
            return
    check_free(args.out, args.force, runs_dir=args.runs_dir)


def save_final(folder: RunFolder, out: Path | None, save: Callable[[Path], object]) -> None:
    """Save the weights that training has come to, in the run folder and at ``--out``.

    Args:
        folder: The run folder.
        out: A second folder, or None.
        save: Writes the weights into a folder.

    Raises:
        BadInput: The file system refuses.
    """
    save(folder.part("checkpoints", "final"))
    if out is not None:
        replace_folder(out, save)


@contextmanager
def _with_advice(folder: RunFolder) -> Iterator[None]:
    """Adds to a BadInput how to continue from the last checkpoint."""
    try:
        yield
    except BadInput as error:
        if folder.is_untouched():
            raise
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
        """Append a row; unknown values are empty."""
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
        """Make the callback.

        Args:
            folder: The run folder.
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
        """The rows of one stage, or of all, by column."""
        records = [dict(zip(self.columns, row, strict=True)) for row in self._rows]
        return [r for r in records if stage is None or r["stage"] == stage]

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self._rows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._rows = state["rows"]


class ProgressCallback(TrainerCallback):
    """Shows each stage's progress bar with some of the last step's metrics."""

    def __init__(self, console: Console, metrics: Mapping[str, str], unit: str = "steps") -> None:
        """Make the callback.

        Args:
            console: Where the bar is drawn.
            metrics: Names of the metrics to show, with their formats.
            unit: What is counted, in the plural.
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
