"""Recipes: checked whole before they begin, resumed where they stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import run.commands.train_actor as actor_command
from agents.actor.registry import check_actor
from envs.errors import BadInput
from run.__main__ import main
from run.recipes.recipe import FOLDER, read_recipe, recipe_names

SMALL = (
    "about: A small Actor.\ncommand: train-actor\ncost: {minutes: 1}\nstages:\n"
    "  - name: first\n"
    "    settings: {imitation-steps: 512, ppo-steps: 0, worlds: 16, pool: 1, score-commands: 0,\n"
    "               evaluate-every: 0, validation-commands: 0}\n"
    "  - name: second\n"
    "    settings: {init: '${first}', imitation-steps: 512, ppo-steps: 0, worlds: 16, pool: 1,\n"
    "               seed: 3, score-commands: 0, evaluate-every: 0, validation-commands: 0}\n"
)


def recipe_file(tmp_path: Path, text: str = SMALL, name: str = "small.yaml") -> Path:
    file = tmp_path / name
    file.write_text(text)
    return file


def last_line(capsys: pytest.CaptureFixture[str]) -> Path:
    return Path(capsys.readouterr().out.strip().splitlines()[-1])


def test_a_stopped_recipe_goes_on_to_the_same_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = recipe_file(tmp_path)
    command = ["train-actor", "--recipe", str(file), "--seed", "2"]
    out = tmp_path / "out"
    assert main([*command, "--runs-dir", str(tmp_path / "whole"), "--out", str(out)]) == 0
    whole = last_line(capsys)
    assert whole.name.endswith("-small")
    weights = load_file(whole / "checkpoints" / "final" / "model.safetensors")
    assert (out / "model.safetensors").is_file()
    summary = json.loads((whole / "summary.json").read_text())
    assert list(summary["stages"]) == ["first", "second"] and summary["recipe"] == "small"
    configs = {
        name: json.loads((whole / stage["folder"] / "config.json").read_text())
        for name, stage in summary["stages"].items()
    }
    assert (configs["first"]["seed"], configs["second"]["seed"]) == (2, 5)
    assert configs["second"]["init"].endswith("-first/checkpoints/final")

    real, calls = actor_command.train_actor, []

    def stopped(settings: Any) -> Path:
        calls.append(settings.name)
        if settings.name == "second":
            raise KeyboardInterrupt
        return real(settings)

    monkeypatch.setattr(actor_command, "train_actor", stopped)
    assert main([*command, "--runs-dir", str(tmp_path / "stopped")]) == 130
    error = capsys.readouterr().err
    assert calls == ["first", "second"] and "--resume" in error
    assert "It takes about 1 minutes" in error and "2. second: train-actor" in error
    (run,) = (tmp_path / "stopped" / "train-actor").iterdir()
    with pytest.raises(BadInput, match="holds no finished weights"):
        check_actor(str(run))
    monkeypatch.setattr(actor_command, "train_actor", lambda s: calls.append(s.name) or real(s))
    monkeypatch.chdir(tmp_path)
    assert main(["train-actor", "--resume", str(run)]) == 0
    assert f"episode --actor {run}" in capsys.readouterr().err.replace("\n", "")
    assert calls == ["first", "second", "second"]
    again = load_file(run / "checkpoints" / "final" / "model.safetensors")
    assert all((again[n] == weights[n]).all() for n in weights)
    assert check_actor(str(run)).label == run.name
    capsys.readouterr()


def test_a_recipe_that_was_edited_is_not_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(settings: Any) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(actor_command, "train_actor", stopped)
    file = recipe_file(tmp_path)
    assert main(["train-actor", "--recipe", str(file), "--runs-dir", str(tmp_path / "r")]) == 130
    (run,) = (tmp_path / "r" / "train-actor").iterdir()
    capsys.readouterr()
    file.write_text(SMALL.replace("seed: 3", "seed: 4"))
    assert main(["train-actor", "--resume", str(run)]) == 2
    assert "second: seed 4 (then 3)" in capsys.readouterr().err
    file.write_text(SMALL.replace("name: second", "name: last"))
    assert main(["train-actor", "--resume", str(run)]) == 2
    assert "stages ['first', 'last'] (then ['first', 'second'])" in capsys.readouterr().err
    file.write_text(SMALL)
    assert main(["train-actor", "--resume", str(run), "--seed", "1"]) == 2
    assert "give nothing else" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("about: A", "abuot: A", "line 1: unknown key of a recipe 'abuot'; did you mean 'about'?"),
        ("- name: second", "- nmae: second", "unknown key of a stage 'nmae'; did you mean 'name'"),
        ("seed: 3", "sed: 3", "line 10: train-actor has no setting 'sed'; did you mean 'seed'?"),
        ("seed: 3", "out: x", "'out' is for the recipe's whole run"),
        ("seed: 3", "seed: three", "seed cannot be 'three'"),
        ("seed: 3", "seed: -3", "--seed must be at least 0"),
        ("${first}", "${frist}", "line 9: '${frist}' names no earlier stage; those are first"),
        ("${first}", "${second}", "'${second}' names no earlier stage"),
        ("'${first}'", "no-such", "stage 'second': unknown actor 'no-such'"),
        ("name: second", "name: first", "two stages are called 'first'"),
        ("name: second", "name: ../x", "letters, digits"),
        ("    settings: {init", "    command: episode\n    settings: {init", "command of a stage"),
        ("command: train-actor", "command: evaluate", "unknown training command 'evaluate'"),
        ("cost: {minutes: 1}", "cost: cheap", "says its cost"),
        ("cost: {minutes: 1}", "cost: {minute: 1}", "says its cost"),
        ("{minutes: 1}", "{minutes: ten}", "line 3: minutes must be a number, not 'ten'"),
        ("{minutes: 1}", "{minutes: true}", "line 3: minutes must be a number, not True"),
        ("{minutes: 1}", "{minutes: 0}", "line 3: minutes must be more than 0, not 0"),
        ("{minutes: 1}", "{minutes: .inf}", "line 3: minutes must be more than 0, not inf"),
        ("stages:", "makes: [1]\nstages:", "line 4: 'makes' is a folder of weights, not [1]"),
        ("stages:", "results: [{n: 1, shiped: 2}]\nstages:", "did you mean 'shipped'?"),
        ("stages:", "results: [0.9]\nstages:", "line 4: a result has keys"),
        ("seed: 3", "seed: 3, seed: 4", "line 10: 'seed' is given twice"),
        ("stages:", "about: B\nstages:", "line 4: 'about' is given twice"),
        ("stages:", "stages: []\nresults:", "a recipe has a list of stages"),
        ("about: A small Actor.", "about: [", "cannot be read"),
        (SMALL, "- 1\n", "a recipe has keys"),
        (SMALL, "", "a recipe has keys"),
    ],
)
def test_a_wrong_recipe_is_one_sentence_before_anything_is_trained(
    old: str, new: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in SMALL
    file = recipe_file(tmp_path, SMALL.replace(old, new))
    runs = tmp_path / "runs"
    assert main(["train-actor", "--recipe", str(file), "--runs-dir", str(runs)]) == 2
    error = capsys.readouterr().err
    assert problem in error and error.count("\n") == 1
    assert not runs.exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["train-actor", "--recipe", "lerned"], "unknown recipe 'lerned'"),
        (["train-actor", "--recipe", "learned"], "is for train-reporter"),
        (["train-actor", "--recipe", "nowhere.yaml"], "there is no recipe"),
        (["train-reporter", "--recipe", "learned", "--rl-steps", "3"], "--rl-steps"),
        (["train-reporter", "--recipe", "learned", "--seed", "-1"], "at least 0"),
        (["train-actor", "--recipe", "actor", "--threads", "0"], "error: --threads must be"),
        (["train-actor", "--recipe", "actor", "--device", "gpu"], "error: unknown device 'gpu'"),
    ],
)
def test_wrong_arguments_are_one_sentence(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(file.stem for file in FOLDER.glob("*.yaml")))
def test_every_recipe_that_comes_with_parley_can_be_run(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.cost["minutes"] > 0 and recipe.about
    if recipe.makes:
        assert (FOLDER.parent / recipe.makes).is_dir()


def test_every_shipped_weight_has_a_recipe() -> None:
    made = {read_recipe(name).makes for name in recipe_names()}
    shipped = {
        str(file.parent.relative_to(FOLDER.parent))
        for room in ("agents", "rewards")
        for file in (FOLDER.parent / room).rglob("*model.safetensors")
    }
    assert shipped <= made


def test_the_list_says_what_each_costs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train-reporter", "--recipe", "list"]) == 0
    page = capsys.readouterr().out
    assert "learned" in page and "minutes" in page and "actor" not in page.split()
    assert max(map(len, page.splitlines())) <= 80
