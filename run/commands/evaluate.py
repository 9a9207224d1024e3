"""``python -m run evaluate``: score a Planner, or any team, on the cells of a suite."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro
from rich.console import Console

from agents.actor import make_actor
from agents.planner.registry import settled
from agents.protocols import Planner
from agents.team import Callback, Team
from agents.team import Episode as Played
from envs.errors import BadInput, whole_number
from envs.tasks import make_worlds
from envs.worlds import Worlds
from run.commands.episode import (
    HUMAN,
    LanguageOptions,
    Record,
    finished,
    groups,
    open_folder,
    tell_errors,
)
from run.display.live import say
from run.display.progress import ProgressBar
from run.evaluation.fault_attribution import FaultCase, blame, how, table
from run.evaluation.jobs import (
    EvaluationJob,
    PlannerCache,
    at,
    items_of,
    jobs_of,
    planners_of,
    player,
)
from run.evaluation.suites import MAX_SEED, chosen, find_suite, suite_names
from run.evaluation.tables import plot, summary_of, tell, write_table
from run.evaluation.teams import find_team, joined, team_names
from run.evaluation.workers import play
from run.storage.folder import RunFolder, discarded_for_nothing
from run.storage.resume import check_resumed
from run.storage.settings import shown

TOGETHER = 32  # episodes played as one batch for one who trains


@dataclass(frozen=True)
class EvaluateSettings:
    """Score a team on a suite: one success rate a cell, with how sure it is.

    A suite is a list of cells, each a shift away from what a Planner was trained on: more items,
    useless talk, other phrasings, logic, BabyAI's missions. A cell plays EPISODES, shared evenly
    among its parts (its phrasings, its numbers of items). Actor and Reporter tell the truth by
    default, so that a failure is the Planner's.

    Suites, with their cells:
      planner: conditional, search-2-5, search-6-10, irrelevant, visual-conditional, paraphrases,
        property-words, and, or, not, two-deciders, order, babyai go to, babyai pick up,
        babyai put next to, babyai pick up then go to, babyai open
      planner-validation: conditional-paraphrases, search-paraphrases, property-words,
        visual-conditional, irrelevant, nor, three, commands, missions go to, missions pick up,
        missions put next, missions sequence, missions unlock,
        missions go to then pick up, after
      reasoning, language, worlds, robustness, reporter, babyai, baselines,
        scale: see --list

    The first is what the small Planner is judged on, with held-out items. The second is for
    choosing among checkpoints: no held-out item, and no phrasing or property word of the first.
    The others, and your own, are YAML files; those that come with Parley are in
    run/evaluation/suites.

    Examples:
      python -m run evaluate --planner oracle --episodes 20
      python -m run evaluate --planner smollm2-135m --cells conditional,search-2-5
      python -m run evaluate --planner random --cells "babyai go to,babyai open" --episodes 50
      python -m run evaluate planner-validation --planner my/checkpoint --episodes 100
      python -m run evaluate --actor learned --cells conditional
      python -m run evaluate robustness --team small --cells "late*,missing*" --episodes 100
      python -m run evaluate --list
      python -m run evaluate --resume runs/evaluate/20260102-030405-planner-oracle

    The last line of standard output is the run's folder. In it: episodes.jsonl (a line an episode,
    with its cell and part), summary.json, cells.csv, plots/cells.png, config.json, versions.json.

    A run that was stopped, even killed, goes on with --resume; nothing finished is lost. What came
    of it, of one run or of several, is shown by: python -m run report RUN…
    """

    FREE_ON_RESUME: ClassVar[tuple[str, ...]] = ("workers", "engine", "address")

    suite: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[SUITE]")] = "planner"
    """planner, planner-validation, reasoning, language, worlds, robustness, reporter, babyai,
    baselines, scale, or a YAML file such as those in run/evaluation/suites."""

    cells: Annotated[str | None, shown("NAMES", "all")] = None
    """Which of the suite's cells to play, by name or pattern ("search*"), separated by commas.
    Their worlds are the same, whichever others are played."""

    list: bool = False
    """Only list the suites, their cells, and the teams that have names."""

    items: Annotated[
        Literal["train", "held-out", "all"] | None, shown("{train,held-out,all}", "held-out")
    ] = None
    """Which items lie about in our rooms: those of training, the fifth that is never in it, or
    all. In planner-validation always those of training; BabyAI has its own things."""

    team: Annotated[str | None, shown("TEAM", "--planner, --actor, --reporter")] = None
    """Planner, Actor and Reporter at once: small, seeing, few-shot, untaught, unheard, random,
    cheats, low-level, random-steps, or a YAML file such as those in run/evaluation/teams. Cells
    that have their own keep it."""

    planner: str = "parley-135m"
    """Who commands: oracle (knows the right answer), random, or a language model:
    parley-135m (trained for this, small and quick), qwen2.5-coder-1.5b, qwen2.5-coder-0.5b,
    smollm2-135m, openai:MODEL, a model's or adapter's folder, a .gguf file, an id on the hub."""

    actor: str = "scripted"
    """Who acts: scripted (shortest path, sees all), learned (from the 7x7 view), or direct: nobody,
    the Planner says each single step, and view must report."""

    reporter: str = "scripted"
    """Who reports: scripted (the truth), irrelevant (adds useless truths to it), learned (sees
    frames alone), or any other of episode. Some cells have their own."""

    episodes: Annotated[int, tyro.conf.arg(metavar="N")] = 400
    """How many episodes in each cell; at least one for each of its parts."""

    parallel: Annotated[int, tyro.conf.arg(metavar="P")] = 8
    """How many episodes are played together, as one batch."""

    workers: Annotated[int, tyro.conf.arg(metavar="W")] = 1
    """How many processes play, each with its own Planner and its share of the cores. What is
    written is the same, but for times, and the last digits of a language model's scores."""

    engine: Literal["processes", "ray"] = "processes"
    """Where workers are: processes on this machine, or on whatever Ray has (pip install
    'parley[ray]'). Each of Ray's has one core."""

    address: Annotated[str | None, shown("ADDRESS", "Ray on this machine alone")] = None
    """Where Ray is, such as auto or ray://HOST:10001. Parley must be installed there, and the
    files that are named here be in the same places."""

    seed: int = 0
    """Moves all seeds: episode i of part p of cell c is seeded with
    SEED + 1,000,000 c + 10,000 p + i, and 500,000,000 more in planner-validation."""

    max_turns: Annotated[int, tyro.conf.arg(metavar="N")] = 20
    """The most commands in one episode."""

    command_steps: Annotated[int, tyro.conf.arg(metavar="N")] = 64
    """The most steps that the Actor takes for one command; with direct, the most in an episode."""

    blame: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Find out whose fault the first N failures of each cell are: they are played again with one
    part after the other replaced by its cheat, until they succeed."""

    name: Annotated[str | None, shown("NAME", "suite and planner")] = None
    """The end of the run folder's name."""

    runs_dir: Path = Path("runs")
    """The folder in which run folders are made."""

    resume: Annotated[Path | None, shown("RUN_FOLDER", "none")] = None
    """Go on with a run that was stopped, with its own settings."""

    language: tyro.conf.OmitArgPrefixes[LanguageOptions] = field(default_factory=LanguageOptions)

    def __post_init__(self) -> None:
        for name in ("episodes", "parallel", "workers", "max_turns", "command_steps"):
            whole_number(f"--{name.replace('_', '-')}", getattr(self, name), 1)
        whole_number("--blame", self.blame, 0)
        whole_number("--seed", self.seed, 0, MAX_SEED)
        if HUMAN in (self.planner, self.actor, self.reporter):
            raise BadInput("nobody plays a whole suite by hand; use: python -m run episode")


