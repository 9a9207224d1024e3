"""All episodes of a report, as data that its page lists and filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from run.evaluation.report_summary import OUTCOMES, outcome
from run.evaluation.results import EvaluationRun
from run.storage.records import EpisodeRecord


def episode_list(runs: Sequence[EvaluationRun]) -> Mapping[str, object]:
    """The episodes of all runs, failures first.

    Returns:
        ``runs``, ``tasks`` and ``outcomes`` are names; each of ``episodes`` is a list: run, task
        and outcome (numbers of those names), seed, the task sentence, the opening report, the
        turns (the Planner's text, whether it was a command, and the report), steps, and the
        traceback.
    """
    tasks = list(dict.fromkeys(r.task_name or "" for run in runs for r in run.episodes))
    found = [(k, record, outcome(record)) for k, run in enumerate(runs) for record in run.episodes]
    names = list(OUTCOMES)
    last = ("success", "judged by nobody")
    rank = {name: (name in last, k) for k, name in enumerate(names)}
    place = {name: k for k, name in enumerate(tasks)}
    found.sort(key=lambda item: (rank[item[2]][0], place[item[1].task_name or ""], item[1].seed))
    return {
        "runs": [run.name for run in runs],
        "tasks": tasks,
        "outcomes": names,
        "episodes": [
            _row(k, place[record.task_name or ""], names.index(came_to), record)
            for k, record, came_to in found
        ],
    }


def _row(run: int, task: int, came_to: int, record: EpisodeRecord) -> list[object]:
    turns = [
        [t.utterance, int(t.command is not None), t.report, *([t.thought] if t.thought else [])]
        for t in record.turns
    ]
    about = [record.seed, record.task, record.opening, turns, record.steps, record.error or ""]
    return [run, task, came_to, *about]
