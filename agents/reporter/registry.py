"""The Reporters by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents.parts import Reporter
from envs.registry import Registry

REPORTERS: Registry[Callable[..., Reporter]] = Registry("reporter")


def make_reporter(name: str, **options: Any) -> Reporter:
    """The Reporter of this name, or the trained one in the folder of this name.

    ``module:name`` imports the module that registers it first. ``options`` go to it. Raises
    BadInput for any other name.
    """
    import agents.reporter.facts
    import agents.reporter.human
    import agents.reporter.irrelevant
    import agents.reporter.scripted
    import agents.reporter.troubled  # noqa: F401

    if name not in REPORTERS and (Path(name) / "config.json").is_file():
        from agents.reporter.learned import load_reporter

        return load_reporter(Path(name), **options)
    return REPORTERS[REPORTERS.imported(name)](**options)
