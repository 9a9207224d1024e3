"""``python -m run check-engine``: check that the batched engine is MiniGrid."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from envs.errors import whole_number
from run.storage.folder import RunFolder
from run.storage.settings import to_json

if TYPE_CHECKING:
    from rich.console import Console

    from run.evaluation.engine_check import EngineCheckSummary


@dataclass(frozen=True)
class CheckEngineSettings:
    """Play MiniGrid and the batched engine side by side; nothing may differ.

    Every registered MiniGrid, BabyAI and Parley level that the engine has is played in both, from
    the same layouts and with the same actions: observations, rewards, ends, carried objects, events
    and successes must be equal at every step. The engine's own rooms are rebuilt as MiniGrid worlds
    and compared too. If anything differs, the first differences are printed and the exit code is 1.

    Examples:
      python -m run check-engine
      python -m run check-engine --levels "BabyAI-GoTo*" "MiniGrid-Empty*" --steps 1000
      python -m run check-engine --levels "Rooms*" --workers 2
    """

    USUAL: ClassVar[tuple[str, ...]] = (
        "levels",
        "steps",
        "seed",
        "workers",
    )

    levels: tuple[str, ...] = ()
    """Ids or patterns of levels, by default all. 'Rooms*' are the engine's own."""
    steps: int = 10_000
    """Steps of each level with a view of 7x7; views of 3x3, 5x5 and 9x9 get a tenth of them."""
    seed: int = 0
    """Seed of the first layout and of the actions."""
    workers: int = 1
    """Number of processes that share the levels."""
    runs_dir: Path = Path("runs")
    """Folder in which run folders are made."""
    name: str = "engine"
    """End of the run folder's name."""

    def __post_init__(self) -> None:
        for name, low in (("steps", 1), ("seed", 0), ("workers", 1)):
            whole_number(f"--{name}", getattr(self, name), low)


def check_engine(settings: CheckEngineSettings) -> Path:
    """Check the levels and return the run's folder.

    Raises:
        BadInput: A level cannot be checked.
        SystemExit: With code 1, where anything differs or breaks.
    """
    from rich.console import Console

    from run.display.progress import ProgressBar
    from run.evaluation.engine_check import EngineCheckSummary, check_levels, level_checks

    checks = level_checks(settings.levels)
    console = Console(stderr=True)
    started = time.monotonic()
    results = []
    with RunFolder.new(
        settings.runs_dir, "check-engine", settings.name, to_json(settings)
    ) as folder:
        with ProgressBar(
            console,
            "checking",
            len(checks),
            "levels",
            columns=("count", "elapsed"),
            line_every=20,
        ) as bar:
            for result in check_levels(checks, settings.steps, settings.seed, settings.workers):
                results.append(result)
                bar.update(result.level, len(results))
        order = {check.name: k for k, check in enumerate(checks)}
        results.sort(key=lambda result: order[result.level])
        seconds = round(time.monotonic() - started, 1)
        summary = EngineCheckSummary(settings.seed, seconds, results)
        folder.write_json("summary.json", summary.to_json())
    _print_summary(console, summary)
    print(folder.path)
    if not summary.passed:
        raise SystemExit(1)
    return folder.path


def _print_summary(console: Console, summary: EngineCheckSummary) -> None:
    from rich.table import Table
    from rich.text import Text

    from run.evaluation.engine_check import COUNTS

    table = Table("level", *COUNTS, "seconds", "")
    for column in table.columns[1:-1]:
        column.justify = "right"
    for result in summary.levels:
        verdict = "differs" if result.difference else "broke" if result.error else "same"
        if result.refused is None:
            name = Text(result.level, overflow="fold")
            counts = [f"{result.count(key):,}" for key in COUNTS]
            table.add_row(name, *counts, f"{result.seconds:.1f}", verdict)
    table.add_section()
    totals = [f"{summary.count(key):,}" for key in COUNTS]
    table.add_row(f"{len(summary.compared)} levels", *totals, f"{summary.seconds:.1f}", "")
    console.print(table)
    kinds = {"refused": "not in the engine", "difference": "differs", "error": "broke"}
    for kind, label in kinds.items():
        for result in summary.levels:
            text = getattr(result, kind)
            if text is not None:
                console.print(f"{label}: {result.level}: {text}", markup=False, soft_wrap=True)