def evaluate(args: EvaluateSettings) -> Path:
    """Play the suite, or what is still missing of it, and return the run's folder.

    Raises BadInput for settings that cannot be used, and where no episode could be played.
    """
    if args.list:
        _list()
        return Path()
    check_resumed(args, "evaluate")
    # All that can be wrong is found out before a model of gigabytes is loaded.
    suite = find_suite(args.suite)
    args = dataclasses.replace(args, items=items_of(args, suite))
    if args.team is not None and args.resume is None:
        args = joined(args, args.team)
    cells = chosen(args.suite, suite, args.cells)
    language = settled(args.language, planners_of(args, cells))
    args = dataclasses.replace(args, language=language)
    jobs = [job for cell in cells for job in jobs_of(args, suite, cell)]
    for job in jobs:
        with at(job.part):
            make_worlds(job.part.task, 1, **job.settings)
        if args.blame and job.actor.verbs is not None:
            raise BadInput("--blame is for teams: with the actor 'direct' no part can be replaced")
    planners = PlannerCache()
    with open_folder("evaluate", args, Path(args.suite).stem) as folder:
        # With workers, each has its own; and what goes on may have done with the first.
        if args.resume is None and args.workers == 1 and args.engine == "processes":
            with discarded_for_nothing(args, folder):
                planners.of(jobs[0])
        try:
            lines = _play(args, planners, jobs, folder)
        except BadInput as error:
            raise folder.stopped_by(error) from error
        summary = summary_of(args, cells, lines)
        if args.blame:
            try:
                summary["blame"] = _blame(args, planners, jobs, lines, folder)
            except BadInput as error:
                raise folder.stopped_by(error) from error
        folder.write_json("summary.json", summary)
        try:
            write_table(summary["cells"], folder)
            plot(f"{args.suite} · {args.planner}", summary["cells"], folder)
        except OSError as error:
            trouble = BadInput(f"cannot write to {folder.path}: {error.strerror or error}")
            raise folder.stopped_by(trouble) from error
    tell(summary)
    say(str(folder.path))
    tell_errors(lines, folder)
    return folder.path


