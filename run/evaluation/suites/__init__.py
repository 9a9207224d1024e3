"""Suites: named sets of tasks on which parts of the team are scored, each with its own seeds.

``planner`` and ``planner-validation`` are built in code. All others are the YAML files of this
folder, which a user can copy and change; `run.evaluation.suites.reading` reads them.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from envs.errors import unknown
from run.evaluation.suites.reading import read_suite
from run.evaluation.suites.tasks import Suite, Task, Variant

__all__ = ["SUITES", "Suite", "Task", "Variant", "find_suite", "select_tasks", "suite_names"]

FOLDER = Path(__file__).parent
SUITES: Mapping[str, str] = {
    "planner": "run.evaluation.suites.planner:planner",
    "planner-validation": "run.evaluation.suites.planner:planner_validation",
}
"""The suites that are built in code, by name: the module and the function that builds each."""


def suite_names() -> list[str]:
    """The names of the suites that come with Parley."""
    return [*SUITES, *sorted(f.stem for f in FOLDER.glob("*.yaml"))]


def find_suite(name: str) -> Suite:
    """A suite by its name, or the one in a YAML file.

    Raises:
        BadInput: There is no such suite, or the file holds none.
    """
    if name in SUITES:
        module, _, function = SUITES[name].partition(":")
        suite = getattr(importlib.import_module(module), function)()
        assert isinstance(suite, Suite)
        return suite
    file = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not file.is_file() and file.parent == FOLDER:
        raise unknown("suite", name, suite_names())
    return read_suite(file)


def select_tasks(name: str, suite: Suite, patterns: str | None) -> list[Task]:
    """The tasks of a suite that are selected, in the suite's order.

    Args:
        name: The suite's name.
        suite: The suite.
        patterns: Names or patterns separated by commas; None for all tasks.

    Raises:
        BadInput: A pattern matches no task.
    """
    names = [task.name for task in suite.tasks]
    selected = names if patterns is None else [each.strip() for each in patterns.split(",")]
    for pattern in selected:
        if not any(fnmatchcase(n, pattern) for n in names):
            raise unknown(f"task of suite '{name}'", pattern, names)
    return [t for t in suite.tasks if any(fnmatchcase(t.name, each) for each in selected)]
