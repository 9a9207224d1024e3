"""The Actors by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from agents.protocols import Actor
from envs.registry import Registry
from models.components import checked_reference, component, made
from models.references import Part, Reference, folder_of, resolve

ACTORS: Registry[Callable[[], Actor]] = Registry(
    "actor",
    {
        "direct": "agents.actor.direct:DirectActor",
        "human": "agents.actor.human:HumanActor",
        "learned": "agents.actor.learned:LearnedActor",
        "scripted": "agents.actor.scripted:ScriptedActor",
    },
)


WEIGHTS = Path(__file__).parent / "weights"
ACTOR = Part(
    "actor",
    ACTORS,
    ("begin", "execute"),
    attributes=("verbs",),
    inherits="parley.TeamMember",
    shipped=lambda: {"learned": WEIGHTS},
)


def check_actor(name: str) -> Reference:
    """What an Actor's name stands for, found out without loading it.

    Raises:
        BadInput: It names no Actor.
    """
    return checked_reference(ACTOR, name)


def make_actor(name: str) -> Actor:
    """Make an Actor.

    Args:
        name: ``scripted``, ``learned``, ``human`` or ``direct``; a run folder of train-actor; a
            folder of weights; a hub id; or ``module:Class``.

    Raises:
        BadInput: ``name`` is none of these, or the weights are damaged.
    """
    reference = resolve(ACTOR, name)
    if reference.kind in ("name", "module"):
        return made(ACTOR, component(ACTOR, reference), name)
    # torch takes seconds to import.
    from agents.actor.learned import LearnedActor

    return LearnedActor(folder_of(ACTOR, reference) or reference.target)
