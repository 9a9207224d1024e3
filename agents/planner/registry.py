"""The Planners by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from agents.planner.options import SERVER, PlannerOptions
from agents.protocols import Planner
from envs.errors import BadInput, unknown
from envs.registry import Registry

Options = TypeVar("Options", bound=PlannerOptions)
PLANNERS: Registry[Callable[[PlannerOptions], Planner]] = Registry(
    "planner",
    {
        "oracle": "agents.planner.oracle:OraclePlanner",
        "random": "agents.planner.random:RandomPlanner",
        "human": "agents.planner.human:HumanPlanner",
    },
)


def make_planner(name: str, options: PlannerOptions | None = None) -> Planner:
    """The Planner of this name: ``oracle``, ``random``, ``human``, a shipped adapter
    (``parley-135m``), a packaged language model (``smollm2-135m``, ``qwen2.5-coder-1.5b``),
    ``openai:MODEL``, a model's or adapter's folder, a ``.gguf`` file, or a model's id on the hub,
    which has a ``/`` in it. ``module:name`` imports the module that registers it first.

    Raises BadInput for any other name, and where the model cannot be had.
    """
    options = PlannerOptions() if options is None else options
    if name in PLANNERS:
        return PLANNERS[name](options)
    if name.startswith(SERVER):
        if not name.removeprefix(SERVER).strip():
            raise BadInput("planner 'openai:' names no model; write openai:MODEL")
        from agents.planner.server import ServerPlanner

        return ServerPlanner(name.removeprefix(SERVER), options)
    if ":" in name and not Path(name).exists():
        return PLANNERS.resolve(name)(options)
    if runs_here(name):
        # torch and transformers take seconds to import: only where they are needed.
        from agents.planner.language import LanguagePlanner

        return LanguagePlanner.load(name, options)
    from agents.planner.adapter import shipped
    from models.language.weights import packaged

    raise unknown("planner", name, [*PLANNERS, *shipped(), *packaged(), f"{SERVER}MODEL"])


def runs_here(name: str) -> bool:
    """Whether a Planner that is not registered under this name is a language model that is loaded,
    rather than a server's or a wrong name."""
    from agents.planner.adapter import shipped
    from models.language.weights import packaged

    if name.startswith(SERVER):
        return False
    named = name in (*packaged(), *shipped())
    return named or "/" in name or Path(name).exists() or name.endswith(".gguf")


def settled(options: Options, planners: Iterable[str]) -> Options:
    """The options with the number format that ``auto`` stands for here, if one of these Planners is
    a language model that is loaded: a run's settings then say which it was, and the run goes on
    with it elsewhere too. Raises BadInput for a device that cannot be used."""
    if options.dtype != "auto" or not any(map(runs_here, planners)):
        return options
    from models.language.loading import number_format

    return replace(options, dtype=number_format(options.dtype, options.device))
