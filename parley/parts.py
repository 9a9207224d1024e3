"""Planners, Actors and Reporters, by name or from functions."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.parts import actor_of, reporter_of
from agents.planner.function import TRANSCRIPT, FunctionPlanner, PlannerFunction
from agents.planner.options import PlannerOptions
from agents.planner.registry import make_planner, unused
from agents.protocols import Actor, Planner, Reporter
from agents.reporter import make_reporter
from agents.reporter.function import FunctionReporter, ReporterFunction
from envs.errors import BadInput, unknown
from run.storage.unused import refuse

_PATHS = ("prompt", "adapter", "cache")


def load_planner(name: str | os.PathLike[str], **options: Any) -> Planner:
    """Load a Planner.

    Args:
        name: Whatever ``--planner`` takes on the command line: ``oracle``, ``random``,
            ``parley-135m``, ``openai:MODEL``, a ``.gguf`` file, a run folder of train-planner, a
            folder of weights, a hub id, or ``module:Class``.
        options: Fields of `agents.planner.options.PlannerOptions`, which are the command line's
            options with underscores: ``decide="generate"``, ``base_url="http://localhost:8000/v1"``.

    Returns:
        The Planner, for `play` and `evaluate`.

    Raises:
        BadInput: There is no such Planner, no such option, or this Planner does not use it.
    """
    settings = PlannerOptions(**planner_options(options))
    refuse(options, unused(os.fspath(name), settings.decide, settings.think))
    return make_planner(os.fspath(name), settings)


def planner_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a Planner as `PlannerOptions` has them, with texts made paths where it has paths.

    Raises:
        BadInput: There is no such option.
    """
    known = [field.name for field in dataclasses.fields(PlannerOptions)]
    for option in options:
        if option not in known:
            raise unknown("option of a planner", option, known)
    paths = {k: Path(options[k]) for k in _PATHS if options.get(k) is not None}
    return {**options, **paths}


def load_actor(name: str | os.PathLike[str]) -> Actor:
    """Load an Actor.

    Args:
        name: Whatever ``--actor`` takes on the command line: ``scripted``, ``learned``, ``direct``,
            ``human``, a run folder of train-actor, a folder of weights, a hub id, or
            ``module:Class``.

    Raises:
        BadInput: There is no such Actor.
    """
    return actor_of(os.fspath(name))


def load_reporter(name: str | os.PathLike[str], **options: Any) -> Reporter:
    """Load a Reporter.

    Args:
        name: Whatever ``--reporter`` takes on the command line: ``scripted``, ``learned``, a
            run folder of train-reporter, a folder of weights, a hub id, or ``module:Class``.
        options: Arguments of the Reporter's class, such as ``p`` of ``irrelevant`` or ``device`` of
            ``learned``.

    Raises:
        BadInput: There is no such Reporter, or it does not take these options.
    """
    if not options:
        return reporter_of(os.fspath(name))
    try:
        return make_reporter(os.fspath(name), **options)
    except TypeError as error:
        raise BadInput(f"the reporter '{name}' cannot be made: {error}") from error


def planner_from(
    function: PlannerFunction,
    *,
    prompt: str | Path = TRANSCRIPT,
    examples: int = 0,
    threads: int = 1,
) -> Planner:
    """A Planner from a function: the text of a dialogue in, the text of a command out.

    The function is called once for each command, with one dialogue. Its text is read as a language
    model's output is: the first line that is not empty, such as ``Examine the solid red ring.``
    Anything that is no command is a turn without a step, which is reported back. Where the function
    raises or returns no text, that episode ends as an error with the traceback; the others go on.

    Args:
        function: The function, or any object that can be called.
        prompt: What it reads. ``transcript``: the lines ``Task: …``, ``Planner: …``,
            ``Reporter: …`` of the dialogue and a last ``Planner:``; ``chat``: instructions, the
            dialogue, and all commands that are possible now, for a model that has never seen such a
            task; ``dialogue`` or ``short``: the prompts of Parley's own language models; or a
            Jinja file.
        examples: The number of worked examples in the prompt, for those that have any.
        threads: How many dialogues the function is asked about at the same time; above 1 it must be
            safe to call from several threads.

    Raises:
        BadInput: The function cannot be called, or there is no such prompt.
    """
    return FunctionPlanner(function, prompt=prompt, examples=examples, threads=threads)


def reporter_from(function: ReporterFunction) -> Reporter:
    """A Reporter from a function: a rollout in, the text of a report out.

    The function is called after each command with an `ObservedRollout`: ``command``, ``task``,
    ``dialogue``, ``frames [<= 8, height, width, 3] uint8`` (what the agent saw), ``steps``,
    ``ended`` (``done``, ``episode`` or ``budget``), and of the hidden truth ``events``, ``done``
    and ``true_report``. Where it raises or returns no text, that episode ends as an error with the
    traceback; the others go on.

    Args:
        function: The function, or any object that can be called.

    Raises:
        BadInput: The function cannot be called.
    """
    return FunctionReporter(function)
