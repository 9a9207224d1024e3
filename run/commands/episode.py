"""``python -m run episode``: a Planner commands an Actor through episodes of a task."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol
from urllib.parse import urlsplit

import tyro
from rich.console import Console

from agents.actor import make_actor
from agents.dialogue import Decision, Dialogue, TokenCost
from agents.planner.options import PlannerOptions
from agents.planner.prompt import prompted
from agents.planner.registry import make_planner, settled
from agents.reporter import make_reporter
from agents.team import Callback, Team
from agents.team import Episode as Played
from envs.errors import BadInput
from envs.tasks import make_worlds
from envs.worlds import Worlds
from run.display.live import PAUSE, HumanView, LiveView, PlainLines, RunningScore, say
from run.display.state import CallbackList
from run.display.video import VideoCallback
from run.evaluation.statistics import summarise
from run.storage.folder import RunFolder, discarded_for_nothing, without_keys
from run.storage.resume import check_resumed
from run.storage.settings import shown, to_json

HUMAN = "human"
# From so many episodes on the batched engine is worth the half minute that it may have to be
# compiled for. The episodes are the same.
MANY = 1000


@dataclass(frozen=True)
class LanguageOptions(PlannerOptions):
    """How a Planner that is a language model reads and decides. The other Planners ignore it."""

    seed: tyro.conf.Suppress[int] = 0


@dataclass(frozen=True)
class EpisodeSettings:
    """Play episodes: a Planner commands an Actor, and a Reporter tells it what came of it.

    Examples:
      python -m run episode
      python -m run episode --planner oracle --actor scripted --episodes 10
      python -m run episode --task search --n-items 6 --items held-out --episodes 100
      python -m run episode --task BabyAI-GoToLocal-v0 --actor scripted --video 2
      python -m run episode --task babyai-mixed --set "kinds=go to,open" --set distractors=0
      python -m run episode --instruction "Examine the solid red ring, then pick it up."
      python -m run episode --planner openai:MODEL --base-url http://localhost:8000/v1
      python -m run episode --planner human --actor human
      python -m run episode --resume runs/episode/20260102-030405-conditional-oracle

    In a terminal the first episode of each group is shown live; piped, there is a line an episode.

    The last line of standard output is the run's folder. In it: episodes.jsonl (a line an episode),
    summary.json, config.json, versions.json and videos/.

    A run that was stopped, even killed, goes on with --resume; nothing finished is lost.
    """

    FREE_ON_RESUME: ClassVar[tuple[str, ...]] = ("verbose", "plain", "pause")

    task: str = "conditional"
    """conditional, search, visual-conditional, babyai-mixed, or the registered id of any MiniGrid
    world."""

    instruction: Annotated[str | None, shown("TEXT", "none")] = None
    """Your own task sentence in place of a task; its items are named as in "the striped red cross".
    Success is judged where it reads like one of our tasks, else such episodes are counted apart."""

    items: Annotated[
        Literal["train", "held-out", "all"] | None, shown("{train,held-out,all}", "train")
    ] = None
    """Which items lie about: those the Actor was trained with, the fifth it never saw, or all."""

    n_items: Annotated[int | None, shown("N", "4")] = None
    """How many items: 3 to 10, in a search also 2."""

    room_size: Annotated[int | None, shown("S", "8")] = None
    """Width and height of the room in tiles, walls included: 6 to 16."""

    set: Annotated[
        tuple[str, ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(metavar="NAME=VALUE", help_behavior_hint="(repeatable)"),
    ] = ()
    """Any other setting of the task, such as distractors=0; a list is separated by commas."""

    planner: str = "parley-135m"
    """Who commands: oracle (knows the right answer), random, human, or a language model:
    parley-135m (trained for this, small and quick), qwen2.5-coder-1.5b, qwen2.5-coder-0.5b,
    smollm2-135m, openai:MODEL, a model's or adapter's folder, a .gguf file, an id on the hub."""

    actor: str = "learned"
    """Who acts: learned (from the 7x7 view), scripted (shortest path, sees all), human, or direct:
    nobody, the Planner says each single step, and view must report."""

    reporter: str = "scripted"
    """Who reports: scripted (the truth), irrelevant (adds useless truths to it), thorough (all that
    can be seen of the item), random-fact, silent, view (what is in view), human, learned (sees
    frames alone), the folder of one of train-reporter, or a vision-language model by its folder or
    hub id."""

    irrelevant_p: Annotated[float | None, shown("P", "0.5")] = None
    """How probable it is, 0 to 1, that the irrelevant Reporter adds something."""

    episodes: Annotated[int, tyro.conf.arg(metavar="N")] = 10
    """How many episodes. Episode i is seeded with SEED + i."""

    parallel: Annotated[int | None, shown("P", "8, or 1 with a human")] = None
    """How many episodes are played together, as one batch."""

    seed: int = 0
    """The seed of the first episode."""

    max_turns: Annotated[int, tyro.conf.arg(metavar="N")] = 20
    """The most commands in one episode."""

    command_steps: Annotated[int, tyro.conf.arg(metavar="N")] = 64
    """The most steps that the Actor takes for one command; with direct, the most in an episode."""

    video: Annotated[int, tyro.conf.arg(metavar="K")] = 0
    """Of how many episodes, from the first on, to make videos (mp4, GIF and a still)."""

    verbose: bool = False
    """Print the dialogues too where there is no live view."""

    plain: bool = False
    """Print plain lines even in a terminal, in place of the live view."""

    pause: Annotated[float | None, shown("SECONDS", "0.06")] = None
    """How long the live view stays on each step, so that one can follow."""

    name: Annotated[str | None, shown("NAME", "task and planner")] = None
    """The end of the run folder's name."""

    runs_dir: Path = Path("runs")
    """The folder in which run folders are made."""

    resume: Annotated[Path | None, shown("RUN_FOLDER", "none")] = None
    """Go on with a run that was stopped, with its own settings."""

    language: tyro.conf.OmitArgPrefixes[LanguageOptions] = field(default_factory=LanguageOptions)

    def __post_init__(self) -> None:
        object.__setattr__(self, "set", tuple(self.set))  # JSON has lists only
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
        task_settings(self)

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


