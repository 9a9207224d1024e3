"""The leaderboard: stored results side by side, as a Markdown page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from run.display.markdown import markdown_table
from run.evaluation.results import KeptResult, evaluate_command, in_suite_order
from run.evaluation.statistics import mean_rate
from run.storage.records import MeanRate, SuccessRate, TaskScore

# Settings that say how much was played.
EXTENT = ("tasks", "episodes", "attribute_faults")
# Floor and ceiling of every table: nobody competes with them.
FLOOR, CEILING = "random", "oracle"
REFERENCES = (FLOOR, CEILING)
# Of a stack of panels in a picture: the most tasks, and what a panel takes beside its tasks.
MOST_ROWS, PANEL_ROWS = 40, 3


@dataclass(frozen=True)
class LeaderboardColumn:
    """A column of a suite's table: its results by one team, with one seed and the same settings.

    Attributes:
        suite: The name of the suite.
        name: Who played.
        has_own_teams: Whether each task has its own team, so that no average says anything.
        tasks: The newest score of each task, in the order of the suite.
        results: The results, with how many of ``tasks`` come from each.
    """

    suite: str
    name: str
    has_own_teams: bool
    tasks: Mapping[str, TaskScore]
    results: Sequence[tuple[KeptResult, int]]

    @property
    def is_of_team(self) -> bool:
        """Whether a named team played."""
        return any(result.config.get("team") for result, _ in self.results)

    @property
    def mean(self) -> MeanRate:
        """The mean success over its tasks."""
        return mean_rate(self.tasks.values())


@dataclass(frozen=True)
class LeaderboardSection:
    """Suites that belong together: teams, Planners, or tasks with a team each.

    Attributes:
        title: What plays.
        slug: Its word in the names of files.
        about: A sentence for the page.
        columns: The columns of its suites.
    """

    title: str
    slug: str
    about: str
    columns: Sequence[LeaderboardColumn]


def sections(columns: Sequence[LeaderboardColumn]) -> list[LeaderboardSection]:
    """The sections that have columns. A suite that any named team has played is one of teams."""
    whole = of_one_team(columns)
    of_teams = {column.suite for column in whole if column.is_of_team}
    found = [
        LeaderboardSection(
            "Teams",
            "teams",
            "Whole teams: Planner, Actor and Reporter differ.",
            [column for column in whole if column.suite in of_teams],
        ),
        LeaderboardSection(
            "Planners",
            "planners",
            "One Actor and one Reporter, so that only the Planners differ.",
            [column for column in whole if column.suite not in of_teams],
        ),
        LeaderboardSection(
            "Tasks with their own teams",
            "own-teams",
            "Each task names its own team or Planner.",
            [column for column in columns if column.has_own_teams],
        ),
    ]
    return [section for section in found if section.columns]


def columns_of(results: Sequence[KeptResult]) -> list[LeaderboardColumn]:
    """Join results that belong into one column.

    These differ only in how much was played. A setting that is left open counts like one that did
    not exist yet. Where several results have one task, the newest counts, and of one day that with
    fewer tasks.
    """
    groups: dict[str, list[KeptResult]] = {}
    for result in results:
        config = _given({k: v for k, v in result.config.items() if k not in EXTENT})
        groups.setdefault(json.dumps(config, sort_keys=True), []).append(result)
    columns = []
    for group in groups.values():
        first = group[0]
        group = sorted(group, key=lambda result: (result.date, -len(result.tasks)))
        newest = {task: result for result in group for task in result.tasks}
        columns.append(
            LeaderboardColumn(
                Path(str(first.config["suite"])).stem,
                first.team,
                first.has_own_teams,
                {t: newest[t].tasks[t] for t in in_suite_order(newest, first.suite)},
                [(result, sum(result is n for n in newest.values())) for result in group],
            )
        )
    return columns


def _given(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings without those that are left open."""
    return {
        k: _given(v) if isinstance(v, Mapping) else v for k, v in settings.items() if v is not None
    }


