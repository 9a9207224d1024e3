"""``python -m run episode``: a Planner commands an Actor through episodes of a task."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from agents.actor import make_actor
from agents.planner.prompt import prompted
from agents.planner.registry import make_planner, settled, unused
from agents.planner.trained_on import what_is_new
from agents.reporter import make_reporter
from agents.team import Team
from envs.errors import BadInput
from envs.tasks import make_worlds
from envs.worlds import Worlds
from models.references import label_of
from run.display.episodes import DisplayOptions, episode_display, missing_videos, print_success
from run.display.live import say
from run.display.messages import saying, warn
from run.display.outcome import OutcomeSummary
from run.display.state import CallbackList
from run.evaluation.given import check_team
from run.evaluation.recording import EpisodeRecorder, finished_episodes, missing_groups
from run.evaluation.run_folder import open_run_folder, report_errors
from run.evaluation.settings import HUMAN, LanguageOptions
from run.evaluation.statistics import summarise
from run.evaluation.understanding import (
    STOP_ABOVE,
    UnderstandingMonitor,
    check_share,
    report_misunderstandings,
)
from run.storage.folder import RunFolder
from run.storage.records import EpisodeRecord
from run.storage.resume import check_resumed
from run.storage.settings import shown
from run.storage.unused import refuse

# From this number of episodes on, the batched engine is worth its compilation, which may take half
# a minute. The episodes are the same.
BATCHED_FROM = 1000


@dataclass(frozen=True)
class EpisodeSettings:
    """Play episodes: a Planner commands an Actor, and a Reporter reports back to it.

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

    A terminal shows the first episode of each group live; otherwise each episode prints a line.

    The last line of standard output is the run's folder. It contains episodes.jsonl (a line for
    each episode), summary.json, config.json, versions.json and videos/.

    A run that was stopped, even killed, continues with --resume; nothing finished is lost.
    """

    FREE_ON_RESUME: ClassVar[tuple[str, ...]] = ("verbose", "plain", "pause", "max_misunderstood")
    USUAL: ClassVar[tuple[str, ...]] = (
        "task",
        "instruction",
        "n-items",
        "items",
        "planner",
        "actor",
        "reporter",
        "episodes",
        "seed",
        "video",
        "verbose",
        "resume",
    )

    task: str = "conditional"
    """conditional, search, visual-conditional, babyai-mixed, or the registered id of any MiniGrid
    world."""

    instruction: Annotated[str | None, shown("TEXT", "none")] = None
    """Your own task sentence in place of a task, with items named as in "the striped red cross".
    Success is judged where it reads like one of our tasks; other episodes are counted apart."""

    items: Annotated[
        Literal["train", "held-out", "all"] | None, shown("{train,held-out,all}", "train")
    ] = None
    """Which items the room contains: those the Actor was trained with, the held-out fifth that it
    never saw, or all."""

    n_items: Annotated[int | None, shown("N", "4")] = None
    """Number of items: 3 to 10, in a search also 2."""

    room_size: Annotated[int | None, shown("S", "8")] = None
    """Width and height of the room in tiles, walls included: 6 to 16."""

    set: Annotated[
        tuple[str, ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(metavar="NAME=VALUE", help_behavior_hint="(repeatable)"),
    ] = ()
    """Any other setting of the task, such as distractors=0; lists are separated by commas."""

    planner: str = "parley-135m"
    """The Planner: oracle (privileged: knows the right answer), random, human, or a language model:
    parley-135m (trained for this, small and fast), parley-visible (the same, trained on with visual
    conditionals), qwen2.5-coder-1.5b, qwen2.5-coder-0.5b, smollm2-135m, openai:MODEL, a .gguf file,
    a run folder of train-planner, a folder of weights, a hub id, or module:Class."""

    actor: str = "learned"
    """The Actor: learned (from the 7x7 view), scripted (privileged: shortest path), human, direct
    (the Planner chooses every single step, with the reporter view), a run folder of train-actor, a
    folder of weights, a hub id, or module:Class."""

    reporter: str = "scripted"
    """The Reporter: scripted (privileged: the truth), irrelevant (adds irrelevant truths to it),
    thorough (all that can be seen of the item), random-fact, silent, missing, false, late, reworded
    or injected (the truth, made unreliable), view (what is in view), human, learned (sees frames
    only), a run folder of train-reporter, a folder of weights, a hub id, or module:Class. Weights
    may also be those of a vision-language model."""

    irrelevant_p: Annotated[float | None, shown("P", "0.5")] = None
    """Probability, 0 to 1, that the irrelevant Reporter adds something."""

    episodes: Annotated[int, tyro.conf.arg(metavar="N")] = 10
    """Number of episodes. Episode i has the seed SEED + i."""

    parallel: Annotated[int | None, shown("P", "8, or 1 with a human")] = None
    """Number of episodes played together, as one batch."""

    seed: int = 0
    """Seed of the first episode."""

    max_turns: Annotated[int, tyro.conf.arg(metavar="N")] = 20
    """Maximum number of commands in an episode."""

    command_steps: Annotated[int, tyro.conf.arg(metavar="N")] = 64
    """Maximum number of steps of the Actor for one command; with direct, in an episode."""

    max_misunderstood: Annotated[float, tyro.conf.arg(metavar="SHARE")] = STOP_ABOVE
    """Stop once more than this share of the Planner's decisions, at least 20, held no command; 1
    for never."""

    video: Annotated[int, tyro.conf.arg(metavar="K")] = 0
    """Number of episodes, from the first on, to make videos of (mp4, GIF and a still)."""

    verbose: bool = False
    """Also print the dialogues, where there is no live view."""

    plain: bool = False
    """Print plain lines instead of the live view, even in a terminal."""

    pause: Annotated[float | None, shown("SECONDS", "0.06")] = None
    """How long the live view shows each step."""

    name: Annotated[str | None, shown("NAME", "task and planner")] = None
    """End of the run folder's name."""

    runs_dir: Path = Path("runs")
    """Folder in which run folders are made."""

    resume: Annotated[Path | None, shown("RUN_FOLDER", "none")] = None
    """Continue a run that was stopped, with its own settings."""

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
        check_share(self.max_misunderstood)
        environment_settings(self)

    def refuse_unused(self, given: Collection[str]) -> None:
        """Raise BadInput for an option that is given and that this run does not use."""
        refuse(given, unused(self.planner, self.language.decide, self.language.think))

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

    @property
    def display(self) -> DisplayOptions:
        title = f"{self.title} · {label_of(self.planner)}"
        return DisplayOptions(
            title, self.plain, self.verbose, self.actor == HUMAN, self.has_human, self.pause
        )


