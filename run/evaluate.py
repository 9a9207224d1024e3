"""``python -m run evaluate``: score a Planner, or any team, on the cells of a suite."""

from __future__ import annotations

import csv
import dataclasses
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.box import HORIZONTALS
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from agents.actor import make_actor
from agents.actor.failing import FailingActor
from agents.parts import Actor, Planner, Reporter
from agents.planner.options import PlannerOptions
from agents.planner.registry import make_planner
from agents.reporter import make_reporter
from agents.team import Episode as Played
from agents.team import Team, Watcher
from envs.errors import BadInput, unknown, whole_number
from envs.tasks import make_worlds
from run.blame import Line, blame, how, table
from run.episode import (
    HUMAN,
    LanguageOptions,
    Record,
    discarded_for_nothing,
    finished,
    groups,
    open_folder,
    refuse_other_settings,
    shown,
    stored_settings,
    tell_errors,
)
from run.folder import RunFolder
from run.live import say
from run.stage import Watchers
from run.suites import MAX_SEED, Cell, Part, Suite, find_suite, suite_names
from run.summary import summarise
from run.teams import find_team, joined, team_names, with_team

TOGETHER = 32  # episodes played as one batch for one who trains
LOOKS = ("name", "runs_dir", "resume", "workers")
COLUMNS = ("cell", "n", "n_errors", "success_rate", "low", "high", "turns", "floor")


@dataclass(frozen=True)
class Evaluate:
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
        missions put next, missions sequence, missions unlock
      reasoning, language, worlds, robustness, babyai, scale: see --list

    The first is what the small Planner is judged on, with held-out items. The second is for
    choosing among checkpoints: no held-out item, and no phrasing or property word of the first.
    The others, and your own, are YAML files; those that come with Parley are in run/suites.

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

    suite: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[SUITE]")] = "planner"
    """planner, planner-validation, reasoning, language, worlds, robustness, babyai, scale, or a
    YAML file such as those in run/suites."""

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
    """Planner, Actor and Reporter at once: small, few-shot, untaught, unheard, random, cheats, or a
    YAML file such as those in run/teams. Cells that have their own keep it."""

    planner: str = "parley-135m"
    """Who commands: oracle (knows the right answer), random, or a language model:
    parley-135m (trained for this, small and quick), qwen2.5-coder-1.5b, qwen2.5-coder-0.5b,
    smollm2-135m, openai:MODEL, a model's or adapter's folder, a .gguf file, an id on the hub."""

    actor: str = "scripted"
    """Who acts: scripted (shortest path, sees all) or learned (from the 7x7 view)."""

    reporter: str = "scripted"
    """Who reports: scripted (the truth) or irrelevant (adds useless truths to it). Cells of
    irrelevant reports have their own."""

    episodes: Annotated[int, tyro.conf.arg(metavar="N")] = 400
    """How many episodes in each cell; at least one for each of its parts."""

    parallel: Annotated[int, tyro.conf.arg(metavar="P")] = 8
    """How many episodes are played together, as one batch."""

    workers: Annotated[int, tyro.conf.arg(metavar="W")] = 1
    """How many processes play, each with its own Planner and its share of the cores. What is
    written is the same, but for times, and the last digits of a language model's scores."""

    seed: int = 0
    """Moves all seeds: episode i of part p of cell c is seeded with
    SEED + 1,000,000 c + 10,000 p + i, and 500,000,000 more in planner-validation."""

    max_turns: Annotated[int, tyro.conf.arg(metavar="N")] = 20
    """The most commands in one episode."""

    command_steps: Annotated[int, tyro.conf.arg(metavar="N")] = 64
    """The most steps that the Actor takes for one command."""

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


def stored(folder: Path) -> Evaluate:
    """The settings of a run that was stopped. Raises BadInput as ``stored_settings`` does."""
    return stored_settings(Evaluate, "evaluate", folder)


@dataclass(frozen=True)
class _Job:
    """A part to be played: ``episodes`` of it, from ``seed`` on, with all settings of its task."""

    cell: Cell
    part: Part
    seed: int
    episodes: int
    settings: Mapping[str, Any]
    planner: str
    language: PlannerOptions
    actor: Actor
    reporter: Reporter

    @property
    def key(self) -> tuple[str, str]:
        return self.cell.name, self.part.label

    @property
    def more(self) -> dict[str, str]:
        """What its lines have beside an episode's."""
        return {"cell": self.cell.name, "part": self.part.label}


