"""The plots of the leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from run.evaluation.leaderboard import (
    LeaderboardColumn,
    by_suite,
    column_names,
    of_one_team,
    task_names,
)
from run.evaluation.statistics import mean_rate


def plot_tasks_by_suite(columns: Sequence[LeaderboardColumn], file: Path) -> None:
    """A panel for each suite: each column's success on each task."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    suites = by_suite(columns)
    tasks = [task_names(of_suite) for of_suite in suites.values()]
    names = column_names(columns)
    figure = Figure(figsize=(8, 1.2 + 0.24 * sum(map(len, tasks))), layout="constrained")
    panels = figure.subplots(len(suites), 1, squeeze=False, height_ratios=[*map(len, tasks)])
    for axes, (suite, of_suite), rows in zip(panels[:, 0], suites.items(), tasks, strict=True):
        for y, task in enumerate(rows):
            for place, column in enumerate(of_suite):
                score = column.tasks.get(task)
                if score is None or score.success_rate is None or score.success_ci95 is None:
                    continue
                colour = f"C{names.index(column.name)}"
                at = y + 0.16 * (place - (len(of_suite) - 1) / 2)
                axes.plot(score.success_ci95, [at, at], colour, linewidth=1.5)
                axes.plot([score.success_rate], [at], f"{colour}o", markersize=4)
            chance = next(c.tasks[task].chance for c in of_suite if task in c.tasks)
            if chance is not None:
                axes.plot([chance] * 2, [y - 0.35, y + 0.35], "k:", linewidth=1)
        axes.set_yticks(range(len(rows)), rows)
        axes.set(title=suite, xlim=(-0.01, 1.01), ylim=(len(rows) - 0.5, -0.5))
        axes.grid(alpha=0.3)
    lines = [Line2D([], [], color=f"C{k}", marker="o") for k in range(len(names))]
    figure.legend(lines, names, loc="outside upper center", ncols=min(4, len(names)))
    figure.supxlabel("success, 95 % interval; dotted: chance")
    figure.savefig(file, dpi=110)


def plot_whole_suites(columns: Sequence[LeaderboardColumn], file: Path) -> None:
    """A row for each suite: each team's mean success, and its range over the tasks.

    The mark is hollow where the team played only some of the tasks. There is no picture where no
    column has one team.
    """
    from matplotlib.figure import Figure

    columns = of_one_team(columns)
    if not columns:
        return
    suites = by_suite(columns)
    names = column_names(columns)
    figure = Figure(figsize=(8, 1.4 + 0.55 * len(suites)), layout="constrained")
    axes = figure.subplots()
    for y, of_suite in enumerate(suites.values()):
        n = len(task_names(of_suite))
        for place, column in enumerate(of_suite):
            mean = mean_rate(column.tasks.values())
            if mean.success_rate is None:
                continue
            colour = f"C{names.index(column.name)}"
            at = y + 0.2 * (place - (len(of_suite) - 1) / 2)
            scores = (score.success_rate for score in column.tasks.values())
            rates = [rate for rate in scores if rate is not None]
            axes.plot([min(rates), max(rates)], [at, at], colour, linewidth=2, alpha=0.4)
            fill = colour if mean.tasks == n else "white"
            axes.plot([mean.success_rate], [at], f"{colour}o", mfc=fill, label=column.name)
    axes.set_yticks(range(len(suites)), list(suites))
    axes.set(xlim=(-0.01, 1.01), ylim=(len(suites) - 0.5, -0.5))
    axes.set_xlabel(
        "mean success over all tasks of a suite (hollow: over some of them)\n"
        "lines: from the worst task to the best"
    )
    axes.grid(alpha=0.3)
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=min(4, len(names)))
    figure.savefig(file, dpi=110)
