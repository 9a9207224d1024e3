"""``--resume`` takes its settings from the folder, by one rule for every command that has it."""

from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from run.__main__ import COMMANDS, main, parse
from run.storage import deprecations
from run.storage.deprecations import RenamedOption
from run.storage.folder import RunFolder
from run.storage.resume import free_on_resume, resume_folder, resumed_settings
from run.storage.settings import to_json
from tests.run.command import one_sentence


def settings_class(command: str) -> Any:
    spec = COMMANDS[command]
    return getattr(importlib.import_module(spec.module), spec.settings)


RESUMABLE = [
    name
    for name in COMMANDS
    if "resume" in {f.name for f in dataclasses.fields(settings_class(name))}
]
# What a run began with, where it is no default.
STORED: dict[str, dict[str, Any]] = {
    "episode": {"seed": 1, "verbose": True, "task": "search", "set": ("distractors=0",)},
    "evaluate": {"seed": 1, "planner": "random", "engine": "ray"},
    "train-actor": {"seed": 1, "ppo_steps": 5, "init": "weights"},
    "train-planner": {"seed": 1, "reward": "detector", "visible": True, "init": ("a", "b")},
    "train-detector": {"seed": 1},
    "train-reporter": {"seed": 1},
    "reproduce": {"seed": 1, "claim": "reporter-improves"},
}


def run_folder(tmp_path: Path, command: str, **settings: Any) -> Path:
    """The folder of a run that did nothing yet."""
    config = to_json(settings_class(command)(**{**STORED[command], **settings}))
    with RunFolder.new(tmp_path, command, "mine", config) as folder:
        return folder.path


def resumed(command: str, folder: Path, *options: str) -> Any:
    """The settings with which a command would go on."""
    cls = settings_class(command)
    arguments = ["--resume", str(folder), *options]
    assert resume_folder(cls, arguments) == folder
    return resumed_settings(cls, command, folder, lambda s: parse(command, cls, arguments, s))


def test_every_command_with_resume_is_tried_here() -> None:
    assert set(RESUMABLE) == set(STORED)


@pytest.mark.parametrize("command", RESUMABLE)
def test_a_setting_that_contradicts_the_folder_is_refused_even_where_it_is_the_default(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_folder(tmp_path, command)
    for seed in ("0", "7"):
        assert main([command, f"--resume={folder}", "--seed", seed]) == 2
        assert f"these differ: --seed {seed} (there 1)" in one_sentence(capsys.readouterr().err)
    assert json.loads((folder / "config.json").read_text())["seed"] == 1


@pytest.mark.parametrize("command", RESUMABLE)
def test_what_is_not_given_or_given_alike_is_as_in_the_folder(command: str, tmp_path: Path) -> None:
    folder = run_folder(tmp_path, command)
    expected = settings_class(command)(**STORED[command], resume=folder)
    assert resumed(command, folder) == expected
    assert resumed(command, folder, "--seed", "1") == expected


@pytest.mark.parametrize("command", RESUMABLE)
def test_what_changes_no_result_may_differ(command: str, tmp_path: Path) -> None:
    folder = run_folder(tmp_path, command, runs_dir=Path("before"), name="before")
    found = resumed(command, folder, "--name", "after")
    assert (found.name, found.runs_dir) == ("after", Path("before"))
    cls = settings_class(command)
    assert free_on_resume(cls) <= {"force", *(f.name for f in dataclasses.fields(cls))}


@pytest.mark.parametrize(
    ("command", "options", "sentence"),
    [
        ("train-planner", ("--reward", "truth"), "--reward truth (there detector)"),
        ("train-planner", ("--no-visible",), "--visible False (there True)"),
        ("train-planner", ("--init", "a"), "--init ('a',) (there ('a', 'b'))"),
        ("train-actor", ("--init", "other"), "--init other (there weights)"),
        ("episode", ("--set", "distractors=1"), "--set ('distractors=1',)"),
        ("episode", ("--processors", "default"), "--processors default (there none)"),
        ("evaluate", ("planner",), "--suite planner (there reasoning)"),
        ("evaluate", ("--processors", "default"), "--processors default (there none)"),
    ],
)
def test_flags_tuples_positionals_and_nested_options(
    command: str, options: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    more: dict[str, Any] = {}
    if command in ("episode", "evaluate"):
        language = type(settings_class(command)().language)
        more = {"language": language(processors="none")}
    if command == "evaluate":
        more["suite"] = "reasoning"
    folder = run_folder(tmp_path, command, **more)
    with pytest.raises(Exception, match="takes its settings from the folder") as error:
        resumed(command, folder, *options)
    assert sentence in str(error.value)


def test_given_as_in_the_folder_they_are_accepted(tmp_path: Path) -> None:
    planner = run_folder(tmp_path, "train-planner")
    assert resumed("train-planner", planner, "--visible", "--init", "a", "b").visible
    episode = run_folder(tmp_path, "episode")
    for options in ((), ("--set", "distractors=0")):
        assert resumed("episode", episode, *options).set == ("distractors=0",)
    # How it looks may change, also back to the default.
    assert resumed("episode", episode).verbose
    assert not resumed("episode", episode, "--no-verbose").verbose
    evaluate = run_folder(tmp_path, "evaluate")
    assert resumed("evaluate", evaluate, "--engine", "processes").engine == "processes"


def test_an_option_under_its_old_name_is_compared_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_folder(tmp_path, "train-actor")
    config = json.loads((folder / "config.json").read_text())
    config["first_seed"] = config.pop("seed")
    (folder / "config.json").write_text(json.dumps(config))
    options = (RenamedOption("--first-seed", "--seed", ("train-actor",)),)
    monkeypatch.setattr(deprecations, "OPTIONS", options)
    assert resumed("train-actor", folder, "--seed", "1").seed == 1
    assert main(["train-actor", "--resume", str(folder), "--first-seed", "0"]) == 2
    assert "--seed 0 (there 1)" in capsys.readouterr().err
