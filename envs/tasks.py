"""Batches of worlds by the name of their task."""

from __future__ import annotations

import contextlib
from typing import Any

from envs.errors import BadInput
from envs.making import make_envs
from envs.worlds import Worlds


def make_worlds(task: str, n: int, *, batched: bool = False, **settings: Any) -> Worlds:
    """N worlds of a task.

    Args:
        task: A short name of ``TASKS`` or any registered id of a MiniGrid world; ``module:id``
            imports the module that registers the id first.
        n: The number of worlds.
        batched: Step them in the batched engine if it supports the level: the same episodes,
            faster.
        settings: Keyword arguments of the environment's constructor.

    Raises:
        BadInput: The task is unknown or no MiniGrid world, or does not take these settings.
    """
    envs = make_envs(task, n, **settings)
    if batched:
        # numba takes seconds to load, so it is loaded only where it is used.
        from envs.batched.worlds import BatchedWorlds

        with contextlib.suppress(BadInput):
            return BatchedWorlds(envs)
    return Worlds(envs)
