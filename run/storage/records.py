"""Records: what a run leaves on disk, as frozen dataclasses.

The keys on disk are those of format 1, whatever the code calls things today: a line of
``episodes.jsonl`` has ``cell`` and ``part`` for the suite's task and its variant, and
``summary.json`` has ``cells`` and ``parts`` for the tasks and their variants.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from agents.dialogue import TokenCost
from envs.errors import BadInput

FORMAT = 1
"""The format of all files of a run folder, which ``config.json`` names."""

Interval = Sequence[float]  # low, high
T = TypeVar("T")


def check_format(stored: Mapping[str, Any], path: Path) -> None:
    """Raise BadInput where a run folder was written in another format than this one."""
    if stored.get("format") != FORMAT:
        raise BadInput(
            f"'{path}' was written by another version of Parley (format {stored.get('format')}, "
            f"this one is {FORMAT}); start anew"
        )


@dataclass(frozen=True)
class TurnRecord:
    """One turn of an episode.

    Attributes:
        utterance: The Planner's text (``said`` on disk).
        command: The command it means; None where it is no command.
        report: What the Reporter answered.
        scores: Each candidate's score, where the Planner scored.
        thought: What the Planner thought before, where it thinks.
        problem: Why its reply held no command, as the rest of a sentence.
    """

    utterance: str
    command: str | None
    report: str
    scores: Mapping[str, float] = field(default_factory=dict)
    thought: str = ""
    problem: str = ""

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> TurnRecord:
        """The turn that ``to_json`` has stored."""
        return cls(
            _typed(stored, "said", str),
            _typed(stored, "command", str, None),
            _typed(stored, "report", str),
            _typed(stored, "scores", dict) if stored.get("scores") is not None else {},
            *(_typed(stored, k, str) if k in stored else "" for k in ("thought", "problem")),
        )

    def to_json(self) -> dict[str, object]:
        """The turn as it stands in its episode's line."""
        return {
            "said": self.utterance,
            "command": self.command,
            "report": self.report,
            "scores": dict(self.scores),
            **({"thought": self.thought} if self.thought else {}),
            **({"problem": self.problem} if self.problem else {}),
        }


@dataclass(frozen=True)
class EpisodeRecord:
    """An episode: a line of ``episodes.jsonl``.

    Attributes:
        episode: Its number, from 0; in an evaluation within its task and variant.
        seed: What its world was reset with.
        task: The task sentence.
        turns: Its turns, in order.
        success: Whether it succeeded; None where nobody judges that, and where it broke.
        ended: How it ended (see `agents.team.Episode`).
        steps: How many low-level steps the Actor took.
        unparsed: How many turns held no command.
        error: The traceback, where it broke.
        seconds: Time from the beginning of its group; the one field that two runs differ in.
        opening: What was reported before the first command.
        tokens: What its decisions cost, of a language model that runs here.
        reports_true: For each report, whether it is true, of Reporters that state facts.
        task_name: In an evaluation, the name of the suite's task (``cell`` on disk).
        variant: In an evaluation, the label of the task's variant (``part`` on disk).
    """

    episode: int
    seed: int
    task: str
    turns: tuple[TurnRecord, ...]
    success: bool | None
    ended: str
    steps: int
    unparsed: int
    error: str | None
    seconds: float
    opening: str = ""
    tokens: TokenCost | None = None
    reports_true: tuple[bool, ...] | None = None
    task_name: str | None = None
    variant: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """The task and the variant of an evaluation's episode; empty of any other."""
        return self.task_name or "", self.variant or ""

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> EpisodeRecord:
        """The episode that ``to_json`` has stored, perhaps before the optional keys existed.

        Raises:
            ValueError: What every line has is missing, or of another type.
        """
        tokens = stored.get("tokens")
        checked = stored.get("reports_true")
        return cls(
            episode=_typed(stored, "episode", int),
            seed=_typed(stored, "seed", int),
            task=_typed(stored, "task", str),
            turns=tuple(map(TurnRecord.from_json, _typed(stored, "turns", list))),
            success=_typed(stored, "success", bool, None),
            ended=_typed(stored, "ended", str),
            steps=_typed(stored, "steps", int),
            unparsed=_typed(stored, "unparsed", int),
            error=_typed(stored, "error", str, None),
            seconds=_typed(stored, "seconds", float),
            opening=stored.get("opening", ""),
            tokens=None if tokens is None else _loaded_cost(tokens),
            reports_true=None if checked is None else tuple(checked),
            task_name=stored.get("cell"),
            variant=stored.get("part"),
        )

    def to_json(self) -> dict[str, object]:
        """The episode as a line; keys that say nothing of it are left out."""
        evaluation = {"cell": self.task_name, "part": self.variant}
        return {
            **({} if self.task_name is None else evaluation),
            "episode": self.episode,
            "seed": self.seed,
            "task": self.task,
            **({"opening": self.opening} if self.opening else {}),
            "turns": [turn.to_json() for turn in self.turns],
            "success": self.success,
            "ended": self.ended,
            "steps": self.steps,
            "unparsed": self.unparsed,
            "error": self.error,
            "seconds": self.seconds,
            **({} if self.tokens is None else {"tokens": _stored_cost(self.tokens)}),
            **({} if self.reports_true is None else {"reports_true": list(self.reports_true)}),
        }


