"""The report: runs of evaluate as one HTML page that needs no server, and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.references import label_of
from run.display.markdown import markdown_table
from run.evaluation.report_episodes import episode_list
from run.evaluation.report_players import EpisodePlayer, episode_players
from run.evaluation.report_plots import PagePlot, plots
from run.evaluation.report_summary import OutcomeRow, PairRow, headline, outcome_rows, pair_rows
from run.evaluation.results import EvaluationRun, evaluate_command
from run.evaluation.understanding import share_misunderstood
from run.storage.records import FaultTable, SuccessRate, TaskScore

TEMPLATE = Path(__file__).with_name("report.jinja")


@dataclass(frozen=True)
class RunRow:
    """A run: its settings, its overall numbers and the command that made it."""

    name: str
    suite: str
    planner: str
    actor: str
    reporter: str
    seed: str
    n: int
    n_errors: int
    overall: str
    turns: str
    unclear: str
    commit: str
    command: str


@dataclass(frozen=True)
class RateCell:
    """A run's rate on a task, as a number and as text."""

    rate: float
    text: str
    interval: str
    n: int
    errors: int


@dataclass(frozen=True)
class TaskRow:
    """A task, with a cell for each run; None where the run has no rate."""

    name: str
    columns: Sequence[RateCell | None]
    chance: str
    floor: str


@dataclass(frozen=True)
class FaultRow:
    """A part of the team, with its failures by way and in all."""

    part: str
    columns: Sequence[int]
    all: int


@dataclass(frozen=True)
class FaultView:
    """Whose fault a run's failures are."""

    run: str
    n: int
    ways: Sequence[str]
    rows: Sequence[FaultRow]


@dataclass(frozen=True)
class CostRow:
    """What an episode of a run costs on average; tokens are empty where they are unknown."""

    run: str
    decisions: str
    steps: str
    seconds: str
    context: str
    read: str
    thought: str
    generated: str
    cached: str


@dataclass(frozen=True)
class EvaluationReport:
    """All that the page shows."""

    title: str
    headline: Sequence[str]
    outcomes: Sequence[OutcomeRow]
    runs: Sequence[RunRow]
    tasks: Sequence[TaskRow]
    plots: Sequence[PagePlot]
    pairs: Sequence[PairRow]
    faults: Sequence[FaultView]
    costs: Sequence[CostRow]
    players: Sequence[EpisodePlayer]
    episodes: Mapping[str, object]

    @classmethod
    def of(cls, runs: Sequence[EvaluationRun], title: str, players: int) -> EvaluationReport:
        """The report of some runs.

        Args:
            runs: The runs; the others are compared with the first.
            title: The title of the page.
            players: How many episodes are shown step by step.
        """
        _name(runs)
        return cls(
            title,
            headline(runs),
            outcome_rows(runs),
            [_run_row(run) for run in runs],
            _task_rows(runs),
            plots(runs),
            pair_rows(runs),
            [
                _fault_view(run.name, run.summary.faults.all)
                for run in runs
                if run.summary.faults is not None and run.summary.faults.all.n
            ],
            [_cost_row(run) for run in runs],
            episode_players(runs, players),
            episode_list(runs),
        )

    def html(self) -> str:
        """The page."""
        from jinja2 import Environment, StrictUndefined

        environment = Environment(autoescape=True, undefined=StrictUndefined)
        template = environment.from_string(TEMPLATE.read_text("utf-8"))
        films = [{"frames": p.frames, "turns": p.turn_frames} for p in self.players]
        return template.render(report=self, films=films)

    def markdown(self) -> str:
        """The tables alone."""
        out = [f"# {self.title}", "", *(f"- {text}" for text in self.headline), ""]
        out += [f"- {r.name}: `{r.command}`, commit {r.commit or 'unknown'}" for r in self.runs]
        head = ["task", *(run.name for run in self.runs), "chance", "floor"]
        out += ["", *markdown_table(head, [self._markdown_row(row) for row in self.tasks]), ""]
        rows = [[r.name, r.n, r.n_errors, r.overall, r.turns, r.unclear] for r in self.runs]
        head = ["run", "episodes", "errors", "success", "turns", "unclear"]
        out += [*markdown_table(head, rows), ""]
        if self.pairs:
            head = ["task", "run", "pairs", "difference", "interval", "won", "lost", "p"]
            out += [*markdown_table(head, [pair.values for pair in self.pairs]), ""]
        if self.outcomes:
            head = ["what became of the episodes", *(run.name for run in self.runs)]
            rows = [[row.text, *row.counts] for row in self.outcomes]
            out += [*markdown_table(head, rows), ""]
        for view in self.faults:
            rows = [[row.part, *row.columns, row.all] for row in view.rows]
            out += [*markdown_table([f"at fault: {view.run}", *view.ways, "all"], rows), ""]
        return "\n".join(out)

    @staticmethod
    def _markdown_row(row: TaskRow) -> list[object]:
        cells = [f"{c.text} ({c.interval}), n {c.n}" if c else "" for c in row.columns]
        return [row.name, *cells, row.chance, row.floor]


