"""Options and values that have had another name: what a script still says is understood.

One table serves the command line (with a line that names the new option) and the ``config.json``
of older run folders (in silence: nobody typed it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RenamedOption:
    """An option of some commands (of all where none is named) that is now called ``new``."""

    old: str
    new: str
    commands: tuple[str, ...] = ()

    def is_for(self, command: str) -> bool:
        """Whether the option was one of this command's."""
        return not self.commands or command in self.commands


OPTIONS: tuple[RenamedOption, ...] = (
    RenamedOption("--slips", "--noise-injection", ("train-planner",)),
    RenamedOption("--strange", "--random-embeddings", ("train-planner",)),
    RenamedOption("--boxes", "--relabelling", ("train-planner",)),
    RenamedOption("--members", "--samples-per-prompt", ("train-planner", "train-reporter")),
    RenamedOption("--sight-steps", "--floor-steps", ("train-reporter",)),
    RenamedOption("--sight-learning-rate", "--floor-learning-rate", ("train-reporter",)),
    RenamedOption("--cells", "--tasks", ("evaluate",)),
    RenamedOption("--blame", "--attribute-faults", ("evaluate",)),
    RenamedOption("--keep", "--add", ("leaderboard",)),
    RenamedOption("--kept", "--results", ("leaderboard",)),
)
# By option, in its new name: the old values and what they are called now.
VALUES: Mapping[str, Mapping[str, str]] = {
    "--team": {
        "cheats": "oracle",
        "unheard": "no-reports",
        "untaught": "few-shot-small",
        "seeing": "vision-reporter",
    },
}


def current_arguments(command: str, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments under their current names, and one sentence for each that had an old one."""
    renamed = {o.old: o.new for o in OPTIONS if o.is_for(command)}
    current: list[str] = []
    notices: list[str] = []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if option in renamed:
            notices.append(f"{option} is now called {renamed[option]}; the old name will go")
            option = renamed[option]
        elif current and not equals and argument in VALUES.get(current[-1], {}):
            option = VALUES[current[-1]][argument]
            notices.append(f"{current[-1]} {argument} is now {current[-1]} {option}")
        if equals and value in VALUES.get(option, {}):
            new = VALUES[option][value]
            notices.append(f"{option} {value} is now {option} {new}")
            value = new
        current.append(f"{option}{equals}{value}")
    return current, notices


def current_value(option: str, value: str) -> str:
    """What a value of an option is called now."""
    return VALUES.get(option, {}).get(value, value)


def current_settings(command: str, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a ``config.json`` under their current names, nested ones too."""
    renamed = {_setting(o.old): _setting(o.new) for o in OPTIONS if o.is_for(command)}
    current: dict[str, Any] = {}
    for name, value in stored.items():
        new = renamed.get(name, name)
        if isinstance(value, Mapping):
            value = current_settings(command, value)
        elif isinstance(value, str):
            value = current_value(f"--{new.replace('_', '-')}", value)
        current[new] = value
    return current


def _setting(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")
