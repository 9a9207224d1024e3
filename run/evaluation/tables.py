"""The results of an evaluation, task by task: summary, table, plot."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rich.box import HORIZONTALS
from rich.console import Console
from rich.table import Table

from run.display.live import say
from run.display.palette import colour, literal
from run.evaluation.settings import EvaluationSettings
from run.evaluation.statistics import summarise
from run.evaluation.suites import Task
from run.evaluation.understanding import share_misunderstood
from run.storage.folder import RunFolder
from run.storage.records import EpisodeRecord, Interval, RunSummary, TaskSummary, VariantSummary

COLUMNS = (
    "cell",
    "n",
    "n_errors",
    "success_rate",
    "low",
    "high",
    "turns",
    "floor",
    "misunderstood",
)


def evaluation_summary(
    settings: EvaluationSettings, tasks: Sequence[Task], records: Sequence[EpisodeRecord]
) -> RunSummary:
    """The summary of an evaluation: over all episodes, and for each task and variant.

    Args:
        settings: The evaluation's settings.
        tasks: The tasks that were played.
        records: All their episodes.
    """

    def summary_of(some: Sequence[EpisodeRecord]) -> RunSummary:
        return summarise("evaluate", settings.seed, some, settings.parallel)

    by_task: dict[str, TaskSummary] = {}
    for task in tasks:
        of_task = [record for record in records if record.task_name == task.name]
        whole = summary_of(of_task)
        variants: dict[str, VariantSummary] = {}
        for variant in task.variants:
            summary = summary_of([r for r in of_task if r.variant == variant.label])
            variants[variant.label] = VariantSummary(summary.n, summary.success_rate)
        by_task[task.name] = TaskSummary(
            success_rate=whole.success_rate,
            success_ci95=whole.success_ci95,
            n=whole.n,
            n_errors=whole.n_errors,
            floor=task.floor,
            chance=task.chance,
            turns=whole.mean_turns,
            misunderstood=share_misunderstood(whole),
            reports_true=whole.reports_true,
            variants=variants,
        )
    return replace(summary_of(records), suite=settings.suite, tasks=by_task)


def write_table(tasks: Mapping[str, TaskSummary], folder: RunFolder) -> None:
    """Write ``cells.csv``: a row for each task, with unknown numbers left empty."""
    file = folder.path / "cells.csv"
    half = file.with_name(f".{file.name}.half")
    with open(half, "w", encoding="utf-8", newline="") as out:
        table = csv.writer(out)
        table.writerow(COLUMNS)
        for name, task in tasks.items():
            low, high = task.success_ci95 or (None, None)
            numbers = (task.n, task.n_errors, task.success_rate, low, high)
            table.writerow([name, *numbers, task.turns, task.floor, task.misunderstood])
    os.replace(half, file)


def plot_tasks(title: str, tasks: Mapping[str, TaskSummary], folder: RunFolder) -> None:
    """Draw ``plots/cells.png``: a bar with its interval for each task, ticks for floor and chance.

    Args:
        title: Title of the plot.
        tasks: The tasks by name.
        folder: The run folder.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.4 + 0.3 * len(tasks)), layout="constrained")
    axes = figure.subplots()
    label = "success, 95 % interval"
    for y, task in enumerate(tasks.values()):
        if task.success_rate is not None and task.success_ci95 is not None:
            axes.barh(y, task.success_rate, color=colour(0), alpha=0.6, label=label)
            axes.plot(task.success_ci95, [y, y], color="black", linewidth=1.5)
        for value, style, name in ((task.floor, "-", "floor"), (task.chance, ":", "chance")):
            if value is not None:
                tone = colour(1) if name == "floor" else "black"
                ends = [y - 0.45, y + 0.45]
                axes.plot([value] * 2, ends, color=tone, linestyle=style, lw=2, label=name)
    axes.set_yticks(range(len(tasks)), list(map(literal, tasks)))
    axes.set_ylim(len(tasks) - 0.4, -0.6)
    axes.set(title=literal(title), xlabel="success", xlim=(0, 1.01))
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(once.values(), once.keys(), loc="outside right upper", frameon=False)
    figure.savefig(folder.part("plots", "cells.png"), dpi=120)


def print_summary(summary: RunSummary) -> None:
    """Print a row for each task, and one for all of them."""
    say(summary_text(summary, Console()))


def summary_text(summary: RunSummary, console: Console) -> str:
    """A table with a row for each task, and one for all of them.

    Args:
        summary: The summary of an evaluation.
        console: Says how wide the table may be, and whether it has colours.
    """
    # So narrow that the longest name fits into 80 columns.
    table = Table(box=HORIZONTALS, collapse_padding=True, pad_edge=False)
    for name in ("task", "n", "errors", "success", "95 % interval", "turns", "unclear", "floor"):
        table.add_column(name, no_wrap=True)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, task in summary.tasks.items():
        measured = (task.success_rate, task.success_ci95, task.turns, task.misunderstood)
        table.add_row(name, str(task.n), str(task.n_errors), *_cells(*measured, task.floor))
    table.add_section()
    unclear = share_misunderstood(summary)
    total = (summary.success_rate, summary.success_ci95, summary.mean_turns, unclear, None)
    table.add_row("all", str(summary.n), str(summary.n_errors), *_cells(*total))
    with console.capture() as printed:
        console.print(table)
    text = printed.get().rstrip()
    if summary.reports_true is not None:
        shares = [
            f"{name} {task.reports_true:.3f}"
            for name, task in summary.tasks.items()
            if task.reports_true is not None
        ]
        text += f"\nreports that are true: {', '.join(shares)}"
    return text


def _cells(
    rate: float | None,
    interval: Interval | None,
    turns: float | None,
    unclear: float | None,
    floor: float | None,
) -> tuple[str, str, str, str, str]:
    low_high = "" if interval is None else " to ".join(_number(x, 3) for x in interval)
    lost = "" if not unclear else f"{unclear:.1%}"
    return _number(rate, 3), low_high, _number(turns, 1), lost, _number(floor, 2)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