def _name(runs: Sequence[EvaluationRun]) -> None:
    """Give each run a short name of its own."""
    for run in runs:
        run.name = str(run.config.get("name") or label_of(str(run.config.get("planner"))))
    names = [run.name for run in runs]
    for k, run in enumerate(runs):
        if names.count(run.name) > 1:
            run.name = f"{run.name} ({k + 1})"


def _run_row(run: EvaluationRun) -> RunRow:
    summary = run.summary
    suite, planner, actor, reporter, seed = (
        str(run.config.get(name)) for name in ("suite", "planner", "actor", "reporter", "seed")
    )
    turns = "" if summary.mean_turns is None else f"{summary.mean_turns:.1f}"
    share = share_misunderstood(summary)
    unclear = "" if share is None else f"{share:.1%}"
    return RunRow(
        *(run.name, suite, planner, actor, reporter, seed),
        *(summary.n, summary.n_errors, _rate_text(summary), turns, unclear),
        *(run.commit, evaluate_command(run.config)),
    )


def _rate_text(rate: SuccessRate) -> str:
    if rate.success_rate is None or rate.success_ci95 is None:
        return ""
    low, high = rate.success_ci95
    return f"{rate.success_rate:.3f} ({low:.3f} to {high:.3f})"


def _task_rows(runs: Sequence[EvaluationRun]) -> list[TaskRow]:
    """A row for each task that any run has, a column for each run."""
    rows = []
    for name in dict.fromkeys(name for run in runs for name in run.tasks):
        scores = [run.tasks.get(name) for run in runs]
        first = next(score for score in scores if score is not None)
        chance, floor = ("" if x is None else f"{x:.2f}" for x in (first.chance, first.floor))
        rows.append(TaskRow(name, [_rate_cell(score) for score in scores], chance, floor))
    return rows


def _rate_cell(score: TaskScore | None) -> RateCell | None:
    if score is None or score.success_rate is None or score.success_ci95 is None:
        return None
    low, high = score.success_ci95
    return RateCell(
        round(float(score.success_rate), 4),
        f"{score.success_rate:.3f}",
        f"{low:.3f} to {high:.3f}",
        score.n,
        score.n_errors,
    )


def _fault_view(name: str, table: FaultTable) -> FaultView:
    ways = list(dict.fromkeys(way for of_part in table.how.values() for way in of_part))
    rows = [
        FaultRow(part, [table.how[part].get(way, 0) for way in ways], n)
        for part, n in sorted(table.parts.items(), key=lambda item: -item[1])
    ]
    return FaultView(name, table.n, ways, rows)


def _cost_row(run: EvaluationRun) -> CostRow:
    n = max(len(run.episodes), 1)
    costs = [record.tokens for record in run.episodes if record.tokens is not None]

    def mean(name: str) -> str:
        return f"{sum(getattr(cost, name) for cost in costs) / len(costs):,.0f}" if costs else ""

    read, context = sum(cost.read for cost in costs), sum(cost.context for cost in costs)
    return CostRow(
        run.name,
        f"{sum(len(record.turns) for record in run.episodes) / n:.2f}",
        f"{sum(record.steps for record in run.episodes) / n:.1f}",
        f"{run.summary.seconds / n:.3f}",
        mean("context"),
        mean("read"),
        mean("thought"),
        mean("generated"),
        f"{1 - read / max(1, context):.2f}" if costs else "",
    )
