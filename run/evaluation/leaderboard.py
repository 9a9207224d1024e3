"""The leaderboard: stored results side by side, as a Markdown page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from run.display.markdown import markdown_table
from run.evaluation.results import KeptResult, evaluate_command, in_suite_order
from run.evaluation.statistics import mean_rate
from run.storage.records import SuccessRate, TaskScore

# Settings that say how much was played.
EXTENT = ("tasks", "episodes", "attribute_faults")


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
    """Who played, each name once."""
    return list(dict.fromkeys(column.name for column in columns))


def of_one_team(columns: Sequence[LeaderboardColumn]) -> list[LeaderboardColumn]:
    """The columns over whose tasks an average says something."""
    return [column for column in columns if not column.has_own_teams]


def leaderboard_page(columns: Sequence[LeaderboardColumn], picture: str) -> str:
    """The page as Markdown.

    Args:
        columns: All columns.
        picture: The name of the plot of all tasks.
    """
    whole = overview(columns)
    intro = ["All tasks of a suite together, each of the same weight:", "", *whole, ""]
    out = [
        "# Leaderboard",
        "",
        "Success with 95 % intervals (Wilson), the best of a row in bold. Below each table are the",
        "commands that made it. This page is written by `python -m run leaderboard` from the runs",
        "in [results](results); a test writes it anew and compares.",
        "",
        *(intro if whole else []),
        f"![success by task]({picture})",
        "",
    ]
    for suite, of_suite in by_suite(columns).items():
        out += [f"## {suite}", ""]
        head = ["task", "chance", *(column.name for column in of_suite)]
        rows = []
        for task in task_names(of_suite):
            scores = [column.tasks.get(task) for column in of_suite]
            played = [score for score in scores if score is not None]
            chance = "" if played[0].chance is None else f"{played[0].chance:.2f}"
            best = max(score.success_rate or 0 for score in played)
            rows.append([task, chance, *(_cell(s, best, len(of_suite) > 1) for s in scores)])
        out += [*markdown_table(head, rows), ""]
        for column in of_suite:
            out += [_source(column.name, result, count) for result, count in column.results]
        out.append("")
    return "\n".join(out).rstrip() + "\n"


def _source(name: str, result: KeptResult, count: int) -> str:
    """How a result came about, as an item of a list; ``count`` of its tasks are in the table."""
    numbers = {score.n for score in result.tasks.values()}
    episodes = " to ".join(str(n) for n in sorted({min(numbers), max(numbers)}))
    errors = f", {result.n_errors} of them broke" if result.n_errors else ""
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
        means = {column.name: mean_rate(column.tasks.values()) for column in of_suite}
        whole = {name: m.success_rate or 0 for name, m in means.items() if m.tasks == n}
        best = max(whole.values(), default=0)
        row = [suite, str(n)]
        for name in names:
            text = _cell(means.get(name), best, name in whole and len(whole) > 1)
            partly = name in means and name not in whole
            row.append(text + (f", of {means[name].tasks}" if partly else ""))
        rows.append(row)
    return markdown_table(["suite", "tasks", *names], rows)


def _cell(rate: SuccessRate | None, best: float, several: bool) -> str:
    if rate is None or rate.success_rate is None or rate.success_ci95 is None:
        return ""
    low, high = rate.success_ci95
    text = f"{rate.success_rate:.3f}"
    bold = several and rate.success_rate >= best
    return f"{f'**{text}**' if bold else text} ({low:.2f} to {high:.2f})"
