"""The Actors by name."""

from __future__ import annotations

from collections.abc import Callable

from agents.protocols import Actor
from envs.registry import Registry

ACTORS: Registry[Callable[[], Actor]] = Registry(
    "actor",
    {
        "direct": "agents.actor.direct:DirectActor",
        "human": "agents.actor.human:HumanActor",
        "learned": "agents.actor.learned:LearnedActor",
        "scripted": "agents.actor.scripted:ScriptedActor",
    },
)


def make_actor(name: str) -> Actor:
    """The Actor of this name: ``scripted``, ``learned``, ``human`` or ``direct``; ``module:name``
    imports the module that registers it first.

    Raises BadInput for any other name.
    """
    return ACTORS.resolve(name)()
