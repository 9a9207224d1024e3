"""``python -m run leaderboard``: the runs of evaluate that are kept, side by side."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.errors import BadInput
from run.commands.report import EvaluationRun, command_of
from run.display.markdown import markdown_table
from run.evaluation.statistics import mean_of
from run.evaluation.suites import Task, find_suite

# What is kept of a run, and of each of its cells.
KEPT = ("config", "commit", "date", "n", "n_errors", "seconds", "cells")
NUMBERS = ("n", "n_errors", "success_rate", "success_ci95", "floor", "chance")
# Who played a suite whose cells have a team each.
OWN_TEAMS = "as named"
# Settings that say where something lies on one machine, and nothing about what was measured.
MACHINES = ("runs_dir", "resume", "name", "workers", "engine", "address", "parallel")
# Settings that say how much was played.
EXTENT = ("cells", "episodes", "blame")


@dataclass(frozen=True)
class LeaderboardSettings:
    """Put the runs that are kept side by side: a table for each suite, and a plot.

    A run is kept as one small JSON file: its cells' numbers, its settings, the commit, the day. The
    page, which is Markdown, says for each number by which command it came, at which commit, with
    which seed and how many episodes. Runs of some of a suite's cells, by one team with one seed,
    stand in one column with its other runs; where two played the same cell the newer one counts.

    Examples:
      python -m run leaderboard
      python -m run leaderboard --keep runs/evaluate/20260102-030405-reasoning-parley-135m
      python -m run leaderboard --kept my/results --out my/board.md
    """

    kept: Path = Path("docs/results")
    """Folder of the runs that are kept."""
    keep: tuple[Path, ...] = ()
    """Run folders of evaluate to keep from now on, each in the place of an older run of
    the same command."""
    out: Path = Path("docs/leaderboard.md")
    """The page; its plots lie beside it, one of all cells and one of whole suites."""


def leaderboard(args: LeaderboardSettings) -> Path:
    """Write the page; returns its path. Raises BadInput for runs that cannot be kept or read."""
    for path in args.keep:
        _keep(EvaluationRun.read(path), args.kept)
    every = columns(read_kept(args.kept))
    try:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(page(every, args.out.with_suffix(".png").name), encoding="utf-8")
        plot(every, args.out.with_suffix(".png"))
        plot_suites(every, args.out.with_name(f"{args.out.stem}-suites.png"))
    except OSError as error:
        raise BadInput(f"cannot write '{args.out}': {error.strerror or error}") from error
    print(args.out)
    return args.out


def _keep(run: EvaluationRun, folder: Path) -> None:
    """Write what is kept of a run."""
    date = re.match(r"(\d{4})(\d\d)(\d\d)-", run.path.resolve().name)
    config = {k: v for k, v in run.config.items() if k not in MACHINES}
    about = {
        "config": config,
        "commit": run.commit,
        "date": "-".join(date.groups()) if date else "",
        **{k: run.summary.get(k) for k in ("n", "n_errors", "seconds")},
        "cells": {n: {k: c.get(k) for k in NUMBERS} for n, c in run.cells.items()},
    }
    name = re.sub(r"[^\w.=-]+", "-", command_of(config).partition("evaluate ")[2].replace("--", ""))
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(about, indent=1, ensure_ascii=False)
    (folder / f"{name[:120]}.json").write_text(text + "\n", encoding="utf-8")


def read_kept(folder: Path) -> list[dict[str, Any]]:
    """The runs that are kept, by suite and name of the file. Raises BadInput for a damaged file,
    and where there is none."""
    runs = []
    for file in sorted(folder.glob("*.json")):
        try:
            run = json.loads(file.read_text(encoding="utf-8"))
            missing = [k for k in KEPT if k not in run] or [
                k for c in run["cells"].values() for k in NUMBERS if k not in c
            ]
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise BadInput(f"'{file}' is no run that was kept: {error}") from error
        if missing:
            raise BadInput(f"'{file}' is no run that was kept: it has no {missing[0]}")
        own = _each_its_own(run["config"])
        runs.append(run | {"own": own, "name": OWN_TEAMS if own else _team(run["config"])})
    if not runs:
        raise BadInput(f"no run is kept in '{folder}'; keep some with --keep RUN_FOLDER")
    return runs


def _each_its_own(config: Mapping[str, Any]) -> bool:
    """Whether every cell of the suite has a team of its own, so that the user's played nowhere."""
    cells = _cells_of_suite(config)
    return bool(cells) and all(part.team for cell in cells for part in cell.parts)


