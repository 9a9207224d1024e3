"""Playing episodes from Python."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

from agents.episode import Episode
from agents.parts import Given, actor_of, is_name, planner_of, reporter_of
from agents.planner.function import PlannerFunction
from agents.planner.options import PlannerOptions
from agents.planner.prompt import prompted
from agents.protocols import Actor, Planner, Reporter
from agents.reporter.function import ReporterFunction
from agents.team import Callback, Team
from agents.trajectory import TrajectoryCallback
from envs.errors import BadInput, whole_number, yes_or_no
from envs.tasks import make_worlds
from run.display.state import CallbackList
from run.evaluation.understanding import STOP_ABOVE, UnderstandingMonitor

HUMAN = "human"
PARALLEL = 8


def play(
    task: str | None = None,
    *,
    planner: Given | Planner | PlannerFunction = "parley-135m",
    actor: Given | Actor = "learned",
    reporter: Given | Reporter | ReporterFunction = "scripted",
    episodes: int = 10,
    seed: int = 0,
    parallel: int | None = None,
    max_turns: int = 20,
    command_steps: int = 64,
    instruction: str | None = None,
    frames: bool = False,
    max_misunderstood: float = STOP_ABOVE,
    callback: Callback | None = None,
    **settings: Any,
) -> Iterator[Episode]:
    """Play episodes, and yield each as it ends.

    Everything is checked and loaded by the call itself; the episodes are played as they are asked
    for. Nothing is written to disk.

    Args:
        task: ``conditional`` (the default), ``search``, ``visual-conditional``, ``babyai-mixed``,
            or the registered id of any MiniGrid world.
        planner: A name that ``--planner`` takes, a Planner, or a function of the dialogue's text
            (`planner_from`).
        actor: A name that ``--actor`` takes, or an Actor.
        reporter: A name that ``--reporter`` takes, a Reporter, or a function of a rollout
            (`reporter_from`).
        episodes: How many. Episode i has the seed ``seed + i``.
        seed: The seed of the first.
        parallel: How many are played together, as one batch: by default 8, or 1 with a human.
        max_turns: The most commands in an episode.
        command_steps: The most steps of the Actor for one command.
        instruction: A task sentence of your own, in place of a task.
        frames: Whether each episode has its ``frames``, for a detector.
        max_misunderstood: The episodes stop with BadInput once more than this share of the
            Planner's decisions, at least 20, held no command; 1 for never.
        callback: Hooks into the loop; ``i`` is an episode's place in its batch.
        settings: Settings of the world, such as ``items="held-out"``, ``n_items=6``.

    Returns:
        An iterator of episodes, in the order in which they end. One that broke has its traceback in
        `Episode.error`.

    Raises:
        BadInput: Something of this cannot be used.
    """
    whole_number("episodes", episodes, 1)
    whole_number("seed", seed, 0)
    whole_number("max_turns", max_turns, 1)
    whole_number("command_steps", command_steps, 1)
    yes_or_no("frames", frames)
    if callback is not None and not isinstance(callback, Callback):
        raise BadInput(f"{callback!r} is no callback; inherit parley.Callback")
    if parallel is None:
        names = [part for part in (planner, actor, reporter) if is_name(part)]
        parallel = 1 if HUMAN in names else PARALLEL
    size = min(whole_number("parallel", parallel, 1), episodes)
    if instruction is not None:
        if task is not None:
            raise BadInput("give either a task or an instruction, not both")
        task, settings = "instruction", {**settings, "instruction": instruction}
    # All that is quick to check comes before a model that takes time to load.
    worlds = make_worlds("conditional" if task is None else task, size, **settings)
    its_reporter, its_actor = reporter_of(reporter), actor_of(actor)
    options = PlannerOptions(seed=seed)
    if is_name(planner):
        options = prompted(options, its_actor, os.fspath(planner))
    team = Team(planner_of(planner, options), its_actor, its_reporter, max_turns, command_steps)
    recorder = TrajectoryCallback() if frames else None
    monitor = UnderstandingMonitor(max_misunderstood)
    hooks = CallbackList([c for c in (monitor, recorder, callback) if c is not None])

    def play_all() -> Iterator[Episode]:
        for first in range(seed, seed + episodes, size):
            seeds = range(first, min(first + size, seed + episodes))
            for i, episode in team.episodes(worlds, seeds, hooks):
                if recorder is not None and i in recorder:
                    episode = dataclasses.replace(episode, frames=recorder.clip(i))
                yield episode

    return play_all()
