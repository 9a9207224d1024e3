"""``python -m run train-actor``, in small."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from agents.actor.learned import WEIGHTS, load_network
from run.__main__ import main
from tests.run.warm import in_stage, kill_when

SMALL = [
    "train-actor",
    *("--imitation-steps", "2048", "--ppo-steps", "3072", "--worlds", "32", "--pool", "6"),
    *("--evaluate-every", "2048", "--validation-commands", "1", "--score-commands", "1"),
    # From weights that finish a command before its time is up, which saves most of the scoring.
    *("--checkpoint-seconds", "0", "--init", str(WEIGHTS)),
]


def last_line(capsys: pytest.CaptureFixture[str]) -> Path:
    return Path(capsys.readouterr().out.splitlines()[-1])


def same(one: Path, two: Path) -> bool:
    a, b = load_network(one), load_network(two)
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_it_trains_scores_and_goes_on_after_a_kill_as_if_nothing_had_been(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "weights"
    assert main([*SMALL, "--runs-dir", str(tmp_path), "--out", str(out)]) == 0
    whole = last_line(capsys)
    summary = json.loads((whole / "summary.json").read_text())
    assert (summary["command"], summary["n_errors"]) == ("train-actor", 0)
    assert len(summary["scores"]) == 12
    assert summary["n"] == 12
    assert set(summary["validation"]) == {"imitation", "ppo"}
    assert same(whole / "checkpoints" / "final", out)
    assert same(out, whole / "checkpoints" / summary["chosen"])
    assert not same(whole / "checkpoints" / "imitation", whole / "checkpoints" / "ppo")
    rows = list(csv.DictReader((whole / "curve.csv").open()))
    assert [r["steps"] for r in rows] == [str(1024 * k) for k in range(1, 6)]
    assert {r["stage"] for r in rows} == {"imitation", "ppo"}
    assert sum(r["held_out"] != "" for r in rows) >= 2
    assert (whole / "plots" / "curve.png").stat().st_size > 5000
    assert list((whole / "tensorboard").iterdir())

    # The same again, killed where there is most to go on from.
    runs = tmp_path / "killed"
    killed = kill_when(runs, in_stage("ppo"), *SMALL, "--runs-dir", str(runs))
    assert main(["train-actor", "--resume", str(killed)]) == 0
    assert last_line(capsys) == killed
    for stage in ("imitation", "ppo", "final"):
        assert same(whole / "checkpoints" / stage, killed / "checkpoints" / stage)
    again = list(csv.DictReader((killed / "curve.csv").open()))
    timeless = [{k: v for k, v in r.items() if k != "seconds"} for r in again]
    assert timeless == [{k: v for k, v in r.items() if k != "seconds"} for r in rows]


def test_scoring_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only = ["train-actor", "--imitation-steps", "0", "--ppo-steps", "0", "--score-commands", "20"]
    assert main([*only, "--init", str(WEIGHTS), "--runs-dir", str(tmp_path)]) == 0
    folder = last_line(capsys)
    scores = json.loads((folder / "summary.json").read_text())["scores"]
    assert scores["8x8, 3 to 8 items, held-out items"]["success_rate"] >= 0.9
    assert same(WEIGHTS, folder / "checkpoints" / "final")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--ppo-steps", "-1"], "--ppo-steps must be at least 0"),
        (["--worlds", "0"], "--worlds must be at least 16"),
        (["--init", "nowhere"], "unknown actor 'nowhere'; known: "),
        (["--device", "abacus"], "unknown device 'abacus'"),
        (["--resume", "nowhere"], "is no run folder"),
    ],
)
def test_bad_input_is_one_sentence(
    options: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["train-actor", "--imitation-steps", "0", "--ppo-steps", "0", *options]
    assert main([*given, "--runs-dir", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert "Traceback" not in said
    assert not list(tmp_path.glob("*/*")), "a folder was left behind"


def test_a_damaged_checkpoint_and_other_settings_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    none = ["--imitation-steps", "0", "--ppo-steps", "0", "--score-commands", "0"]
    assert main(["train-actor", *none, "--runs-dir", str(tmp_path)]) == 0
    folder = last_line(capsys)
    assert main(["train-actor", "--resume", str(folder), "--seed", "3"]) == 2
    assert "--seed 3 (there 0)" in capsys.readouterr().err
    state = folder / "checkpoints" / "state.safetensors"
    state.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00 not safetensors")
    assert main(["train-actor", "--resume", str(folder)]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert state.exists()
