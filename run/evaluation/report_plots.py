"""The plots of a report."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from run.display.palette import COLOURS, colour, hatch, literal, marker
from run.evaluation.results import EvaluationRun
from run.evaluation.statistics import mean_rate
from run.storage.records import SuccessRate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class PagePlot:
    """A plot as SVG, with what it shows in words."""

    svg: str
    alt: str


RateBySize = Mapping[str, Mapping[float, SuccessRate]]
"""Curves by label, each with rates by a number."""


def plots(runs: Sequence[EvaluationRun]) -> list[PagePlot]:
    """The plots of some runs.

    These are bars of all tasks, a curve for each family of tasks whose names differ in a number,
    and curves over the size of the language model.
    """
    names = list(dict.fromkeys(name for run in runs for name in run.tasks))
    figures = [(_bars_of_all(runs, names), "Success by task, with 95 % intervals.")]
    families: dict[str, list[tuple[float, str]]] = {}
    for name in names:
        match = re.fullmatch(r"(\D*?) ?(\d+(?:\.\d+)?)", name)
        if match:
            families.setdefault(match[1], []).append((float(match[2]), name))
    for family, members in families.items():
        if len(members) > 2:
            curves = {
                run.name: {x: run.tasks[name] for x, name in members if name in run.tasks}
                for run in runs
            }
            alt = f"Success over the number in the names of {family}, with 95 % intervals."
            figures.append((_curves(curves, literal(family), "success"), alt))
    for task, by_label in rates_by_size(runs).items():
        figure = _curves(by_label, "billion parameters of the Planner", f"success, {literal(task)}")
        sizes = sorted({size for by_size in by_label.values() for size in by_size})
        figure.axes[0].set_xscale("log")
        figure.axes[0].set_xticks(sizes, [f"{size:g}" for size in sizes])
        figure.axes[0].minorticks_off()
        figures.append((figure, f"Success over the size of the Planner: {task}."))
    return [PagePlot(_svg(figure), alt) for figure, alt in figures]


def rates_by_size(runs: Sequence[EvaluationRun]) -> dict[str, RateBySize]:
    """Success by the size of the language model, where names of tasks or Planners give several.

    Of two models of one size the first counts.

    Returns:
        By task, by what sets curves apart (the number of examples in the prompt, or "all"), and by
        billions of parameters.
    """
    curves: dict[str, dict[str, dict[float, SuccessRate]]] = {}
    for run in runs:
        for name, score in run.tasks.items():
            model, _, rest = name.partition(" ")
            size = _billions(model)
            match = re.fullmatch(r"(\D*?) ?(\d*)", rest)
            if size is not None and match and match[1]:
                label = f"{match[2]} examples" if match[2] else "all"
                curves.setdefault(match[1], {}).setdefault(label, {}).setdefault(size, score)
    shared = set.intersection(*(set(run.tasks) for run in runs))
    for run in runs if shared and len(runs) > 1 else ():
        size = _billions(str(run.config.get("planner")))
        mean = mean_rate(score for name, score in run.tasks.items() if name in shared)
        if size is not None and mean.tasks:
            of_shared = curves.setdefault(f"{len(shared)} tasks that all played", {})
            of_shared.setdefault("all", {}).setdefault(size, mean)
    several = {
        task: {label: by_size for label, by_size in by_label.items() if len(by_size) > 1}
        for task, by_label in curves.items()
    }
    return {task: by_label for task, by_label in several.items() if by_label}


def _billions(name: str) -> float | None:
    """The size in a model's name, such as 135m or 1.5b, in billions of parameters."""
    match = re.search(r"[-_](\d+(?:\.\d+)?)([mb])(?![a-z0-9])", name.lower())
    return None if match is None else float(match[1]) / (1000 if match[2] == "m" else 1)


def _bars_of_all(runs: Sequence[EvaluationRun], names: Sequence[str]) -> Figure:
    from matplotlib.figure import Figure

    height = 1.2 + len(names) * (0.14 + 0.18 * len(runs))
    figure = Figure(figsize=(9, height), layout="constrained")
    axes = figure.subplots()
    for k, run in enumerate(runs):
        rates = [run.tasks.get(name) for name in names]
        at = [y + (k - (len(runs) - 1) / 2) * 0.8 / len(runs) for y in range(len(names))]
        _bars(axes, rates, at, 0.72 / len(runs), k, literal(run.name))
    axes.set_yticks(range(len(names)), list(map(literal, names)))
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.set(xlabel="success, 95 % interval", xlim=(0, 1.01))
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if len(runs) > 1:
        figure.legend(loc="outside right upper", frameon=False)
    return figure


def _bars(
    axes: Axes,
    rates: Sequence[SuccessRate | None],
    at: Sequence[float],
    height: float,
    k: int,
    name: str,
) -> None:
    label: str | None = name
    for y, rate in zip(at, rates, strict=True):
        if rate is None or rate.success_rate is None or rate.success_ci95 is None:
            continue
        # Beyond the colours there are, hatches keep the bars apart.
        style = hatch(k // len(COLOURS))
        axes.barh(
            y, rate.success_rate, height, color=colour(k), alpha=0.7, hatch=style, label=label
        )
        axes.plot(rate.success_ci95, [y, y], color="black", linewidth=1.5)
        label = None


def _curves(curves: RateBySize, xlabel: str, ylabel: str) -> Figure:
    """Rates over numbers with their intervals, a curve for each name that has any."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots()
    for k, (name, by_number) in enumerate(curves.items()):
        points = [
            (x, rate.success_rate, rate.success_ci95)
            for x, rate in sorted(by_number.items())
            if rate.success_rate is not None and rate.success_ci95 is not None
        ]
        if points:
            at = [x for x, _, _ in points]
            values = [rate for _, rate, _ in points]
            look, name_of_line = marker(k), literal(name)
            axes.plot(at, values, color=colour(k), marker=look, markersize=5, label=name_of_line)
            low, high = ([interval[j] for _, _, interval in points] for j in (0, 1))
            axes.fill_between(at, low, high, color=colour(k), alpha=0.15)
    axes.set(xlabel=xlabel, ylabel=ylabel, ylim=(-0.02, 1.02))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:
        figure.legend(loc="outside right upper", frameon=False)
    return figure


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
