"""The Actors by name."""

from __future__ import annotations

from collections.abc import Callable

from agents.protocols import Actor
from envs.registry import Registry

ACTORS: Registry[Callable[..., Actor]] = Registry("actor")


def make_actor(name: str) -> Actor:
    """The Actor of this name: ``scripted``, ``learned``, ``human`` or ``direct``; ``module:name``
    imports the module that registers it first.

    Raises BadInput for any other name.
    """
    # The modules that register them, imported here so that the scripted Actor needs no torch.
    if name == "scripted":
        import agents.actor.scripted
    else:
        import agents.actor.direct
        import agents.actor.human
        import agents.actor.learned
        import agents.actor.scripted  # noqa: F401
    return ACTORS[ACTORS.imported(name)]()
