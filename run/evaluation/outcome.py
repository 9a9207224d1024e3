"""The result of an evaluation, as Python gets it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from envs.errors import BadInput
from run.evaluation.pairing import all_tasks, paired_outcomes
from run.evaluation.results import EvaluationRun
from run.evaluation.statistics import mcnemar
from run.evaluation.tables import summary_text
from run.evaluation.understanding import (
    is_alarming,
    misunderstandings,
    share_misunderstood,
)
from run.storage.records import EpisodeRecord, RunSummary

if TYPE_CHECKING:
    import pandas

WIDTH = 100  # of a printed table


@dataclass(frozen=True)
class TaskResult:
    """What a team did in one task of a suite.

    Attributes:
        task: The task's name.
        n: How many episodes were played.
        errors: How many of them broke, which count as neither success nor failure.
        success: The success rate of the others; None where all broke.
        interval: Its 95 % interval.
        turns: The mean number of commands in an episode.
        misunderstood: The share of decisions that held no command.
        floor: The rate that a good Planner must reach, where one is set.
        chance: The rate that needs no skill, where it is known.
    """

    task: str
    n: int
    errors: int
    success: float | None
    interval: tuple[float, float] | None
    turns: float | None
    misunderstood: float | None
    floor: float | None
    chance: float | None


@dataclass(frozen=True)
class ComparedTask:
    """The same episodes of a task, played by two teams.

    Attributes:
        task: The task's name; ``all`` for all of them together.
        n: How many episodes both have played without breaking.
        first: The first team's success rate in these.
        second: The second team's.
        won: How many only the first won.
        lost: How many only the second won.
        p: The two-sided p-value of McNemar's exact test.
    """

    task: str
    n: int
    first: float
    second: float
    won: int
    lost: int
    p: float


class TeamComparison(tuple[ComparedTask, ...]):
    """Two teams task by task, the last row for all of them together; printed, it is a table."""

    def __str__(self) -> str:
        width = max(len(row.task) for row in self)
        lines = [f"{'task':<{width}}  {'n':>5}  first  second  only first  only second      p"]
        lines += [
            f"{r.task:<{width}}  {r.n:>5}  {r.first:5.3f}  {r.second:6.3f}  {r.won:>10}  "
            f"{r.lost:>11}  {r.p:5.3g}"
            for r in self
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


@dataclass(frozen=True, repr=False)
class EvaluationResult:
    """The result of an evaluation. Printed, it is a table.

    Attributes:
        folder: The run folder, for ``report``, ``leaderboard`` and resuming.
        planner: The Planner's name.
        summary: Everything of ``summary.json``.
        episodes: Every episode: what was said, how it ended, and of those that broke the traceback.
    """

    folder: Path
    planner: str
    summary: RunSummary
    episodes: Sequence[EpisodeRecord]

    @classmethod
    def read(cls, folder: Path | str) -> EvaluationResult:
        """The result in the run folder of an evaluation that has ended.

        Raises:
            BadInput: It is no such folder, is damaged, or the run has not ended.
        """
        run = EvaluationRun.read(Path(folder))
        return cls(run.path, str(run.config.get("planner")), run.summary, run.episodes)

    @property
    def n(self) -> int:
        """How many episodes were played."""
        return self.summary.n

    @property
    def n_errors(self) -> int:
        """How many episodes broke, which count as neither success nor failure."""
        return self.summary.n_errors

    @property
    def success_rate(self) -> float | None:
        """The share of all episodes that succeeded; None where all of them broke."""
        return self.summary.success_rate

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the success rate (Wilson)."""
        return _pair(self.summary.success_ci95)

    @property
    def tasks(self) -> tuple[TaskResult, ...]:
        """A row for each task, in the order of the suite."""
        return tuple(
            TaskResult(
                name,
                task.n,
                task.n_errors,
                task.success_rate,
                _pair(task.success_ci95),
                task.turns,
                task.misunderstood,
                task.floor,
                task.chance,
            )
            for name, task in self.summary.tasks.items()
        )

    def compare(self, other: EvaluationResult) -> TeamComparison:
        """Compare with another team, episode by episode.

        Args:
            other: Its result on the same suite with the same seed.

        Raises:
            BadInput: The two have no episode in common.
        """
        by_task = paired_outcomes(self.episodes, other.episodes)
        if not by_task:
            raise BadInput(
                "the two results have no episode in common; compare runs of one suite and one seed"
            )
        rows = []
        for task, pairs in (
            *by_task.items(),
            *([("all", all_tasks(by_task))] if len(by_task) > 1 else []),
        ):
            won, lost = pairs.first_only, pairs.second_only
            first, second = ((pairs.both + alone) / pairs.n for alone in (won, lost))
            rows.append(ComparedTask(task, pairs.n, first, second, won, lost, mcnemar(won, lost)))
        return TeamComparison(rows)

    def to_pandas(self) -> pandas.DataFrame:
        """The rows of `tasks` as a data frame, the interval as the columns ``low`` and ``high``.

        Raises:
            BadInput: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise BadInput("to_pandas() needs pandas: pip install pandas") from error
        rows = []
        for task in self.tasks:
            low, high = task.interval or (None, None)
            row = {"task": task.task, "n": task.n, "errors": task.errors, "success": task.success}
            row |= {"low": low, "high": high, "turns": task.turns}
            row |= {"misunderstood": task.misunderstood}
            rows.append({**row, "floor": task.floor, "chance": task.chance})
        return pandas.DataFrame(rows)

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=WIDTH, color_system=None, force_jupyter=False, force_terminal=False)
        text = f"{self.summary.suite} · {self.planner}\n{summary_text(self.summary, console)}"
        unclear = misunderstandings(self.episodes)
        if unclear:
            text += f"\n{'warning: ' if is_alarming(self.summary) else ''}{unclear}"
        broken = [e.error for e in self.episodes if e.error is not None]
        if broken:
            text += (
                f"\n{len(broken)} of {self.n} episodes broke, the first with: "
                f"{broken[0].strip().splitlines()[-1]}"
            )
        return text

    def __repr__(self) -> str:
        rate = "no rate" if self.success_rate is None else f"success {self.success_rate:.3f}"
        return (
            f"<EvaluationResult {self.summary.suite}, {self.planner}: {rate} in {self.n} episodes, "
            f"{self.n_errors} errors, {str(self.folder)!r}>"
        )

    def _repr_html_(self) -> str:
        def cell(value: object) -> str:
            return "" if value is None else html.escape(str(value))

        def row(t: TaskResult) -> tuple[object, ...]:
            interval = None if t.interval is None else f"{t.interval[0]:.3f} to {t.interval[1]:.3f}"
            success = None if t.success is None else f"{t.success:.3f}"
            turns = None if t.turns is None else f"{t.turns:.1f}"
            unclear = "" if t.misunderstood is None else f"{t.misunderstood:.1%}"
            return t.task, t.n, t.errors, success, interval, turns, unclear, t.floor, t.chance

        whole = TaskResult(
            *("all", self.n, self.n_errors, self.success_rate, self.interval),
            *(self.summary.mean_turns, share_misunderstood(self.summary), None, None),
        )
        head = [
            "task",
            "n",
            "errors",
            "success",
            "95 % interval",
            "turns",
            "unclear",
            "floor",
            "chance",
        ]
        lines = ["".join(f"<th>{name}</th>" for name in head)]
        lines += ["".join(f"<td>{cell(v)}</td>" for v in row(t)) for t in (*self.tasks, whole)]
        title = html.escape(f"{self.summary.suite} · {self.planner}")
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        return f"<table><caption>{title}</caption>{body}</table>"


def _pair(interval: Sequence[float] | None) -> tuple[float, float] | None:
    return None if interval is None else (interval[0], interval[1])
