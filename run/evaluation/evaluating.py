"""An evaluation from its settings to its run folder, from the command line and from Python."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from agents.planner.registry import settled
from envs.errors import BadInput
from models.references import label_of
from run.display.messages import saying, warn
from run.evaluation.given import NO_PARTS, GivenParts
from run.evaluation.jobs import PlannerCache, check_teams, jobs_of, located, planners_of, with_items
from run.evaluation.run_folder import open_run_folder
from run.evaluation.runner import attribute_faults, play_jobs
from run.evaluation.settings import EvaluationSettings
from run.evaluation.suites import find_suite, select_tasks
from run.evaluation.tables import evaluation_summary, plot_tasks, write_table
from run.evaluation.teams import with_named_team
from run.storage.folder import RunFolder
from run.storage.records import EpisodeRecord, RunSummary
from run.storage.settings import shown


@dataclass(frozen=True)
class RecordedEvaluationSettings(EvaluationSettings):
    """What an evaluation plays, and where it is recorded."""

    FREE_ON_RESUME: ClassVar[tuple[str, ...]] = (
        "workers",
        "engine",
        "address",
        "max_misunderstood",
    )

    name: Annotated[str | None, shown("NAME", "suite and planner")] = None
    """End of the run folder's name."""

    runs_dir: Path = field(default=Path("runs"))
    """Folder in which run folders are made."""

    resume: Annotated[Path | None, shown("RUN_FOLDER", "none")] = None
    """Continue a run that was stopped, with its own settings."""


@dataclass(frozen=True)
class Evaluated:
    """An evaluation that has been played.

    Attributes:
        settings: What was played, and by whom, a named team resolved.
        folder: Its run folder.
        summary: Its summary.
        records: All its episodes, in the order of the suite.
    """

    settings: RecordedEvaluationSettings
    folder: RunFolder
    summary: RunSummary
    records: Sequence[EpisodeRecord]


def play_evaluation(
    settings: RecordedEvaluationSettings, given: GivenParts = NO_PARTS, progress: bool = True
) -> Evaluated:
    """Play a suite, or what is still missing of it, into its run folder.

    Args:
        settings: The settings; where they resume a run, they are that run's.
        given: The parts of the team that are objects.
        progress: Whether to show how far it is, on standard error.

    Raises:
        BadInput: Settings cannot be used.
    """
    # All input is checked before a model of gigabytes is loaded.
    suite = find_suite(settings.suite)
    for notice in suite.notices:
        warn(notice)
    settings = with_items(settings, suite)
    if settings.team is not None and settings.resume is None:
        settings = with_named_team(settings, settings.team)
    tasks = select_tasks(settings.suite, suite, settings.tasks)
    check_teams(settings, tasks)
    language = settled(settings.language, planners_of(settings, tasks))
    settings = dataclasses.replace(settings, language=language)
    jobs = [job for task in tasks for job in jobs_of(settings, suite, task, given)]
    for job in jobs:
        with located(job.variant):
            job.worlds(1)
        if settings.attribute_faults and job.actor.verbs is not None:
            raise BadInput(
                "--attribute-faults is for teams: with the actor 'direct' no part can be replaced"
            )
    alone = settings.workers == 1 and settings.engine == "processes"
    if not alone:
        given.check_that_they_travel()
    planners = PlannerCache(given)
    with open_run_folder("evaluate", settings, Path(settings.suite).stem) as folder:
        # Workers have their own Planners, and a resumed run may be past the first one.
        if not folder.resumed and alone:
            loading = saying(f"loading the Planner {jobs[0].planner}", quiet=not progress)
            with loading:
                planners.of(jobs[0])
        try:
            records = play_jobs(settings, jobs, planners, folder, given, progress)
            summary = evaluation_summary(settings, tasks, records)
            if settings.attribute_faults:
                faults = attribute_faults(settings, jobs, planners, records, folder, progress)
                summary = dataclasses.replace(summary, faults=faults)
        except BadInput as error:
            raise folder.stopped_by(error) from error
        folder.write_json("summary.json", summary.to_json())
        try:
            write_table(summary.tasks, folder)
            plot_tasks(f"{settings.suite} · {label_of(settings.planner)}", summary.tasks, folder)
        except OSError as error:
            trouble = BadInput(f"cannot write to {folder.path}: {error.strerror or error}")
            raise folder.stopped_by(trouble) from error
    return Evaluated(settings, folder, summary, records)
