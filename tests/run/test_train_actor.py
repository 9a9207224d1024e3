"""``python -m run train-actor``, in small."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from agents.actor.learned import load_network
from run.__main__ import main

SMALL = ["train-actor", "--imitation-steps", "1024", "--ppo-steps", "512", "--worlds", "8"]
SCORE = ["--score-commands", "8", "--score-room-sizes", "6", "--score-n-items", "3"]


def test_it_trains_scores_and_saves_what_can_be_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "weights"
    assert main([*SMALL, *SCORE, "--runs-dir", str(tmp_path), "--out", str(out)]) == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["command"] == "train-actor"
    assert {s["n"] for s in summary["scores"].values()} == {8}
    assert set(summary["scores"]) == {"train", "held-out"}
    stages = [row["stage"] for row in csv.DictReader((folder / "curve.csv").open())]
    assert stages == ["imitation", "ppo"]
    final, kept = load_network(folder / "checkpoints" / "final"), load_network(out)
    early = load_network(folder / "checkpoints" / "imitation")
    assert all((a == b).all() for a, b in zip(final.parameters(), kept.parameters(), strict=True))
    assert not (final.head.weight == early.head.weight).all()

    only_score = ["train-actor", "--imitation-steps", "0", "--ppo-steps", "0", *SCORE]
    assert main([*only_score, "--init", str(out), "--runs-dir", str(tmp_path)]) == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    again = load_network(folder / "checkpoints" / "final")
    assert all((a == b).all() for a, b in zip(final.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--ppo-steps", "-1"], "--ppo-steps must be at least 0"),
        (["--worlds", "0"], "--worlds must be at least 1"),
        (["--init", "nowhere"], "config.json is missing"),
        (["--score-room-sizes", "99"], "room_size must be between 6 and 16"),
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


def test_without_tensorboard_its_option_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("run.train_actor.find_spec", lambda name: None)
    assert main(["train-actor", "--tensorboard"]) == 2
    assert "parley[track]" in capsys.readouterr().err
