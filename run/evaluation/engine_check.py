"""The check that the batched engine is MiniGrid: levels played in both, side by side."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from envs.errors import BadInput, unknown
from envs.processes import processes

if TYPE_CHECKING:
    from envs.batched.sameness import Comparison

VIEW = 7
OTHER_VIEWS = (3, 5, 9)
COUNTS = ("steps", "episodes", "successes", "failures", "cut")
"""What a comparison counts."""

_FAMILIES = ("MiniGrid-", "BabyAI-", "Parley/")


@dataclass(frozen=True)
class LevelCheck:
    """A level to check.

    Attributes:
        name: Its name in the table.
        level: Its registered id, or the name of the engine's own rooms.
        settings: Arguments of its constructor.
        rooms: Whether these are the engine's own rooms.
    """

    name: str
    level: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    rooms: bool = False


@dataclass(frozen=True)
class LevelResult:
    """What the check of a level showed.

    Attributes:
        level: The level's name.
        comparisons: A comparison for each size of the view, up to the first that differs.
        refused: Why the engine does not have the level.
        error: What broke.
        seconds: How long it took.
    """

    level: str
    comparisons: Sequence[Comparison]
    refused: str | None
    error: str | None
    seconds: float

    @property
    def difference(self) -> str | None:
        """The first difference, as a sentence."""
        return next((c.difference for c in self.comparisons if c.difference), None)

    def count(self, name: str) -> int:
        """One of ``COUNTS``, over all comparisons."""
        return sum(getattr(comparison, name) for comparison in self.comparisons)

    def to_json(self) -> dict[str, object]:
        """The result as it stands in ``summary.json``."""
        return {
            "level": self.level,
            "comparisons": [dataclasses.asdict(comparison) for comparison in self.comparisons],
            "difference": self.difference,
            "refused": self.refused,
            "error": self.error,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class EngineCheckSummary:
    """The results of all levels, in order."""

    seed: int
    seconds: float
    levels: Sequence[LevelResult]

    @property
    def compared(self) -> list[LevelResult]:
        """The levels that were compared."""
        return [result for result in self.levels if result.comparisons]

    @property
    def n_different(self) -> int:
        """How many levels differ."""
        return sum(result.difference is not None for result in self.levels)

    @property
    def n_errors(self) -> int:
        """How many levels broke."""
        return sum(result.error is not None for result in self.levels)

    @property
    def passed(self) -> bool:
        """Whether levels were compared, none differs and none broke."""
        return bool(self.compared) and not self.n_different and not self.n_errors

    def count(self, name: str) -> int:
        """One of ``COUNTS``, over all levels."""
        return sum(result.count(name) for result in self.compared)

    def to_json(self) -> dict[str, object]:
        """The content of ``summary.json``."""
        return {
            "command": "check-engine",
            "seed": self.seed,
            "n": len(self.compared),
            "n_errors": self.n_errors,
            "n_different": self.n_different,
            "n_refused": sum(result.refused is not None for result in self.levels),
            "seconds": self.seconds,
            **{name: self.count(name) for name in COUNTS},
            "levels": [result.to_json() for result in self.levels],
        }


def level_checks(patterns: Sequence[str]) -> list[LevelCheck]:
    """The levels to check.

    Args:
        patterns: Ids or patterns of levels; all levels where none is given.

    Raises:
        BadInput: A pattern matches no level, or a level that is named in full is not in the engine.
    """
    import gymnasium as gym

    from envs.batched.layouts import Pool
    from envs.batched.sameness import ROOMS, VARIANTS
    from envs.making import TASKS

    checks = [
        LevelCheck(level, level) for level in sorted(gym.registry) if level.startswith(_FAMILIES)
    ]
    for level, settings in VARIANTS:
        words = ", ".join(f"{name}={value}" for name, value in settings.items())
        checks.append(LevelCheck(f"{level}, {words}", level, settings))
    checks += [LevelCheck(name, name, rooms=True) for name in ROOMS]
    if not patterns:
        return checks
    selected: set[str] = set()
    for pattern in patterns:
        wanted = TASKS.get(pattern, pattern)
        matches = [c for c in checks if wanted in (c.level, c.name) or fnmatchcase(c.name, wanted)]
        if not matches:
            raise unknown("level", pattern, {check.level for check in checks})
        if wanted in gym.registry:
            Pool.draw(wanted, 1)
        selected |= {check.name for check in matches}
    return [check for check in checks if check.name in selected]


def check_levels(
    checks: Sequence[LevelCheck], steps: int, seed: int, workers: int
) -> Iterator[LevelResult]:
    """Check levels, in one process or in several.

    Args:
        checks: The levels.
        steps: How many steps of each; the other views get a tenth of them each.
        seed: Seed of the first layout and of the actions.
        workers: How many processes share the levels.

    Returns:
        The results, in the order in which they are ready.
    """
    if workers == 1:
        yield from (_check(check, steps, seed) for check in checks)
        return
    pool = ProcessPoolExecutor(workers, processes("envs.batched.sameness"))
    try:
        futures = [pool.submit(_check, check, steps, seed) for check in checks]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _check(check: LevelCheck, steps: int, seed: int) -> LevelResult:
    from envs.batched.sameness import ROOMS, compare, compare_rooms

    started = time.monotonic()
    comparisons: list[Comparison] = []
    refused = error = None
    few = max(steps // 10, 1)
    try:
        for view, n in ((VIEW, steps), *((view, few) for view in OTHER_VIEWS)):
            if check.rooms:
                comparison = compare_rooms(ROOMS[check.name], n, seed, view)
            else:
                comparison = compare(check.level, n, seed, view, **check.settings)
            comparisons.append(comparison)
            if comparison.difference is not None:
                break
    except BadInput as why:
        refused, comparisons = str(why), []
    except Exception as why:  # one level that breaks must not hide the others
        error = f"{type(why).__name__}: {why}"
    seconds = round(time.monotonic() - started, 2)
    return LevelResult(check.name, comparisons, refused, error, seconds)