def read_episodes(file: Path, needs_task: bool = False) -> list[EpisodeRecord]:
    """The episodes of an ``episodes.jsonl``, in the order in which they ended.

    Args:
        file: The file; where there is none, nothing has ended yet.
        needs_task: Whether each line must name a suite's task and variant.

    Raises:
        BadInput: The file cannot be read, or one of its lines is damaged.
    """
    if not file.exists():
        return []
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"'{file}' cannot be read: {error}") from error
    records = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            record = EpisodeRecord.from_json(dict(json.loads(line)))
            if needs_task and (record.task_name is None or record.variant is None):
                raise ValueError("it has no cell and part")
        except (TypeError, ValueError, AttributeError) as error:
            raise BadInput(
                f"line {number} of {file} is damaged ({error}); remove that line and resume"
            ) from None
        records.append(record)
    return records


@dataclass(frozen=True)
class SuccessRate:
    """A success rate with its 95 % interval; both None where no episode was judged."""

    success_rate: float | None
    success_ci95: Interval | None


@dataclass(frozen=True)
class MeanRate(SuccessRate):
    """The mean success rate of ``tasks`` tasks."""

    tasks: int


@dataclass(frozen=True)
class TaskScore(SuccessRate):
    """The success rate of a task.

    Attributes:
        n: How many episodes were played.
        n_errors: How many of them broke.
        floor: The rate that a good Planner must reach, where one is set.
        chance: The rate that needs no skill, where it is known.
    """

    n: int
    n_errors: int
    floor: float | None = None
    chance: float | None = None

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> TaskScore:
        """The score in a task's entry of ``summary.json``, or of a stored result.

        Raises:
            ValueError: It lacks what every entry has.
        """
        missing = [f.name for f in dataclasses.fields(TaskScore) if f.name not in stored]
        if missing:
            raise ValueError(f"it has no {missing[0]}")
        return TaskScore(**{f.name: stored[f.name] for f in dataclasses.fields(TaskScore)})

    def score_json(self) -> dict[str, object]:
        """The score as it stands in a stored result."""
        names = ("n", "n_errors", "success_rate", "success_ci95", "floor", "chance")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class VariantSummary:
    """The success rate of one variant of a task."""

    n: int
    success_rate: float | None


