"""``python -m run curves``: the curves of several training runs in one picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from envs.errors import BadInput
from run.display.training_curves import curve_points, draw_curves, run_labels
from run.storage.overwriting import check_free, write_files
from run.storage.settings import at_least


@dataclass(frozen=True)
class CurvesSettings:
    """Draw the curves of training runs into one picture: a panel for each column, a line a run.

    Runs whose names differ only in a number at the end, as seeds do, share a colour. The columns
    are named in the first line of a run's curve.csv: success, loss, validation, and others that
    depend on the command.

    Examples:
      python -m run curves runs/train-reporter/*truth-* runs/train-reporter/*detector-*
      python -m run curves RUN RUN --columns success true --smooth 8 --stage reinforcement
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders of train-planner, train-actor, train-reporter, train-detector or train-solo."""
    columns: tuple[str, ...] = ("success",)
    """The columns to draw, a panel each."""
    stage: str = ""
    """Draw only this stage of the runs, counted from its beginning."""
    smooth: int = 1
    """Number of rows to average for each point, the last of them its own."""
    out: Path = Path("curves.png")
    """The picture. Its suffix sets the format (png, svg, pdf)."""
    force: bool = False
    """Replace what is at --out already."""

    def __post_init__(self) -> None:
        at_least(self, {"smooth": 1})
        if not self.runs:
            raise BadInput("name at least one run folder of a training command")
        if not self.columns:
            raise BadInput("name at least one of --columns")


def curves(settings: CurvesSettings) -> Path:
    """Draw the picture and return its path.

    Raises:
        BadInput: A run has no curve or no such column, or the picture cannot be written.
    """
    check_free(settings.out, settings.force)
    stage, smooth, out = settings.stage, settings.smooth, settings.out
    points = {
        name: {column: curve_points(path, column, stage, smooth) for column in settings.columns}
        for name, path in run_labels(settings.runs).items()
    }
    figure = draw_curves(points, settings.columns, stage)
    write_files({out: lambda file: figure.savefig(file, dpi=110)})
    print(out)
    return out