def _list() -> None:
    """Print the suites and their cells, and the teams."""
    for name in suite_names():
        suite = find_suite(name)
        say(f"{name}: {suite.about}".rstrip(": "))
        for cell in suite.cells:
            chance = "" if cell.chance is None else f", chance {cell.chance:g}"
            parts = f", {len(cell.parts)} parts" if len(cell.parts) > 1 else ""
            say(f"  {cell.name}: {cell.parts[0].task}{parts}{chance}")
    for name in team_names():
        of = ", ".join(f"{k} {v}" for k, v in find_team(name).items())
        say(f"team {name}: {of}")


def success_rates(
    planner: Planner, suite: str, episodes: int, seed: int = 0, cells: str | None = None
) -> dict[str, float]:
    """The success rate of each cell of a suite, or of ``cells``, for one who trains.

    ``cells`` are names or patterns between commas, as for ``evaluate``. Nothing is written.

    Scripted Actor and Reporter. Raises BadInput where an episode broke.
    """
    args = EvaluateSettings(suite=suite, episodes=episodes, seed=seed)
    found = find_suite(suite)
    asked = chosen(suite, found, cells)
    args = dataclasses.replace(args, items=items_of(args, found))
    # All that is reported alike is played together, whatever its cell.
    to_play: dict[Any, list[tuple[EvaluationJob, int]]] = {}
    for cell in asked:
        for job in jobs_of(args, found, cell):
            seeds = range(job.seed, job.seed + job.episodes)
            to_play.setdefault(repr(job.part.reporter), []).extend((job, s) for s in seeds)
    succeeded: dict[str, list[bool]] = {cell.name: [] for cell in asked}
    for waiting in to_play.values():
        for first in range(0, len(waiting), TOGETHER):
            some = waiting[first : first + TOGETHER]
            worlds = Worlds([make_worlds(j.part.task, 1, **j.settings).envs[0] for j, _ in some])
            team = Team(planner, make_actor("scripted"), some[0][0].reporter, args.max_turns)
            played = team.play(worlds, [seed for _, seed in some])
            for (job, _), episode in zip(some, played, strict=True):
                if episode.error is not None:
                    raise BadInput(f"an episode broke: {episode.error.strip().splitlines()[-1]}")
                succeeded[job.cell.name].append(bool(episode.success))
    return {name: sum(each) / len(each) for name, each in succeeded.items()}