class _Planners:
    """The Planners of jobs. One at a time is kept: a language model may be large."""

    def __init__(self) -> None:
        self._known: tuple[Any, Planner] | None = None

    def of(self, job: _Job) -> Planner:
        """A job's Planner, loaded unless the one asked for before is the same."""
        asked = job.planner, job.language
        if self._known is None or self._known[0] != asked:
            self._known = None
            self._known = asked, make_planner(*asked)
        return self._known[1]


def evaluate(args: Evaluate) -> Path:
    """Play the suite, or what is still missing of it, and return the run's folder.

    Raises BadInput for settings that cannot be used, and where no episode could be played.
    """
    if args.list:
        _list()
        return Path()
    if args.resume is not None:
        refuse_other_settings(args, stored(args.resume), LOOKS)
    # All that can be wrong is found out before a model of gigabytes is loaded.
    suite = find_suite(args.suite)
    args = dataclasses.replace(args, items=_items(args, suite))
    if args.team is not None and args.resume is None:
        args = joined(args, args.team)
    cells = _chosen(args, suite)
    jobs = [job for cell in cells for job in _jobs(args, suite, cell)]
    for job in jobs:
        make_worlds(job.part.task, 1, **job.settings)
    planners = _Planners()
    with open_folder("evaluate", args, Path(args.suite).stem) as folder:
        # With workers, each has its own.
        if args.workers == 1:
            with discarded_for_nothing(args, folder):
                planners.of(jobs[0])
        try:
            lines = _play(args, planners, jobs, folder)
        except BadInput as error:
            raise folder.stopped_by(error) from error
        summary = _summary(args, cells, lines)
        if args.blame:
            try:
                summary["blame"] = _blame(args, planners, jobs, lines, folder)
            except BadInput as error:
                raise folder.stopped_by(error) from error
        folder.write_json("summary.json", summary)
        try:
            _write_table(summary["cells"], folder)
            _plot(f"{args.suite} · {args.planner}", summary["cells"], folder)
        except OSError as error:
            trouble = BadInput(f"cannot write to {folder.path}: {error.strerror or error}")
            raise folder.stopped_by(trouble) from error
    _tell(summary)
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


def _items(args: Evaluate, suite: Suite) -> Any:
    if suite.fixed and args.items not in (None, suite.items):
        raise BadInput(
            f"suite '{args.suite}' is always played with --items {suite.items}, not {args.items}"
        )
    return args.items or suite.items


def _chosen(args: Evaluate, suite: Suite) -> list[Cell]:
    """The cells that are asked for, in the order of the suite."""
    names = [cell.name for cell in suite.cells]
    asked = names if args.cells is None else [name.strip() for name in args.cells.split(",")]
    for name in asked:
        if not any(fnmatchcase(n, name) for n in names):
            raise unknown(f"cell of suite '{args.suite}'", name, names)
    return [c for c in suite.cells if any(fnmatchcase(c.name, name) for name in asked)]


def _jobs(args: Evaluate, suite: Suite, cell: Cell) -> Iterator[_Job]:
    for part, episodes in zip(cell.parts, cell.share(args.episodes), strict=True):
        items = {"items": args.items} if part.has_items else {}
        team = with_team(args, part.team)
        name, options = part.reporter or (team.reporter, {})
        try:
            reporter = make_reporter(name, **options)
        except TypeError as error:
            raise BadInput(f"the reporter of cell '{cell.name}' cannot be made: {error}") from error
        seed = suite.seed(cell, part, args.seed)
        language = dataclasses.replace(team.language, seed=args.seed)
        actor: Actor = make_actor(team.actor)
        if part.actor_fails:
            actor = FailingActor(actor, part.actor_fails)
        settings = {**part.settings, **items}
        yield _Job(cell, part, seed, episodes, settings, team.planner, language, actor, reporter)


def success_rates(planner: Planner, suite: str, episodes: int, seed: int = 0) -> dict[str, float]:
    """The success rate of each cell of a suite, for one who trains: nothing is written.

    Scripted Actor and Reporter. Raises BadInput where an episode broke.
    """
    args = Evaluate(suite=suite, episodes=episodes, seed=seed)
    found = find_suite(suite)
    args = dataclasses.replace(args, items=_items(args, found))
    rates = {}
    for cell in found.cells:
        episodes_played: list[Played] = []
        for job in _jobs(args, found, cell):
            worlds = make_worlds(job.part.task, min(TOGETHER, job.episodes), **job.settings)
            team = Team(planner, make_actor("scripted"), job.reporter, args.max_turns)
            for indices in groups(job.episodes, TOGETHER, ()):
                episodes_played += team.play(worlds, [job.seed + i for i in indices])
        for episode in episodes_played:
            if episode.error is not None:
                raise BadInput(f"an episode broke: {episode.error.strip().splitlines()[-1]}")
        rates[cell.name] = sum(bool(e.success) for e in episodes_played) / len(episodes_played)
    return rates


