"""Environments by the name of their task."""

from __future__ import annotations

import difflib
import importlib
import inspect
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, load_env_creator
from minigrid.minigrid_env import MiniGridEnv

from envs.errors import BadInput, whole_number

TASKS = {
    "conditional": "Parley/SecretConditional-v0",
    "search": "Parley/SecretSearch-v0",
    "visual-conditional": "Parley/VisualConditional-v0",
    "composition": "Parley/SecretComposition-v0",
    "command": "Parley/Command-v0",
    "instruction": "Parley/Instruction-v0",
    "playground": "Parley/Playground-v0",
    "babyai-mixed": "Parley/BabyAIMixedLocal-v0",
}
_SUGGESTED = ("Parley/", "BabyAI-", "MiniGrid-")


def make_envs(task: str, n: int, **settings: Any) -> list[gym.Env]:
    """N environments of a task.

    Args:
        task: A short name of ``TASKS`` or any registered id of a MiniGrid world; ``module:id``
            imports the module that registers the id first.
        n: The number of environments.
        settings: Keyword arguments of the environment's constructor.

    Raises:
        BadInput: The task is unknown or no MiniGrid world, or does not take these settings.
    """
    whole_number("number of worlds", n, low=1)
    spec = _spec(task)
    allowed = settings_of(spec)
    wrong = [name for name in settings if allowed is not None and name not in allowed]
    if allowed is not None and wrong:
        near = difflib.get_close_matches(wrong[0], allowed, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"it takes {', '.join(allowed)}"
        raise BadInput(f"task '{task}' takes no setting {', '.join(wrong)}; {hint}")
    try:
        # Without gymnasium's passive checker, which costs time: the tests check the worlds.
        envs = [gym.make(spec, disable_env_checker=True, **settings) for _ in range(n)]
    except BadInput:
        raise
    except (AssertionError, TypeError, ValueError) as error:
        if not settings:
            raise
        values = ", ".join(f"{k}={v!r}" for k, v in settings.items())
        # gymnasium appends the place where it was raised, which does not help a user.
        why = str(error).split(" was raised from the environment")[0] or type(error).__name__
        raise BadInput(f"task '{task}' cannot be made with {values}: {why}") from error
    except (ImportError, gym.error.Error) as error:
        raise BadInput(f"task '{task}' cannot be made: {error}") from error
    if not isinstance(envs[0].unwrapped, MiniGridEnv):
        raise _no_minigrid(spec)
    return envs


def settings_of(spec: EnvSpec) -> tuple[str, ...] | None:
    """The keyword arguments of a MiniGrid world's constructor, with those of its base classes.

    None where they cannot be listed, because the id is registered with a function that takes any.

    Raises:
        BadInput: The id is registered with a class that is no MiniGrid world.
    """
    creator: Any = spec.entry_point
    if isinstance(creator, str):
        try:
            creator = load_env_creator(creator)
        except (ImportError, gym.error.Error):
            creator = None
    if creator is None or (inspect.isclass(creator) and not issubclass(creator, MiniGridEnv)):
        raise _no_minigrid(spec)
    if inspect.isclass(creator):
        makers = [vars(c)["__init__"] for c in creator.__mro__ if "__init__" in vars(c)]
    else:
        makers = [creator]
    names: dict[str, None] = {}
    for maker in makers:
        parameters = inspect.signature(maker).parameters.values()
        names.update((p.name, None) for p in parameters if p.kind != p.VAR_KEYWORD)
        if all(p.kind != p.VAR_KEYWORD for p in parameters):
            return tuple(n for n in names if n not in ("self", "mission_space"))
    return None


def _no_minigrid(spec: EnvSpec) -> BadInput:
    return BadInput(f"'{spec.id}' is registered, but it is no MiniGrid world")


def _spec(task: str) -> EnvSpec:
    name = TASKS.get(task, task)
    module, colon, inner = name.partition(":")
    if colon:
        try:
            importlib.import_module(module)
        except ImportError as missing:
            raise BadInput(
                f"the module of task '{task}' cannot be imported: {missing}"
            ) from missing
        name = inner
    if name in gym.registry:
        return gym.registry[name]
    # Compared in lower case, so that the case of a typo does not matter.
    tasks = {
        t.lower(): t for t in (*TASKS, *gym.registry) if t in TASKS or t.startswith(_SUGGESTED)
    }
    near = difflib.get_close_matches(name.lower(), tasks, n=1, cutoff=0.6)
    hint = (
        f"did you mean '{tasks[near[0]]}'?"
        if near
        else f"known: {', '.join(TASKS)}, and every registered id of a MiniGrid world"
    )
    raise BadInput(f"unknown task '{task}'; {hint}")