def task_settings(args: EpisodeSettings) -> dict[str, Any]:
    """What goes to the task's constructor. Raises BadInput for a setting that is none."""
    names = ("items", "n_items", "room_size", "instruction")
    given = {n: getattr(args, n) for n in names if getattr(args, n) is not None}
    for text in args.set:
        name, equals, value = text.partition("=")
        if not (equals and name.isidentifier() and value):
            raise BadInput(f"--set '{text}' is no setting; write it as in distractors=0")
        if name in given:
            raise BadInput(f"the setting {name} is given twice")
        given[name] = _value(value)
    return given


def _value(text: str) -> Any:
    """A JSON value, and where it is none, words: ``go to,open`` is a list of two."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        words = [word.strip() for word in text.split(",")]
        return words if len(words) > 1 else text


def episode(args: EpisodeSettings) -> Path:
    """Play the episodes, or those that are still missing, and return the run's folder.

    Raises BadInput for settings that cannot be used, and where no episode could be played.
    """
    args = _resolved(args)
    check_resumed(args, "episode")
    # All that can be wrong is found out before a model of gigabytes is loaded.
    worlds = _worlds(args)
    reporter = make_reporter(
        args.reporter, **({} if args.irrelevant_p is None else {"p": args.irrelevant_p})
    )
    actor = make_actor(args.actor)
    args = dataclasses.replace(args, language=settled(args.language, [args.planner]))
    with open_folder("episode", args, args.title) as folder:
        with discarded_for_nothing(args, folder):
            language = prompted(args.language, actor, args.planner)
            planner = make_planner(args.planner, dataclasses.replace(language, seed=args.seed))
        team = Team(planner, actor, reporter, args.max_turns, args.command_steps)
        try:
            lines = _play(args, team, worlds, folder)
        except BadInput as error:
            raise folder.stopped_by(error) from error
        summary = summarise("episode", args.seed, lines, args.group)
        folder.write_json("summary.json", summary)
    _tell(summary)
    say(str(folder.path))
    tell_errors(lines, folder)
    return folder.path


def tell_errors(lines: Sequence[dict[str, Any]], folder: RunFolder) -> None:
    """Warn of episodes that broke. Raises BadInput where all of them did."""
    errors = [line["error"] for line in lines if line["error"] is not None]
    if len(errors) == len(lines):
        raise BadInput(
            f"all {len(errors)} episodes broke, the first with "
            f"'{errors[0].strip().splitlines()[-1]}'; every traceback is in {folder.lines_file}, "
            f"and once that is mended go on with: {folder.how_to_resume()}"
        )
    if errors:
        _warn(
            f"{len(errors)} of {len(lines)} episodes broke and count as neither success nor "
            f"failure; their tracebacks are in {folder.lines_file}, and they are played again "
            f"by: {folder.how_to_resume()}"
        )


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)


def _resolved(args: EpisodeSettings) -> EpisodeSettings:
    p = args.irrelevant_p
    if args.reporter == "irrelevant" and p is None:
        p = 0.5
    return dataclasses.replace(args, parallel=args.group, irrelevant_p=p)


def _worlds(args: EpisodeSettings) -> Worlds:
    task = "instruction" if args.instruction is not None else args.task
    n = min(args.group, args.episodes)
    return make_worlds(task, n, batched=args.episodes >= MANY, **task_settings(args))


def open_folder(command: str, args: Any, title: str) -> RunFolder:
    """The run's folder: a new one, or the one to go on with.

    ``args`` are the settings of a command that has ``--planner``, ``--name``, ``--runs-dir``,
    ``--resume`` and the ``language`` options. Raises BadInput where they hold a key.
    """
    if args.resume is not None:
        folder = RunFolder.resume(args.resume, command)
        if changed := folder.changed_versions():
            _warn(f"this run began with other versions: {', '.join(changed)}")
        return folder
    planner = args.planner.rstrip("/").rpartition("/")[2]
    default = re.sub(r"[^\w.+-]+", "-", f"{title}-{planner}")
    name = args.name if args.name is not None else default
    _refuse_keys(args)
    return RunFolder.new(args.runs_dir, command, name, to_json(args), resumable=True)


def _refuse_keys(args: Any) -> None:
    """Raise BadInput where a setting holds a key, which config.json would keep."""
    url = args.language.base_url or ""
    if urlsplit(url).password or re.search(r"[?&][^=&]*(key|token|secret)[^=&]*=", url, re.I):
        raise BadInput("--base-url holds a key or password; keys come from the environment only")
    text = json.dumps(to_json(args))
    if without_keys(text) != text:
        raise BadInput("a setting holds a key; keys come from the environment only")


def finished(folder: RunFolder, also: Collection[str] = ()) -> list[dict[str, Any]]:
    """The lines of all episodes that need not be played again.

    Those that broke are taken out of the file. Raises BadInput for a line that lacks what every
    line has; ``also`` names what this command's lines have beside that.
    """
    found = folder.lines()
    needed = {f.name for f in dataclasses.fields(Played)} | {"episode", "seconds", *also}
    needed.discard("opening")  # only in lines of episodes that have one
    for k, line in enumerate(found, 1):
        if not needed <= set(line):
            raise BadInput(f"line {k} of {folder.lines_file} is damaged; remove it and resume")
    lines = [line for line in found if line["error"] is None]
    if len(lines) < len(found):
        say(f"{len(found) - len(lines)} episodes that broke are played again")
        folder.replace_lines(lines)
    return lines


def groups(episodes: int, size: int, done: Collection[int]) -> Iterator[range]:
    """The groups of consecutive episodes in which some are not done.

    Always whole groups: a language model's last digits depend on its batch.
    """
    for start in range(0, episodes, size):
        indices = range(start, min(start + size, episodes))
        if not all(i in done for i in indices):
            yield indices


def _play(
    args: EpisodeSettings, team: Team, worlds: Worlds, folder: RunFolder
) -> list[dict[str, Any]]:
    """Play what is missing, group by group, and return all lines."""
    lines = finished(folder)
    done = frozenset(line["episode"] for line in lines)
    if args.resume is not None:
        say(f"{len(done)} of {args.episodes} episodes are finished")
    with _audience(args, lines) as audience:
        for indices in groups(args.episodes, args.group, done):
            films = _films(args, indices, folder)
            record = Record(folder, indices, done, lines)
            # The video before the line: an episode that has its line has its video too.
            watchers = CallbackList([films, record, *audience(indices, done)])
            try:
                team.play(worlds, [args.seed + i for i in indices], watchers)
            finally:
                films.close()
    return sorted(lines, key=lambda line: line["episode"])


Audience = Callable[[Sequence[int], frozenset[int]], list[Callback]]


@contextmanager
def _audience(args: EpisodeSettings, lines: Sequence[dict[str, Any]]) -> Iterator[Audience]:
    """Who looks on: the live view in a terminal, else plain lines."""
    console = Console()
    humans: list[Callback] = [HumanView(console)] if args.actor == HUMAN else []
    # A person at standard input needs the screen, and half blocks need colour.
    if args.plain or args.has_human or not console.is_terminal or console.color_system is None:
        yield lambda indices, skip: [*humans, PlainLines(indices, skip, args.verbose)]
        return
    title = f"{args.title} · {args.planner}"
    pause = PAUSE if args.pause is None else args.pause
    with LiveView(console, title, RunningScore(args.episodes, lines), pause) as view:
        yield lambda indices, skip: [view.group(indices, skip)]


def _films(args: EpisodeSettings, indices: Sequence[int], folder: RunFolder) -> VideoCallback:
    """The videos of a group that are still to be made."""
    films = {}
    for place, i in enumerate(indices):
        path = folder.path / "videos" / f"episode-{i:04d}"
        if i < args.video and not path.with_name(f"{path.name}.mp4").exists():
            films[place] = folder.part("videos", path.name)
    return VideoCallback(films, f"{args.title} · {args.planner}")


class Sheet(Protocol):
    """Where lines are written: a run folder, or a list."""

    def append(self, line: dict[str, Any], /) -> None: ...


class Record(Callback):
    """Writes a line for each episode of a group as it ends, but for those written before.

    ``more`` goes into each of the lines; ``true``, if it is given, tells whether each world's
    reports are.
    """

    def __init__(
        self,
        folder: Sheet,
        indices: Sequence[int],
        done: Collection[int],
        lines: list[dict[str, Any]],
        more: Mapping[str, Any] | None = None,
    ) -> None:
        self.more = {} if more is None else dict(more)
        self.folder = folder
        self.indices = indices
        self.done = frozenset(done)
        self.lines = lines
        self.scores: dict[int, list[dict[str, float]]] = {i: [] for i in range(len(indices))}
        self.costs: dict[int, TokenCost] = {}
        self.true: Mapping[int, Sequence[bool]] | None = None
        self.begun = time.monotonic()

    def on_decision(self, i: int, dialogue: Dialogue, decision: Decision) -> None:
        self.scores[i].append({said: round(s, 6) for said, s in decision.scores.items()})
        if decision.cost is not None:
            self.costs[i] = self.costs.get(i, TokenCost()) + decision.cost

    def on_end(self, i: int, episode: Played) -> None:
        if self.indices[i] in self.done:
            return
        seconds = time.monotonic() - self.begun
        line = self.more | line_of(self.indices[i], episode, self.scores[i], seconds)
        if i in self.costs:
            line["tokens"] = dataclasses.asdict(self.costs[i])
        if self.true is not None:
            line["reports_true"] = list(self.true.get(i, ()))
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
        **({"opening": episode.opening} if episode.opening else {}),
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
        say(f"{n} episodes, none of them judged")
        return
    low, high = summary["success_ci95"]
    judged = n - summary["n_errors"] - summary["n_unjudged"]
    say(
        f"success in {summary['n_success']} of {judged} episodes: {rate:.3f} "
        f"(95 % interval {low:.3f} to {high:.3f}), {summary['mean_turns']:.1f} turns and "
        f"{summary['mean_steps']:.1f} steps on average"
    )