def _play(
    args: EvaluateSettings, planners: PlannerCache, jobs: Sequence[EvaluationJob], folder: RunFolder
) -> list[dict[str, Any]]:
    """Play what is missing, part by part, and return all lines, in the order of the suite."""
    order = {job.key: k for k, job in enumerate(jobs)}
    lines = finished(folder, also=("cell", "part"))
    done: dict[tuple[str, str], set[int]] = {key: set() for key in order}
    for line in lines:
        key = line["cell"], line["part"]
        if key not in done:
            raise BadInput(f"suite '{args.suite}' no longer has {key[0]}, {key[1]}; start anew")
        done[key].add(line["episode"])
    total = sum(job.episodes for job in jobs)
    if args.resume is not None:
        say(f"{len(lines)} of {total} episodes are finished")
    with _ProgressCallback(total, lines) as bar:
        if args.workers > 1 or args.engine == "ray":
            tasks = [
                (k, indices)
                for k, job in enumerate(jobs)
                for indices in groups(job.episodes, args.parallel, done[job.key])
            ]
            for (k, _), made in zip(tasks, play(args, tasks), strict=True):
                key = jobs[k].key
                bar.name(*key)
                for line in made:
                    if line["episode"] not in done[key]:
                        folder.append(line)
                        lines.append(line)
                bar.update()
        else:
            for job in jobs:
                bar.name(*job.key)
                missing = list(groups(job.episodes, args.parallel, done[job.key]))
                if not missing:
                    continue
                play_group = player(args, job, planners)
                for indices in missing:
                    play_group(Record(folder, indices, done[job.key], lines, job.more), bar)
    return sorted(lines, key=lambda line: (order[line["cell"], line["part"]], line["episode"]))


def _blame(
    args: EvaluateSettings,
    planners: PlannerCache,
    jobs: Sequence[EvaluationJob],
    lines: Sequence[dict[str, Any]],
    folder: RunFolder,
) -> dict[str, Any]:
    """Who is to blame for the first failures of each cell: ``blame.jsonl``, and counts by cell."""
    blamed: list[dict[str, Any]] = []
    left = dict.fromkeys((job.cell.name for job in jobs), args.blame)
    for job in jobs:
        mine = [x for x in lines if (x["cell"], x["part"]) == job.key and x["success"] is False]
        failed = mine[: left[job.cell.name]]
        left[job.cell.name] -= len(failed)
        if not failed:
            continue
        say(f"looking for who is to blame: {' '.join(dict.fromkeys(job.key))}, {len(failed)}")
        # Passed on and not kept: it has a Planner (see `PlannerCache`).
        parts = blame(
            FaultCase(
                planners.of(job),
                job.actor,
                job.reporter,
                lambda n, j=job: make_worlds(j.part.task, n, **j.settings),  # type: ignore[misc]
                args.max_turns,
                args.command_steps,
            ),
            failed,
        )
        for x, part in zip(failed, parts, strict=True):
            known = {name: x[name] for name in ("cell", "part", "episode", "seed")}
            blamed.append(known | {"blamed": part, "how": how(x)})
    text = "".join(json.dumps(b) + "\n" for b in blamed)
    folder.part("blame.jsonl").write_text(text, encoding="utf-8")
    cells = {cell: [b for b in blamed if b["cell"] == cell] for cell in left}
    return {"all": table(blamed), "cells": {c: table(its) for c, its in cells.items() if its}}


class _ProgressCallback(Callback):
    """Shows on standard error how many of all episodes have ended."""

    def __init__(self, total: int, lines: Sequence[dict[str, Any]]) -> None:
        """``lines`` are those of the episodes that have ended so far."""
        self.lines = lines
        self.text = ""
        self.bar = ProgressBar(
            Console(stderr=True),
            "",
            total,
            "episodes",
            start=len(lines),
            columns=("count", "rate", "remaining"),
            format_rate="{:.1f}".format,
        )

    def __enter__(self) -> _ProgressCallback:
        self.bar.__enter__()
        return self

    def __exit__(self, *why: object) -> None:
        self.bar.__exit__(*why)

    def name(self, cell: str, part: str) -> None:
        """Say what is being played."""
        self.text = cell if cell == part else f"{cell}: {part}"
        self.bar.describe(self.text)

    def on_end(self, i: int, episode: Played) -> None:
        self.update()

    def update(self) -> None:
        """Show how many episodes have ended."""
        self.bar.update(self.text, len(self.lines))