def by_suite(columns: Sequence[LeaderboardColumn]) -> Mapping[str, list[LeaderboardColumn]]:
    """The columns of each suite."""
    suites: dict[str, list[LeaderboardColumn]] = {}
    for column in columns:
        suites.setdefault(column.suite, []).append(column)
    return suites


def task_names(columns: Sequence[LeaderboardColumn]) -> list[str]:
    """The tasks that any of a suite's columns has."""
    return list(dict.fromkeys(task for column in columns for task in column.tasks))


def column_names(columns: Sequence[LeaderboardColumn]) -> list[str]:
    """Who played, each name once: who played most tasks first, then the better; floor and ceiling
    last."""
    tasks: dict[str, int] = {}
    rates: dict[str, float] = {}
    for column in columns:
        tasks[column.name] = tasks.get(column.name, 0) + len(column.tasks)
        rate = (column.mean.success_rate or 0.0) * len(column.tasks)
        rates[column.name] = rates.get(column.name, 0.0) + rate

    def place(name: str) -> tuple[int, int, float]:
        last = REFERENCES.index(name) + 1 if name in REFERENCES else 0
        return last, -tasks[name], -rates[name]

    return sorted(tasks, key=place)


def in_order(columns: Sequence[LeaderboardColumn]) -> list[LeaderboardColumn]:
    """Columns in the order of ``column_names``."""
    names = column_names(columns)
    return sorted(columns, key=lambda column: names.index(column.name))


def of_one_team(columns: Sequence[LeaderboardColumn]) -> list[LeaderboardColumn]:
    """The columns over whose tasks an average says something."""
    return [column for column in columns if not column.has_own_teams]


def leaderboard_page(columns: Sequence[LeaderboardColumn], stem: str) -> str:
    """The page as Markdown.

    Args:
        columns: All columns.
        stem: What the names of the pictures begin with.
    """
    out = [
        "# Leaderboard",
        "",
        "Success with 95 % intervals (Wilson). `random` (commands at random) is the floor,",
        "`oracle` (which looks into the world) the ceiling; the best of the others is bold. Below",
        "each table are the commands that made it. This page is written by",
        "`python -m run leaderboard` from the runs in [results](results); a test writes it anew",
        "and compares.",
        "",
    ]
    if of_one_team(columns):
        out += [f"![mean success by suite]({stem}-suites.png)", ""]
    for section in sections(columns):
        out += [f"## {section.title}", "", section.about, ""]
        table = overview(section.columns)
        if table:
            out += ["All tasks of a suite together, each of the same weight:", "", *table, ""]
        for picture in picture_names(section, stem):
            out += [f"![success by task: {section.title.lower()}]({picture})", ""]
        for suite, of_suite in by_suite(section.columns).items():
            out += [f"### {suite}", "", *_suite_table(in_order(of_suite)), ""]
            for column in in_order(of_suite):
                out += [_source(column.name, result, count) for result, count in column.results]
            out.append("")
    return "\n".join(out).rstrip() + "\n"


def picture_names(section: LeaderboardSection, stem: str) -> list[str]:
    """The names of a section's pictures; each has room for so many tasks alone."""
    n = len(pages_of_panels(section.columns))
    return [f"{stem}-{section.slug}{f'-{k + 1}' if k else ''}.png" for k in range(n)]


Panel = tuple[str, Sequence[str]]
"""A suite and its tasks, or some of them."""