def _play(
    args: Evaluate, planners: _Planners, jobs: Sequence[_Job], folder: RunFolder
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
    with _Bar(total, lines) as bar:
        if args.workers > 1:
            _share_out(args, jobs, done, folder, lines, bar)
        else:
            for job in jobs:
                bar.name(*job.key)
                missing = list(groups(job.episodes, args.parallel, done[job.key]))
                if not missing:
                    continue
                play = _player(args, job, planners.of(job))
                for indices in missing:
                    play(Record(folder, indices, done[job.key], lines, job.more), bar)
    return sorted(lines, key=lambda line: (order[line["cell"], line["part"]], line["episode"]))


def _blame(
    args: Evaluate,
    planners: _Planners,
    jobs: Sequence[_Job],
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
        team = Line(
            planners.of(job),
            job.actor,
            job.reporter,
            lambda n, j=job: make_worlds(j.part.task, n, **j.settings),  # type: ignore[misc]
            args.max_turns,
            args.command_steps,
        )
        for x, part in zip(failed, blame(team, failed), strict=True):
            known = {name: x[name] for name in ("cell", "part", "episode", "seed")}
            blamed.append(known | {"blamed": part, "how": how(x)})
    text = "".join(json.dumps(b) + "\n" for b in blamed)
    folder.part("blame.jsonl").write_text(text, encoding="utf-8")
    cells = {cell: [b for b in blamed if b["cell"] == cell] for cell in left}
    return {"all": table(blamed), "cells": {c: table(its) for c, its in cells.items() if its}}


def _player(args: Evaluate, job: _Job, planner: Planner) -> Callable[[Record, Watcher], None]:
    """What plays the group of episodes of a record, of one part."""
    worlds = make_worlds(job.part.task, min(args.parallel, job.episodes), **job.settings)
    team = Team(planner, job.actor, job.reporter, args.max_turns, args.command_steps)

    def play(record: Record, bar: Watcher) -> None:
        team.play(worlds, [job.seed + i for i in record.indices], Watchers([record, bar]))

    return play


def _share_out(
    args: Evaluate,
    jobs: Sequence[_Job],
    done: Mapping[tuple[str, str], set[int]],
    folder: RunFolder,
    lines: list[dict[str, Any]],
    bar: _Bar,
) -> None:
    """Let several processes play, a group of episodes at a time; what they made is written in the
    order in which one process would have made it."""
    tasks = [
        (k, indices)
        for k, job in enumerate(jobs)
        for indices in groups(job.episodes, args.parallel, done[job.key])
    ]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.workers, context, _Worker.begin, (args,)) as pool:
        try:
            for (k, _), made in zip(tasks, pool.map(_Worker.play, tasks), strict=True):
                job = jobs[k]
                bar.name(*job.key)
                for line in made:
                    if line["episode"] not in done[job.key]:
                        folder.append(line)
                        lines.append(line)
                bar.tell()
        except BrokenProcessPool as error:
            raise BadInput(
                "a worker died, perhaps for want of memory: each loads its own Planner; try fewer "
                "--workers"
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


class _Worker:
    """One of several processes that play."""

    args: Evaluate
    jobs: Sequence[_Job]
    planners: _Planners
    player: tuple[int, Callable[[Record, Watcher], None]] | None

    @classmethod
    def begin(cls, args: Evaluate) -> None:
        """Load what is needed, once in each process."""
        import torch

        torch.set_num_threads(max(1, torch.get_num_threads() // args.workers))
        suite = find_suite(args.suite)
        cls.args = args
        cls.jobs = [job for cell in _chosen(args, suite) for job in _jobs(args, suite, cell)]
        cls.planners = _Planners()
        cls.player = None

    @classmethod
    def play(cls, task: tuple[int, range]) -> list[dict[str, Any]]:
        """The lines of one group of episodes of job number ``task[0]``, as they ended."""
        k, indices = task
        job = cls.jobs[k]
        if cls.player is None or cls.player[0] != k:
            cls.player = k, _player(cls.args, job, cls.planners.of(job))
        made: list[dict[str, Any]] = []
        cls.player[1](Record(made, indices, (), [], job.more), Watcher())
        return made


class _Bar(Watcher):
    """The progress of the whole evaluation, on standard error."""

    def __init__(self, total: int, lines: Sequence[dict[str, Any]]) -> None:
        """``lines`` are those of the episodes that have ended so far."""
        self.lines = lines
        self.total = total
        self.first = len(lines)
        self.begun = self.told = time.monotonic()
        self.text = ""
        self.console = Console(stderr=True)
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:.1f} episodes/s"),
            TimeRemainingColumn(),
            console=self.console,
        )
        self.task = self.bars.add_task("", total=total, completed=self.first, rate=0.0)

    def __enter__(self) -> _Bar:
        self.bars.start()
        return self

    def __exit__(self, *why: object) -> None:
        self.bars.stop()

    def name(self, cell: str, part: str) -> None:
        """Say what is being played."""
        self.text = cell if cell == part else f"{cell}: {part}"
        self.bars.update(self.task, description=self.text)

    def on_end(self, i: int, episode: Played) -> None:
        self.tell()

    def tell(self) -> None:
        """Show how many episodes have ended."""
        now, ended = time.monotonic(), len(self.lines)
        rate = (ended - self.first) / max(now - self.begun, 1e-9)
        self.bars.update(self.task, completed=ended, rate=rate)
        if not self.console.is_terminal and now - self.told > 10:
            self.told = now
            said = f"{self.text}, {ended:,} of {self.total:,} episodes, {rate:.1f} episodes/s"
            self.console.print(said, highlight=False)


def _summary(
    args: Evaluate, cells: Sequence[Cell], lines: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The numbers of ``summary.json``: over all, and for each cell and part."""

    def of(lines: Sequence[dict[str, Any]], *names: str) -> dict[str, Any]:
        found = summarise("evaluate", args.seed, lines, args.parallel)
        return {name: found[name] for name in names} if names else found

    by_cell: dict[str, dict[str, Any]] = {}
    for cell in cells:
        its = [line for line in lines if line["cell"] == cell.name]
        by_cell[cell.name] = {
            **of(its, "n", "n_errors", "success_rate", "success_ci95"),
            "turns": of(its)["mean_turns"],
            "floor": cell.floor,
            "chance": cell.chance,
            "parts": {
                part.label: of(
                    [line for line in its if line["part"] == part.label], "n", "success_rate"
                )
                for part in cell.parts
            },
        }
    return {**of(lines), "suite": args.suite, "cells": by_cell}


def _write_table(cells: Mapping[str, dict[str, Any]], folder: RunFolder) -> None:
    """``cells.csv``: a row a cell; what is not known is empty."""
    file = folder.path / "cells.csv"
    half = file.with_name(f".{file.name}.half")
    with open(half, "w", encoding="utf-8", newline="") as out:
        table = csv.writer(out)
        table.writerow(COLUMNS)
        for name, cell in cells.items():
            low, high = cell["success_ci95"] or (None, None)
            row = {**cell, "cell": name, "low": low, "high": high}
            table.writerow([row[column] for column in COLUMNS])
    os.replace(half, file)


def _plot(title: str, cells: Mapping[str, dict[str, Any]], folder: RunFolder) -> None:
    """``plots/cells.png``: a bar with its interval for each cell, and a tick for its floor."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.3 + 0.3 * len(cells)), layout="constrained")
    axes = figure.subplots()
    for y, cell in enumerate(cells.values()):
        if cell["success_rate"] is not None:
            low, high = cell["success_ci95"]
            axes.barh(y, cell["success_rate"], color="tab:blue", alpha=0.7)
            axes.plot([low, high], [y, y], color="black")
        if cell["floor"] is not None:
            axes.plot([cell["floor"]] * 2, [y - 0.4, y + 0.4], color="tab:red", linewidth=2)
    axes.set_yticks(range(len(cells)), list(cells))
    axes.invert_yaxis()
    axes.set(title=title, xlabel="success, 95 % interval; red: floor", xlim=(0, 1.01))
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(folder.part("plots", "cells.png"), dpi=120)


def _tell(summary: Mapping[str, Any]) -> None:
    """Print a row for each cell, and one for all of them."""
    # So narrow that the longest name fits into 80 columns.
    table = Table(box=HORIZONTALS, collapse_padding=True, pad_edge=False)
    for name in ("cell", "n", "errors", "success", "95 % interval", "turns", "floor"):
        table.add_column(name, no_wrap=True)
    for column in table.columns[1:]:
        column.justify = "right"
    everything = {**summary, "turns": summary["mean_turns"], "floor": None}
    for name, cell in [*summary["cells"].items(), ("all", everything)]:
        if name == "all":
            table.add_section()
        low_high = cell["success_ci95"]
        table.add_row(
            name,
            str(cell["n"]),
            str(cell["n_errors"]),
            _number(cell["success_rate"], 3),
            "" if low_high is None else " to ".join(_number(x, 3) for x in low_high),
            _number(cell["turns"], 1),
            _number(cell["floor"], 2),
        )
    console = Console()
    with console.capture() as printed:
        console.print(table)
    say(printed.get().rstrip())


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
