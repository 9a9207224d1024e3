"""``python -m run episode``: a Planner commands an Actor through episodes of a task."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import tyro

from agents.actor import make_actor
from agents.dialogue import Decision, Dialogue
from agents.planner.options import PlannerOptions
from agents.planner.registry import make_planner
from agents.reporter import make_reporter
from agents.team import Episode as Played
from agents.team import Team, Watcher
from envs.errors import BadInput
from envs.tasks import make_worlds
from envs.worlds import Worlds
from run.folder import RunFolder, read_config, without_keys
from run.settings import differences, from_json, to_json
from run.summary import summarise

HUMAN = "human"


@dataclass(frozen=True)
class LanguageOptions(PlannerOptions):
    """How a Planner that is a language model reads and decides. The others ignore this."""

    seed: tyro.conf.Suppress[int] = 0


@dataclass(frozen=True)
class Episode:
    """Play episodes: a Planner commands an Actor, and a Reporter tells it what came of it.

    Examples:
      python -m run episode
      python -m run episode --planner oracle --actor scripted --episodes 10
      python -m run episode --task search --n-items 6 --items held-out --episodes 100
      python -m run episode --task BabyAI-GoToLocal-v0 --actor scripted --video 2
      python -m run episode --instruction "Examine the solid red ring, then pick it up."
      python -m run episode --planner human --actor human
      python -m run episode --resume runs/episode/20260102-030405-conditional

    In a terminal the first episode of each group is shown live; piped, there is a line an
    episode. The run's folder is the last line of standard output. In it: episodes.jsonl (a line
    an episode), summary.json, config.json, versions.json and videos/. A run that was stopped
    goes on with --resume and loses nothing.
    """

    task: str = "conditional"
    """conditional, search, visual-conditional, or any registered id of a MiniGrid world, such as
    Parley/SecretSearch-v0 or BabyAI-GoToLocal-v0."""

    instruction: Annotated[str | None, tyro.conf.arg(metavar="TEXT")] = None
    """Your own task sentence in place of a task. It names its items as in "pick up the striped
    red cross". Nobody judges whether such an episode succeeds."""

    items: Annotated[
        Literal["train", "held-out", "all"] | None, tyro.conf.arg(metavar="{train,held-out,all}")
    ] = None
    """Which items lie about: those that the Actor was trained with, the fifth of all that it
    never saw, or both. (default: train)"""

    n_items: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """How many items: 3 to 10, in a search also 2. (default: 4)"""

    room_size: Annotated[int | None, tyro.conf.arg(metavar="S")] = None
    """Width and height of the room in tiles, walls included: 6 to 16. (default: 8)"""

    planner: str = "qwen2.5-coder-1.5b"
    """Who commands: oracle (the right answer), random, human, qwen2.5-coder-1.5b, smollm2-135m,
    openai:MODEL on a server, a model's folder or .gguf file, or a model's id on the hub."""

    actor: str = "learned"
    """Who acts: learned (from the 7x7 view), scripted (shortest path, sees all) or human."""

    reporter: str = "scripted"
    """Who reports: scripted (the truth), irrelevant (and useless truths beside it) or human."""

    irrelevant_p: Annotated[float | None, tyro.conf.arg(metavar="P")] = None
    """How probable it is, 0 to 1, that the irrelevant Reporter adds something. (default: 0.5)"""

    episodes: int = 10
    """How many episodes. Episode i is seeded with SEED + i."""

    parallel: Annotated[int | None, tyro.conf.arg(metavar="P")] = None
    """How many episodes are played together, as one batch. (default: 8, or 1 with a human)"""

    seed: int = 0
    """The seed of the first episode."""

    max_turns: int = 20
    """The most commands in one episode."""

    command_steps: int = 64
    """The most steps that the Actor takes for one command."""

    video: int = 0
    """Of how many episodes, from the first on, to make a video (mp4 and GIF)."""

    verbose: bool = False
    """Print the dialogues too where there is no live view."""

    live: bool = True
    """Show the world live where standard output is a terminal."""

    pause: Annotated[float | None, tyro.conf.arg(metavar="SECONDS")] = None
    """How long the live view stays on each step, so that one can follow. (default: 0.06)"""

    name: str | None = None
    """A name for the run's folder. (default: task and planner)"""

    runs_dir: Path = Path("runs")
    """The folder in which run folders are made."""

    resume: Annotated[Path | None, tyro.conf.arg(metavar="RUN_FOLDER")] = None
    """Go on with a run that was stopped, with its own settings."""

    language: tyro.conf.OmitArgPrefixes[LanguageOptions] = field(default_factory=LanguageOptions)

    def __post_init__(self) -> None:
        for name, least in (
            ("n_items", 1),
            ("room_size", 1),
            ("episodes", 1),
            ("parallel", 1),
            ("seed", 0),
            ("max_turns", 1),
            ("command_steps", 1),
            ("video", 0),
            ("pause", 0),
        ):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise BadInput(f"--{name.replace('_', '-')} must be at least {least}, not {value}")
        if self.instruction is not None:
            if self.task != "conditional":
                raise BadInput("give either --task or --instruction, not both")
            if not self.instruction.strip():
                raise BadInput("the --instruction is empty")
        if self.irrelevant_p is not None and self.reporter != "irrelevant":
            raise BadInput("--irrelevant-p is only for --reporter irrelevant")

    @property
    def has_human(self) -> bool:
        return HUMAN in (self.planner, self.actor, self.reporter)

    @property
    def group(self) -> int:
        """How many consecutive episodes are played together."""
        return self.parallel or (1 if self.has_human else 8)

    @property
    def title(self) -> str:
        return "instruction" if self.instruction is not None else self.task.rpartition("/")[2]


