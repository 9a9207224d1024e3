"""Gymnasium worlds, one or many."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Literal, get_args

import gymnasium as gym
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from envs.errors import BadInput, unknown, whole_number
from envs.making import TASKS, make_envs

Stepper = Literal["auto", "engine", "gymnasium"]


def make(task: str = "conditional", **settings: Any) -> gym.Env:
    """A gymnasium world of a task.

    Args:
        task: ``conditional``, ``search``, ``visual-conditional``, ``composition``, ``command``,
            ``playground``, ``babyai-mixed``, or the registered id of any MiniGrid world.
        settings: Arguments of its constructor, such as ``items="held-out"``, ``room_size=10``,
            ``render_mode="rgb_array"``.

    Raises:
        BadInput: There is no such world, or it does not take these settings.
    """
    return make_envs(task, 1, **settings)[0]


def make_vec(
    task: str = "conditional", n: int = 8, *, stepper: Stepper = "auto", **settings: Any
) -> VectorEnv:
    """N worlds of a task as a gymnasium vector environment.

    What steps them is what the type says: an `envs.batched.vector.EngineVectorEnv` is the batched
    engine, which generates each new room itself and steps thousands of worlds at once (compiled
    once, in about half a minute); a `gymnasium.vector.SyncVectorEnv` is MiniGrid, one world after
    the other. In both a new episode begins in the step in which one ends
    (``AutoresetMode.SAME_STEP``), and ``infos["final_info"]["success"]`` tells how it went. Rooms
    are drawn alike in both, but not the same ones for the same seed.

    Args:
        task: As `make` takes it.
        n: How many worlds.
        stepper: ``auto`` takes the engine for ``conditional``, ``search``, ``visual-conditional``
            and ``command`` with settings that it supports, and MiniGrid for everything else;
            ``engine`` and ``gymnasium`` insist on one.
        settings: Arguments of the world's constructor.

    Raises:
        BadInput: There is no such world, it does not take these settings, or the engine cannot
            generate it.
    """
    whole_number("number of worlds", n, 1)
    if stepper not in get_args(Stepper):
        raise unknown("stepper", str(stepper), get_args(Stepper))
    # All is checked by the world itself, whatever steps it.
    make_envs(task, 1, **settings)[0].close()
    if stepper != "gymnasium":
        source = _rooms(task, settings)
        if source is not None:
            from envs.batched.engine import Engine
            from envs.batched.vector import EngineVectorEnv

            return EngineVectorEnv(Engine(source, n))
        if stepper == "engine":
            raise BadInput(
                f"the engine does not generate the rooms of '{task}' with these settings; "
                "leave stepper out, or draw a pool of its layouts: envs.batched.Pool"
            )
    one = functools.partial(make, task, **settings)
    return SyncVectorEnv([one] * n, autoreset_mode=AutoresetMode.SAME_STEP)


def _rooms(task: str, settings: dict[str, Any]) -> Any:
    """The engine's own generator of a task's rooms; None where it has none for these settings."""
    from envs.batched.rooms import FAMILIES, Rooms

    names = {full: name for name, full in TASKS.items()}
    family = names.get(task, task)
    if family not in FAMILIES[1:]:
        return None
    fields = {f.name for f in dataclasses.fields(Rooms)} - {"family", "room_sizes"}
    values: dict[str, Any] = {}
    for name, value in settings.items():
        if name == "room_size":
            values["room_sizes"] = (value,)
        elif name not in fields:
            return None
        else:
            values[name] = (value,) if name == "n_items" else value
    for name in ("verbs", "conditions"):
        if isinstance(values.get(name), str):
            values[name] = (values[name],)
    try:
        return Rooms(family, **values)
    except BadInput:
        return None