def environment_settings(settings: EpisodeSettings) -> Mapping[str, Any]:
    """The arguments of the environment's constructor. Raises BadInput for a malformed one."""
    names = ("items", "n_items", "room_size", "instruction")
    given = {n: getattr(settings, n) for n in names if getattr(settings, n) is not None}
    for text in settings.set:
        name, equals, value = text.partition("=")
        if not (equals and name.isidentifier() and value):
            raise BadInput(f"--set '{text}' is no setting; write it as in distractors=0")
        if name in given:
            raise BadInput(f"the setting {name} is given twice")
        given[name] = _value(value)
    return given


def _value(text: str) -> Any:
    """A JSON value, or else words: ``go to,open`` is a list of two."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        words = [word.strip() for word in text.split(",")]
        return words if len(words) > 1 else text


def episode(settings: EpisodeSettings) -> Path:
    """Play the episodes, or those that are still missing, and return the run's folder.

    Raises:
        BadInput: Settings cannot be used, or no episode could be played.
    """
    settings = _resolved(settings)
    check_resumed(settings, "episode")
    # All input is checked before a model of gigabytes is loaded.
    check_team(settings.planner, settings.actor, settings.reporter)
    with saying("making the worlds"):
        worlds = _worlds(settings)
    if settings.instruction is not None:
        _check_sentence(settings.planner, settings.instruction, worlds)
    p = settings.irrelevant_p
    with saying(f"loading the Reporter {settings.reporter} and the Actor {settings.actor}"):
        reporter = make_reporter(settings.reporter, **({} if p is None else {"p": p}))
        actor = make_actor(settings.actor)
    language = settled(settings.language, [settings.planner])
    settings = dataclasses.replace(settings, language=language)
    with open_run_folder("episode", settings, settings.title) as folder:
        with saying(f"loading the Planner {settings.planner}"):
            options = prompted(settings.language, actor, settings.planner)
            options = dataclasses.replace(options, seed=settings.seed)
            planner = make_planner(settings.planner, options)
        team = Team(planner, actor, reporter, settings.max_turns, settings.command_steps)
        outcomes = OutcomeSummary()
        try:
            records = _play(settings, team, worlds, folder, outcomes)
        except BadInput as error:
            raise folder.stopped_by(error) from error
        summary = summarise("episode", settings.seed, records, settings.group)
        folder.write_json("summary.json", summary.to_json())
    print_success(summary)
    for line in outcomes.lines():
        say(line)
    report_misunderstandings(summary, records)
    say(str(folder.path))
    report_errors(records, folder)
    return folder.path


def _resolved(settings: EpisodeSettings) -> EpisodeSettings:
    p = settings.irrelevant_p
    if settings.reporter == "irrelevant" and p is None:
        p = 0.5
    return dataclasses.replace(settings, parallel=settings.group, irrelevant_p=p)


def _worlds(settings: EpisodeSettings) -> Worlds:
    task = "instruction" if settings.instruction is not None else settings.task
    n = min(settings.group, settings.episodes)
    batched = settings.episodes >= BATCHED_FROM
    return make_worlds(task, n, batched=batched, **environment_settings(settings))


def _check_sentence(planner: str, sentence: str, worlds: Worlds) -> None:
    """Say what in a sentence of the user's is new to the Planner.

    Raises:
        BadInput: The oracle has no answer to it.
    """
    if planner == "oracle" and not worlds.judged(0):
        raise BadInput(
            f"the oracle has no answer to '{sentence}', which reads like none of our tasks; choose "
            "another --planner, or word it as in --instruction 'Pick up the red ring.'"
        )
    new = what_is_new(planner, sentence)
    if new:
        warn(new)


def _play(
    settings: EpisodeSettings,
    team: Team,
    worlds: Worlds,
    folder: RunFolder,
    outcomes: OutcomeSummary,
) -> list[EpisodeRecord]:
    """Play what is missing, group by group, and return the records of all episodes."""
    records = finished_episodes(folder)
    done = frozenset(record.episode for record in records)
    if folder.resumed:
        say(f"{len(done)} of {settings.episodes} episodes are finished")
    options = settings.display
    monitor = UnderstandingMonitor(settings.max_misunderstood)
    parts = (team.planner, team.actor, team.reporter)
    with episode_display(options, settings.episodes, records, parts) as display:
        for indices in missing_groups(settings.episodes, settings.group, done):
            videos = missing_videos(indices, settings.video, folder, options.title)
            recorder = EpisodeRecorder(folder, indices, done, records)
            # The video before the line: an episode that has its line has its video too.
            shows = display(indices, done)
            outcomes.group(indices, done)
            callbacks = CallbackList([videos, recorder, outcomes, *shows, monitor])
            try:
                team.play(worlds, [settings.seed + i for i in indices], callbacks)
            finally:
                videos.close()
    return sorted(records, key=lambda record: record.episode)
