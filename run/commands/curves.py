"""``python -m run curves``: the curves of several training runs in one picture."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from envs.errors import BadInput, unknown
from run.storage.settings import at_least

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COUNTS = ("step", "steps")  # what the rows of a curve are counted by
STYLES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class CurvesSettings:
    """Draw the curves of training runs into one picture: a panel for each column, a line a run.

    Runs whose names differ in a number at their end alone, as seeds do, share a colour. What can be
    drawn stands at the head of a run's curve.csv: success, loss, validation and whatever else that
    command watches.

    Examples:
      python -m run curves runs/train-reporter/*truth-* runs/train-reporter/*detector-*
      python -m run curves RUN RUN --columns success true --smooth 8 --stage reinforcement
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders of train-planner, train-actor, train-reporter, train-detector or train-solo."""
    columns: tuple[str, ...] = ("success",)
    """What is drawn, a panel each."""
    stage: str = ""
    """Only this stage of the runs, counted from its beginning."""
    smooth: int = 1
    """Each point is the mean of so many rows, the last of them its own."""
    out: Path = Path("curves.png")
    """The picture; what its name ends in says of which kind (png, svg, pdf)."""

    def __post_init__(self) -> None:
        at_least(self, {"smooth": 1})
        if not self.runs:
            raise BadInput("name at least one run folder of a training command")
        if not self.columns:
            raise BadInput("name at least one of --columns")


Points = tuple[list[float], list[float]]


def curves(args: CurvesSettings) -> Path:
    """Draw the picture; returns its path. Raises BadInput for what is no run, has no such column,
    or cannot be written."""
    lines = {
        name: {column: points(path, column, args.stage, args.smooth) for column in args.columns}
        for name, path in _named(args.runs).items()
    }
    figure = _draw(lines, args)
    try:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(args.out, dpi=110)
    except (OSError, ValueError) as error:
        raise BadInput(f"'{args.out}' cannot be written: {error}") from error
    print(args.out)
    return args.out


def points(path: Path, column: str, stage: str = "", smooth: int = 1) -> Points:
    """Where a run's curve has values in a column, and those, each the mean of the last ``smooth``.

    Raises BadInput where there is no curve, no such column or stage, or no number in it.
    """
    try:
        with open(path / "curve.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"'{path}' is no run folder of a training command: {error}") from error
    at = next((c for c in COUNTS if rows and c in rows[0]), None)
    if at is None:
        raise BadInput(f"the curve of '{path}' has no rows yet")
    if column not in rows[0]:
        raise unknown("column", column, [c for c in rows[0] if c not in (at, "stage")])
    found: list[tuple[float, float]] = []
    before = 0.0
    for row in rows:
        if stage and row.get("stage") != stage:
            if not found:
                before = _number(path, row[at])
        elif row[column]:
            found.append((_number(path, row[at]) - before, _number(path, row[column])))
    if not found:
        where = f" in the stage '{stage}'" if stage else ""
        raise BadInput(f"the curve of '{path}' has nothing under '{column}'{where}")
    values = [v for _, v in found]
    means = [
        math.fsum(values[max(0, k + 1 - smooth) : k + 1]) / min(smooth, k + 1)
        for k in range(len(values))
    ]
    return [x for x, _ in found], means


def _number(path: Path, text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError as error:
        raise BadInput(f"the curve of '{path}' is damaged: '{text}' is no number") from error


def _named(runs: tuple[Path, ...]) -> dict[str, Path]:
    """The runs by the names of their folders, without the time where that is enough."""
    short = [re.sub(r"^\d{8}-\d{6}-", "", path.resolve().name) for path in runs]
    if len(set(short)) == len(runs):
        return dict(zip(short, runs, strict=True))
    return {path.resolve().name: path for path in runs}


def _draw(lines: dict[str, dict[str, Points]], args: CurvesSettings) -> Figure:
    from matplotlib.figure import Figure

    n = len(args.columns)
    figure = Figure(figsize=(2 + 4.5 * n, 3.8), layout="constrained")
    alike = {name: re.sub(r"[-_ ]?\d+$", "", name) for name in lines}
    kinds = list(dict.fromkeys(alike.values()))
    panels = figure.subplots(1, n, squeeze=False)[0]
    for axes, column in zip(panels, args.columns, strict=True):
        for name, its in lines.items():
            number = [x for x in lines if alike[x] == alike[name]].index(name)
            x, y = its[column]
            style = STYLES[number % len(STYLES)]
            color = f"C{kinds.index(alike[name]) % 10}"
            axes.plot(x, y, style, color=color, lw=1.5, label=name)
        what = f"step of {args.stage}" if args.stage else "step"
        axes.set(xlabel=what, title=column.replace("_", " "))
        axes.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper")
    return figure