def _cells_of_suite(config: Mapping[str, Any]) -> tuple[Task, ...]:
    """The cells of a run's suite; none where that was somebody's file, not here any more."""
    try:
        return find_suite(str(config.get("suite"))).cells
    except BadInput:
        return ()


def _team(config: Mapping[str, Any]) -> str:
    """Who played, in a few words."""
    if config.get("team"):
        return Path(str(config["team"])).stem
    examples = (config.get("language") or {}).get("examples")
    more = "" if examples is None else f", {examples} examples"
    parts = [str(config.get(p)) for p in ("actor", "reporter") if config.get(p) != "scripted"]
    return " + ".join([f"{Path(str(config.get('planner'))).name}{more}", *parts])


def columns(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What stands in a column each: the runs of one suite by one team, with one seed and, but for
    how much is played, the same settings. A setting that is left open is as one that there was not
    yet.

    Each has the ``name`` and whether it is ``own``, as a run has, the ``cells`` of all of its runs,
    of each the newest (of one day, that of the run with fewer cells), and in ``runs`` each run with
    how many of these are of it.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        about = _given({k: v for k, v in run["config"].items() if k not in EXTENT})
        found.setdefault(json.dumps(about, sort_keys=True), []).append(run)
    columns = []
    for its in found.values():
        order = [cell.name for cell in _cells_of_suite(its[0]["config"])]
        its = sorted(its, key=lambda run: (run["date"], -len(run["cells"])))
        last = {cell: run for run in its for cell in run["cells"]}
        column = {
            "suite": Path(str(its[0]["config"]["suite"])).stem,
            "name": its[0]["name"],
            "own": its[0]["own"],
            "cells": {c: last[c]["cells"][c] for c in _in_order(last, order)},
            "runs": [(run, sum(run is other for other in last.values())) for run in its],
        }
        columns.append(column)
    return columns


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without those that are left open."""
    return {
        k: _given(v) if isinstance(v, Mapping) else v for k, v in settings.items() if v is not None
    }


def _in_order(cells: Iterable[str], order: Sequence[str]) -> list[str]:
    """Names of cells as they stand in their suite, those that it does not know last."""
    return sorted(cells, key=lambda c: order.index(c) if c in order else len(order))


def _suites(every: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for column in every:
        found.setdefault(column["suite"], []).append(column)
    return found


def _cells(its: Sequence[Mapping[str, Any]]) -> list[str]:
    """The cells of a suite: all that any of its columns has."""
    return list(dict.fromkeys(cell for column in its for cell in column["cells"]))


def _teams(every: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(column["name"] for column in every))


def _of_one_team(every: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The columns of which an average over their cells says something."""
    return [column for column in every if not column["own"]]


def page(every: Sequence[Mapping[str, Any]], picture: str) -> str:
    """The page as Markdown."""
    whole = overview(every)
    out = [
        "# Leaderboard",
        "",
        "Success with 95 % intervals (Wilson), the best of a row in bold. Below each table is how",
        "its numbers came about. This page is made by `python -m run leaderboard` from the runs in",
        "[results](results); a test makes it anew and compares.",
        "",
        *(
            ["All cells of a suite together, each of the same weight:", "", *whole, ""]
            if whole
            else []
        ),
        f"![success by cell]({picture})",
        "",
    ]
    for suite, its in _suites(every).items():
        out += [f"## {suite}", ""]
        head = ["cell", "chance", *(column["name"] for column in its)]
        rows = []
        for cell in _cells(its):
            found = [column["cells"].get(cell) for column in its]
            known = next(c for c in found if c)
            chance = "" if known["chance"] is None else f"{known['chance']:.2f}"
            best = max((c["success_rate"] or 0 for c in found if c), default=0)
            rows.append([cell, chance, *(_cell(c, best, len(its) > 1) for c in found)])
        out += [*markdown_table(head, rows), ""]
        for run, count in (which for column in its for which in column["runs"]):
            each = {c["n"] for c in run["cells"].values()}
            episodes = " to ".join(str(n) for n in sorted({min(each), max(each)}))
            errors = f", {run['n_errors']} of them broke" if run["n_errors"] else ""
            n = len(run["cells"])
            counts = "" if count == n else f"; {count} of its {n} cells stand here"
            out += [
                f"- {run['name']}: {run['n']:,} episodes, {episodes} a cell{errors}; seed "
                f"{run['config']['seed']}, commit {run['commit'] or 'unknown'}, {run['date']}, "
                f"{run['seconds']:,.0f} s{counts}: `{command_of(run['config'])}`"
            ]
        out.append("")
    return "\n".join(out).rstrip() + "\n"


def overview(every: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table of whole suites, as lines of Markdown: each team's success over all cells that it
    played, and how many of the suite's cells those are where they are not all, when it is not
    compared with the others. No lines where no column has one team."""
    every = _of_one_team(every)
    if not every:
        return []
    teams = _teams(every)
    rows = []
    for suite, its in _suites(every).items():
        n = len(_cells(its))
        by_team = {column["name"]: mean_of(column["cells"].values()) for column in its}
        whole = {t: w["success_rate"] or 0 for t, w in by_team.items() if w["cells"] == n}
        best = max(whole.values(), default=0)
        rows.append(
            [suite, str(n)]
            + [
                _cell(by_team.get(t), best, t in whole and len(whole) > 1)
                + (f", of {by_team[t]['cells']}" if t in by_team and t not in whole else "")
                for t in teams
            ]
        )
    return markdown_table(["suite", "cells", *teams], rows)


def _cell(cell: Mapping[str, Any] | None, best: float, several: bool) -> str:
    if cell is None or cell["success_rate"] is None:
        return ""
    low, high = cell["success_ci95"]
    rate = f"{cell['success_rate']:.3f}"
    bold = several and cell["success_rate"] >= best
    return f"{f'**{rate}**' if bold else rate} ({low:.2f} to {high:.2f})"


def plot(every: Sequence[Mapping[str, Any]], file: Path) -> None:
    """A panel for each suite: the columns' success by cell."""
    from matplotlib.figure import Figure

    suites = _suites(every)
    cells = [_cells(its) for its in suites.values()]
    teams = _teams(every)
    figure = Figure(figsize=(8, 1.2 + 0.24 * sum(map(len, cells))), layout="constrained")
    panels = figure.subplots(len(suites), 1, squeeze=False, height_ratios=[*map(len, cells)])
    for axes, (suite, its), names in zip(panels[:, 0], suites.items(), cells, strict=True):
        for y, name in enumerate(names):
            for column in its:
                cell = column["cells"].get(name)
                if cell is None or cell["success_rate"] is None:
                    continue
                k = teams.index(column["name"])
                at = y + 0.16 * (its.index(column) - (len(its) - 1) / 2)
                axes.plot(cell["success_ci95"], [at, at], f"C{k}", linewidth=1.5)
                axes.plot([cell["success_rate"]], [at], f"C{k}o", markersize=4)
            chance = next(c["cells"][name]["chance"] for c in its if name in c["cells"])
            if chance is not None:
                axes.plot([chance] * 2, [y - 0.35, y + 0.35], "k:", linewidth=1)
        axes.set_yticks(range(len(names)), names)
        axes.set(title=suite, xlim=(-0.01, 1.01), ylim=(len(names) - 0.5, -0.5))
        axes.grid(alpha=0.3)
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=f"C{k}", marker="o") for k in range(len(teams))]
    figure.legend(lines, teams, loc="outside upper center", ncols=min(4, len(teams)))
    figure.supxlabel("success, 95 % interval; dotted: chance")
    figure.savefig(file, dpi=110)


