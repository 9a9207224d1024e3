"""``python -m run check-engine``: the proof that the batched engine is MiniGrid."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.errors import BadInput, unknown, whole_number
from envs.processes import processes
from run.storage.folder import RunFolder
from run.storage.settings import to_json

if TYPE_CHECKING:
    from rich.console import Console

OTHER_VIEWS = (3, 5, 9)
_FAMILIES = ("MiniGrid-", "BabyAI-", "Parley/")


@dataclass(frozen=True)
class CheckEngineSettings:
    """Play MiniGrid and the batched engine side by side; nothing may differ.

    Every registered MiniGrid, BabyAI and Parley level that the engine has is played in both, from
    the same layouts and with the same actions: the observations, rewards, ends, carried things,
    events and successes must be equal in every step. The engine's own rooms are played the other
    way round, as MiniGrid worlds. Exits with 1, and tells the first differences, if any differ.

    Examples:
      python -m run check-engine
      python -m run check-engine --levels "BabyAI-GoTo*" "MiniGrid-Empty*" --steps 1000
      python -m run check-engine --levels "Rooms*" --workers 2
    """

    levels: tuple[str, ...] = ()
    """Ids or patterns of levels; all where none is given. 'Rooms*' are the engine's own."""
    steps: int = 10_000
    """Steps a level, with a view of 7x7; views of 3x3, 5x5 and 9x9 get a tenth of them each."""
    seed: int = 0
    """Seed of the first layout and of the actions."""
    workers: int = 1
    """Processes that share the levels."""
    runs_dir: Path = Path("runs")
    """Where run folders are made."""
    name: str = "engine"
    """Name at the end of the run folder."""

    def __post_init__(self) -> None:
        for name, low in (("steps", 1), ("seed", 0), ("workers", 1)):
            whole_number(f"--{name}", getattr(self, name), low)


@dataclass(frozen=True)
class LevelCheck:
    """A level to be checked: ``rooms`` of the engine's own, or MiniGrid's with ``settings``."""

    name: str
    level: str
    settings: dict[str, Any] = field(default_factory=dict)
    rooms: bool = False


def check_engine(args: CheckEngineSettings) -> Path:
    """Check as ``args`` say; returns the run folder. Exits with 1 if anything differs."""
    from rich.console import Console

    from run.display.progress import ProgressBar

    jobs = _jobs(args.levels)
    console = Console(stderr=True)
    started = time.monotonic()
    results: list[dict[str, Any]] = []
    with RunFolder.new(args.runs_dir, "check-engine", args.name, to_json(args)) as folder:
        with ProgressBar(
            console, "checking", len(jobs), "levels", columns=("count", "elapsed"), line_every=20
        ) as bar:
            for result in _results(jobs, args):
                results.append(result)
                bar.update(result["level"], len(results))
        order = {job.name: k for k, job in enumerate(jobs)}
        results.sort(key=lambda r: order[r["level"]])
        compared = [r for r in results if r["comparisons"]]
        different = [r for r in results if r["difference"] is not None]
        broken = [r for r in results if r["error"] is not None]
        summary = {
            "command": "check-engine",
            "seed": args.seed,
            "n": len(compared),
            "n_errors": len(broken),
            "n_different": len(different),
            "n_refused": len([r for r in results if r["refused"] is not None]),
            "seconds": round(time.monotonic() - started, 1),
            **{key: sum(_sum(r, key) for r in compared) for key in _COUNTS},
            "levels": results,
        }
        folder.write_json("summary.json", summary)
    _tell(console, summary)
    print(folder.path)
    if different or broken or not compared:
        raise SystemExit(1)
    return folder.path


_COUNTS = ("steps", "episodes", "successes", "failures", "cut")


def _jobs(patterns: tuple[str, ...]) -> list[LevelCheck]:
    """The levels that are asked for. Raises BadInput for a pattern that none has, and for a level
    asked for by its whole name that the engine does not have."""
    import gymnasium as gym

    from envs import TASKS
    from envs.batched.layouts import Pool
    from envs.batched.sameness import ROOMS, VARIANTS

    jobs = [
        LevelCheck(level, level) for level in sorted(gym.registry) if level.startswith(_FAMILIES)
    ]
    for level, settings in VARIANTS:
        said = ", ".join(f"{k}={v}" for k, v in settings.items())
        jobs.append(LevelCheck(f"{level}, {said}", level, settings))
    jobs += [LevelCheck(name, name, rooms=True) for name in ROOMS]
    if not patterns:
        return jobs
    chosen: dict[str, LevelCheck] = {}
    for pattern in patterns:
        wanted = TASKS.get(pattern, pattern)
        found = [j for j in jobs if wanted in (j.level, j.name) or fnmatchcase(j.name, wanted)]
        if not found:
            raise unknown("level", pattern, {j.level for j in jobs})
        if wanted in gym.registry:
            Pool.draw(wanted, 1)
        chosen |= {j.name: j for j in found}
    return [job for job in jobs if job.name in chosen]


def _results(jobs: list[LevelCheck], args: CheckEngineSettings) -> Iterator[dict[str, Any]]:
    if args.workers == 1:
        yield from (_check(job, args.steps, args.seed) for job in jobs)
        return
    pool = ProcessPoolExecutor(args.workers, processes("envs.batched.sameness"))
    try:
        futures = [pool.submit(_check, job, args.steps, args.seed) for job in jobs]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _check(job: LevelCheck, steps: int, seed: int) -> dict[str, Any]:
    """One level's result: how its comparisons went, or why there are none."""
    from envs.batched.sameness import ROOMS, compare, compare_rooms

    started = time.monotonic()
    comparisons: list[dict[str, Any]] = []
    refused = error = None
    try:
        for view, n in ((7, steps), *((v, max(steps // 10, 1)) for v in OTHER_VIEWS)):
            if job.rooms:
                found = compare_rooms(ROOMS[job.name], n, seed, view)
            else:
                found = compare(job.level, n, seed, view, **job.settings)
            comparisons.append(asdict(found))
            if found.difference is not None:
                break
    except BadInput as why:
        refused, comparisons = str(why), []
    except Exception as why:  # one level that breaks must not hide the others
        error = f"{type(why).__name__}: {why}"
    return {
        "level": job.name,
        "comparisons": comparisons,
        "difference": next((c["difference"] for c in comparisons if c["difference"]), None),
        "refused": refused,
        "error": error,
        "seconds": round(time.monotonic() - started, 2),
    }


def _sum(result: dict[str, Any], key: str) -> int:
    return sum(c[key] for c in result["comparisons"])


def _tell(console: Console, summary: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("level", *_COUNTS, "seconds", "")
    for column in table.columns[1:-1]:
        column.justify = "right"
    for result in summary["levels"]:
        verdict = "differs" if result["difference"] else "broke" if result["error"] else "same"
        if result["refused"] is None:
            name = Text(result["level"], overflow="fold")
            counts = [f"{_sum(result, key):,}" for key in _COUNTS]
            table.add_row(name, *counts, f"{result['seconds']:.1f}", verdict)
    table.add_section()
    totals = [f"{summary[key]:,}" for key in _COUNTS]
    table.add_row(f"{summary['n']} levels", *totals, f"{summary['seconds']:.1f}", "")
    console.print(table)
    kinds = {"refused": "not in the engine", "difference": "differs", "error": "broke"}
    for key, said in kinds.items():
        for result in summary["levels"]:
            if result[key] is not None:
                console.print(
                    f"{said}: {result['level']}: {result[key]}", markup=False, soft_wrap=True
                )