# Settings that say where and how to look on, not what is played: free to differ on resume.
LOOKS = ("verbose", "live", "pause", "name", "runs_dir", "resume")


def stored(folder: Path) -> Episode:
    """The settings of a run that was stopped, ready to go on with.

    Raises BadInput where ``folder`` is no run folder of this command and version.
    """
    config = {**read_config(folder, "episode"), "resume": str(folder)}
    return from_json(Episode, config)


def episode(args: Episode) -> Path:
    """Play the episodes, or those that are still missing, and return the run's folder.

    Raises BadInput for settings that cannot be used, and where no episode could be played.
    """
    args = _resolved(args)
    if args.resume is not None:
        differing = differences(args, stored(args.resume), LOOKS)
        if differing:
            raise BadInput(
                f"--resume takes its settings from the folder; these differ: {', '.join(differing)}"
            )
    worlds = _worlds(args)
    reporter = make_reporter(
        args.reporter, **({"p": args.irrelevant_p} if args.irrelevant_p is not None else {})
    )
    actor = make_actor(args.actor)
    with _open(args) as folder:
        try:
            options = dataclasses.replace(args.language, seed=args.seed)
            planner = make_planner(args.planner, options)
        except BadInput:
            if args.resume is None:
                folder.discard()
            raise
        team = Team(planner, actor, reporter, args.max_turns, args.command_steps)
        lines = _play(args, team, worlds, folder)
        summary = summarise("episode", args.seed, lines, args.group)
        folder.write_json("summary.json", summary)
    errors = [line["error"] for line in lines if line["error"] is not None]
    _tell(summary)
    if len(errors) == len(lines):
        print(folder.path, flush=True)
        why = errors[0].strip().splitlines()[-1]
        raise BadInput(
            f"all {len(errors)} episodes broke, the first with: {why} (every traceback is in "
            f"{folder.lines_file})"
        )
    if errors:
        print(
            f"warning: {len(errors)} of {len(lines)} episodes broke and count as neither success "
            f"nor failure; their tracebacks are in {folder.lines_file}, and they are played again "
            f"by: {folder.how_to_resume()}",
            file=sys.stderr,
        )
    print(folder.path, flush=True)
    return folder.path


def _resolved(args: Episode) -> Episode:
    p = args.irrelevant_p
    if args.reporter == "irrelevant" and p is None:
        p = 0.5
    return dataclasses.replace(args, parallel=args.group, irrelevant_p=p)


def _worlds(args: Episode) -> Worlds:
    names = ("items", "n_items", "room_size", "instruction")
    given = {n: getattr(args, n) for n in names if getattr(args, n) is not None}
    task = "instruction" if args.instruction is not None else args.task
    return make_worlds(task, min(args.group, args.episodes), **given)


