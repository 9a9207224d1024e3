"""``python -m run evaluate``: score a Planner, or any team, on the tasks of a suite."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from agents.planner.registry import unused
from run.display.live import say
from run.evaluation.evaluating import RecordedEvaluationSettings, play_evaluation
from run.evaluation.run_folder import report_errors
from run.evaluation.suites import find_suite, select_tasks, suite_names
from run.evaluation.tables import print_summary
from run.evaluation.teams import PARTS, find_team, team_names
from run.evaluation.understanding import report_misunderstandings
from run.storage.resume import check_resumed
from run.storage.unused import refuse


@dataclass(frozen=True)
class EvaluateSettings(RecordedEvaluationSettings):
    """Score a team on a suite: one success rate for each task, with its 95 % interval.

    A suite is a list of tasks, each a shift away from what a Planner was trained on: more items,
    irrelevant reports, other phrasings, logic, BabyAI's missions. Each task is played for EPISODES,
    shared evenly among its variants (phrasings, numbers of items). By default Actor and Reporter
    are privileged, so that every failure is the Planner's.

    Suites, with their tasks:
      planner: conditional, search-2-5, search-6-10, irrelevant, visual-conditional, paraphrases,
        property-words, and, or, not, two-deciders, order, babyai go to, babyai pick up,
        babyai put next to, babyai pick up then go to, babyai open
      planner-validation: conditional-paraphrases, search-paraphrases, property-words,
        visual-conditional, irrelevant, nor, three, commands, missions go to, missions pick up,
        missions put next, missions sequence, missions unlock,
        missions go to then pick up, after
      reasoning, language, worlds, robustness, reporter, babyai, baselines,
        scale: see --list

    The first scores the small Planner, with held-out items. The second is for choosing among
    checkpoints: it has no held-out item, and no phrasing or property word of the first. The others,
    and your own, are YAML files; those that come with Parley are in run/evaluation/suites.

    Examples:
      python -m run evaluate --planner oracle --episodes 20
      python -m run evaluate --planner smollm2-135m --tasks conditional,search-2-5
      python -m run evaluate --planner random --tasks "babyai go to,babyai open" --episodes 50
      python -m run evaluate planner-validation --planner my/checkpoint --episodes 100
      python -m run evaluate --actor learned --tasks conditional
      python -m run evaluate robustness --team small --tasks "late*,missing*" --episodes 100
      python -m run evaluate --list
      python -m run evaluate --resume runs/evaluate/20260102-030405-planner-oracle

    The last line of standard output is the run's folder. It contains episodes.jsonl (a line for
    each episode), summary.json, cells.csv, plots/cells.png, config.json, versions.json.

    A run that was stopped, even killed, continues with --resume; nothing finished is lost. To show
    the results of one or several runs: python -m run report RUN…
    """

    USUAL: ClassVar[tuple[str, ...]] = (
        "tasks",
        "planner",
        "actor",
        "reporter",
        "team",
        "episodes",
        "seed",
        "workers",
        "attribute-faults",
        "list",
        "resume",
    )

    list: bool = False
    """Only list the suites with their tasks, and the named teams."""

    def refuse_unused(self, given: Collection[str]) -> None:
        """Raise BadInput for an option that is given and that this run does not use."""
        reasons: dict[str, str] = {}
        if self.list:
            others = dict.fromkeys(set(given) - {"list"}, "--list only lists suites and teams")
            refuse(given, others)
            return
        # A team, or a task with its own, has its own Planner.
        if self.team is not None:
            for name, value in find_team(self.team).items():
                own = getattr(self if name in PARTS else self.language, name)
                if own != value:
                    reasons[name] = f"team '{self.team}' has {value}"
        else:
            suite = find_suite(self.suite)
            tasks = select_tasks(self.suite, suite, self.tasks)
            if not any(variant.team for task in tasks for variant in task.variants):
                reasons |= unused(self.planner, self.language.decide, self.language.think)
        if self.engine != "ray":
            reasons["address"] = "only --engine ray has a cluster"
        refuse(given, reasons)


def evaluate(settings: EvaluateSettings) -> Path:
    """Play the suite, or what is still missing of it, and return the run's folder.

    Raises:
        BadInput: Settings cannot be used, or no episode could be played.
    """
    if settings.list:
        _list()
        return Path()
    check_resumed(settings, "evaluate")
    played = play_evaluation(settings)
    print_summary(played.summary)
    report_misunderstandings(played.summary, played.records)
    say(str(played.folder.path))
    report_errors(played.records, played.folder)
    return played.folder.path


def _list() -> None:
    """Print the suites with their tasks, and the teams."""
    for name in suite_names():
        suite = find_suite(name)
        say(f"{name}: {suite.about}".rstrip(": "))
        for task in suite.tasks:
            chance = "" if task.chance is None else f", chance {task.chance:g}"
            variants = f", {len(task.variants)} variants" if len(task.variants) > 1 else ""
            say(f"  {task.name}: {task.variants[0].environment}{variants}{chance}")
    for name in team_names():
        settings = ", ".join(f"{k} {v}" for k, v in find_team(name).items())
        say(f"team {name}: {settings}")
