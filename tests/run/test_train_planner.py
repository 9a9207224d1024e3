"""``python -m run train-planner``, in small, on a tiny random model."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from agents.planner.adapter import read_about
from agents.planner.options import PlannerOptions
from agents.planner.registry import make_planner
from envs.errors import BadInput
from models.language.adapters import WEIGHTS
from run.__main__ import main
from tests.agents.tiny import dialogue, tiny_model, tiny_tokenizer
from tests.run.warm import in_stage, kill_when

COMMON = [
    *("--rank", "2"),
    *("--checkpoint-seconds", "0", "--dtype", "float32", "--device", "cpu", "--threads", "1"),
]
SMALL = [
    *("--imitation-steps", "4", "--batch", "2", "--rl-steps", "3", "--groups", "2"),
    *(
        "--samples-per-prompt",
        "3",
        "--rank",
        "2",
        "--validate-every",
        "4",
        "--validation-episodes",
        "4",
    ),
    *("--checkpoint-seconds", "0", "--dtype", "float32", "--device", "cpu", "--threads", "1"),
    *("--random-embeddings", "0.3", "--relabelling", "0.5"),
    *("--noise-injection", "0.1", "--validation-tasks", "commands,nor"),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "tiny"
    tiny_model("llama").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def last_line(capsys: pytest.CaptureFixture[str]) -> Path:
    return Path(capsys.readouterr().out.splitlines()[-1])


def same(one: Path, two: Path) -> bool:
    a, b = load_file(one / WEIGHTS), load_file(two / WEIGHTS)
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def test_it_trains_chooses_and_goes_on_after_a_kill_as_if_nothing_had_been(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, runs = tmp_path / "out", tmp_path / "runs"
    settings = ["--base", str(base), *SMALL, "--cache", str(tmp_path / "cache")]
    command = ["train-planner", *settings]
    assert main([*command, "--runs-dir", str(runs), "--out", str(out)]) == 0
    whole = last_line(capsys)
    rows = list(csv.DictReader((whole / "curve.csv").open()))
    assert [r["step"] for r in rows] == [str(k) for k in range(1, 8)]
    assert [r["stage"] for r in rows] == ["imitation"] * 4 + ["reinforcement"] * 3
    summary = json.loads((whole / "summary.json").read_text())
    assert (summary["command"], summary["n_errors"]) == ("train-planner", 0)
    scores = summary["validation"]
    assert list(scores) == ["imitation 4", "reinforcement 3"]
    seen = [float(r["validation"]) for r in rows if r["validation"] != ""]
    assert seen == list(scores.values())
    assert scores[summary["chosen"]] == max(scores.values())
    assert (whole / "plots" / "curve.png").stat().st_size > 5000
    assert list((whole / "tensorboard").iterdir())
    assert same(whole / "checkpoints" / "final", out)
    assert read_about(out).base == str(base)

    # What was made is a Planner by its path, and another one than the model it came from.
    options = PlannerOptions(
        cache=tmp_path / "cache", dtype="float32", scoring="constrained", examples=0
    )
    asked = [dialogue()]
    plain = make_planner(str(base), options).choose(asked)[0].scores
    adapted = make_planner(str(out), options).choose(asked)[0].scores
    assert plain.keys() == adapted.keys() and plain != adapted
    with pytest.raises(BadInput, match="is an adapter already"):
        make_planner(str(out), PlannerOptions(adapter=out))

    # The mean of adapters: of an adapter and itself, that adapter, but for rounding.
    mean = ["train-planner", "--base", str(base), *COMMON, "--cache", str(tmp_path / "cache")]
    mean += ["--imitation-steps", "0", "--rl-steps", "0", "--init", str(out), str(out)]
    assert main([*mean, "--runs-dir", str(runs)]) == 0
    folder = last_line(capsys)
    validated = json.loads((folder / "summary.json").read_text())["validation"]
    assert list(validated) == ["the start"]
    twice = make_planner(str(folder / "checkpoints" / "final"), options).choose(asked)[0].scores
    assert twice == pytest.approx(adapted, abs=0.02) and twice != pytest.approx(plain, abs=0.02)

    # The same again, killed where there is most to go on from.
    killed = tmp_path / "killed"
    folder = kill_when(killed, in_stage("reinforcement"), *command, "--runs-dir", str(killed))
    assert main(["train-planner", "--resume", str(folder)]) == 0
    assert last_line(capsys) == folder
    for stage in ("imitation", "reinforcement", "final"):
        assert same(whole / "checkpoints" / stage, folder / "checkpoints" / stage)
    again = list(csv.DictReader((folder / "curve.csv").open()))
    assert [{**r, "seconds": ""} for r in again] == [{**r, "seconds": ""} for r in rows]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--batch", "0"], "--batch must be at least 1"),
        (["--samples-per-prompt", "1"], "--samples-per-prompt must be at least 2"),
        (["--relabelling", "1"], "--relabelling must be from 0 to below 1"),
        (["--temperature", "0"], "--temperature must be above 0"),
        (["--reward", "detecter"], "unknown detector 'detecter'; did you mean 'detector'?"),
        (["--base", "nowhere"], "there is no file or folder 'nowhere'"),
        (["--validation-tasks", "comands"], "did you mean 'commands'?"),
        (["--init", "nowhere"], "unknown planner 'nowhere'; known: "),
        (["--device", "abacus"], "device 'abacus' cannot be used"),
        (["--resume", "nowhere"], "is no run folder"),
    ],
)
def test_bad_input_is_one_sentence(
    options: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = [] if "--resume" in options else ["--runs-dir", str(tmp_path)]
    assert main(["train-planner", *options, *extra]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1
    assert not list(tmp_path.glob("train-planner/*"))


def test_an_adapter_for_another_model_names_both(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["train-planner", "--base", str(base), *COMMON, "--imitation-steps", "1"]
    out = tmp_path / "out"
    more = ["--rl-steps", "0", "--validate-every", "0", "--cache", str(tmp_path / "cache")]
    assert main([*run, *more, "--runs-dir", str(tmp_path), "--out", str(out)]) == 0
    options = ["episode", "--planner", "smollm2-135m", "--adapter", str(out)]
    assert main([*options, "--runs-dir", str(tmp_path / "runs")]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"is for the model '{base}', not for 'smollm2-135m'" in said
