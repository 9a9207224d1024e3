"""Teams: who plays, as settings that have a name.

A team is a YAML file: ``planner``, ``actor``, ``reporter``, and whatever else says how its Planner
reads and decides, such as ``examples``. Those of this folder come with Parley.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from agents.planner.options import SERVER, PlannerOptions
from envs.errors import BadInput, unknown

T = TypeVar("T")
FOLDER = Path(__file__).parent
PARTS = ("planner", "actor", "reporter")
_HINTS = {n: t for n, t in typing.get_type_hints(PlannerOptions).items() if n != "seed"}


def team_names() -> list[str]:
    """The teams that come with Parley, in order."""
    return sorted(f.stem for f in FOLDER.glob("*.yaml"))


def find_team(name: str) -> dict[str, Any]:
    """The settings of a team by name, or of the one in a YAML file. Raises BadInput where there is
    none, or the file is none."""
    import yaml

    file = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not file.is_file() and file.parent == FOLDER:
        raise unknown("team", name, team_names())
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise BadInput(f"the team '{file}' cannot be read: {error}") from error
    return check_team(found, f"the team '{file}'")


def check_team(found: Any, where: str) -> dict[str, Any]:
    """What somebody wrote of a team, as settings. Raises BadInput for what is none."""
    if not isinstance(found, dict):
        raise BadInput(f"{where} has no planner, actor or reporter")
    settings: dict[str, Any] = {}
    for name, value in found.items():
        if name not in (*PARTS, *_HINTS):
            raise unknown(f"setting of {where}", str(name), [*PARTS, *_HINTS])
        if name in PARTS and ":" in str(value) and not str(value).startswith(SERVER):
            raise BadInput(
                f"{where} names a module, '{value}': files bring no code, give it with --{name}"
            )
        settings[name] = _checked(value, str if name in PARTS else _HINTS[name], name, where)
    return settings


def _checked(value: Any, hint: Any, name: str, where: str) -> Any:
    """A value as the setting has it."""
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


def with_team(args: T, team: Mapping[str, Any]) -> T:
    """A command's settings, those of a team in the place of its own. ``args`` have ``planner``,
    ``actor``, ``reporter`` and the ``language`` options."""
    given: Any = args
    language = {n: v for n, v in team.items() if n not in PARTS}
    parts = {n: v for n, v in team.items() if n in PARTS}
    changed = dataclasses.replace(given.language, **language)
    return typing.cast(T, dataclasses.replace(given, **parts, language=changed))


def joined(args: T, name: str) -> T:
    """A command's settings with those of the team ``name``. Raises BadInput where the user asked
    for something else beside it."""
    team = find_team(name)
    given: Any = args
    default = type(given)()
    for setting, value in team.items():
        of, usual = (given, default) if setting in PARTS else (given.language, default.language)
        own = getattr(of, setting)
        if own not in (getattr(usual, setting), value):
            raise BadInput(
                f"--{setting.replace('_', '-')} {own}, but team '{name}' has {value}; give one"
            )
    return with_team(args, team)
