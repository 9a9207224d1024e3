"""The settings of an evaluation: what is played, and by whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from agents.planner.options import PlannerOptions
from envs.errors import BadInput, whole_number
from run.evaluation.understanding import STOP_ABOVE, check_share
from run.storage.settings import shown

HUMAN = "human"
Items = Literal["train", "held-out", "all"]
# The seeds of a suite: each task has its million, each variant its ten thousand. No two suites meet
# from any seed up to the largest, and training's seeds begin at 1,000,000,000.
TASK_SEEDS = 1_000_000
VARIANT_SEEDS = 10_000
MAX_SEED = 400_000_000


@dataclass(frozen=True)
class LanguageOptions(PlannerOptions):
    """How a Planner that is a language model reads and decides. The other Planners ignore it."""

    seed: tyro.conf.Suppress[int] = 0


@dataclass(frozen=True)
class EvaluationSettings:
    """What an evaluation plays, who plays it, and in how many processes."""

    suite: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[SUITE]")] = "planner"
    """planner, planner-validation, reasoning, language, worlds, robustness, reporter, babyai,
    baselines, scale, or a YAML file such as those in run/evaluation/suites."""

    tasks: Annotated[str | None, shown("NAMES", "all")] = None
    """Which tasks of the suite to play, by name or pattern ("search*"), separated by commas. A
    task's worlds do not depend on which other tasks are played."""

    items: Annotated[Items | None, shown("{train,held-out,all}", "held-out")] = None
    """Which items the rooms contain: those of training, the held-out fifth, or all. In
    planner-validation always those of training; BabyAI has its own objects."""

    team: Annotated[str | None, shown("TEAM", "--planner, --actor, --reporter")] = None
    """Planner, Actor and Reporter at once: small, vision-reporter, few-shot, few-shot-small,
    no-reports, random, oracle, low-level, random-steps, or a YAML file such as those in
    run/evaluation/teams. Tasks with a team of their own keep it."""

    planner: str = "parley-135m"
    """The Planner: oracle (privileged: knows the right answer), random, or a language model:
    parley-135m (trained for this, small and fast), parley-visible (the same, trained on with visual
    conditionals), qwen2.5-coder-1.5b, qwen2.5-coder-0.5b, smollm2-135m, openai:MODEL, a .gguf file,
    a run folder of train-planner, a folder of weights, a hub id, or module:Class."""

    actor: str = "scripted"
    """The Actor: scripted (privileged: shortest path), learned (from the 7x7 view), direct (the
    Planner chooses every single step, with the reporter view), a run folder of train-actor, a
    folder of weights, a hub id, or module:Class."""

    reporter: str = "scripted"
    """The Reporter: scripted (privileged: the truth), irrelevant (adds irrelevant truths to it),
    learned (sees frames only), any other of episode, a run folder of train-reporter, a folder of
    weights, a hub id, or module:Class. Some tasks have their own."""

    episodes: Annotated[int, tyro.conf.arg(metavar="N")] = 400
    """Number of episodes of each task; at least one for each of its variants."""

    parallel: Annotated[int, tyro.conf.arg(metavar="P")] = 8
    """Number of episodes played together, as one batch."""

    workers: Annotated[int, tyro.conf.arg(metavar="W")] = 1
    """Number of worker processes, each with its own Planner and its share of the cores. Results are
    the same, except for times and the last digits of a language model's scores."""

    engine: Literal["processes", "ray"] = "processes"
    """Where workers run: as processes on this machine, or on a Ray cluster (pip install
    'parley-rl[ray]'), with one core each."""

    address: Annotated[str | None, shown("ADDRESS", "a Ray started on this machine")] = None
    """Address of the Ray cluster, such as auto or ray://HOST:10001. Parley must be installed there,
    and the files named here must be at the same paths."""

    seed: int = 0
    """Shifts all seeds: episode i of variant v of task t has the seed
    SEED + 1,000,000 t + 10,000 v + i, plus 500,000,000 in planner-validation."""

    max_turns: Annotated[int, tyro.conf.arg(metavar="N")] = 20
    """Maximum number of commands in an episode."""

    command_steps: Annotated[int, tyro.conf.arg(metavar="N")] = 64
    """Maximum number of steps of the Actor for one command; with direct, in an episode."""

    max_misunderstood: Annotated[float, tyro.conf.arg(metavar="SHARE")] = STOP_ABOVE
    """Stop once more than this share of the Planner's decisions, at least 20, held no command; 1
    for never."""

    attribute_faults: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Attribute the first N failures of each task to a part of the team: they are played again with
    one part after the other replaced by its privileged oracle, until they succeed."""

    language: tyro.conf.OmitArgPrefixes[LanguageOptions] = field(default_factory=LanguageOptions)

    def __post_init__(self) -> None:
        for name in ("episodes", "parallel", "workers", "max_turns", "command_steps"):
            whole_number(f"--{name.replace('_', '-')}", getattr(self, name), 1)
        check_share(self.max_misunderstood)
        whole_number("--attribute-faults", self.attribute_faults, 0)
        whole_number("--seed", self.seed, 0, MAX_SEED)
        if HUMAN in (self.planner, self.actor, self.reporter):
            raise BadInput("nobody plays a whole suite by hand; use: python -m run episode")
