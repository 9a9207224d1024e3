"""What a report opens with: who is better, where, by how much, and why the others fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from run.evaluation.fault_attribution import WAYS, way_of_failure
from run.evaluation.pairing import all_tasks, paired_outcomes
from run.evaluation.results import EvaluationRun
from run.evaluation.statistics import mcnemar, mean_rate, paired_difference
from run.evaluation.understanding import is_alarming, misunderstandings
from run.storage.records import EpisodeRecord, SuccessRate


@dataclass(frozen=True)
class OutcomeRow:
    """What became of episodes, with how many there are of it in each run."""

    text: str
    counts: Sequence[int]


@dataclass(frozen=True)
class PairRow:
    """How a run differs from the first on episodes that both have played."""

    task: str
    run: str
    n: int
    difference: str
    interval: str
    won: int
    lost: int
    p: str

    @property
    def values(self) -> list[object]:
        """The row of the Markdown table."""
        numbers = (self.difference, self.interval, self.won, self.lost, self.p)
        return [self.task, self.run, self.n, *numbers]


def outcome(record: EpisodeRecord) -> str:
    """What became of an episode, in a word or two: "success", "error", or how it failed."""
    if record.error is not None:
        return "error"
    if record.success is None:
        return "judged by nobody"
    return "success" if record.success else way_of_failure(record)


OUTCOMES = {
    "success": "succeeded",
    **{way: f"failed: {about}" for way, about in WAYS.items()},
    "judged by nobody": "were judged by nobody",
    "error": "broke (errors are no failures)",
}
"""What an episode can come to, as sentences of a table have it."""


def outcome_rows(runs: Sequence[EvaluationRun]) -> list[OutcomeRow]:
    """How episodes ended, run by run, without rows of zeros."""
    counted = [Counter(map(outcome, run.episodes)) for run in runs]
    rows = [OutcomeRow(text, [c[name] for c in counted]) for name, text in OUTCOMES.items()]
    unparsed = OutcomeRow("turns without a command", [run.summary.n_unparsed for run in runs])
    return [row for row in (*rows, unparsed) if any(row.counts)]


def headline(runs: Sequence[EvaluationRun]) -> list[str]:
    """The sentences that a report opens with."""
    shared = [name for name in runs[0].tasks if all(name in run.tasks for run in runs)]
    scores = {run.name: mean_rate(run.tasks[name] for name in shared) for run in runs}
    best = max(runs, key=lambda run: scores[run.name].success_rate or 0.0)
    others = [run for run in runs if run is not best]
    if all(set(run.tasks) == set(shared) for run in runs):
        said = [_about_best(best, others)]
    elif shared:
        text = rate_text(scores[best.name])
        where = f"the {len(shared)} tasks that all played" if len(shared) > 1 else shared[0]
        said = [f"{best.name} succeeds most often on {where}: {text}."]
    else:
        said = ["No task was played in all runs, so that none can be called the best."]
        others, best = [run for run in runs if run is not runs[0]], runs[0]
    said += [_against(best, run) for run in others]
    said += [text for run in runs for text in (_why(run), _unclear(run), _broken(run)) if text]
    return said


def _about_best(best: EvaluationRun, others: Sequence[EvaluationRun]) -> str:
    if best.summary.success_rate is None:
        return f"{best.name} has no episode that was judged."
    rates = [run.summary.success_rate for run in others]
    most = " most often" if others else ""
    if best.summary.success_rate in rates:
        equal = [run for run in others if run.summary.success_rate == best.summary.success_rate]
        most = f" most often, like {_some([run.name for run in equal])}"
    text = f"{best.name} succeeds{most}: {rate_text(best.summary)} of {best.summary.n:,} episodes"
    if not others and len(best.tasks) > 1:
        rated = [(t.success_rate, n) for n, t in best.tasks.items() if t.success_rate is not None]
        (low, worst), (high, easiest) = min(rated), max(rated)
        text += f"; best on {easiest} ({high:.3f}), worst on {worst} ({low:.3f})"
    missed = [
        name
        for name, task in best.tasks.items()
        if task.floor is not None and (task.success_rate or 0) < task.floor
    ]
    if missed and not others:
        text += f"; below the floor: {_some(missed)}"
    return text + "."


def _against(best: EvaluationRun, other: EvaluationRun) -> str:
    """How far another run is behind, where, and whether that is certain."""
    by_task = paired_outcomes(best.episodes, other.episodes)
    if not by_task:
        return (
            f"{other.name}: {rate_text(other.summary)} of {other.summary.n:,} episodes, none of "
            f"which {best.name} has played too, so that only the intervals can be compared."
        )
    whole = all_tasks(by_task)
    n, won, lost = whole.n, whole.second_only, whole.first_only
    difference, low, high = paired_difference(lost, won, n)
    numbers = f"{abs(difference):.3f} ({_ends(difference, low, high)})"
    text = f"{other.name}, with {rate_text(other.summary)}, "
    if low <= 0 <= high:
        return text + (
            f"does not differ with certainty: {numbers.partition(' (')[0]} "
            f"({low:+.3f} to {high:+.3f}) on the {n:,} episodes that both played, "
            f"p {_p(won, lost)}."
        )
    text += (
        f"is {'worse' if difference > 0 else 'better'} by {numbers} on the {n:,} episodes that "
        f"both played, p {_p(won, lost)}"
    )
    if len(by_task) > 1:
        gaps = sorted(
            ((pairs.first_only - pairs.second_only) / pairs.n, task)
            for task, pairs in by_task.items()
        )
        (least, easiest), (most, hardest) = gaps[0], gaps[-1]
        text += f"; most on {hardest} ({most:+.3f}), least on {easiest} ({least:+.3f})"
    return text + "."


def _ends(difference: float, low: float, high: float) -> str:
    ends = (low, high) if difference >= 0 else (-high, -low)
    return " to ".join(f"{x:.3f}" for x in ends)


def _why(run: EvaluationRun) -> str:
    """How a run's episodes fail, and whose fault that is where it was found out."""
    ways = Counter(outcome(record) for record in run.episodes)
    failed = {way: n for way, n in ways.most_common() if way in WAYS}
    if not failed:
        return ""
    said = ", ".join(f"{n:,} {WAYS[way]}" for way, n in failed.items())
    n = sum(failed.values())
    text = f"Why {run.name} fails ({n:,} {'times' if n > 1 else 'time'}): {said}"
    if run.summary.faults is not None and run.summary.faults.all.n:
        table = run.summary.faults.all
        parts = sorted(table.parts.items(), key=lambda item: -item[1])
        blamed = ", ".join(f"{part} {k}" for part, k in parts if k)
        text += f"; at fault in {table.n} that were played again: {blamed}"
    return text + "."


