"""Teams: named settings of who plays.

A team is a YAML file with ``planner``, ``actor``, ``reporter``, and options of its Planner such as
``examples``. Those of this folder come with Parley.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from agents.planner.options import SERVER, PlannerOptions
from envs.errors import BadInput, unknown
from run.evaluation.settings import EvaluationSettings
from run.storage.deprecations import current_settings, current_value

FOLDER = Path(__file__).parent
PARTS = ("planner", "actor", "reporter")
S = TypeVar("S", bound=EvaluationSettings)
TeamSettings = Mapping[str, Any]
"""Settings of a team by name, each of the type that its option has: ``PARTS`` and fields of
`PlannerOptions`."""

_OPTIONS = {n: t for n, t in typing.get_type_hints(PlannerOptions).items() if n != "seed"}


def team_names() -> list[str]:
    """The names of the teams that come with Parley."""
    return sorted(f.stem for f in FOLDER.glob("*.yaml"))


def find_team(name: str) -> TeamSettings:
    """The settings of a team by its name, or of the one in a YAML file.

    Raises:
        BadInput: There is no such team, or the file holds none.
    """
    import yaml

    name = current_value("--team", name)
    file = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not file.is_file() and file.parent == FOLDER:
        raise unknown("team", name, team_names())
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise BadInput(f"the team '{file}' cannot be read: {error}") from error
    return check_team(content, f"the team '{file}'")


def check_team(content: object, where: str) -> TeamSettings:
    """The settings of a team from the content of a YAML file.

    Args:
        content: What the file says of the team.
        where: What to call the team in an error.

    Raises:
        BadInput: It holds an unknown setting, or a value that its setting cannot have.
    """
    if not isinstance(content, dict):
        raise BadInput(f"{where} has no planner, actor or reporter")
    settings: dict[str, object] = {}
    for name, value in current_settings("evaluate", content).items():
        if name not in (*PARTS, *_OPTIONS):
            raise unknown(f"setting of {where}", str(name), [*PARTS, *_OPTIONS])
        if name in PARTS and ":" in str(value) and not str(value).startswith(SERVER):
            raise BadInput(
                f"{where} names a module, '{value}': files bring no code, give it with --{name}"
            )
        settings[name] = _checked(value, str if name in PARTS else _OPTIONS[name], name, where)
    return settings


def _checked(value: Any, hint: Any, name: str, where: str) -> object:
    """A value as its setting has it."""
    kinds = typing.get_args(hint) if typing.get_origin(hint) is not Literal else (hint,)
    for kind in kinds or (hint,):
        if typing.get_origin(kind) is Literal:
            if value in typing.get_args(kind):
                return value
        elif kind is Path and isinstance(value, str):
            return Path(value)
        elif kind is float and type(value) in (int, float):
            return float(value)
        elif type(value) is kind:
            return value
    raise BadInput(f"{name} of {where} cannot be {value!r}")


def with_team(settings: S, team: TeamSettings) -> S:
    """The settings of an evaluation with those of a team in place of their own."""
    options = {n: v for n, v in team.items() if n not in PARTS}
    parts = {n: v for n, v in team.items() if n in PARTS}
    language = dataclasses.replace(settings.language, **options)
    return dataclasses.replace(settings, **parts, language=language)


def with_named_team(settings: S, name: str) -> S:
    """The settings of an evaluation with those of the team ``name``.

    Raises:
        BadInput: There is no such team, or a setting was given that contradicts it.
    """
    team = find_team(name)
    default = type(settings)()
    for setting, value in team.items():
        if setting in PARTS:
            given, usual = getattr(settings, setting), getattr(default, setting)
        else:
            given = getattr(settings.language, setting)
            usual = getattr(default.language, setting)
        if given not in (usual, value):
            raise BadInput(
                f"--{setting.replace('_', '-')} {given}, but team '{name}' has {value}; give one"
            )
    return with_team(settings, team)
