"""Suites: named sets of cells on which parts of the team are scored, each with its own seeds.

``planner`` and ``planner-validation`` are made here, of what training may see and what not. The
others are the YAML files of this folder, which a user can copy and change; `read_suite` reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from envs.conditional import CONDITIONS, VALIDATION_CONDITIONS
from envs.errors import BadInput, unknown
from envs.phrasings import CONDITIONAL, PROPERTIES, SEARCH
from envs.registry import Registry
from run.evaluation.teams import check_team, find_team

CELL_SEEDS = 1_000_000
PART_SEEDS = 10_000
# No two suites meet from any seed up to here, and training's seeds begin at 1,000,000,000.
MAX_SEED = 400_000_000


@dataclass(frozen=True)
class Variant:
    """A share of a cell's episodes: a task with the settings of its constructor.

    ``reporter`` names the Reporter, with its options, where that belongs to the part; elsewhere
    the user's choice reports. ``team`` are settings, as in ``run.evaluation.teams``, that belong to
    the part. With probability ``actor_fails`` the Actor fails a command. ``has_items`` says whether
    the task lays out our items; BabyAI has its own things. ``where`` is where it stands, for who
    has to mend it.
    """

    label: str
    task: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    reporter: tuple[str, Mapping[str, Any]] | None = None
    actor_fails: float = 0.0
    has_items: bool = True
    team: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""


@dataclass(frozen=True)
class Task:
    """What one success rate is about. ``floor`` is the rate that a good Planner must reach,
    ``chance`` the one that needs no skill: a branch or an item taken at random."""

    name: str
    parts: tuple[Variant, ...]
    floor: float | None = None
    chance: float | None = None

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

    cells: tuple[Task, ...]
    items: str
    fixed: bool = False
    first_seed: int = 0
    about: str = ""

    def seed(self, cell: Task, part: Variant, seed: int) -> int:
        """The seed of a part's first episode."""
        c, p = self.cells.index(cell), cell.parts.index(part)
        return seed + self.first_seed + CELL_SEEDS * c + PART_SEEDS * p


FOLDER = Path(__file__).parent
SUITES: Registry[Callable[[], Suite]] = Registry("suite")


def suite_names() -> list[str]:
    """The suites that come with Parley, in order."""
    return [*SUITES, *sorted(f.stem for f in FOLDER.glob("*.yaml"))]


def find_suite(name: str) -> Suite:
    """A suite by name, or the one in a YAML file. Raises BadInput where there is none, or the file
    is none."""
    if name in SUITES:
        return SUITES[name]()
    file = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not file.is_file() and file.parent == FOLDER:
        raise unknown("suite", name, suite_names())
    return read_suite(file)


def chosen(name: str, suite: Suite, cells: str | None) -> list[Task]:
    """The cells that are asked for, by names or patterns between commas, in the suite's order."""
    names = [cell.name for cell in suite.cells]
    asked = names if cells is None else [each.strip() for each in cells.split(",")]
    for each in asked:
        if not any(fnmatchcase(n, each) for n in names):
            raise unknown(f"cell of suite '{name}'", each, names)
    return [c for c in suite.cells if any(fnmatchcase(c.name, each) for each in asked)]


