"""Curves of training runs in one picture."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from envs.errors import BadInput, unknown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEP_COLUMNS = ("step", "steps")  # what counts the rows of a curve
STYLES = ("-", "--", ":", "-.")
Points = tuple[list[float], list[float]]  # steps, and values at them


def curve_points(path: Path, column: str, stage: str = "", smooth: int = 1) -> Points:
    """The points of a column of a run's ``curve.csv``.

    Args:
        path: The run folder.
        column: The column.
        stage: Only this stage, with steps counted from its beginning.
        smooth: Each value is the mean of this many rows, the last of them its own.

    Raises:
        BadInput: There is no curve, no such column or stage, or no number in it.
    """
    try:
        with open(path / "curve.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"'{path}' is no run folder of a training command: {error}") from error
    step_column = next((c for c in STEP_COLUMNS if rows and c in rows[0]), None)
    if step_column is None:
        raise BadInput(f"the curve of '{path}' has no rows yet")
    if column not in rows[0]:
        raise unknown("column", column, [c for c in rows[0] if c not in (step_column, "stage")])
    steps: list[float] = []
    values: list[float] = []
    stage_start = 0.0
    for row in rows:
        if stage and row.get("stage") != stage:
            if not values:
                stage_start = _number(path, row[step_column])
        elif row[column]:
            steps.append(_number(path, row[step_column]) - stage_start)
            values.append(_number(path, row[column]))
    if not values:
        where = f" in the stage '{stage}'" if stage else ""
        raise BadInput(f"the curve of '{path}' has nothing under '{column}'{where}")
    means = [
        math.fsum(values[max(0, k + 1 - smooth) : k + 1]) / min(smooth, k + 1)
        for k in range(len(values))
    ]
    return steps, means


def _number(path: Path, text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError as error:
        raise BadInput(f"the curve of '{path}' is damaged: '{text}' is no number") from error


def run_labels(runs: Sequence[Path]) -> dict[str, Path]:
    """Runs by the names of their folders, without the time where that is enough."""
    short = [re.sub(r"^\d{8}-\d{6}-", "", path.resolve().name) for path in runs]
    if len(set(short)) == len(runs):
        return dict(zip(short, runs, strict=True))
    return {path.resolve().name: path for path in runs}


def draw_curves(
    curves: Mapping[str, Mapping[str, Points]], columns: Sequence[str], stage: str = ""
) -> Figure:
    """A panel for each column, with a line for each run.

    Args:
        curves: By run and column. Runs whose names differ only in a number at the end share a
            colour.
        columns: The columns to draw.
        stage: The stage that the steps belong to.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2 + 4.5 * len(columns), 3.8), layout="constrained")
    families = {run: re.sub(r"[-_ ]?\d+$", "", run) for run in curves}
    colours = {family: f"C{k % 10}" for k, family in enumerate(dict.fromkeys(families.values()))}
    panels = figure.subplots(1, len(columns), squeeze=False)[0]
    for axes, column in zip(panels, columns, strict=True):
        for run, by_column in curves.items():
            number = [other for other in curves if families[other] == families[run]].index(run)
            style, colour = STYLES[number % len(STYLES)], colours[families[run]]
            axes.plot(*by_column[column], style, color=colour, lw=1.5, label=run)
        axes.set(xlabel=f"step of {stage}" if stage else "step", title=column.replace("_", " "))
        axes.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper")
    return figure