def _open(args: Episode) -> RunFolder:
    if args.resume is not None:
        return RunFolder.resume(args.resume, "episode")
    planner = re.sub(r"[^\w.+-]+", "-", args.planner.rstrip("/").rpartition("/")[2])
    name = args.name if args.name is not None else f"{args.title}-{planner}".lstrip("-.+")
    _refuse_keys(args)
    return RunFolder.new(args.runs_dir, "episode", name, to_json(args))


def _refuse_keys(args: Episode) -> None:
    """Raise BadInput where a setting holds a key, which config.json would keep."""
    url = args.language.base_url or ""
    if urlsplit(url).password or re.search(r"[?&][^=&]*(key|token|secret)[^=&]*=", url, re.I):
        raise BadInput("--base-url holds a key or password; keys come from the environment only")
    text = json.dumps(to_json(args))
    if without_keys(text) != text:
        raise BadInput("a setting holds a key; keys come from the environment only")


def _play(args: Episode, team: Team, worlds: Worlds, folder: RunFolder) -> list[dict[str, Any]]:
    """Play what is missing, group by group, and return all lines."""
    found = folder.lines()
    lines = [line for line in found if line["error"] is None]
    if len(lines) < len(found):
        print(f"{len(found) - len(lines)} episodes that broke are played again", flush=True)
        folder.replace_lines(lines)
    done = {line["episode"] for line in lines}
    if args.resume is not None:
        print(f"{len(done)} of {args.episodes} episodes are finished", flush=True)
    for start in range(0, args.episodes, args.group):
        indices = range(start, min(start + args.group, args.episodes))
        if done.issuperset(indices):
            continue
        # Always the whole group: a language model's last digits depend on its batch.
        record = Record(folder, indices, done, lines)
        team.play(worlds, [args.seed + i for i in indices], record)
    return sorted(lines, key=lambda line: line["episode"])


class Record(Watcher):
    """Writes a line for each episode of a group as it ends, but for those written before."""

    def __init__(
        self,
        folder: RunFolder,
        indices: Sequence[int],
        done: Collection[int],
        lines: list[dict[str, Any]],
    ) -> None:
        self.folder = folder
        self.indices = indices
        self.done = frozenset(done)
        self.lines = lines
        self.scores: dict[int, list[dict[str, float]]] = {i: [] for i in range(len(indices))}
        self.begun = time.monotonic()

    def on_decision(self, i: int, dialogue: Dialogue, decision: Decision) -> None:
        self.scores[i].append({said: round(s, 6) for said, s in decision.scores.items()})

    def on_end(self, i: int, episode: Played) -> None:
        if self.indices[i] in self.done:
            return
        seconds = time.monotonic() - self.begun
        line = line_of(self.indices[i], episode, self.scores[i], seconds)
        self.folder.append(line)
        self.lines.append(line)


def line_of(
    index: int, episode: Played, scores: Sequence[dict[str, float]], seconds: float
) -> dict[str, Any]:
    """An episode as a line of ``episodes.jsonl``; all but ``seconds`` is the same in every run."""
    return {
        "episode": index,
        "seed": episode.seed,
        "task": episode.task,
        "turns": [
            {
                "said": turn.said,
                "command": None if turn.command is None else str(turn.command),
                "report": turn.report,
                "scores": table,
            }
            # The last decision has no turn where the episode broke.
            for turn, table in zip(episode.turns, scores, strict=False)
        ],
        "success": episode.success,
        "ended": episode.ended,
        "steps": episode.steps,
        "unparsed": episode.unparsed,
        "error": episode.error,
        "seconds": round(seconds, 3),
    }


def _tell(summary: dict[str, Any]) -> None:
    n, rate = summary["n"], summary["success_rate"]
    if rate is None:
        print(f"{n} episodes, none of them judged")
        return
    low, high = summary["success_ci95"]
    judged = n - summary["n_errors"] - summary["n_unjudged"]
    print(
        f"success in {summary['n_success']} of {judged} episodes: {rate:.3f} "
        f"(95 % interval {low:.3f} to {high:.3f}), {summary['mean_turns']:.1f} turns and "
        f"{summary['mean_steps']:.1f} steps on average"
    )
