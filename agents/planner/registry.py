"""The Planners by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from agents.planner.options import SERVER, PlannerOptions, unused_options
from agents.planner.shipped import known_models
from agents.protocols import Planner
from envs.registry import Registry
from models.components import checked_reference, component, made
from models.references import Part, Reference, hub_folder, resolve, weights_folder

Options = TypeVar("Options", bound=PlannerOptions)
PLANNERS: Registry[Callable[[PlannerOptions], Planner]] = Registry(
    "planner",
    {
        "oracle": "agents.planner.oracle:OraclePlanner",
        "random": "agents.planner.random:RandomPlanner",
        "human": "agents.planner.human:HumanPlanner",
    },
)


PLANNER = Part(
    "planner",
    PLANNERS,
    ("begin", "choose"),
    inherits="parley.TeamMember",
    offers=1,
    shipped=known_models,
    accepts=("model",),
    server=SERVER,
)


def check_planner(name: str) -> Reference:
    """What a Planner's name stands for, found out without loading it.

    Raises:
        BadInput: It names no Planner.
    """
    return checked_reference(PLANNER, name)


def make_planner(name: str, options: PlannerOptions | None = None) -> Planner:
    """Make a Planner.

    Args:
        name: ``oracle``, ``random``, ``human``; a shipped adapter (``parley-135m``); a packaged
            language model (``smollm2-135m``, ``qwen2.5-coder-1.5b``); ``openai:MODEL``; a
            ``.gguf`` file; a run folder of train-planner; a folder of weights; a hub id; or
            ``module:Class``.
        options: How it reads and decides.

    Raises:
        BadInput: ``name`` is none of these, or the model cannot be had.
    """
    options = PlannerOptions() if options is None else options
    reference = resolve(PLANNER, name)
    if reference.kind == "server":
        from agents.planner.server import ServerPlanner

        return ServerPlanner(reference.target, options)
    if reference.kind == "module" or name in PLANNERS:
        return made(PLANNER, component(PLANNER, reference), name, options)
    # torch and transformers take seconds to import: only where they are needed.
    from agents.planner.language import LanguagePlanner

    target = reference.target
    if reference.kind == "hub":
        target = str(hub_folder(PLANNER, target) or target)
    if options.adapter is not None:
        adapter = weights_folder(str(options.adapter), PLANNER)
        options = replace(options, adapter=adapter)
    return LanguagePlanner.load(target, options)


def runs_here(name: str) -> bool:
    """Whether a Planner of this name is a language model that is loaded into this process."""
    kind = resolve(PLANNER, name).kind
    return kind in ("folder", "file", "hub") or (kind == "name" and name not in PLANNERS)


def unused(name: str, decide: str, think: int = 0) -> dict[str, str]:
    """The options of `PlannerOptions` that the Planner of this name does not use, each with the
    reason. A Planner of the user's own may use any."""
    if resolve(PLANNER, name).kind == "module":
        return {}
    return unused_options(name, runs_here(name), decide, think)


def settled(options: Options, planners: Iterable[str]) -> Options:
    """The options with the number format that ``auto`` stands for here, if one of these Planners is
    a language model that is loaded: a run's settings then say which it was, and the run goes on
    with it elsewhere too. Raises BadInput for a device that cannot be used."""
    if options.dtype != "auto" or not any(map(runs_here, planners)):
        return options
    from models.language.loading import number_format

    return replace(options, dtype=number_format(options.dtype, options.device))
