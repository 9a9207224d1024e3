"""Results: runs of evaluate as they are read back, and the small files that are kept of them."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.errors import BadInput
from models.references import label_of
from run.evaluation.settings import EvaluationSettings
from run.evaluation.suites import Suite, find_suite
from run.evaluation.teams import PARTS
from run.evaluation.understanding import share_misunderstood
from run.storage.deprecations import current_settings
from run.storage.folder import read_config
from run.storage.records import EpisodeRecord, RunSummary, TaskScore, TaskSummary, read_episodes
from run.storage.settings import to_json

StoredConfig = Mapping[str, Any]
"""The settings of an evaluation as ``config.json`` has them, under their current names. Older runs
lack settings that did not exist yet."""

# Settings that say where files are on one machine or how many play at once, not what is measured.
MACHINE_SETTINGS = (
    "runs_dir",
    "resume",
    "name",
    "workers",
    "engine",
    "address",
    "parallel",
    "max_misunderstood",
)
# What a command says by its first word or does not repeat.
_NOT_IN_COMMAND = (
    *("suite", "name", "runs_dir", "resume", "workers", "engine", "address", "list", "language"),
)
# Who played a suite whose tasks have a team each.
OWN_TEAMS = "as named"


@dataclass
class EvaluationRun:
    """A run of evaluate that has ended.

    Attributes:
        path: Its run folder.
        config: Its settings.
        summary: Its summary.
        episodes: Its episodes.
        commit: The git commit it was made at; empty where unknown.
        name: What a page calls it.
    """

    path: Path
    config: StoredConfig
    summary: RunSummary
    episodes: Sequence[EpisodeRecord]
    commit: str
    name: str = ""

    @property
    def tasks(self) -> Mapping[str, TaskSummary]:
        """What each task came to."""
        return self.summary.tasks

    @classmethod
    def read(cls, path: Path) -> EvaluationRun:
        """The run in a folder.

        Raises:
            BadInput: It is no run folder of evaluate, is damaged, or the run has not ended.
        """
        config = read_config(path, "evaluate")
        try:
            summary = RunSummary.read(path / "summary.json")
        except FileNotFoundError as error:
            raise BadInput(f"the run '{path}' has not ended; go on with --resume") from error
        episodes = read_episodes(path / "episodes.jsonl", needs_task=True)
        try:
            versions = json.loads((path / "versions.json").read_text("utf-8"))
            commit = str(versions.get("git_commit") or "")[:9]
        except (OSError, ValueError, AttributeError):
            commit = ""
        return cls(path, config, summary, episodes, commit)


def evaluate_command(config: StoredConfig) -> str:
    """The command line of a run: who plays, and all settings that are not the defaults.

    What a team stands for is not repeated.
    """
    default = to_json(EvaluationSettings())
    usual_options = default["language"]
    names = {field.name for field in dataclasses.fields(EvaluationSettings)}
    own = {k: v for k, v in config.items() if k in names and k not in _NOT_IN_COMMAND}
    given = {k: v for k, v in own.items() if v != default.get(k)}
    if config.get("team"):
        given = {k: v for k, v in given.items() if k not in PARTS}
    else:
        given |= {k: config.get(k) for k in PARTS}
        options = config.get("language") or {}
        given |= {k: v for k, v in options.items() if k != "seed" and v != usual_options.get(k)}
    given |= {k: config.get(k) for k in ("episodes", "seed")}
    words = ["python -m run evaluate", shlex.quote(str(config.get("suite")))]
    words += [f"--{k.replace('_', '-')} {shlex.quote(str(v))}" for k, v in given.items()]
    return " ".join(words)


@dataclass(frozen=True)
class KeptResult:
    """What is kept of a run: a JSON file in docs/results.

    Attributes:
        config: Its settings.
        commit: The git commit it was made at.
        date: The day it was made; empty where unknown.
        n: How many episodes were played.
        n_errors: How many of them broke.
        seconds: Time of play.
        misunderstood: The share of decisions that held no command; None in older results.
        tasks: The score of each task (``cells`` on disk).
    """

    config: StoredConfig
    commit: str
    date: str
    n: int
    n_errors: int
    seconds: float
    tasks: Mapping[str, TaskScore]
    misunderstood: float | None = None

    @classmethod
    def of(cls, run: EvaluationRun) -> KeptResult:
        """What to keep of a run."""
        date = re.match(r"(\d{4})(\d\d)(\d\d)-", run.path.resolve().name)
        return cls(
            {k: v for k, v in run.config.items() if k not in MACHINE_SETTINGS},
            run.commit,
            "-".join(date.groups()) if date else "",
            run.summary.n,
            run.summary.n_errors,
            run.summary.seconds,
            run.summary.tasks,
            share_misunderstood(run.summary),
        )

    @classmethod
    def read(cls, file: Path) -> KeptResult:
        """The result in a file. Raises BadInput where the file holds none."""
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
            names = ("config", "commit", "date", "n", "n_errors", "seconds", "cells")
            missing = [name for name in names if name not in stored]
            if missing:
                raise ValueError(f"it has no {missing[0]}")
            return cls(
                config=current_settings("evaluate", stored["config"]),
                commit=stored["commit"],
                date=stored["date"],
                n=stored["n"],
                n_errors=stored["n_errors"],
                seconds=stored["seconds"],
                tasks={n: TaskScore.from_json(task) for n, task in stored["cells"].items()},
                misunderstood=stored.get("misunderstood"),
            )
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise BadInput(f"'{file}' is no result of evaluate: {error}") from error

    def to_json(self) -> dict[str, object]:
        """The result as it stands on disk."""
        return {
            "config": dict(self.config),
            "commit": self.commit,
            "date": self.date,
            "n": self.n,
            "n_errors": self.n_errors,
            "seconds": self.seconds,
            **({} if self.misunderstood is None else {"misunderstood": self.misunderstood}),
            "cells": {name: task.score_json() for name, task in self.tasks.items()},
        }

    def file_name(self) -> str:
        """The name of its file: runs of one command have one file."""
        command = evaluate_command(self.config).partition("evaluate ")[2].replace("--", "")
        stem = re.sub(r"[^\w.=-]+", "-", command)
        return f"{stem[:120]}.json"

    def write(self, folder: Path) -> None:
        """Write the file, in place of an older run of the same command."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.to_json(), indent=1, ensure_ascii=False)
        (folder / self.file_name()).write_text(text + "\n", encoding="utf-8")

    @property
    def suite(self) -> Suite | None:
        """The suite; None where its file is not here any more."""
        try:
            return find_suite(str(self.config.get("suite")))
        except BadInput:
            return None

    @property
    def has_own_teams(self) -> bool:
        """Whether every task of the suite has its own team, so that the user's plays none."""
        suite = self.suite
        return suite is not None and all(v.team for task in suite.tasks for v in task.variants)

    @property
    def team(self) -> str:
        """Who played, in a few words."""
        if self.has_own_teams:
            return OWN_TEAMS
        if self.config.get("team"):
            return Path(str(self.config["team"])).stem
        examples = (self.config.get("language") or {}).get("examples")
        more = "" if examples is None else f", {examples} examples"
        planner, *others = (
            label_of(str(self.config.get(part))) for part in ("planner", "actor", "reporter")
        )
        return " + ".join([f"{planner}{more}", *(name for name in others if name != "scripted")])


def read_results(folder: Path) -> list[KeptResult]:
    """The results in a folder, by name of the file.

    Raises:
        BadInput: A file is damaged, or there is none.
    """
    results = [KeptResult.read(file) for file in sorted(folder.glob("*.json"))]
    if not results:
        raise BadInput(f"there are no results in '{folder}'; add some with --add RUN_FOLDER")
    return results


def in_suite_order(names: Iterable[str], suite: Suite | None) -> list[str]:
    """Names of tasks in the order of their suite, unknown ones last."""
    order = [] if suite is None else [task.name for task in suite.tasks]
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))
