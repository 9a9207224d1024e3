"""The suites ``planner`` and ``planner-validation``: what training may contain, and what not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envs.conditional import CONDITIONS, VALIDATION_CONDITIONS
from envs.phrasings import CONDITIONAL, PROPERTIES, SEARCH
from run.evaluation.suites.tasks import Suite, Task, Variant


def _one(name: str, floor: float | None, environment: str, **settings: Any) -> Task:
    """A task of one variant."""
    return Task(name, (Variant(name, environment, settings),), floor)


def _searches(sizes: Sequence[int]) -> tuple[Variant, ...]:
    return tuple(Variant(f"search {n}", "search", {"n_items": n}) for n in sizes)


def _phrased(split: str, n_items: int) -> tuple[Variant, ...]:
    """A variant for each phrasing of a split, of both families; ``n_items`` in a search."""
    return tuple(
        Variant(f"{task} {name}", task, {"phrasings": [name], "n_items": n})
        for task, phrasings, n in (("conditional", CONDITIONAL, 4), ("search", SEARCH, n_items))
        for name in phrasings[split]
    )


def _worded(split: str) -> tuple[Variant, ...]:
    """A variant for each triple of property words of a split, of both families."""
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


def planner() -> Suite:
    """Scores the small Planner: nothing after ``search-2-5`` is in its training."""
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


# Their items are of training; the sentence alone says what to do with them.
_COMMANDS = (
    "Go to the striped red ring.",
    "Examine the solid green tee.",
    "Pick up the checkered purple cross.",
    "Put the solid blue circle next to the striped grey square.",
)
# Levels of BabyAI: a task for each kind of mission as in the suite ``planner``, which has none of
# these levels.
_MISSIONS = {
    "go to": ("GoToLocal", "ActionObjDoor"),
    "pick up": ("PickupDist", "PickupLoc"),
    "put next": ("PutNextLocal",),
    "sequence": ("GoToSeqS5R2",),
    "unlock": ("UnlockLocal",),
}


def _missions(kind: str) -> Task:
    levels = _MISSIONS[kind]
    variants = tuple(Variant(level, f"BabyAI-{level}-v0", has_items=False) for level in levels)
    return Task(f"missions {kind}", variants)


def planner_validation() -> Suite:
    """For choosing among checkpoints; shares nothing with ``planner``."""
    phrased = _phrased("validation", n_items=8)
    return Suite(
        (
            *(
                Task(f"{task}-paraphrases", tuple(v for v in phrased if v.environment == task))
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
            # A task's place is in its seeds, so later tasks stand at the end.
            Task("missions go to then pick up", _mixed_local("go to then pick up")),
            _one("after", None, "composition", kinds=["after"]),
        ),
        items="train",
        fixed=True,
        first_seed=500_000_000,
    )
