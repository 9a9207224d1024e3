"""Options and values that were renamed: their former names still work.

One table serves the command line, with a warning that gives the new name, and the ``config.json``
of older run folders, without one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from envs.errors import BadInput


@dataclass(frozen=True)
class RenamedOption:
    """An option of some commands (of all where none is named) that is now called ``new``."""

    old: str
    new: str
    commands: tuple[str, ...] = ()

    def is_for(self, command: str) -> bool:
        """Whether the option was one of this command's."""
        return not self.commands or command in self.commands


@dataclass(frozen=True)
class MergedOption:
    """An option of some commands whose value is now part of the value of another one.

    ``parts`` are what it adds to the value of ``new`` behind "default", with the old value in the
    place of the braces; ``default`` is the old value that adds nothing.
    """

    old: str
    new: str
    parts: tuple[str, ...]
    commands: tuple[str, ...]
    default: str | None = None

    def is_for(self, command: str) -> bool:
        """Whether the option was one of this command's."""
        return command in self.commands

    def added(self, value: str) -> list[str]:
        """What an old value adds to the value of ``new``."""
        if value in ("None", self.default):
            return []
        return [part.format(value) for part in self.parts]


OPTIONS: tuple[RenamedOption, ...] = (
    RenamedOption("--slips", "--noise-injection", ("train-planner",)),
    RenamedOption("--strange", "--random-embeddings", ("train-planner",)),
    RenamedOption("--boxes", "--relabelling", ("train-planner",)),
    RenamedOption("--members", "--samples-per-prompt", ("train-planner", "train-reporter")),
    RenamedOption("--validation-cells", "--validation-tasks", ("train-planner",)),
    RenamedOption("--sight-steps", "--floor-steps", ("train-reporter",)),
    RenamedOption("--sight-learning-rate", "--floor-learning-rate", ("train-reporter",)),
    RenamedOption("--findings", "--auxiliary", ("train-detector",)),
    RenamedOption("--borrowed", "--cross-clip-negatives", ("train-detector",)),
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
    "--scoring": {"mean": "length-normalised", "tree": "constrained"},
}
_PLANNING = ("episode", "evaluate")
MERGED: tuple[MergedOption, ...] = (
    MergedOption(
        "--repeats",
        "--processors",
        ("repetition-ban:turns={}", "repetition-penalty:after={}", "held-item-penalty:after={}"),
        _PLANNING,
        default="2",
    ),
    MergedOption(
        "--repeat-penalty",
        "--processors",
        ("repetition-penalty:nats={}", "held-item-penalty:nats={}"),
        _PLANNING,
    ),
    MergedOption(
        "--look",
        "--processors",
        ("exploration-threshold:probability={}",),
        (*_PLANNING, "train-planner"),
    ),
    MergedOption(
        "--contrast", "--processors", ("contrastive:weight={}",), (*_PLANNING, "train-planner")
    ),
)


def current_arguments(command: str, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments under their current names, and one sentence for each that had an old one.

    Raises BadInput where an option is given beside another one that it has become part of.
    """
    renamed = {o.old: o.new for o in OPTIONS if o.is_for(command)}
    arguments, notices = _with_merged_arguments(command, arguments)
    current: list[str] = []
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
    """Settings of a ``config.json`` under their current names, nested ones too.

    Raises BadInput where a setting stands beside another one that it has become part of.
    """
    renamed = {_setting(o.old): _setting(o.new) for o in OPTIONS if o.is_for(command)}
    current: dict[str, Any] = {}
    for name, value in _with_merged_settings(command, stored).items():
        new = renamed.get(name, name)
        if isinstance(value, Mapping):
            value = current_settings(command, value)
        elif isinstance(value, str):
            value = current_value(f"--{_option(new)}", value)
        current[new] = value
    return current


def _with_merged_arguments(command: str, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments with those options joined that have become part of another one."""
    merged = {o.old: o for o in MERGED if o.is_for(command)}
    rest: list[str] = []
    values: dict[str, str] = {}
    unread = list(arguments)
    while unread:
        argument = unread.pop(0)
        name, equals, value = argument.partition("=")
        option = merged.get(name.replace("_", "-"))
        if option is None or not (equals or unread):
            rest.append(argument)
        else:
            values[option.old] = value if equals else unread.pop(0)
    joined = _joined(command, values, [argument.partition("=")[0] for argument in rest])
    notices = [
        f"{old} is now part of {merged[old].new} ({joined[merged[old].new]}); "
        "the old option will be removed"
        for old in values
    ]
    return [*rest, *(word for pair in joined.items() for word in pair)], notices


def _with_merged_settings(command: str, stored: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with those joined that have become part of another one. One that is not there
    counts as left open."""
    names = {_setting(o.old): o.old for o in MERGED if o.is_for(command)}
    rest = {name: value for name, value in stored.items() if name not in names}
    values = {names[name]: str(value) for name, value in stored.items() if name in names}
    joined = _joined(command, values, [f"--{_option(name)}" for name in rest])
    return rest | {_setting(new): value for new, value in joined.items()}


def _joined(command: str, values: Mapping[str, str], others: Sequence[str]) -> dict[str, str]:
    """The values of the options that those of merged options have become part of.

    Args:
        command: the command whose options they are.
        values: old values by old option.
        others: the names of the other options that are given.
    """
    joined: dict[str, list[str]] = {}
    for option in MERGED:
        if not option.is_for(command) or option.old not in values:
            continue
        if option.new in others:
            raise BadInput(f"{option.old} is now part of {option.new}; give one of the two")
        parts = option.added(_plain_number(values[option.old]))
        joined.setdefault(option.new, ["default"]).extend(parts)
    return {new: ",".join(parts) for new, parts in joined.items()}


def _plain_number(text: str) -> str:
    """A number in one spelling, so that 0.40 is 0.4; any other text as it is."""
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() else repr(number)


def _setting(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


def _option(setting: Any) -> str:
    return str(setting).replace("_", "-")
