"""The Reporters by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents.protocols import Reporter
from envs.registry import Registry
from models.components import checked_reference, component, made
from models.references import Part, Reference, folder_of, part_of, resolve

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


WEIGHTS = Path(__file__).parent / "weights"
REPORTER = Part(
    "reporter",
    REPORTERS,
    ("begin", "opening", "on_step", "report"),
    attributes=("tells_views",),
    inherits="parley.TeamMember",
    offers=None,
    shipped=lambda: {"learned": WEIGHTS},
    accepts=("model",),
)


def check_reporter(name: str) -> Reference:
    """What a Reporter's name stands for, found out without loading it.

    Raises:
        BadInput: It names no Reporter.
    """
    return checked_reference(REPORTER, name)


def make_reporter(name: str, **options: Any) -> Reporter:
    """Make a Reporter.

    Args:
        name: A registered name; a run folder of train-reporter; a folder of weights; a hub id; or
            ``module:Class``. Weights may also be those of a vision-language model of transformers.
        options: Keyword arguments of the Reporter.

    Raises:
        BadInput: ``name`` is none of these, or the weights are damaged.
    """
    reference = resolve(REPORTER, name)
    if reference.kind in ("name", "module"):
        return made(REPORTER, component(REPORTER, reference), name, **options)
    from agents.reporter import learned, vision_language

    folder = folder_of(REPORTER, reference)
    if folder is None or part_of(folder) == "model":
        return vision_language.load_reporter(reference.target, **options)
    return learned.load_reporter(folder, **options)
