"""Plays an evaluation into its run folder: what is missing of it, then whose fault failures are."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Console

from agents.episode import Episode
from agents.team import Callback
from envs.errors import BadInput
from run.display.live import say
from run.display.progress import ProgressBar
from run.display.state import CallbackList
from run.evaluation.fault_attribution import (
    FaultCase,
    fault_table,
    parts_at_fault,
    way_of_failure,
)
from run.evaluation.given import NO_PARTS, GivenParts
from run.evaluation.jobs import EvaluationJob, PlannerCache, group_player
from run.evaluation.recording import EpisodeRecorder, finished_episodes, missing_groups
from run.evaluation.settings import EvaluationSettings
from run.evaluation.understanding import UnderstandingMonitor
from run.evaluation.workers import play_in_parallel
from run.storage.folder import RunFolder
from run.storage.records import EpisodeRecord, FaultRecord, FaultSummary


def play_jobs(
    settings: EvaluationSettings,
    jobs: Sequence[EvaluationJob],
    planners: PlannerCache,
    folder: RunFolder,
    given: GivenParts = NO_PARTS,
    show: bool = True,
) -> list[EpisodeRecord]:
    """Play the episodes that are missing in a run folder.

    Args:
        settings: The evaluation's settings.
        jobs: Its jobs, in the order of the suite.
        planners: Makes the Planners, where this process plays itself.
        folder: The run folder.
        given: The parts that are objects, for workers in other processes.
        show: Whether to show how far it is, on standard error.

    Returns:
        The records of all episodes, in the order of the suite.

    Raises:
        BadInput: The folder holds episodes of other jobs, or something of the user's is wrong.
    """
    monitor = UnderstandingMonitor(settings.max_misunderstood)
    order = {job.key: k for k, job in enumerate(jobs)}
    records = finished_episodes(folder, needs_task=True)
    done: dict[tuple[str, str], set[int]] = {key: set() for key in order}
    for record in records:
        if record.key not in done:
            task, variant = record.key
            raise BadInput(f"suite '{settings.suite}' no longer has {task}, {variant}; start anew")
        done[record.key].add(record.episode)
    total = sum(job.episodes for job in jobs)
    if folder.resumed and show:
        say(f"{len(records)} of {total} episodes are finished")
    with _ProgressCallback(total, records, show) as progress:
        if settings.workers > 1 or settings.engine == "ray":
            items = [
                (k, indices)
                for k, job in enumerate(jobs)
                for indices in missing_groups(job.episodes, settings.parallel, done[job.key])
            ]
            groups = play_in_parallel(settings, items, given)
            for (k, _), group in zip(items, groups, strict=True):
                key = jobs[k].key
                progress.name(*key)
                for record in group:
                    if record.episode not in done[key]:
                        folder.append(record)
                        records.append(record)
                progress.update()
        else:
            for job in jobs:
                progress.name(*job.key)
                missing = list(missing_groups(job.episodes, settings.parallel, done[job.key]))
                if not missing:
                    continue
                play = group_player(settings, job, planners)
                for indices in missing:
                    recorder = EpisodeRecorder(folder, indices, done[job.key], records, job.key)
                    play(recorder, CallbackList([monitor, progress]))
    return sorted(records, key=lambda record: (order[record.key], record.episode))


def attribute_faults(
    settings: EvaluationSettings,
    jobs: Sequence[EvaluationJob],
    planners: PlannerCache,
    records: Sequence[EpisodeRecord],
    folder: RunFolder,
    show: bool = True,
) -> FaultSummary:
    """Attribute the first failures of each task to a part of the team, and write ``blame.jsonl``.

    Args:
        settings: The evaluation's settings, which say how many failures of each task.
        jobs: Its jobs.
        planners: Makes the Planners.
        records: The records of all episodes.
        folder: The run folder.
        show: Whether to print how far it is.
    """
    faults: list[FaultRecord] = []
    left = dict.fromkeys((job.task.name for job in jobs), settings.attribute_faults)
    for job in jobs:
        failed = [r for r in records if r.key == job.key and r.success is False]
        failed = failed[: left[job.task.name]]
        left[job.task.name] -= len(failed)
        if not failed:
            continue
        if show:
            say(f"attributing failures: {' '.join(dict.fromkeys(job.key))}, {len(failed)}")
        # The case is not kept, since it holds a Planner (see `PlannerCache`).
        parts = parts_at_fault(_fault_case(settings, job, planners), failed)
        faults += [FaultRecord(r, p, way_of_failure(r)) for r, p in zip(failed, parts, strict=True)]
    text = "".join(json.dumps(fault.to_json()) + "\n" for fault in faults)
    folder.part("blame.jsonl").write_text(text, encoding="utf-8")
    by_task = {name: [f for f in faults if f.episode.task_name == name] for name in left}
    return FaultSummary(
        fault_table(faults), {name: fault_table(some) for name, some in by_task.items() if some}
    )


def _fault_case(
    settings: EvaluationSettings, job: EvaluationJob, planners: PlannerCache
) -> FaultCase:
    return FaultCase(
        planners.of(job),
        job.actor,
        job.reporter,
        job.worlds,
        settings.max_turns,
        settings.command_steps,
    )


class _ProgressCallback(Callback):
    """Shows on standard error how many of all episodes have ended."""

    def __init__(self, total: int, records: Sequence[EpisodeRecord], show: bool) -> None:
        """Make a bar.

        Args:
            total: How many episodes there are.
            records: Those of the episodes that have ended so far.
            show: Whether anything is shown at all.
        """
        self._records = records
        self._name = ""
        self._bar = ProgressBar(
            # Never a widget of a notebook: a run may be anywhere, in a thread too.
            Console(stderr=True, quiet=not show, force_jupyter=False),
            "",
            total,
            "episodes",
            start=len(records),
            columns=("count", "rate", "remaining"),
            format_rate="{:.1f}".format,
        )

    def __enter__(self) -> _ProgressCallback:
        self._bar.__enter__()
        return self

    def __exit__(self, *why: object) -> None:
        self._bar.__exit__(*why)

    def name(self, task: str, variant: str) -> None:
        """Show which variant is being played."""
        self._name = task if task == variant else f"{task}: {variant}"
        self._bar.describe(self._name)

    def on_end(self, i: int, episode: Episode) -> None:
        self.update()

    def update(self) -> None:
        """Show how many episodes have ended."""
        self._bar.update(self._name, len(self._records))
