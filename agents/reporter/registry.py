"""The Reporters by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agents.parts import Reporter
from envs.registry import Registry

REPORTERS: Registry[Callable[..., Reporter]] = Registry("reporter")


def make_reporter(name: str, **options: Any) -> Reporter:
    """The Reporter of this name: ``scripted``, ``irrelevant`` or ``human``.

    ``options`` go to it. Raises BadInput for any other name.
    """
    import agents.reporter.human
    import agents.reporter.irrelevant
    import agents.reporter.scripted  # noqa: F401

    return REPORTERS[name](**options)
