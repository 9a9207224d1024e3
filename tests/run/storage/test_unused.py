"""Options without an effect are refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from run.__main__ import main
from run.storage.unused import options_given

ORACLE = ["episode", "--planner", "oracle", "--actor", "scripted"]


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (["episode", "--temperature", "0.5"], "--temperature has no effect here: .* scores"),
        (["episode", "--max-new-tokens=9"], "--max-new-tokens has no effect"),
        (["episode", "--base-url", "http://localhost:1"], "--base-url .* runs here"),
        ([*ORACLE, "--base-url", "http://localhost:1"], "'oracle' is no language model"),
        ([*ORACLE, "--processors", "none"], "--processors has no effect here"),
        ([*ORACLE, "--dtype", "float32"], "--dtype has no effect here"),
        (["episode", "--planner", "openai:x", "--dtype", "float32"], "runs on a server"),
        (["episode", "--decide", "generate", "--scoring", "constrained"], "nothing is scored"),
        (["evaluate", "--planner", "random", "--examples", "3"], "--examples has no effect"),
        (["evaluate", "--planner", "random", "--address", "auto"], "only --engine ray"),
        (["train-planner", "--rl-steps", "0", "--kl", "0.1"], "--kl .*: --rl-steps is 0"),
        (["train-planner", "--imitation-steps", "0", "--batch", "4"], "--batch .*imitation"),
        (["train-reporter", "--detector", "baseline", "--rl-steps", "1"], "neither --episode"),
        (["train-reporter", "--kl", "1"], "--kl has no effect here: --rl-steps is 0"),
        (["train-reporter", "--floor-learning-rate", "1"], "--floor-steps is 0"),
        (["train-detector", "--rank", "4"], "--rank has no effect here"),
        (["train-actor", "--ppo-steps", "0", "--reward", "detector"], "--ppo-steps is 0"),
        (["train-actor", "--force"], "--force .*: without --out nothing is replaced"),
        (["train-reporter", "--tune-vision"], "--tune-vision .*: without --init"),
        (
            ["train-detector", "--model", "vision-language", "--width", "64"],
            "--width .* its own vision encoder",
        ),
        (["train-solo", "--evaluate-every", "0", "--evaluate-episodes", "9"], "every is 0"),
        (["evaluate", "--list", "--planner", "oracle"], "--planner .*: --list only lists"),
        (
            ["evaluate", "--team", "oracle", "--planner", "parley-135m"],
            "--planner .*: team 'oracle' has oracle",
        ),
        (["make-clips", "--splits", "test1", "--clips", "9"], "--clips .*: --splits has no train"),
        (["make-clips", "--splits", "train", "--test-clips", "9"], "train alone"),
        (["make-clips", "--force"], "--force has no effect"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_an_option_without_effect_is_refused(
    command: list[str], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--runs-dir", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert re.search(problem, error), error
    assert error.count("\n") == 1 and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("temperature: 0.5", "--temperature has no effect here: .* scores"),
        ("max-new-tokens: 9", "--max-new-tokens has no effect"),
        ("planner: oracle\nactor: scripted\nlanguage:\n  dtype: float32", "--dtype .*'oracle'"),
    ],
)
def test_a_setting_without_effect_in_a_file_is_refused(
    text: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    runs = tmp_path / "runs"
    assert main(["episode", "--config", str(file), "--runs-dir", str(runs)]) == 2
    error = capsys.readouterr().err
    assert re.search(problem, error) and str(file) in error, error
    assert error.count("\n") == 1 and not runs.exists()


def test_an_option_overrides_what_made_a_files_setting_unused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("planner: openai:x\ndtype: float32")
    command = ["episode", "--config", str(file), "--runs-dir", str(tmp_path / "runs")]
    assert main([*command, "--planner", "nobody"]) == 2
    error = capsys.readouterr().err
    assert "nobody" in error and "--dtype" not in error


def test_a_runs_own_settings_are_taken_back_though_it_used_not_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = ["--runs-dir", str(tmp_path / "runs")]
    assert main([*ORACLE, "--episodes", "1", *runs]) == 0
    folder = capsys.readouterr().out.splitlines()[-1]
    assert "temperature" in json.loads((Path(folder) / "config.json").read_text())["language"]
    assert main(["episode", "--config", folder, *runs]) == 0


def test_what_is_given_is_known_by_its_name() -> None:
    given = options_given(["suite", "--base-url=x", "--n-items", "4", "-h", "--", "--x"])
    assert {"base_url", "n_items"} <= given
