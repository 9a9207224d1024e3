"""The parts of a team from whatever a user gives: a name, an object, or a plain function."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any

from agents.actor.registry import make_actor
from agents.planner.options import PlannerOptions
from agents.planner.registry import make_planner
from agents.protocols import Actor, Planner, Reporter
from agents.reporter.registry import make_reporter
from envs.errors import BadInput

Given = str | os.PathLike[str]
METHODS = {
    "planner": ("choose", "begin"),
    "actor": ("execute", "begin"),
    "reporter": ("report", "begin", "opening", "on_step"),
}
ATTRIBUTES = {"planner": (), "actor": ("verbs",), "reporter": ("tells_views",)}


def is_name(given: object) -> bool:
    """Whether a part is given by its name or the path of its folder."""
    return isinstance(given, str | os.PathLike)


def label_of(given: object) -> str:
    """What a run calls a part: its name or path; the name of a function; the class of an object."""
    if isinstance(given, str | os.PathLike):
        return os.fspath(given) if not isinstance(given, bytes) else ""
    given = getattr(given, "function", given)
    return str(getattr(given, "__name__", None) or type(given).__name__)


def planner_of(
    given: Given | Planner | Callable[[str], str], options: PlannerOptions | None = None
) -> Planner:
    """A Planner from its name, an object, or a function of the dialogue's text.

    Args:
        given: A name that ``--planner`` takes, a Planner, or a function.
        options: For a name: the options of the Planner.

    Raises:
        BadInput: There is no Planner of this name, or the object is none.
    """
    if isinstance(given, str | os.PathLike):
        return make_planner(os.fspath(given), options)
    if _is_function("planner", given):
        from agents.planner.function import FunctionPlanner

        return FunctionPlanner(given)  # type: ignore[arg-type]
    return _checked("planner", given)


def actor_of(given: Given | Actor) -> Actor:
    """An Actor from its name or an object.

    Raises:
        BadInput: There is no Actor of this name, or the object is none.
    """
    if isinstance(given, str | os.PathLike):
        return make_actor(os.fspath(given))
    return _checked("actor", given)


def reporter_of(given: Given | Reporter | Callable[..., str]) -> Reporter:
    """A Reporter from its name, an object, or a function of an `ObservedRollout`.

    Raises:
        BadInput: There is no Reporter of this name, or the object is none.
    """
    if isinstance(given, str | os.PathLike):
        return make_reporter(os.fspath(given))
    if _is_function("reporter", given):
        from agents.reporter.function import FunctionReporter

        return FunctionReporter(given)  # type: ignore[arg-type]
    return _checked("reporter", given)


def _is_function(part: str, given: object) -> bool:
    return callable(given) and not inspect.isclass(given) and not hasattr(given, METHODS[part][0])


def _checked(part: str, given: Any) -> Any:
    """The object, if it has all that the loop calls. Raises BadInput, naming what it lacks."""
    title = part.capitalize()
    if inspect.isclass(given):
        raise BadInput(
            f"{part} {given.__name__} is a class; give an object of it: {given.__name__}(…)"
        )
    methods = METHODS[part]
    missing = [f"method '{m}'" for m in methods if not callable(getattr(given, m, None))]
    missing += [f"attribute '{a}'" for a in ATTRIBUTES[part] if not hasattr(given, a)]
    if missing:
        first = callable(getattr(given, methods[0], None))
        hint = (
            "parley.TeamMember, which one can inherit, has a default"
            if first
            else f"a name, a {title}" + ("" if part == "actor" else " or a function") + " is needed"
        )
        raise BadInput(f"{given!r} is no {title}: it has no {missing[0]} ({hint})")
    return given
