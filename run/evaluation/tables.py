"""What came of an evaluation, cell by cell: numbers, table, plot."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import HORIZONTALS
from rich.console import Console
from rich.table import Table

from run.display.live import say
from run.evaluation.statistics import summarise
from run.evaluation.suites import Task
from run.storage.folder import RunFolder

COLUMNS = ("cell", "n", "n_errors", "success_rate", "low", "high", "turns", "floor")


def summary_of(args: Any, cells: Sequence[Task], lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The numbers of ``summary.json``: over all, and for each cell and part."""

    def of(lines: Sequence[dict[str, Any]], *names: str) -> dict[str, Any]:
        found = summarise("evaluate", args.seed, lines, args.parallel)
        return {name: found[name] for name in names} if names else found

    by_cell: dict[str, dict[str, Any]] = {}
    for cell in cells:
        its = [line for line in lines if line["cell"] == cell.name]
        whole = of(its)
        checked = [name for name in ("reports_true",) if name in whole]
        by_cell[cell.name] = {
            **of(its, "n", "n_errors", "success_rate", "success_ci95", *checked),
            "turns": whole["mean_turns"],
            "floor": cell.floor,
            "chance": cell.chance,
            "parts": {
                part.label: of(
                    [line for line in its if line["part"] == part.label], "n", "success_rate"
                )
                for part in cell.parts
            },
        }
    return {**of(lines), "suite": args.suite, "cells": by_cell}


def write_table(cells: Mapping[str, dict[str, Any]], folder: RunFolder) -> None:
    """``cells.csv``: a row a cell; what is not known is empty."""
    file = folder.path / "cells.csv"
    half = file.with_name(f".{file.name}.half")
    with open(half, "w", encoding="utf-8", newline="") as out:
        table = csv.writer(out)
        table.writerow(COLUMNS)
        for name, cell in cells.items():
            low, high = cell["success_ci95"] or (None, None)
            row = {**cell, "cell": name, "low": low, "high": high}
            table.writerow([row[column] for column in COLUMNS])
    os.replace(half, file)


def plot(title: str, cells: Mapping[str, dict[str, Any]], folder: RunFolder) -> None:
    """``plots/cells.png``: a bar with its interval for each cell, and a tick for its floor."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.3 + 0.3 * len(cells)), layout="constrained")
    axes = figure.subplots()
    for y, cell in enumerate(cells.values()):
        if cell["success_rate"] is not None:
            low, high = cell["success_ci95"]
            axes.barh(y, cell["success_rate"], color="tab:blue", alpha=0.7)
            axes.plot([low, high], [y, y], color="black")
        if cell["floor"] is not None:
            axes.plot([cell["floor"]] * 2, [y - 0.4, y + 0.4], color="tab:red", linewidth=2)
    axes.set_yticks(range(len(cells)), list(cells))
    axes.invert_yaxis()
    axes.set(title=title, xlabel="success, 95 % interval; red: floor", xlim=(0, 1.01))
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(folder.part("plots", "cells.png"), dpi=120)


def tell(summary: Mapping[str, Any]) -> None:
    """Print a row for each cell, and one for all of them."""
    # So narrow that the longest name fits into 80 columns.
    table = Table(box=HORIZONTALS, collapse_padding=True, pad_edge=False)
    for name in ("cell", "n", "errors", "success", "95 % interval", "turns", "floor"):
        table.add_column(name, no_wrap=True)
    for column in table.columns[1:]:
        column.justify = "right"
    everything = {**summary, "turns": summary["mean_turns"], "floor": None}
    for name, cell in [*summary["cells"].items(), ("all", everything)]:
        if name == "all":
            table.add_section()
        low_high = cell["success_ci95"]
        table.add_row(
            name,
            str(cell["n"]),
            str(cell["n_errors"]),
            _number(cell["success_rate"], 3),
            "" if low_high is None else " to ".join(_number(x, 3) for x in low_high),
            _number(cell["turns"], 1),
            _number(cell["floor"], 2),
        )
    console = Console()
    with console.capture() as printed:
        console.print(table)
    say(printed.get().rstrip())
    if "reports_true" in summary:
        cells = summary["cells"].items()
        known = [f"{n} {c['reports_true']:.3f}" for n, c in cells if "reports_true" in c]
        say(f"reports that are true: {', '.join(known)}")


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
