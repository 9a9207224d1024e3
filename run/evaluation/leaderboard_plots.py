"""The plots of the leaderboard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from run.display.palette import REFERENCE, colour, marker
from run.evaluation.leaderboard import (
    CEILING,
    FLOOR,
    REFERENCES,
    LeaderboardColumn,
    LeaderboardSection,
    Panel,
    by_suite,
    column_names,
    in_order,
    of_one_team,
    pages_of_panels,
    picture_names,
    sections,
    task_names,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

WIDTH, DPI = 13.0, 110
ROW, PANEL = 0.25, 0.55  # inches: of a row, and of a panel's title and axis


def leaderboard_pictures(
    columns: Sequence[LeaderboardColumn], page: Path
) -> dict[Path, Callable[[Path], object]]:
    """The pictures of a page: whole suites, and the tasks of each section.

    Args:
        columns: All columns.
        page: The page, whose name the pictures' names begin with.

    Returns:
        How to write each picture, by its path.
    """
    pictures: dict[Path, Callable[[Path], object]] = {}
    whole = of_one_team(columns)
    if whole:
        suites = page.with_name(f"{page.stem}-suites.png")
        pictures[suites] = lambda file: _whole_suites(whole).savefig(file, dpi=DPI)
    for section in sections(columns):
        pages = pages_of_panels(section.columns)
        for name, stacks in zip(picture_names(section, page.stem), pages, strict=True):
            pictures[page.with_name(name)] = partial(_write_tasks, section, stacks)
    return pictures


def _write_tasks(
    section: LeaderboardSection, stacks: Sequence[Sequence[Panel]], file: Path
) -> None:
    _tasks(section, stacks).savefig(file, dpi=DPI)


def _stacked(stacks: Sequence[Sequence[int]], extra: float) -> tuple[Figure, list[list[Axes]]]:
    """A figure with stacks of panels side by side, of as many rows each.

    A row is equally high in all panels.
    """
    from matplotlib.figure import Figure

    inches = [[PANEL + ROW * rows for rows in stack] for stack in stacks]
    height = max(map(sum, inches))
    figure = Figure(figsize=(WIDTH, height + extra), layout="constrained")
    parts = figure.subfigures(1, len(stacks), squeeze=False)[0]
    panels = []
    for part, stack in zip(parts, inches, strict=True):
        rest = height - sum(stack)
        ratios = [*stack, rest] if rest > 0.1 else stack
        axes = part.subplots(len(ratios), 1, squeeze=False, height_ratios=ratios)[:, 0]
        for empty in axes[len(stack) :]:
            empty.set_axis_off()
        panels.append(list(axes[: len(stack)]))
    return figure, panels


def _finish(axes: Axes, title: str, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_title(title, loc="left", fontweight="bold", fontsize=11)
    axes.set(xlim=(-0.02, 1.02), ylim=(len(names) - 0.4, -0.6))
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _tasks(section: LeaderboardSection, stacks: Sequence[Sequence[Panel]]) -> Figure:
    """Success on each task: a row for each, floor and ceiling as ticks."""
    players = [name for name in column_names(section.columns) if name not in REFERENCES]
    figure, panels = _stacked([[len(tasks) for _, tasks in stack] for stack in stacks], 0.9)
    suites = by_suite(section.columns)
    drawn: dict[str, Line2D] = {}
    for of_stack, stack in zip(panels, stacks, strict=True):
        for axes, (title, tasks) in zip(of_stack, stack, strict=True):
            of_suite = in_order(suites[title.removesuffix(", continued")])
            for y, task in enumerate(tasks):
                axes.axhspan(y - 0.5, y + 0.5, color="black", alpha=0.04 * (y % 2), linewidth=0)
                _row(axes, y, task, of_suite, players, drawn)
            _finish(axes, title, tasks)
    order = [*players, FLOOR, CEILING, "chance"]
    handles = [drawn[name] for name in order if name in drawn]
    figure.legend(handles=handles, loc="outside upper center", ncols=8, frameon=False)
    figure.supxlabel("success (lines: 95 % interval)", fontsize=10)
    return figure


def _row(
    axes: Axes,
    y: float,
    task: str,
    of_suite: Sequence[LeaderboardColumn],
    players: Sequence[str],
    drawn: dict[str, Line2D],
) -> None:
    """A task's row; what is drawn for the first time is added to ``drawn``, for the legend."""
    here = [column for column in of_suite if task in column.tasks]
    rivals = [column for column in here if column.name not in REFERENCES]
    for column in here:
        score = column.tasks[task]
        if score.success_rate is None or score.success_ci95 is None:
            continue
        if column.name in REFERENCES:
            tone = REFERENCE if column.name == FLOOR else "black"
            axes.plot(score.success_ci95, [y, y], color=tone, alpha=0.3, linewidth=5, zorder=1)
            style, width, z = "|", 2.0, 2
            at = y
        else:
            k = players.index(column.name)
            place = rivals.index(column) - (len(rivals) - 1) / 2
            at = y + place * min(0.22, 0.7 / max(1, len(rivals)))
            tone, style, width, z = colour(k), marker(k), 0.5, 4
            axes.plot(score.success_ci95, [at, at], color=tone, linewidth=1.6, zorder=3)
        (mark,) = axes.plot(
            *([score.success_rate], [at], style),
            color=tone,
            ms=11 if style == "|" else 5.5,
            mew=width,
            zorder=z,
            label=column.name,
        )
        drawn.setdefault(column.name, mark)
    chance = next((column.tasks[task].chance for column in here), None)
    if chance is not None:
        (mark,) = axes.plot([chance] * 2, [y - 0.45, y + 0.45], "k:", linewidth=1.3, label="chance")
        drawn.setdefault("chance", mark)


