"""Options that had another name are understood, and said."""

from __future__ import annotations

import importlib

import pytest

from envs.errors import BadInput
from run.__main__ import COMMANDS, parse
from run.storage import deprecations
from run.storage.deprecations import (
    OPTIONS,
    VALUES,
    RenamedOption,
    current_arguments,
    current_settings,
)


@pytest.fixture(autouse=True)
def _table(monkeypatch: pytest.MonkeyPatch) -> None:
    options = (RenamedOption("--old", "--new-name", ("evaluate",)), RenamedOption("--a", "--b"))
    monkeypatch.setattr(deprecations, "OPTIONS", options)
    monkeypatch.setattr(deprecations, "VALUES", {"--b": {"mean": "normalised"}})


def test_an_old_option_becomes_the_new_one_and_is_said() -> None:
    found, notices = current_arguments("evaluate", ["suite", "--old", "3", "--a=mean", "--c"])
    assert found == ["suite", "--new-name", "3", "--b=normalised", "--c"]
    assert [n.split()[0] for n in notices] == ["--old", "--a", "--b"]


def test_an_old_value_becomes_the_new_one_behind_its_option_alone() -> None:
    assert current_arguments("episode", ["--b", "mean"])[0] == ["--b", "normalised"]
    assert current_arguments("episode", ["--d", "mean"]) == (["--d", "mean"], [])


def test_an_option_of_another_command_stays_as_it_is() -> None:
    assert current_arguments("episode", ["--old", "3"]) == (["--old", "3"], [])


def test_settings_of_an_older_run_folder_get_their_new_names() -> None:
    stored = {"old": 3, "a": "mean", "language": {"a": "mean", "c": None}}
    expected = {"new_name": 3, "b": "normalised", "language": {"b": "normalised", "c": None}}
    assert current_settings("evaluate", stored) == expected


def test_options_that_became_decision_processors_are_joined_in_one_order() -> None:
    given = ["x", "--contrast=2", "--seed", "1", "--repeat_penalty", "5.0", "--repeats", "3"]
    current, notices = current_arguments("evaluate", given)
    assert current == [
        "x",
        "--seed",
        "1",
        "--processors",
        "default,repetition-ban:turns=3,repetition-penalty:after=3,held-item-penalty:after=3,"
        "repetition-penalty:nats=5,held-item-penalty:nats=5,contrastive:weight=2",
    ]
    assert [n.split()[0] for n in notices] == ["--contrast", "--repeat-penalty", "--repeats"]
    for old in (["--repeats", "2"], ["--look", "None"]):
        assert current_arguments("episode", old)[0] == ["--processors", "default"]
    # Another command's option of the same name.
    assert current_arguments("curves", ["--look", "3"]) == (["--look", "3"], [])
    for new in (["--processors", "none"], ["--processors=none"]):
        with pytest.raises(BadInput, match="--look is now part of --processors; give one"):
            current_arguments("train-planner", ["--look", "0.4", *new])


def test_decision_rules_of_an_older_run_folder_become_processors() -> None:
    old = {"repeats": 2, "repeat_penalty": None, "look": 0.40, "contrast": None, "seed": 1}
    language = {"processors": "default,exploration-threshold:probability=0.4", "seed": 1}
    assert current_settings("evaluate", {"language": old}) == {"language": language}
    assert current_settings("episode", {"repeats": 2}) == {"processors": "default"}
    assert current_settings("train-planner", {"look": None, "contrast": 0.0}) == {
        "processors": "default,contrastive:weight=0"
    }
    with pytest.raises(BadInput, match="--contrast is now part of --processors"):
        current_settings("evaluate", {"contrast": 2, "processors": "none"})


def _cases() -> list[tuple[str, str, str, str]]:
    """Every old option of each of its commands, as (command, option, value, new option)."""
    values = {
        "--auxiliary": "0.5",
        "--cross-clip-negatives": "0.5",
        "--random-embeddings": "0.5",
        "--relabelling": "0.5",
        "--noise-injection": "0.5",
        "--floor-learning-rate": "0.5",
        "--tasks": "conditional",
        "--validation-tasks": "nor",
        "--add": "runs/a",
        "--results": "my/results",
    }
    return [
        (command, option.old, values.get(option.new, "4"), option.new)
        for option in OPTIONS
        for command in option.commands
    ]


@pytest.mark.parametrize(("command", "old", "value", "new"), _cases())
def test_every_old_option_parses_to_the_new_setting(
    command: str, old: str, value: str, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deprecations, "OPTIONS", OPTIONS)
    spec = COMMANDS[command]
    cls = getattr(importlib.import_module(spec.module), spec.settings)
    # The floor steps need the encoder that --init names.
    others = ["--init", "data/detector"] if new.startswith("--floor") else []
    current, notices = current_arguments(command, [old, value, *others])
    assert notices == [f"{old} is now called {new}; the old name will go"]
    assert parse(command, cls, current) == parse(command, cls, [new, value, *others])
    name = new.removeprefix("--").replace("-", "_")
    assert getattr(parse(command, cls, current), name) != getattr(parse(command, cls, others), name)


@pytest.mark.parametrize(
    ("option", "old"), [(option, old) for option, values in VALUES.items() for old in values]
)
def test_every_old_value_parses_to_the_new_one(
    option: str, old: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deprecations, "VALUES", VALUES)
    spec = COMMANDS["evaluate"]
    cls = getattr(importlib.import_module(spec.module), spec.settings)
    for arguments in ([option, old], [f"{option}={old}"]):
        current, notices = current_arguments("evaluate", arguments)
        assert len(notices) == 1
        expected = parse("evaluate", cls, [option, VALUES[option][old]])
        assert parse("evaluate", cls, current) == expected


@pytest.mark.parametrize(
    ("command", "old"), [(command, o.old) for o in deprecations.MERGED for command in o.commands]
)
def test_every_merged_option_parses_to_decision_processors(command: str, old: str) -> None:
    spec = COMMANDS[command]
    cls = getattr(importlib.import_module(spec.module), spec.settings)
    value = "3" if old == "--repeats" else "0.5"
    current, notices = current_arguments(command, [old, value])
    assert len(notices) == 1
    settings = parse(command, cls, current)
    processors = getattr(settings, "language", settings).processors
    assert processors.startswith("default,") and value in processors
