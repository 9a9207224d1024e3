"""Finds out whether another package of the same name stands before one of ours.

``envs``, ``models``, ``agents``, ``rewards``, ``run`` and ``parley`` are names that others use too:
a folder of the user's, or an installed package such as that of ``openai-agents``. This file imports
nothing of ours, so that it works where that is the case.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable

NEEDED = ("envs", "models", "agents", "rewards", "run")
MARK = "# Of the distribution parley-rl: run/shadowing.py looks for this line.\n"
HOUSE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


def shadowed(names: Iterable[str] = NEEDED) -> str | None:
    """One sentence about the first of these packages that is not ours, and what to do; or None."""
    for name in names:
        where = location(name)
        ours = os.path.join(HOUSE, name)
        if where is None:
            return f"Parley's package '{name}' is missing: install parley-rl again"
        if where != ours:
            return f"{_of_others(name, where)}; Parley's own is {ours}"
        if not _is_marked(where):
            return (
                f"Parley's package '{name}' was overwritten by another distribution's in {where}; "
                "install parley-rl into an environment of its own"
            )
    return None


def location(name: str) -> str | None:
    """The folder or file that ``import name`` finds, with links followed; None for nothing."""
    try:
        spec = importlib.util.find_spec(name)
    # Of a module that was put into sys.modules by hand, there is no specification.
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or ())
    found = folders[0] if folders else spec.origin
    return None if found is None else os.path.realpath(found)


def _of_others(name: str, where: str) -> str:
    installed = {"site-packages", "dist-packages"} & set(where.split(os.sep))
    if installed:
        known = " (openai-agents has one of that name)" if name == "agents" else ""
        return (
            f"another installed package '{name}'{known}, in {where}, stands before Parley's; "
            "install parley-rl into an environment of its own"
        )
    kind = "folder" if os.path.isdir(where) else "file"
    return (
        f"the {kind} {where} stands before Parley's package '{name}'; rename it, or start Python "
        "from another folder"
    )


def _is_marked(folder: str) -> bool:
    try:
        with open(os.path.join(folder, "__init__.py"), encoding="utf-8") as file:
            return file.readline() == MARK
    except (OSError, UnicodeDecodeError):
        return False