def read_suite(file: Path) -> Suite:
    """The suite in a YAML file: ``about``, ``items``, and ``cells``, each with ``parts``.

    A part has a ``task``; of ``reporter`` (a name and its options), ``actor_fails`` (a
    probability), ``team`` (a name, or its settings) and ``label`` what it needs; whatever else it
    has is a setting of the task. What all parts of a cell have in common can stand in the cell.
    Raises BadInput, in one sentence, for any other file.
    """
    import yaml

    try:
        found = _load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise BadInput(f"the suite '{file}' cannot be read: {error}") from error
    if not isinstance(found, _Lined) or not isinstance(found.get("cells"), _Lined):
        raise BadInput(f"'{file}' is no suite: it has no cells")
    known = ["about", "items", "cells"]
    for key in found:
        if key not in known:
            line = found.lines[key]
            raise unknown(f"key in line {line} of the suite '{file}'", str(key), known)
    cells = tuple(
        _read_cell(str(n), c, f"{file}', line {found['cells'].lines[n]}")
        for n, c in found["cells"].items()
    )
    items = found.get("items", "held-out")
    if items not in ("train", "held-out", "all"):
        raise BadInput(f"the suite '{file}' has items '{items}', not train, held-out or all")
    if not cells:
        raise BadInput(f"'{file}' is no suite: it has no cells")
    return Suite(cells, items, about=str(found.get("about", "")).strip())


class _Lined(dict[Any, Any]):
    """A mapping of a YAML file, and the line of each of its keys."""

    lines: dict[Any, int]