def _whole_suites(columns: Sequence[LeaderboardColumn]) -> Figure:
    """A panel for each suite, a row for each player: mean success and range over the tasks.

    The best stands first, who played only some of the tasks last.
    """
    suites = {
        f"{suite}, {len(task_names(of_suite))} tasks ({section.title})": sorted(
            of_suite, key=lambda column: (-column.mean.tasks, -(column.mean.success_rate or 0))
        )
        for section in sections(columns)
        for suite, of_suite in by_suite(section.columns).items()
    }
    total = sum(len(of_suite) + 2 for of_suite in suites.values())
    stacks: list[list[str]] = [[]]
    for title, of_suite in suites.items():
        rows = sum(len(suites[t]) + 2 for t in stacks[-1])
        if len(stacks) == 1 and stacks[0] and rows + len(of_suite) / 2 > total / 2:
            stacks.append([])
        stacks[-1].append(title)
    figure, panels = _stacked([[len(suites[t]) for t in stack] for stack in stacks], 0.6)
    players = [name for name in column_names(columns) if name not in REFERENCES]
    for of_stack, stack in zip(panels, stacks, strict=True):
        for axes, title in zip(of_stack, stack, strict=True):
            n = len(task_names(suites[title]))
            for y, column in enumerate(suites[title]):
                _mean_row(axes, y, column, players)
            means = {column.name: column.mean.tasks for column in suites[title]}
            names = [name if k == n else f"{name}, {k} tasks" for name, k in means.items()]
            _finish(axes, title, names)
    figure.supxlabel(
        "mean success over a suite's tasks (thick: 95 % interval; thin: from the worst task to "
        "the best)",
        fontsize=10,
    )
    return figure


def _mean_row(axes: Axes, y: float, column: LeaderboardColumn, players: Sequence[str]) -> None:
    mean = column.mean
    if mean.success_rate is None or mean.success_ci95 is None:
        return
    if column.name in REFERENCES:
        tone, mark = (REFERENCE if column.name == FLOOR else "black"), "|"
    else:
        k = players.index(column.name)
        tone, mark = colour(k), marker(k)
    scores = (score.success_rate for score in column.tasks.values())
    rates = [rate for rate in scores if rate is not None]
    axes.plot([min(rates), max(rates)], [y, y], color=tone, linewidth=1, alpha=0.6)
    axes.plot(mean.success_ci95, [y, y], color=tone, linewidth=5, alpha=0.45)
    axes.plot([mean.success_rate], [y], mark, color=tone, ms=7, mew=2, zorder=3)
    axes.annotate(
        *(f"{mean.success_rate:.2f}", (1.03, y)), va="center", fontsize=9, annotation_clip=False
    )
