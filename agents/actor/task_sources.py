"""Task sources: the worlds that the Actor is trained on, and those that it is evaluated on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from envs.batched import Pool, Rooms
from envs.batched.cells import EMPTY, ID_SHIFT, KEY
from envs.commands import VERBS

OUR_VERBS = ("go to", "examine", "pick up")
SMALL = Rooms(
    "command",
    n_items=(3, 4, 5, 6, 7, 8),
    room_sizes=(6, 8, 8, 8, 10),
    verbs=OUR_VERBS,
    max_steps=64,
)
# Commands whose outcome is visible; examining shows nothing here.
VISIBLE = replace(SMALL, n_items=(3, 4, 5, 6), room_sizes=(8,), verbs=("go to", "pick up"))
LARGE = replace(SMALL, n_items=(6, 8, 10), room_sizes=(12, 16), max_steps=256)
# BabyAI's levels that are one command, and how many of 100 training worlds each gets.
LEVELS = {
    "BabyAI-GoToLocal-v0": 6,
    "BabyAI-PickupDist-v0": 6,
    "BabyAI-OpenDoor-v0": 6,
    "BabyAI-PutNextLocal-v0": 10,
    "BabyAI-PickupLoc-v0": 7,
    "BabyAI-GoToObjMaze-v0": 6,
    "BabyAI-GoTo-v0": 8,
    "BabyAI-Pickup-v0": 8,
    "Parley/BabyAIMixedLocal-v0": 6,
}
SHARES = {"small": 25, "large": 12}
_FIRST_SEED = 1_000_000_000  # far above the seeds that evaluations use (0 and up)
_VALIDATION_SEED = 500_000_000
_HELD_OUT = "held-out"


def draw_pools(
    n: int, seed: int, folder: Path | None, tell: Callable[[str], None] = lambda _: None
) -> dict[str, Pool]:
    """Layouts of each level for training.

    Args:
        n: How many layouts of each level.
        seed: The seed.
        folder: Where the layouts are stored and reused; None to draw them anew.
        tell: Called with a line of progress before a level is drawn.

    Returns:
        The layouts of each level, by its name.
    """
    pools = {}
    for level in LEVELS:
        file = None if folder is None else folder / f"{level.replace('/', '-')}-{n}-{seed}.npz"
        if file is not None and file.exists():
            pools[level] = Pool.load(file)
            continue
        tell(f"drawing {n} layouts of {level}")
        pools[level] = Pool.draw(level, n, _FIRST_SEED + 1_000_000 * seed)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            pools[level].save(file)
    return pools


def training_sources(n: int, pools: dict[str, Pool]) -> list[tuple[Pool | Rooms, int]]:
    """All task sources of training, each with its share of ``n`` worlds."""
    sources: list[tuple[Pool | Rooms, float]] = [(SMALL, SHARES["small"]), (LARGE, SHARES["large"])]
    for level, share in LEVELS.items():
        tasks = pools[level].as_commands()
        if level.startswith("Parley"):
            tasks = Pool.join([tasks, with_key(tasks)])
        sources.append((tasks, share))
    whole = sum(share for _, share in sources)
    counts = [max(1, int(n * share / whole)) for _, share in sources]
    counts[0] = max(1, counts[0] + n - sum(counts))
    return [(source, count) for (source, _), count in zip(sources, counts, strict=True)]


def with_key(pool: Pool) -> Pool:
    """The pool's tasks of opening a door, with a key of the room already in the agent's hands."""
    arrays = pool.arrays
    picked = []
    for k in np.flatnonzero(arrays.command[:, 0] == VERBS.index("open")):
        keys = np.argwhere((arrays.cells[k] & 31) == KEY)
        if len(keys):
            picked.append((int(k), *map(int, keys[0])))
    rows = [k for k, _, _ in picked]
    chosen = arrays._replace(**{name: a[rows].copy() for name, a in arrays._asdict().items()})
    for i, (_, y, x) in enumerate(picked):
        chosen.carried[i] = chosen.cells[i, y, x]
        chosen.cells[i, y, x] = EMPTY
        assert chosen.carried[i] >> ID_SHIFT
    chosen.weight[:] = np.arange(1, len(rows) + 1) / len(rows)
    return Pool(chosen, tuple(pool.missions[k] for k in rows), tuple(pool.levels[k] for k in rows))


@dataclass(frozen=True)
class ActorTest:
    """One row of the Actor's scores: a task source, and the lowest acceptable success rate."""

    name: str
    source: Callable[[int], Pool | Rooms]
    floor: float


def validation(n: int) -> list[Pool | Rooms]:
    """Task sources of ``n`` layouts each, like those of training, for choosing checkpoints."""
    levels = [Pool.draw(level, n, _VALIDATION_SEED) for level in _FLOORS]
    return [_EIGHT, _SIXTEEN, *(pool.as_commands() for pool in levels)]


def _level(name: str) -> ActorTest:
    return ActorTest(name, lambda n: Pool.draw(name, n, seed=0), _FLOORS[name])


_FLOORS = {
    "BabyAI-GoToLocal-v0": 0.98,
    "BabyAI-PickupDist-v0": 0.98,
    "BabyAI-OpenDoor-v0": 0.98,
    "BabyAI-PutNextLocal-v0": 0.98,
    "BabyAI-PickupLoc-v0": 0.95,
    "BabyAI-GoToObjMaze-v0": 0.90,
    "BabyAI-GoTo-v0": 0.90,
    "BabyAI-Pickup-v0": 0.90,
}
_EIGHT = replace(SMALL, room_sizes=(8,))
_SIXTEEN = replace(SMALL, room_sizes=(16,), n_items=(10,), max_steps=256)
TESTS = (
    ActorTest("8x8, 3 to 8 items, training items", lambda n: _EIGHT, 0.99),
    ActorTest(
        "8x8, 3 to 8 items, held-out items", lambda n: replace(_EIGHT, items=_HELD_OUT), 0.98
    ),
    ActorTest("16x16, 10 items, training items", lambda n: _SIXTEEN, 0.95),
    ActorTest(
        "16x16, 10 items, held-out items", lambda n: replace(_SIXTEEN, items=_HELD_OUT), 0.95
    ),
    *map(_level, _FLOORS),
)
