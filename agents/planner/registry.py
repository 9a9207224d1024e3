"""The Planners by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from agents.parts import Planner
from agents.planner.options import SERVER, PlannerOptions
from envs.errors import BadInput, unknown
from envs.registry import Registry

PLANNERS: Registry[Callable[[PlannerOptions], Planner]] = Registry("planner")


def make_planner(name: str, options: PlannerOptions | None = None) -> Planner:
    """The Planner of this name: ``oracle``, ``random``, ``human``, a shipped adapter
    (``parley-135m``), a packaged language model (``smollm2-135m``, ``qwen2.5-coder-1.5b``),
    ``openai:MODEL``, a model's or adapter's folder, a ``.gguf`` file, or a model's id on the hub,
    which has a ``/`` in it. ``module:name`` imports the module that registers it first.

    Raises BadInput for any other name, and where the model cannot be had.
    """
    # The modules that register them, imported here because they import this one.
    import agents.planner.human
    import agents.planner.oracle
    import agents.planner.random  # noqa: F401
    from agents.planner.weights import packaged, shipped

    options = PlannerOptions() if options is None else options
    if name in PLANNERS:
        return PLANNERS[name](options)
    if name.startswith(SERVER):
        if not name.removeprefix(SERVER).strip():
            raise BadInput("planner 'openai:' names no model; write openai:MODEL")
        from agents.planner.server import ServerPlanner

        return ServerPlanner(name.removeprefix(SERVER), options)
    if ":" in name and not Path(name).exists():
        return PLANNERS[PLANNERS.imported(name)](options)
    if (
        name in (*packaged(), *shipped())
        or "/" in name
        or Path(name).exists()
        or name.endswith(".gguf")
    ):
        # torch and transformers take seconds to import: only where they are needed.
        from agents.planner.language import LanguagePlanner

        return LanguagePlanner.load(name, options)
    raise unknown("planner", name, [*PLANNERS, *shipped(), *packaged(), f"{SERVER}MODEL"])
