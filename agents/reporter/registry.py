"""The Reporters by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents.protocols import Reporter
from envs.registry import Registry
from models.vision.vision_language import HUB_ID, is_of_transformers

REPORTERS: Registry[Callable[..., Reporter]] = Registry(
    "reporter",
    {
        "scripted": "agents.reporter.scripted:ScriptedReporter",
        "irrelevant": "agents.reporter.irrelevant:IrrelevantReporter",
        "random-fact": "agents.reporter.facts:RandomFactReporter",
        "thorough": "agents.reporter.facts:ThoroughReporter",
        "silent": "agents.reporter.facts:SilentReporter",
        "missing": "agents.reporter.unreliable:MissingReporter",
        "false": "agents.reporter.unreliable:FalseReporter",
        "late": "agents.reporter.unreliable:LateReporter",
        "reworded": "agents.reporter.unreliable:RewordedReporter",
        "injected": "agents.reporter.unreliable:InjectedReporter",
        "view": "agents.reporter.view:ViewReporter",
        "human": "agents.reporter.human:HumanReporter",
        "learned": "agents.reporter.learned:load_shipped",
    },
)


def make_reporter(name: str, **options: Any) -> Reporter:
    """The Reporter of this name; or the trained one in the folder of this name; or a model of
    transformers for images and text, by its folder or its id on the hub.

    ``module:name`` imports the module that registers it first. ``options`` are keyword arguments of
    the Reporter. Raises BadInput for any other name.
    """
    config = Path(name) / "config.json"
    if name not in REPORTERS and (config.is_file() or HUB_ID.fullmatch(name)):
        from agents.reporter import learned, vision_language

        if not config.is_file() or is_of_transformers(Path(name)):
            return vision_language.load_reporter(name, **options)
        return learned.load_reporter(Path(name), **options)
    return REPORTERS.resolve(name)(**options)