@dataclass(frozen=True)
class TaskSummary(TaskScore):
    """What a task of a suite came to.

    Attributes:
        turns: The mean number of turns.
        misunderstood: The share of decisions that held no command; None where there were none.
        reports_true: The share of reports that are true, where that is known.
        variants: Its variants, by label.
    """

    turns: float | None = None
    misunderstood: float | None = None
    reports_true: float | None = None
    variants: Mapping[str, VariantSummary] = field(default_factory=dict)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> TaskSummary:
        """The entry of a task in ``summary.json``; ``chance`` is younger than the others.

        Raises:
            ValueError: It lacks what every entry has.
        """
        score = TaskScore.from_json({"chance": None, "floor": None, **stored})
        return cls(
            **{f.name: getattr(score, f.name) for f in dataclasses.fields(score)},
            turns=stored.get("turns"),
            misunderstood=stored.get("misunderstood"),
            reports_true=stored.get("reports_true"),
            variants={
                label: VariantSummary(variant["n"], variant["success_rate"])
                for label, variant in stored.get("parts", {}).items()
            },
        )

    def to_json(self) -> dict[str, object]:
        """The entry as it stands in ``summary.json``."""
        checked = self.reports_true
        return {
            "n": self.n,
            "n_errors": self.n_errors,
            "success_rate": self.success_rate,
            "success_ci95": self.success_ci95,
            **({} if checked is None else {"reports_true": checked}),
            "turns": self.turns,
            **({} if self.misunderstood is None else {"misunderstood": self.misunderstood}),
            "floor": self.floor,
            "chance": self.chance,
            "parts": {label: dataclasses.asdict(v) for label, v in self.variants.items()},
        }


@dataclass(frozen=True)
class FaultRecord:
    """Whose fault a failed episode is: a line of ``blame.jsonl``.

    Attributes:
        episode: The episode.
        fault: The part of the team that is at fault.
        how: In which way the episode failed.
    """

    episode: EpisodeRecord
    fault: str
    how: str

    def to_json(self) -> dict[str, object]:
        """The line as it stands on disk."""
        return {
            "cell": self.episode.task_name,
            "part": self.episode.variant,
            "episode": self.episode.episode,
            "seed": self.episode.seed,
            "blamed": self.fault,
            "how": self.how,
        }


@dataclass(frozen=True)
class FaultTable:
    """Counts of failed episodes by the part that is at fault.

    Attributes:
        n: How many failures were looked into.
        parts: How many of them are whose fault.
        how: Of each part, how many failures of which kind.
    """

    n: int
    parts: Mapping[str, int]
    how: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class FaultSummary:
    """Whose fault failures are: over all tasks, and for each task that has failures."""

    all: FaultTable
    tasks: Mapping[str, FaultTable]

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> FaultSummary:
        """The entry ``blame`` of ``summary.json``."""
        tasks = {name: FaultTable(**table) for name, table in stored["cells"].items()}
        return cls(FaultTable(**stored["all"]), tasks)

    def to_json(self) -> dict[str, object]:
        """The entry as it stands in ``summary.json``."""
        tasks = {name: dataclasses.asdict(table) for name, table in self.tasks.items()}
        return {"all": dataclasses.asdict(self.all), "cells": tasks}