def plot_suites(every: Sequence[Mapping[str, Any]], file: Path) -> None:
    """A row for each suite: each team's success over all of its cells, and from its worst cell to
    its best; hollow where it played some of them alone. No picture where no column has one team."""
    from matplotlib.figure import Figure

    every = _of_one_team(every)
    if not every:
        return
    suites = _suites(every)
    teams = _teams(every)
    figure = Figure(figsize=(8, 1.4 + 0.55 * len(suites)), layout="constrained")
    axes = figure.subplots()
    for y, its in enumerate(suites.values()):
        n = len(_cells(its))
        for column in its:
            k = teams.index(column["name"])
            at = y + 0.2 * (its.index(column) - (len(its) - 1) / 2)
            whole = mean_of(column["cells"].values())
            if whole["cells"]:
                known = (c["success_rate"] for c in column["cells"].values())
                rates = [rate for rate in known if rate is not None]
                axes.plot([min(rates), max(rates)], [at, at], f"C{k}", linewidth=2, alpha=0.4)
                fill = f"C{k}" if whole["cells"] == n else "white"
                axes.plot([whole["success_rate"]], [at], f"C{k}o", mfc=fill, label=column["name"])
    axes.set_yticks(range(len(suites)), list(suites))
    axes.set(xlim=(-0.01, 1.01), ylim=(len(suites) - 0.5, -0.5))
    axes.set_xlabel(
        "success over all cells of a suite (hollow: over some alone); "
        "lines: from its worst cell to its best"
    )
    axes.grid(alpha=0.3)
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=min(4, len(teams)))
    figure.savefig(file, dpi=110)
