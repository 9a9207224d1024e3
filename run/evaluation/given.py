"""Parts of a team that were given as objects of Python, rather than by their names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import Generic, TypeVar

from agents.actor.registry import check_actor
from agents.planner.registry import check_planner
from agents.protocols import Actor, Planner, Reporter
from agents.reporter.registry import check_reporter
from envs.errors import BadInput
from models.references import file_name

PREFIX = "python:"
T = TypeVar("T")


@dataclass(frozen=True)
class GivenPart(Generic[T]):
    """An object, with the name that stands for it in a run's settings: ``python:my_planner``."""

    name: str
    part: T


@dataclass(frozen=True)
class GivenParts:
    """The objects of an evaluation; None where a part has a name of its own."""

    planner: GivenPart[Planner] | None = None
    actor: GivenPart[Actor] | None = None
    reporter: GivenPart[Reporter] | None = None

    def check_that_they_travel(self) -> None:
        """Check that other processes can be sent these objects.

        Raises:
            BadInput: One cannot be, or is defined where they do not look.
        """
        for given in (self.planner, self.actor, self.reporter):
            if given is None:
                continue
            name = given.name.removeprefix(PREFIX)
            try:
                sent = bytes(ForkingPickler.dumps(given.part))
            # Whatever is inside of the object decides what is raised.
            except Exception as error:
                raise BadInput(
                    f"'{name}' cannot be sent to other processes ({error}); use workers=1"
                ) from error
            if b"__main__" in sent:
                raise BadInput(
                    f"'{name}' is defined in this script or notebook, where other processes do not "
                    "find it; put it into a module of its own, or use workers=1"
                )


NO_PARTS = GivenParts()


def given_name(thing: object) -> str:
    """The name of an object in settings: a function's own, otherwise that of its class."""
    inner = getattr(thing, "function", thing)
    name = str(getattr(inner, "__name__", None) or type(inner).__name__)
    return PREFIX + file_name(name)


def is_given(name: str) -> bool:
    """Whether a name in settings stands for an object of Python."""
    return name.startswith(PREFIX)


def check_team(planner: str, actor: str, reporter: str) -> None:
    """Check what the names of a team stand for, before anything is loaded.

    Raises:
        BadInput: There is no such Planner, Actor or Reporter.
    """
    checks = (check_planner, planner), (check_actor, actor), (check_reporter, reporter)
    for check, name in checks:
        if not is_given(name):
            check(name)


def named_or_given(name: str, given: GivenPart[T] | None, make: Callable[[str], T]) -> T:
    """A part of a team by its name, or the object that was given for it.

    Args:
        name: The name in the settings.
        given: The object, where there is one.
        make: Makes a part from any other name.

    Raises:
        BadInput: The name stands for an object that was not given.
    """
    if not is_given(name):
        return make(name)
    if given is None or given.name != name:
        raise BadInput(
            f"'{name}' was an object of Python, which no command can make; go on from Python: "
            "parley.evaluate(resume=RUN_FOLDER, ...) with that object again"
        )
    return given.part
