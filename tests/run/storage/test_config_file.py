"""``--config FILE``: a run's settings are taken back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from envs.errors import BadInput
from run.__main__ import main
from run.commands.episode import EpisodeSettings
from run.commands.train_planner import TrainPlannerSettings
from run.storage.config_file import config_option, read_settings
from run.storage.settings import from_json, to_json

PLAY = ["episode", "--planner", "oracle", "--actor", "scripted", "--plain"]


def runs_of(folder: Path) -> list[Path]:
    return sorted((folder / "episode").iterdir())


def test_a_run_is_played_again_from_its_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = (["--runs-dir", str(tmp_path / name)] for name in "abc")
    play = [*PLAY, "--episodes", "2", "--seed", "3", "--set", "n_items=5"]
    assert main([*play, *first]) == 0
    (run,) = runs_of(tmp_path / "a")
    stored = json.loads((run / "config.json").read_text())
    assert None not in stored.values() and None not in stored["language"].values()
    assert main(["episode", "--config", str(run), *second]) == 0
    (again,) = runs_of(tmp_path / "b")
    assert [json.loads(s)["turns"] for s in (run / "episodes.jsonl").read_text().splitlines()] == [
        json.loads(s)["turns"] for s in (again / "episodes.jsonl").read_text().splitlines()
    ]
    assert main(["episode", f"--config={run / 'config.json'}", "--episodes", "1", *third]) == 0
    (shorter,) = runs_of(tmp_path / "c")
    config = json.loads((shorter / "config.json").read_text())
    assert config["episodes"] == 1 and config["set"] == ["n_items=5"] and config["seed"] == 3
    capsys.readouterr()


def test_a_file_of_ones_own_may_be_yaml(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("task: search\nn-items: 6\ntemperature: 0.5\nset: [distractors=0]\n")
    settings = read_settings(file, "episode", EpisodeSettings)
    assert (settings.task, settings.n_items, settings.set) == ("search", 6, ("distractors=0",))
    assert settings.language.temperature == 0.5


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("seed: 1\ntsak: search\n", "line 2: episode has no setting 'tsak'; did you mean 'task'?"),
        ("command: evaluate\n", "has the settings of 'evaluate', not of 'episode'"),
        ("- a\n- b\n", "holds no settings"),
        ("seed: [1\n", "cannot be read"),
        ("episodes: -1\n", "--episodes must be at least 1"),
        ("episodes: many\n", "episodes cannot be 'many'"),
        ("items: some\n", "items cannot be 'some'"),
        ("", "holds no settings"),
    ],
)
def test_a_wrong_file_is_one_sentence(
    text: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    assert main(["episode", "--config", str(file), "--runs-dir", str(tmp_path / "runs")]) == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_config_and_resume_are_not_given_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["episode", "--config", "x", "--resume", str(tmp_path)]) == 2
    assert "not both" in capsys.readouterr().err
    with pytest.raises(BadInput, match="needs a file"):
        config_option(["--config"])


def test_settings_that_are_not_given_are_left_out() -> None:
    settings = TrainPlannerSettings(seed=4)
    stored = to_json(settings)
    assert "resume" not in stored and "cache" not in stored
    assert from_json(TrainPlannerSettings, json.loads(json.dumps(stored))) == settings
