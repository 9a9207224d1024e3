"""Evaluations from Python."""

from __future__ import annotations

import dataclasses
import inspect
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from agents.parts import Given, actor_of, is_name, planner_of, reporter_of
from agents.planner.function import PlannerFunction
from agents.planner.options import PlannerOptions
from agents.protocols import Actor, Planner, Reporter
from agents.reporter.function import ReporterFunction
from envs.errors import BadInput, unknown
from parley.parts import planner_options
from run.commands.evaluate import EvaluateSettings
from run.evaluation.evaluating import play_evaluation
from run.evaluation.given import GivenPart, GivenParts, given_name
from run.evaluation.outcome import EvaluationResult
from run.evaluation.settings import LanguageOptions
from run.storage.resume import check_resumed, stored_settings


def evaluate(
    suite: str = "planner",
    *,
    planner: Given | Planner | PlannerFunction = "parley-135m",
    actor: Given | Actor = "scripted",
    reporter: Given | Reporter | ReporterFunction = "scripted",
    team: str | None = None,
    tasks: str | Sequence[str] | None = None,
    items: Literal["train", "held-out", "all"] | None = None,
    episodes: int = 400,
    seed: int = 0,
    parallel: int = 8,
    workers: int = 1,
    max_turns: int = 20,
    command_steps: int = 64,
    attribute_faults: int = 0,
    name: str | None = None,
    runs_dir: str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
    **options: Any,
) -> EvaluationResult:
    """Score a team on a suite, as ``python -m run evaluate`` does, and return the result.

    The run is recorded in a run folder, episode by episode, so that one that was stopped goes on
    with ``parley.evaluate(resume=folder)``.

    Args:
        suite: ``planner``, ``planner-validation``, ``reasoning``, ``language``, ``worlds``,
            ``robustness``, ``reporter``, ``babyai``, ``baselines``, ``scale``, or a YAML file.
        planner: A name that ``--planner`` takes, a Planner, or a function of the dialogue's text.
        actor: A name that ``--actor`` takes, or an Actor.
        reporter: A name that ``--reporter`` takes, a Reporter, or a function of a rollout.
        team: A named team, or a YAML file of one, in place of the three.
        tasks: Which tasks, by name or pattern; all by default.
        items: Which items the rooms contain; by default those of the suite.
        episodes: How many episodes of each task.
        seed: Shifts all seeds.
        parallel: How many episodes are played together, as one batch.
        workers: How many processes play. Above 1, objects must be defined in a module of their own.
        max_turns: The most commands in an episode.
        command_steps: The most steps of the Actor for one command.
        attribute_faults: For how many failures of each task to find out which part is at fault.
        name: The end of the run folder's name.
        runs_dir: Where run folders are made; ``runs`` by default.
        resume: The run folder of an evaluation that was stopped. All settings come from there;
            objects must be given again.
        progress: Whether to show on standard error how far it is; by default in a terminal.
        options: Options of a Planner that is named: ``decide="generate"``, ``base_url=...``; and
            ``engine="ray"`` with its ``address``.

    Returns:
        The result. Episodes that broke are counted in it, with their tracebacks, and a warning says
        so.

    Raises:
        BadInput: Something of this cannot be used.
    """
    given = _given_parts(planner, actor, reporter)
    workplace: dict[str, Any] = {k: options.pop(k) for k in ("engine", "address") if k in options}
    if options and given.planner is not None:
        raise BadInput(f"the option {next(iter(options))} is for a planner that is named")
    known = [f.name for f in dataclasses.fields(PlannerOptions)]
    for option in options:
        if option not in known:
            raise unknown("option", option, [*known, *inspect.signature(evaluate).parameters])
    values: Mapping[str, Any] = {
        "suite": str(suite),
        "tasks": _patterns(tasks),
        "items": items,
        "team": team,
        "planner": _name(planner, given.planner),
        "actor": _name(actor, given.actor),
        "reporter": _name(reporter, given.reporter),
        "episodes": episodes,
        "parallel": parallel,
        "workers": workers,
        "seed": seed,
        "max_turns": max_turns,
        "command_steps": command_steps,
        "attribute_faults": attribute_faults,
        "name": name,
        "runs_dir": Path("runs" if runs_dir is None else runs_dir),
        "language": LanguageOptions(**planner_options(options)),
        **workplace,
    }
    settings = EvaluateSettings(**values) if resume is None else _resumed(Path(resume), values)
    settings.refuse_unused({*options, *workplace})
    terminal = sys.stderr is not None and sys.stderr.isatty()
    show = terminal if progress is None else progress
    played = play_evaluation(settings, given, show)
    result = EvaluationResult(
        played.folder.path, played.settings.planner, played.summary, played.records
    )
    if result.n_errors:
        warnings.warn(
            f"{result.n_errors} of {result.n} episodes broke and count as neither success nor "
            f"failure; their tracebacks are in {played.folder.lines_file}, and they are played "
            f"again by parley.evaluate(resume={str(played.folder.path)!r})",
            RuntimeWarning,
            stacklevel=2,
        )
    return result


def _patterns(tasks: str | Sequence[str] | None) -> str | None:
    if tasks is None or isinstance(tasks, str):
        return tasks
    if not isinstance(tasks, Sequence) or not all(isinstance(t, str) for t in tasks) or not tasks:
        raise BadInput(f"tasks must be names of tasks, not {tasks!r}")
    return ",".join(tasks)


def _given_parts(planner: Any, actor: Any, reporter: Any) -> GivenParts:
    """Those of the three that are objects, checked."""
    return GivenParts(
        None if is_name(planner) else GivenPart(given_name(planner), planner_of(planner)),
        None if is_name(actor) else GivenPart(given_name(actor), actor_of(actor)),
        None if is_name(reporter) else GivenPart(given_name(reporter), reporter_of(reporter)),
    )


def _name(part: Any, given: GivenPart[Any] | None) -> str:
    return os.fspath(part) if given is None else given.name


def _resumed(folder: Path, values: Mapping[str, Any]) -> EvaluateSettings:
    """The settings of a run that is resumed. Raises BadInput where those given contradict them."""
    stored = stored_settings(EvaluateSettings, "evaluate", folder)
    usual = EvaluateSettings()
    # What is left at its default is not given: the folder decides.
    changed = {k: v for k, v in values.items() if v != getattr(usual, k)}
    settings = dataclasses.replace(stored, **changed)
    check_resumed(settings, "evaluate")
    return settings