def _load(text: str) -> Any:
    """What a YAML file holds, nothing but plain values, each mapping with its lines."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> _Lined:
        made = _Lined(loader.construct_mapping(node, deep=True))
        made.lines = {}
        for key, _ in node.value:
            made.lines[loader.construct_object(key, deep=True)] = key.start_mark.line + 1
        return made

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    return yaml.load(text, Loader)  # a safe loader: plain values only


def _read_cell(name: str, found: Any, place: str) -> Task:
    where = f"cell '{name}' of the suite '{place}"
    if not isinstance(found, dict) or "," in name:
        raise BadInput(f"{where} is not described, or has a comma in its name")
    common = {k: v for k, v in found.items() if k not in ("floor", "chance", "parts")}
    parts = found.get("parts", [{}])
    if not isinstance(parts, list) or not all(isinstance(p, dict) for p in parts) or not parts:
        raise BadInput(f"the parts of {where} are no list of settings")
    read = tuple(_read_part(name, {**common, **p}, where, len(parts)) for p in parts)
    labels = [p.label for p in read]
    if len(set(labels)) < len(labels):
        raise BadInput(f"two parts of {where} have one label; give each its label")
    rates: dict[str, float | None] = {}
    for key in ("floor", "chance"):
        value = found.get(key)
        if value is not None and not (isinstance(value, int | float) and 0 <= value <= 1):
            raise BadInput(f"the {key} of {where} is no number from 0 to 1")
        rates[key] = None if value is None else float(value)
    return Task(name, read, rates["floor"], rates["chance"])


def _read_part(cell: str, found: dict[str, Any], where: str, n: int) -> Variant:
    settings = dict(found)
    task = settings.pop("task", None)
    if not isinstance(task, str):
        raise BadInput(f"a part of {where} has no task")
    label = settings.pop("label", None)
    reporter = settings.pop("reporter", None)
    fails = settings.pop("actor_fails", 0.0)
    team = settings.pop("team", {})
    team = find_team(team) if isinstance(team, str) else check_team(team, f"the team of {where}")
    if reporter is not None:
        if isinstance(reporter, str):
            reporter = {"name": reporter}
        if not isinstance(reporter, dict) or not isinstance(reporter.get("name"), str):
            raise BadInput(f"the reporter of {where} has no name")
        reporter = (reporter["name"], {k: v for k, v in reporter.items() if k != "name"})
    if not isinstance(fails, int | float) or not 0 <= fails <= 1:
        raise BadInput(f"actor_fails of {where} is no probability")
    if label is None:
        told = " ".join(
            f"{k} {v}" for k, v in found.items() if k not in ("task", "reporter", "team")
        )
        label = cell if n == 1 else f"{task} {told}".strip()
    ours = not task.lower().startswith(("babyai", "minigrid"))
    return Variant(str(label), task, settings, reporter, float(fails), ours, team, where)


def _one(name: str, floor: float | None, task: str, **settings: Any) -> Task:
    """A cell of one part."""
    return Task(name, (Variant(name, task, settings),), floor)


def _searches(sizes: Sequence[int]) -> tuple[Variant, ...]:
    return tuple(Variant(f"search {n}", "search", {"n_items": n}) for n in sizes)


def _phrased(split: str, n_items: int) -> tuple[Variant, ...]:
    """A part for each phrasing of a split, of both families; ``n_items`` are searched."""
    return tuple(
        Variant(f"{task} {name}", task, {"phrasings": [name], "n_items": n})
        for task, phrasings, n in (("conditional", CONDITIONAL, 4), ("search", SEARCH, n_items))
        for name in phrasings[split]
    )


def _worded(split: str) -> tuple[Variant, ...]:
    """A part for each triple of property words of a split, of both families."""
    return tuple(
        Variant(f"{task} {word}", task, {"words": [word]})
        for word, *_ in PROPERTIES[split]
        for task in ("conditional", "search")
    )


def _visible(conditions: Sequence[str]) -> tuple[Variant, ...]:
    return tuple(Variant(c, "visual-conditional", {"conditions": [c]}) for c in conditions)


def _irrelevant(p: float) -> tuple[Variant, ...]:
    return (
        Variant("conditional", "conditional", reporter=("irrelevant", {"p": p})),
        Variant("search 4", "search", {"n_items": 4}, reporter=("irrelevant", {"p": p})),
    )


def _mixed_local(kind: str) -> tuple[Variant, ...]:
    return tuple(
        Variant(
            f"{n} distractors", "babyai-mixed", {"kinds": [kind], "distractors": n}, has_items=False
        )
        for n in (0, 8)
    )


@SUITES.register("planner")
def planner() -> Suite:
    """What the small Planner is judged on: nothing after ``search-2-5`` is in its training."""
    return Suite(
        (
            _one("conditional", 0.98, "conditional"),
            Task("search-2-5", _searches(range(2, 6)), 0.98),
            Task("search-6-10", _searches(range(6, 11)), 0.95),
            Task("irrelevant", _irrelevant(0.5), 0.95),
            Task("visual-conditional", _visible(CONDITIONS), 0.90),
            Task("paraphrases", _phrased("test", n_items=4), 0.85),
            Task("property-words", _worded("test"), 0.85),
            *(_one(kind, 0.70, "composition", kinds=[kind]) for kind in ("and", "or", "not")),
            _one("two-deciders", 0.70, "composition", kinds=["two"]),
            _one("order", 0.70, "composition", kinds=["order"]),
            *(
                Task(f"babyai {kind}", _mixed_local(kind), 0.90)
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


def _missions(kind: str) -> Task:
    levels = _MISSIONS[kind]
    parts = tuple(Variant(level, f"BabyAI-{level}-v0", has_items=False) for level in levels)
    return Task(f"missions {kind}", parts)


@SUITES.register("planner-validation")
def planner_validation() -> Suite:
    """For choosing among checkpoints, before anything of ``planner`` has been seen."""
    phrased = _phrased("validation", n_items=8)
    return Suite(
        (
            *(
                Task(f"{task}-paraphrases", tuple(p for p in phrased if p.task == task))
                for task in ("conditional", "search")
            ),
            Task("property-words", _worded("validation")),
            Task("visual-conditional", _visible(VALIDATION_CONDITIONS)),
            Task("irrelevant", _irrelevant(0.8)),
            *(_one(kind, None, "composition", kinds=[kind]) for kind in ("nor", "three")),
            Task(
                "commands",
                tuple(Variant(text, "instruction", {"instruction": text}) for text in _COMMANDS),
            ),
            *map(_missions, _MISSIONS),
            # A cell's place is in its seeds, so what came later stands at the end.
            Task("missions go to then pick up", _mixed_local("go to then pick up")),
            _one("after", None, "composition", kinds=["after"]),
        ),
        items="train",
        fixed=True,
        first_seed=500_000_000,
    )
