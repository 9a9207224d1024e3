"""Settings: a command's frozen dataclass of arguments, to ``config.json`` and back."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import tyro

from envs.errors import BadInput

T = TypeVar("T")


class DataclassSettings(Protocol):
    """A dataclass of settings."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


def to_json(settings: DataclassSettings) -> Mapping[str, Any]:
    """Settings as plain JSON values. What is None is left out: it is not given."""
    return {
        f.name: _plain(getattr(settings, f.name))
        for f in dataclasses.fields(settings)
        if f.init and getattr(settings, f.name) is not None
    }


def from_json(cls: type[T], stored: Mapping[str, Any]) -> T:
    """The settings that ``to_json`` has stored; what was left out has its default.

    Raises:
        BadInput: A setting without a default is missing.
    """
    assert dataclasses.is_dataclass(cls)
    hints = typing.get_type_hints(cls)
    values: dict[str, object] = {}
    for field in dataclasses.fields(cls):
        if field.name not in stored:
            if field.default is dataclasses.MISSING and (
                field.default_factory is dataclasses.MISSING
            ):
                raise BadInput(f"config.json has no setting '{field.name}'; start anew")
            continue
        value, hint = stored[field.name], hints[field.name]
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            values[field.name] = from_json(hint, value)
        elif isinstance(value, list):
            paths = Path in typing.get_args(hint)
            values[field.name] = tuple(map(Path, value) if paths else value)
        else:
            values[field.name] = Path(value) if _is_path(hint) and value is not None else value
    return typing.cast(T, cls(**values))


def at_least(settings: DataclassSettings, lows: Mapping[str, float]) -> None:
    """Raise BadInput for a setting that is below its least value in ``lows``, or is no number."""
    for name, low in lows.items():
        value = getattr(settings, name)
        if not value >= low:
            raise BadInput(f"--{name.replace('_', '-')} must be at least {low}, not {value}")


def differences(
    given: DataclassSettings, stored: DataclassSettings, leave_out: Collection[str] = ()
) -> list[str]:
    """The settings that differ, each as ``--seed 1 (there 0)``.

    Args:
        given: Settings.
        stored: Settings of the same class, perhaps nested like ``given``.
        leave_out: Names of settings that are not compared.
    """
    stored_values = dict(_flat(stored))
    return [
        f"--{name.replace('_', '-')} {_shown(value)} (there {_shown(stored_values[name])})"
        for name, value in _flat(given)
        if name not in leave_out and value != stored_values[name]
    ]


def _shown(value: Any) -> Any:
    return "left out" if value is None else value


def _flat(settings: DataclassSettings) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from ((n, v) for n, v in _flat(value) if n != "seed")
        else:
            yield field.name, value


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_json(value)
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def _is_path(hint: Any) -> bool:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return Path in typing.get_args(hint)
    return hint is Path


def shown(metavar: str, default: str) -> Any:
    """An option whose default is None: its placeholder in the help, and the default to show."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})")