def pages_of_panels(columns: Sequence[LeaderboardColumn]) -> list[list[list[Panel]]]:
    """The suites' tasks dealt out to pictures, and in each to at most two stacks of panels."""
    panels: list[Panel] = []
    for suite, of_suite in by_suite(columns).items():
        tasks = task_names(of_suite)
        for first in range(0, len(tasks), MOST_ROWS):
            some = tasks[first : first + MOST_ROWS]
            panels.append((f"{suite}, continued" if first else suite, some))
    # As even as the order of the suites allows.
    n = sum(len(tasks) + PANEL_ROWS for _, tasks in panels)
    room = max(n / max(2, 2 * math.ceil(n / (2 * MOST_ROWS))) * 1.05, 8)
    stacks: list[list[Panel]] = [[]]
    for panel in panels:
        rows = sum(len(tasks) + PANEL_ROWS for _, tasks in stacks[-1])
        full = rows + len(panel[1]) > MOST_ROWS
        if stacks[-1] and (full or rows + len(panel[1]) / 2 > room):
            stacks.append([])
        stacks[-1].append(panel)
    return [stacks[k : k + 2] for k in range(0, len(stacks), 2)]


def _suite_table(of_suite: Sequence[LeaderboardColumn]) -> list[str]:
    head = ["task", "chance", *(column.name for column in of_suite)]
    rivals = [column for column in of_suite if column.name not in REFERENCES]
    rows = []
    for task in task_names(of_suite):
        played = [column.tasks[task] for column in of_suite if task in column.tasks]
        chance = "" if played[0].chance is None else f"{played[0].chance:.2f}"
        rates = [c.tasks[task].success_rate or 0 for c in rivals if task in c.tasks]
        best = max(rates) if len(rates) > 1 else None
        cells = (_cell(c.tasks.get(task), best if c in rivals else None) for c in of_suite)
        rows.append([task, chance, *cells])
    return markdown_table(head, rows)


def _source(name: str, result: KeptResult, count: int) -> str:
    """How a result came about, as an item of a list; ``count`` of its tasks are in the table."""
    numbers = {score.n for score in result.tasks.values()}
    episodes = " to ".join(str(n) for n in sorted({min(numbers), max(numbers)}))
    errors = f", {result.n_errors} of them broke" if result.n_errors else ""
    if result.misunderstood:
        errors += f", {result.misunderstood:.1%} of decisions held no command"
    n = len(result.tasks)
    counted = "" if count == n else f"; {count} of its {n} tasks are shown here"
    return (
        f"- {name}: {result.n:,} episodes, {episodes} a task{errors}; seed "
        f"{result.config['seed']}, commit {result.commit or 'unknown'}, {result.date}, "
        f"{result.seconds:,.0f} s{counted}: `{evaluate_command(result.config)}`"
    )


def overview(columns: Sequence[LeaderboardColumn]) -> list[str]:
    """A table of whole suites, as lines of Markdown: each team's mean success over all tasks.

    A team that played only some of a suite's tasks is not compared with the others, and the table
    says how many it played. There are no lines where no column has one team.
    """
    columns = of_one_team(columns)
    if not columns:
        return []
    names = column_names(columns)
    rows = []
    for suite, of_suite in by_suite(columns).items():
        n = len(task_names(of_suite))
        means = {column.name: column.mean for column in of_suite}
        whole = {name: m.success_rate or 0 for name, m in means.items() if m.tasks == n}
        rivals = [rate for name, rate in whole.items() if name not in REFERENCES]
        row = [suite, str(n)]
        for name in names:
            competes = name in whole and name not in REFERENCES and len(rivals) > 1
            text = _cell(means.get(name), max(rivals) if competes else None)
            partly = name in means and name not in whole
            row.append(text + (f", of {means[name].tasks}" if partly else ""))
        rows.append(row)
    return markdown_table(["suite", "tasks", *names], rows)


def _cell(rate: SuccessRate | None, best: float | None) -> str:
    """A rate with its interval, bold where it is not below ``best``."""
    if rate is None or rate.success_rate is None or rate.success_ci95 is None:
        return ""
    low, high = rate.success_ci95
    text = f"{rate.success_rate:.3f}"
    bold = best is not None and rate.success_rate >= best
    return f"{f'**{text}**' if bold else text} ({low:.2f} to {high:.2f})"
