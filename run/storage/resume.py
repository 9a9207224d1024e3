"""How a command goes on: ``--resume RUN_FOLDER`` takes its settings from the folder.

The arguments are parsed on top of the stored settings, so an option that is given and contradicts
them shows, even where its value is the default. One rule for every command: the class of settings
only lists, in ``FREE_ON_RESUME``, the settings that may differ.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import tyro

from envs.errors import BadInput
from run.storage.folder import read_config
from run.storage.settings import differences, from_json

OPTION = "--resume"
# What no command minds on resume: where the run lies, and which folder it is.
ALWAYS_FREE = ("resume", "runs_dir", "name")


class ResumableSettings(Protocol):
    """The settings of a command that has ``--resume``: a frozen dataclass."""

    FREE_ON_RESUME: ClassVar[tuple[str, ...]]
    """Settings beside ``ALWAYS_FREE`` that do not change what a run computes."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def resume(self) -> Path | None: ...


S = TypeVar("S", bound=ResumableSettings)


def resume_folder(cls: type, arguments: Sequence[str]) -> Path | None:
    """The run folder that ``--resume`` names in a command's arguments, or None.

    Args:
        cls: The command's class of settings.
        arguments: The arguments, under their current names.
    """
    if "resume" not in {f.name for f in dataclasses.fields(cls)}:
        return None
    if "-h" in arguments or "--help" in arguments:
        return None
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        option, equals, value = argument.partition("=")
        if option == OPTION and (value if equals else following):
            return Path(value if equals else following)
    return None


def stored_settings(cls: type[S], command: str, folder: Path) -> S:
    """The settings that a run began with, ready to go on.

    Args:
        cls: The command's class of settings.
        command: The command's name.
        folder: The run folder.

    Raises:
        BadInput: ``folder`` is no run folder of this command and version, or is damaged.
    """
    config = {**read_config(folder, command), "resume": str(folder)}
    try:
        return from_json(cls, config)
    except (TypeError, AttributeError) as error:
        raise BadInput(f"config.json of '{folder}' is damaged: {error}") from error


def resumed_settings(cls: type[S], command: str, folder: Path, parse: Callable[[S], S]) -> S:
    """The settings to go on with: those of the folder, and what may differ as it is given.

    Args:
        cls: The command's class of settings.
        command: The command's name.
        folder: The run folder.
        parse: Parses the command's arguments on top of default settings.

    Raises:
        BadInput: Something is given that contradicts the folder's settings.
    """
    stored = stored_settings(cls, command, folder)
    # An appended option would be added to what is stored, so it starts from nothing.
    appended = {f: getattr(stored, f) for f in _appended(cls)}
    given = parse(_replaced(stored, dict.fromkeys(appended, ())))
    given = _replaced(given, {f: v for f, v in appended.items() if not getattr(given, f)})
    _refuse_differences(given, stored)
    return given


def check_resumed(settings: ResumableSettings, command: str) -> None:
    """Check that complete settings are those of the folder that they go on with.

    Raises:
        BadInput: A setting that may not differ does.
    """
    if settings.resume is not None:
        _refuse_differences(settings, stored_settings(type(settings), command, settings.resume))


def free_on_resume(cls: type[ResumableSettings]) -> Collection[str]:
    """The names of the settings that may differ from those of the folder."""
    return {*ALWAYS_FREE, *cls.FREE_ON_RESUME}


def _refuse_differences(given: ResumableSettings, stored: ResumableSettings) -> None:
    differing = differences(given, stored, free_on_resume(type(stored)))
    if differing:
        raise BadInput(
            f"{OPTION} takes its settings from the folder; these differ: {', '.join(differing)}"
        )


def _appended(cls: type) -> list[str]:
    """The settings of which an option gives one value each time."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return [
        field.name
        for field in dataclasses.fields(cls)
        if tyro.conf.UseAppendAction in getattr(hints[field.name], "__metadata__", ())
    ]


def _replaced(settings: S, changes: dict[str, Any]) -> S:
    return typing.cast(S, dataclasses.replace(typing.cast(Any, settings), **changes))
