"""Resuming a run: ``--resume RUN_FOLDER`` takes the settings from the folder.

The arguments are parsed on top of the stored settings, so that an option that contradicts them is
detected, even if its value is the default. The rule is the same for every command: its class of
settings only lists, in ``FREE_ON_RESUME``, the settings that may differ.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import tyro

from envs.errors import BadInput
from run.storage.folder import read_config
from run.storage.settings import DataclassSettings, differences, from_json

OPTION = "--resume"
# Settings that may differ in every command: where the run folder is.
ALWAYS_FREE = ("resume", "runs_dir", "name", "force")


class ResumableSettings(DataclassSettings, Protocol):
    """The settings of a command that has ``--resume``: a frozen dataclass."""

    FREE_ON_RESUME: ClassVar[tuple[str, ...]]
    """Settings beside ``ALWAYS_FREE`` that do not change what a run computes."""

    @property
    def resume(self) -> Path | None: ...


S = TypeVar("S", bound=ResumableSettings)
T = TypeVar("T")


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
    value = option_value(arguments, OPTION)
    return None if value is None else Path(value)


def option_value(arguments: Sequence[str], option: str) -> str | None:
    """The value of an option in a command's arguments, as ``--resume X`` or ``--resume=X``; None
    where it is not given."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        name, equals, value = argument.partition("=")
        if name == option and (value if equals else following):
            return value if equals else following
    return None


def stored_settings(cls: type[S], command: str, folder: Path) -> S:
    """The settings that a run began with.

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
    """The settings to resume with: those of the folder, except free ones that are given.

    Args:
        cls: The command's class of settings.
        command: The command's name.
        folder: The run folder.
        parse: Parses the command's arguments on top of default settings.

    Raises:
        BadInput: An argument contradicts the folder's settings.
    """
    stored = stored_settings(cls, command, folder)
    given = on_top(stored, parse)
    _refuse_differences(given, stored)
    return given


def on_top(stored: T, parse: Callable[[T], T]) -> T:
    """The settings that a command's arguments make on top of stored ones.

    Args:
        stored: The stored settings.
        parse: Parses the arguments on top of default settings.
    """
    # A repeated option would be appended to the stored values, so it starts from nothing.
    appended = {f: getattr(stored, f) for f in _appended(type(stored))}
    given = parse(_replaced(stored, dict.fromkeys(appended, ())))
    return _replaced(given, {f: v for f, v in appended.items() if not getattr(given, f)})


def check_resumed(settings: ResumableSettings, command: str) -> None:
    """Check that complete settings match those of the folder that they resume.

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


def _appended(cls: Any) -> list[str]:
    """The settings whose option is repeated, with one value each time."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return [
        field.name
        for field in dataclasses.fields(cls)
        if tyro.conf.UseAppendAction in getattr(hints[field.name], "__metadata__", ())
    ]


def _replaced(settings: T, changes: Mapping[str, object]) -> T:
    return typing.cast(T, dataclasses.replace(typing.cast(Any, settings), **changes))