def _unclear(run: EvaluationRun) -> str:
    """What of a run's decisions held no command, where that is more than a little."""
    if not is_alarming(run.summary):
        return ""
    return f"Warning, {run.name}: {misunderstandings(run.episodes)}."


def _broken(run: EvaluationRun) -> str:
    errors = [record.error.strip() for record in run.episodes if record.error is not None]
    if not errors:
        return ""
    lines = Counter(text.splitlines()[-1] if text else "unknown" for text in errors)
    ((line, n),) = lines.most_common(1)
    return f"{len(errors):,} episodes of {run.name} broke, {n:,} of them with: {line[:300]}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more


def rate_text(rate: SuccessRate) -> str:
    """A rate with its interval; empty where there is none."""
    if rate.success_rate is None or rate.success_ci95 is None:
        return ""
    low, high = rate.success_ci95
    return f"{rate.success_rate:.3f} ({low:.3f} to {high:.3f})"


def pair_rows(runs: Sequence[EvaluationRun]) -> list[PairRow]:
    """How the other runs differ from the first, over all tasks and task by task."""
    rows = []
    for run in runs[1:]:
        by_task = paired_outcomes(runs[0].episodes, run.episodes)
        counted = [*by_task.items(), *([("all", all_tasks(by_task))] if len(by_task) > 1 else [])]
        for task, pairs in counted:
            n, won, lost = pairs.n, pairs.second_only, pairs.first_only
            difference, low, high = paired_difference(won, lost, n)
            interval = f"{low:+.3f} to {high:+.3f}"
            numbers = (n, f"{difference:+.3f}", interval, won, lost, _p(won, lost))
            rows.append(PairRow(task, run.name, *numbers))
    return rows


def _p(won: int, lost: int) -> str:
    return f"{mcnemar(won, lost):.2g}"
