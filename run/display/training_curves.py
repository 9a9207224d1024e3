"""Curves of training runs in one picture."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.errors import BadInput, unknown
from run.display.palette import COLOURS, REFERENCE, colour, literal, marker

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STEP_COLUMNS = ("step", "steps")  # what counts the rows of a curve
STYLES = ("-", "--", ":", "-.")
FEW = 30  # so few points are marked
# What columns mean whose names alone do not say it.
NAMES = {
    "true": "reports that are true",
    "matters": "reports that state what was revealed",
    "episode": "detector: task achieved",
    "command": "detector: command done",
    "held_out": "success with held-out items",
}


@dataclass(frozen=True)
class Points:
    """A curve.

    Attributes:
        steps: The steps, in order.
        values: The value at each of them.
        stages: The stage that each belongs to; empty where the run has none.
    """

    steps: Sequence[float]
    values: Sequence[float]
    stages: Sequence[str]

    def smoothed(self, n: int) -> Points:
        """Each value as the mean of ``n`` values of its stage, the last of them its own."""
        means = []
        for k, stage in enumerate(self.stages):
            first = max(0, k + 1 - n, self.stages.index(stage))
            means.append(math.fsum(self.values[first : k + 1]) / (k + 1 - first))
        return Points(self.steps, means, self.stages)

    def with_breaks(self) -> tuple[list[float], list[float]]:
        """Steps and values, with a gap where another stage begins: no line joins the two."""
        steps: list[float] = []
        values: list[float] = []
        for k, (step, value) in enumerate(zip(self.steps, self.values, strict=True)):
            if k and self.stages[k] != self.stages[k - 1]:
                steps.append(step)
                values.append(math.nan)
            steps.append(step)
            values.append(value)
        return steps, values

    def stage_starts(self) -> list[tuple[str, float]]:
        """The name of each stage, and halfway from the last step before it to its first."""
        starts = list(zip(self.stages[:1], self.steps[:1], strict=True))
        for k in range(1, len(self.steps)):
            if self.stages[k] != self.stages[k - 1]:
                starts.append((self.stages[k], (self.steps[k - 1] + self.steps[k]) / 2))
        return starts


def curve_points(path: Path, column: str, stage: str = "", smooth: int = 1) -> Points:
    """The points of a column of a run's ``curve.csv``.

    Args:
        path: The run folder.
        column: The column.
        stage: Only this stage, with steps counted from its beginning.
        smooth: Each value is the mean of this many rows of its stage, the last of them its own.

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
    stages: list[str] = []
    stage_start = 0.0
    for row in rows:
        if stage and row.get("stage") != stage:
            if not values:
                stage_start = _number(path, row[step_column])
        elif row[column]:
            steps.append(_number(path, row[step_column]) - stage_start)
            values.append(_number(path, row[column]))
            stages.append(row.get("stage") or "")
    if not values:
        where = f" in the stage '{stage}'" if stage else ""
        raise BadInput(f"the curve of '{path}' has nothing under '{column}'{where}")
    return Points(steps, values, stages).smoothed(smooth)


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

    across = min(3, len(columns))
    down = math.ceil(len(columns) / across)
    figure = Figure(figsize=(2 + 4.5 * across, 3.8 * down), layout="constrained")
    families = {run: re.sub(r"[-_ ]?\d+$", "", run) for run in curves}
    order = list(dict.fromkeys(families.values()))
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes, column in zip(panels, columns, strict=False):
        for run, by_column in curves.items():
            number = [other for other in curves if families[other] == families[run]].index(run)
            k, points = order.index(families[run]), by_column[column]
            # Beyond the colours and styles there are, markers keep the lines apart.
            extra = k // len(COLOURS) + 2 * (number // len(STYLES))
            few = len(points.values) <= FEW
            axes.plot(
                *points.with_breaks(),
                linestyle=STYLES[number % len(STYLES)],
                color=colour(k),
                marker=marker(extra) if extra or few else "",
                markevery=1 if few else max(1, len(points.values) // 12),
                markersize=4,
                lw=1.5,
                label=literal(run),
            )
        mark_stages(axes, [by_column[column] for by_column in curves.values()])
        axes.set_xlabel(f"step of {stage}" if stage else "step")
        axes.set_title(NAMES.get(column, column.replace("_", " ")), fontsize=11, loc="left", pad=16)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[len(columns) :]:
        axes.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False)
    return figure


def mark_stages(axes: Axes, curves: Sequence[Points]) -> None:
    """A dotted line with the stage's name where a stage begins, once for each place."""
    starts = dict.fromkeys(start for points in curves for start in points.stage_starts())
    several = len({name for name, _ in starts}) > 1
    for name, step in starts if several else ():
        axes.vlines(step, 0, 1, REFERENCE, "dotted", lw=1, transform=axes.get_xaxis_transform())
        above = axes.get_xaxis_transform()
        axes.text(step, 1.01, literal(name), transform=above, fontsize=8, color="#444444")


def stage_points(records: Sequence[Mapping[str, Any]], column: str) -> Points:
    """A column of a run's own records; rows without a value are left out."""
    rows = [r for r in records if r.get(column, "") != ""]
    step = next((name for name in STEP_COLUMNS if rows and name in rows[0]), STEP_COLUMNS[0])
    return Points(
        [r[step] for r in rows],
        [r[column] for r in rows],
        [str(r.get("stage", "")) for r in rows],
    )
