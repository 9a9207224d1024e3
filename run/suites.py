"""Suites: named sets of cells on which parts of the team are scored, each with its own seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from envs.composition import VALIDATION_KINDS
from envs.conditional import CONDITIONS, VALIDATION_CONDITIONS
from envs.errors import BadInput
from envs.phrasings import CONDITIONAL, PROPERTIES, SEARCH
from envs.registry import Registry

CELL_SEEDS = 1_000_000
PART_SEEDS = 10_000
# No two suites meet from any seed up to here, and training's seeds begin at 1,000,000,000.
MAX_SEED = 400_000_000


@dataclass(frozen=True)
class Part:
    """A share of a cell's episodes: a task with the settings of its constructor.

    ``irrelevant`` is how probable it is that reports say useless things too, where that belongs
    to the part; elsewhere the user's choice of Reporter reports. ``has_items`` says whether the
    task lays out our items; BabyAI has its own things.
    """

    label: str
    task: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    irrelevant: float | None = None
    has_items: bool = True


@dataclass(frozen=True)
class Cell:
    """What one success rate is about. ``floor`` is the rate that a good Planner must reach."""

    name: str
    parts: tuple[Part, ...]
    floor: float | None = None

    def share(self, episodes: int) -> list[int]:
        """How many of the cell's episodes each part gets: evenly, the first parts get the rest.

        Raises BadInput where that leaves a part with none, or with more than it has seeds.
        """
        n = len(self.parts)
        if episodes < n:
            raise BadInput(
                f"--episodes {episodes} are too few: cell '{self.name}' has {n} parts, so at "
                f"least {n}"
            )
        if episodes > n * PART_SEEDS:
            raise BadInput(
                f"--episodes {episodes} are too many: cell '{self.name}' has seeds for "
                f"{n * PART_SEEDS}"
            )
        each, rest = divmod(episodes, n)
        return [each + (k < rest) for k in range(n)]


@dataclass(frozen=True)
class Suite:
    """Cells, in order.

    Episode i of a part has the seed ``seed + first_seed + 1_000_000 * cell + 10_000 * part + i``,
    cells and parts numbered from 0 as they stand here, whichever of them are played. ``items``
    are those that lie about in our rooms unless the user says otherwise, which only a suite that
    is not ``fixed`` allows.
    """

    cells: tuple[Cell, ...]
    items: str
    fixed: bool = False
    first_seed: int = 0

    def seed(self, cell: Cell, part: Part, seed: int) -> int:
        """The seed of a part's first episode."""
        c, p = self.cells.index(cell), cell.parts.index(part)
        return seed + self.first_seed + CELL_SEEDS * c + PART_SEEDS * p


SUITES: Registry[Callable[[], Suite]] = Registry("suite")


def _one(name: str, floor: float | None, task: str, **settings: Any) -> Cell:
    """A cell of one part."""
    return Cell(name, (Part(name, task, settings),), floor)


def _searches(sizes: Sequence[int]) -> tuple[Part, ...]:
    return tuple(Part(f"search {n}", "search", {"n_items": n}) for n in sizes)


def _phrased(split: str, n_items: int) -> tuple[Part, ...]:
    """A part for each phrasing of a split, of both families; ``n_items`` are searched."""
    return tuple(
        Part(f"{task} {name}", task, {"phrasings": [name], "n_items": n})
        for task, phrasings, n in (("conditional", CONDITIONAL, 4), ("search", SEARCH, n_items))
        for name in phrasings[split]
    )


def _worded(split: str) -> tuple[Part, ...]:
    """A part for each triple of property words of a split, of both families."""
    return tuple(
        Part(f"{task} {word}", task, {"words": [word]})
        for word, *_ in PROPERTIES[split]
        for task in ("conditional", "search")
    )


def _visible(conditions: Sequence[str]) -> tuple[Part, ...]:
    return tuple(Part(c, "visual-conditional", {"conditions": [c]}) for c in conditions)


def _irrelevant(p: float) -> tuple[Part, ...]:
    return (
        Part("conditional", "conditional", irrelevant=p),
        Part("search 4", "search", {"n_items": 4}, irrelevant=p),
    )


def _babyai(kind: str) -> Cell:
    return Cell(
        f"babyai {kind}",
        tuple(
            Part(
                f"{n} distractors",
                "babyai-mixed",
                {"kinds": [kind], "distractors": n},
                has_items=False,
            )
            for n in (0, 8)
        ),
        0.90,
    )


@SUITES.register("planner")
def planner() -> Suite:
    """What the small Planner is judged on: nothing after ``search-2-5`` is in its training."""
    return Suite(
        (
            _one("conditional", 0.98, "conditional"),
            Cell("search-2-5", _searches(range(2, 6)), 0.98),
            Cell("search-6-10", _searches(range(6, 11)), 0.95),
            Cell("irrelevant", _irrelevant(0.5), 0.95),
            Cell("visual-conditional", _visible(CONDITIONS), 0.90),
            Cell("paraphrases", _phrased("test", n_items=4), 0.85),
            Cell("property-words", _worded("test"), 0.85),
            *(_one(kind, 0.70, "composition", kinds=[kind]) for kind in ("and", "or", "not")),
            _one("two-deciders", 0.70, "composition", kinds=["two"]),
            _one("order", 0.70, "composition", kinds=["order"]),
            *(
                _babyai(kind)
                for kind in ("go to", "pick up", "put next to", "pick up then go to", "open")
            ),
        ),
        items="held-out",
    )


# Their items are of training; what to do with them is said by the sentence alone.
_COMMANDS = (
    "Go to the striped red ring.",
    "Examine the solid green tee.",
    "Pick up the checkered purple cross.",
    "Put the solid blue circle next to the striped grey square.",
)
# Levels of BabyAI, one cell for each kind of mission as in the suite ``planner``, whose own level
# none of them is.
_MISSIONS = {
    "go to": ("GoToLocal", "ActionObjDoor"),
    "pick up": ("PickupDist", "PickupLoc"),
    "put next": ("PutNextLocal",),
    "sequence": ("GoToSeqS5R2",),
    "unlock": ("UnlockLocal",),
}


def _missions(kind: str) -> Cell:
    levels = _MISSIONS[kind]
    parts = tuple(Part(level, f"BabyAI-{level}-v0", has_items=False) for level in levels)
    return Cell(f"missions {kind}", parts)


@SUITES.register("planner-validation")
def planner_validation() -> Suite:
    """For choosing among checkpoints, before anything of ``planner`` has been seen."""
    phrased = _phrased("validation", n_items=8)
    return Suite(
        (
            *(
                Cell(f"{task}-paraphrases", tuple(p for p in phrased if p.task == task))
                for task in ("conditional", "search")
            ),
            Cell("property-words", _worded("validation")),
            Cell("visual-conditional", _visible(VALIDATION_CONDITIONS)),
            Cell("irrelevant", _irrelevant(0.8)),
            *(_one(kind, None, "composition", kinds=[kind]) for kind in VALIDATION_KINDS),
            Cell(
                "commands",
                tuple(Part(text, "instruction", {"instruction": text}) for text in _COMMANDS),
            ),
            *map(_missions, _MISSIONS),
        ),
        items="train",
        fixed=True,
        first_seed=500_000_000,
    )
