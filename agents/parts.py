"""The parts of a team from whatever a user gives: a name, an object, or a plain function."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any, TypeGuard, cast

from agents.actor.registry import ACTOR, make_actor
from agents.planner.options import PlannerOptions
from agents.planner.registry import PLANNER, make_planner
from agents.protocols import Actor, Planner, Reporter
from agents.reporter.registry import REPORTER, make_reporter
from envs.errors import BadInput
from models.components import check_methods
from models.references import Part

Given = str | os.PathLike[str]


def is_name(given: object) -> TypeGuard[Given]:
    """Whether a part is given by its name or the path of its folder."""
    return isinstance(given, str | os.PathLike)


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
    if is_name(given):
        return make_planner(os.fspath(given), options)
    if _is_function(PLANNER, given):
        from agents.planner.function import FunctionPlanner, PlannerFunction

        return FunctionPlanner(cast(PlannerFunction, given))
    return checked(PLANNER, given)


def actor_of(given: Given | Actor) -> Actor:
    """An Actor from its name or an object.

    Raises:
        BadInput: There is no Actor of this name, or the object is none.
    """
    return make_actor(os.fspath(given)) if is_name(given) else checked(ACTOR, given)


def reporter_of(given: Given | Reporter | Callable[..., str]) -> Reporter:
    """A Reporter from its name, an object, or a function of an `ObservedRollout`.

    Raises:
        BadInput: There is no Reporter of this name, or the object is none.
    """
    if is_name(given):
        return make_reporter(os.fspath(given))
    if _is_function(REPORTER, given):
        from agents.reporter.function import FunctionReporter, ReporterFunction

        return FunctionReporter(cast(ReporterFunction, given))
    return checked(REPORTER, given)


def _is_function(part: Part, given: object) -> bool:
    is_part = any(hasattr(given, m) for m in part.methods)
    return callable(given) and not inspect.isclass(given) and not is_part


def checked(part: Part, given: Any) -> Any:
    """The object, if it has all that the loop calls.

    Raises:
        BadInput: It lacks something, which the message names.
    """
    if inspect.isclass(given):
        name = given.__name__
        raise BadInput(f"the {part.name} {name} is a class; give an object of it: {name}(…)")
    check_methods(part, given, repr(given))
    return given
