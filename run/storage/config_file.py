"""``--config FILE``: settings from a file, such as the ``config.json`` that a run has written."""

from __future__ import annotations

import dataclasses
import difflib
import json
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from envs.errors import BadInput
from run.storage.deprecations import current_settings
from run.storage.settings import from_json

OPTION = "--config"
OPTION_HELP = (
    "Take the settings from a run folder, its config.json, or a YAML or JSON file of settings by "
    "name; options that are given override them."
)
# What a run folder's config.json has beside settings, and what belongs to that run alone.
_NOT_SETTINGS = ("command", "format", "resume", "force")
S = TypeVar("S")


def config_option(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The file that ``--config`` names, or None, and the other arguments.

    Raises:
        BadInput: It names none, or more than one.
    """
    files: list[str] = []
    rest: list[str] = []
    waiting = False
    for argument in arguments:
        if waiting:
            files.append(argument)
            waiting = False
        elif argument == OPTION:
            waiting = True
        elif argument.startswith(f"{OPTION}="):
            files.append(argument.partition("=")[2])
        else:
            rest.append(argument)
    if waiting or "" in files:
        raise BadInput(f"{OPTION} needs a file, or the folder of a run")
    if len(files) > 1:
        raise BadInput(f"{OPTION} is given twice")
    return (Path(files[0]) if files else None), rest


def read_settings(path: Path, command: str, cls: type[S]) -> S:
    """The settings in a file; what it leaves out has its default.

    Args:
        path: A YAML or JSON file of settings by name, or a run folder, whose ``config.json`` it is.
        command: The command whose settings they are.
        cls: Its class of settings.

    Raises:
        BadInput: It cannot be read, is for another command, or holds what is no setting.
    """
    file = _settings_file(path)
    content, lines = read_mapping(file)
    other = content.get("command", command)
    if other != command:
        raise BadInput(f"'{file}' has the settings of '{other}', not of '{command}'")
    given = {k: v for k, v in content.items() if k not in _NOT_SETTINGS}
    return settings_from(cls, command, given, file, lines)


def settings_chosen(path: Path) -> frozenset[str]:
    """The names of the settings that somebody chose in a file; none in one that a run has written,
    which names all settings, those that the run did not use among them.

    Args:
        path: As for `read_settings`.

    Raises:
        BadInput: It cannot be read.
    """
    content, _ = read_mapping(_settings_file(path))
    if "format" in content:
        return frozenset()
    names = [
        name
        for key, value in content.items()
        for name in (value if isinstance(value, dict) else [key])
    ]
    return frozenset(str(name).replace("-", "_") for name in names if name not in _NOT_SETTINGS)


def _settings_file(path: Path) -> Path:
    return path / "config.json" if path.is_dir() else path


def read_mapping(file: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """A YAML or JSON file that holds names with values, and on which line each name stands.

    Raises:
        BadInput: It cannot be read, or holds something else.
    """
    content, node = read_yaml(file)
    if not isinstance(content, dict) or not isinstance(node, yaml.MappingNode):
        raise BadInput(f"'{file}' holds no settings: it must have lines such as 'seed: 1'")
    return {str(k): v for k, v in content.items()}, key_lines(node)


def read_yaml(file: Path) -> tuple[Any, yaml.Node | None]:
    """What a YAML or JSON file holds, and its nodes, which know their lines.

    Raises:
        BadInput: It cannot be read.
    """
    try:
        text = file.read_text("utf-8")
        # JSON is YAML too, but its own reader knows every JSON number.
        content = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
        return content, yaml.compose(text, Loader=yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise BadInput(f"'{file}' cannot be read: {reason}") from error


def key_lines(node: yaml.Node | None) -> dict[str, int]:
    """On which line each key of a mapping stands, from 1; empty for what is no mapping."""
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {str(key.value): key.start_mark.line + 1 for key, _ in node.value}


def settings_from(
    cls: type[S], command: str, given: Mapping[str, Any], file: Path, lines: Mapping[str, int]
) -> S:
    """Settings by name as a command's settings; names may have ``-`` or ``_``.

    Args:
        cls: The command's class of settings.
        command: The command's name.
        given: The settings.
        file: Where they stand, for messages.
        lines: On which line each stands.

    Raises:
        BadInput: One is unknown, or has a value that it cannot have.
    """
    given = current_settings(command, {k.replace("-", "_"): v for k, v in given.items()})
    hints = typing.get_type_hints(cls)
    nested = {
        inner.name: field.name
        for field in dataclasses.fields(typing.cast(Any, cls))
        if dataclasses.is_dataclass(hints[field.name])
        for inner in dataclasses.fields(typing.cast(Any, hints[field.name]))
    }
    names = [f.name for f in dataclasses.fields(typing.cast(Any, cls)) if f.init]
    values: dict[str, Any] = {}
    for name, value in given.items():
        where = f"{file}, line {lines[name]}" if name in lines else str(file)
        if name in names:
            if isinstance(value, dict) and dataclasses.is_dataclass(hints[name]):
                inside = typing.get_type_hints(hints[name])
                for inner, inner_value in value.items():
                    _check(inner, inner_value, inside.get(inner), where)
                value = {**values.get(name, {}), **value}
            else:
                _check(name, value, hints[name], where)
            values[name] = value
        elif name in nested:
            _check(name, value, typing.get_type_hints(hints[nested[name]])[name], where)
            values.setdefault(nested[name], {})[name] = value
        else:
            allowed = [n for n in (*names, *nested) if n not in _NOT_SETTINGS]
            raise BadInput(f"{where}: {no_setting(command, name, allowed)}")
    try:
        return from_json(cls, values)
    except BadInput as error:
        raise BadInput(f"{file}: {error}") from error
    except (TypeError, AttributeError, ValueError) as error:
        raise BadInput(f"{file}: a setting has a value that it cannot have ({error})") from error


def no_setting(command: str, given: str, allowed: Sequence[str]) -> str:
    """The sentence for a setting that a command does not have, with the nearest of those allowed.

    Args:
        command: The command's name.
        given: The setting as the user wrote it, with ``-`` or ``_``.
        allowed: The names of its settings.
    """
    near = difflib.get_close_matches(given.replace("-", "_"), allowed, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"see python -m run help {command}"
    return f"{command} has no setting '{given}'; {hint}"


def _check(name: str, value: object, hint: Any, where: str) -> None:
    """Raise BadInput for a value from a file that its setting cannot have."""
    if hint is None or not fits(value, hint):
        raise BadInput(f"{where}: {name} cannot be {value!r}")


def fits(value: object, hint: Any) -> bool:
    """Whether a value from a file is what a setting of this type is made of: a list of what its
    tuple holds, a text for its path."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return fits(value, arguments[0])
    if origin is typing.Literal:
        return value in arguments
    if origin is tuple:
        inner = arguments[0] if arguments else str
        return isinstance(value, list | tuple) and all(fits(v, inner) for v in value)
    if arguments:  # a union
        return any(fits(value, a) for a in arguments)
    if hint is float:
        return type(value) in (int, float)
    if hint is int:
        return type(value) is int
    return isinstance(value, str if hint is Path else hint)
