"""The run folders of the commands that play episodes: opened, and their errors reported."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from agents.planner.options import PlannerOptions
from envs.errors import BadInput
from models.references import file_name, label_of
from run.display.messages import warn
from run.storage.folder import RunFolder, without_keys
from run.storage.records import EpisodeRecord
from run.storage.settings import DataclassSettings, to_json


class PlayingSettings(DataclassSettings, Protocol):
    """What the settings of a command that plays episodes have."""

    @property
    def planner(self) -> str: ...
    @property
    def language(self) -> PlannerOptions: ...
    @property
    def name(self) -> str | None: ...
    @property
    def runs_dir(self) -> Path: ...
    @property
    def resume(self) -> Path | None: ...


def open_run_folder(command: str, settings: PlayingSettings, title: str) -> RunFolder:
    """The run's folder: a new one, or the one to go on with.

    Args:
        command: The command's name.
        settings: Its settings.
        title: What is played; with the Planner, the default end of the folder's name.

    Raises:
        BadInput: The settings hold a key, or the folder cannot be opened.
    """
    if settings.resume is not None:
        folder = RunFolder.resume(settings.resume, command)
        if changed := folder.changed_versions():
            warn(f"this run began with other versions: {', '.join(changed)}")
        return folder
    default = file_name(f"{title}-{label_of(settings.planner)}")
    name = settings.name if settings.name is not None else default
    _refuse_keys(settings)
    return RunFolder.new(settings.runs_dir, command, name, to_json(settings), resumable=True)


def _refuse_keys(settings: PlayingSettings) -> None:
    """Raise BadInput where a setting holds a key, which config.json would keep."""
    url = settings.language.base_url or ""
    if urlsplit(url).password or re.search(r"[?&][^=&]*(key|token|secret)[^=&]*=", url, re.I):
        raise BadInput("--base-url holds a key or password; keys come from the environment only")
    text = json.dumps(to_json(settings))
    if without_keys(text) != text:
        raise BadInput("a setting holds a key; keys come from the environment only")


def report_errors(records: Sequence[EpisodeRecord], folder: RunFolder) -> None:
    """Warn of episodes that broke. Raises BadInput where all of them did."""
    errors = [record.error for record in records if record.error is not None]
    if len(errors) == len(records):
        raise BadInput(
            f"all {len(errors)} episodes broke, the first with "
            f"'{errors[0].strip().splitlines()[-1]}'; every traceback is in {folder.lines_file}, "
            f"and once that is mended go on with: {folder.how_to_resume()}"
        )
    if errors:
        warn(
            f"{len(errors)} of {len(records)} episodes broke and count as neither success nor "
            f"failure; their tracebacks are in {folder.lines_file}, and they are played again "
            f"by: {folder.how_to_resume()}"
        )