@dataclass(frozen=True)
class RunSummary(SuccessRate):
    """What a run came to: ``summary.json``.

    Attributes:
        command: The command that made the run.
        seed: Its seed.
        n: How many episodes were played.
        n_errors: How many of them broke.
        n_unjudged: How many were played and judged by nobody.
        n_success: How many succeeded.
        seconds: Time of play: the longest episode of each group, summed.
        mean_turns: The mean number of turns of episodes that did not break.
        mean_steps: The mean number of the Actor's steps.
        n_unparsed: How many decisions held no command.
        ended: How many episodes ended in which way.
        n_decisions: How many decisions there were; None in older runs.
        tokens: What a language model's decisions cost altogether, where that is known.
        reports_true: The share of reports that are true, where that is known.
        suite: Of an evaluation, the suite.
        tasks: Of an evaluation, its tasks by name.
        faults: Of an evaluation, whose fault failures are, where that was asked.
    """

    command: str
    seed: int
    n: int
    n_errors: int
    n_unjudged: int
    n_success: int
    seconds: float
    mean_turns: float | None
    mean_steps: float | None
    n_unparsed: int
    ended: Mapping[str, int]
    n_decisions: int | None = None
    tokens: TokenCost | None = None
    reports_true: float | None = None
    suite: str | None = None
    tasks: Mapping[str, TaskSummary] = field(default_factory=dict)
    faults: FaultSummary | None = None

    @classmethod
    def read(cls, file: Path) -> RunSummary:
        """The summary in a file.

        Raises:
            FileNotFoundError: The run has not ended.
            BadInput: The file is damaged.
        """
        try:
            stored = json.loads(file.read_text("utf-8"))
            optional = {k: stored.get(k) for k in ("reports_true", "suite", "n_decisions")}
            others = {"tasks", "faults", "tokens", *optional}
            names = {f.name for f in dataclasses.fields(cls)} - others
            tokens = stored.get("tokens")
            faults = stored.get("blame")
            return cls(
                **{name: stored[name] for name in names},
                **optional,
                tokens=None if tokens is None else _loaded_cost(tokens),
                tasks={n: TaskSummary.from_json(t) for n, t in stored.get("cells", {}).items()},
                faults=None if faults is None else FaultSummary.from_json(faults),
            )
        except FileNotFoundError:
            raise
        except KeyError as error:
            raise BadInput(f"'{file}' is damaged: it has no {error.args[0]}") from error
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise BadInput(f"'{file}' is damaged: {error}") from error

    def to_json(self) -> dict[str, object]:
        """The summary as it stands on disk."""
        checked = self.reports_true
        tasks = {name: task.to_json() for name, task in self.tasks.items()}
        return {
            "command": self.command,
            "seed": self.seed,
            "n": self.n,
            "n_errors": self.n_errors,
            "n_unjudged": self.n_unjudged,
            "n_success": self.n_success,
            "success_rate": self.success_rate,
            "success_ci95": self.success_ci95,
            "seconds": self.seconds,
            "mean_turns": self.mean_turns,
            "mean_steps": self.mean_steps,
            "n_unparsed": self.n_unparsed,
            **({} if self.n_decisions is None else {"n_decisions": self.n_decisions}),
            **({} if self.tokens is None else {"tokens": _stored_cost(self.tokens)}),
            **({} if checked is None else {"reports_true": checked}),
            "ended": dict(self.ended),
            **({} if self.suite is None else {"suite": self.suite, "cells": tasks}),
            **({} if self.faults is None else {"blame": self.faults.to_json()}),
        }


@dataclass(frozen=True)
class ClipCounts:
    """What a split of a data set of clips consists of.

    Attributes:
        clips: The number of clips.
        questions: The number of questions about them.
        yes: The share of questions whose answer is yes.
        kinds: The number of questions by kind.
    """

    clips: int
    questions: int
    yes: float
    kinds: Mapping[str, int]


_MISSING = object()


def _loaded_cost(stored: Mapping[str, Any]) -> TokenCost:
    # ``said`` is the key on disk; TokenCost refuses unknown keys.
    fields = {{"said": "generated"}.get(key, key): value for key, value in stored.items()}
    return TokenCost(**fields)


def _stored_cost(cost: TokenCost) -> dict[str, int]:
    stored = {"context": cost.context, "read": cost.read, "said": cost.generated}
    return stored | ({"thought": cost.thought} if cost.thought else {})


def _typed(stored: Mapping[str, Any], name: str, kind: type[T], *more: None) -> Any:
    """A value of a record. Raises ValueError where it is missing or of another type."""
    value = stored.get(name, _MISSING)
    if value is _MISSING:
        raise ValueError(f"it has no {name}")
    if value is None and more:
        return None
    # In JSON a whole number may stand for a float; in Python True is an int.
    kinds = (int, float) if kind is float else kind
    if not isinstance(value, kinds) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"its {name} is {value!r}")
    return value
