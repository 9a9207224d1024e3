"""The Reporters by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents.protocols import Reporter
from envs.registry import Registry
from models.vision.vision_language import HUB_ID, is_of_transformers

REPORTERS: Registry[Callable[..., Reporter]] = Registry("reporter")


def make_reporter(name: str, **options: Any) -> Reporter:
    """The Reporter of this name; or the trained one in the folder of this name; or a model of
    transformers for images and text, by its folder or its id on the hub.

    ``module:name`` imports the module that registers it first. ``options`` go to it. Raises
    BadInput for any other name.
    """
    import agents.reporter.facts
    import agents.reporter.human
    import agents.reporter.irrelevant
    import agents.reporter.scripted
    import agents.reporter.unreliable
    import agents.reporter.view  # noqa: F401

    config = Path(name) / "config.json"
    if name not in REPORTERS and (config.is_file() or HUB_ID.fullmatch(name)):
        from agents.reporter import learned, vision_language

        if not config.is_file() or is_of_transformers(Path(name)):
            return vision_language.load_reporter(name, **options)
        return learned.load_reporter(Path(name), **options)
    return REPORTERS[REPORTERS.imported(name)](**options)


@REPORTERS.register("learned")
def shipped(**options: Any) -> Reporter:
    """The trained Reporter that comes with Parley; ``options`` are those of ``load_reporter``."""
    from agents.reporter.learned import SHIPPED, load_reporter

    return load_reporter(SHIPPED, **options)
