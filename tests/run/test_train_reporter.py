"""``train-reporter``, in small: it resumes after a kill, and what it makes reports."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from rewards.success_vqa.baseline import BaselineConfig, BaselineDetector
from run.__main__ import main
from tests.agents.tiny import tiny_model, tiny_tokenizer
from tests.run.command import HOUSE, TORCHRUN, episode, lines, start
from tests.run.warm import in_stage, in_two_processes, kill_when

CAPTIONING = [
    *("--steps", "6", "--batch", "4", "--width", "16", "--gates", "1", "--every", "1"),
    *("--validate-every", "3", "--validation-episodes", "4", "--threads", "1"),
    *("--checkpoint-seconds", "0", "--device", "cpu"),
]
TRAIN = [
    *CAPTIONING,
    *("--rl-steps", "3", "--groups", "2", "--samples-per-prompt", "2", "--planner", "oracle"),
    *("--episode-weight", "1", "--command-weight", "0.5"),
]


def test_a_killed_run_goes_on_and_its_reporter_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_model("llama").save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    BaselineDetector(BaselineConfig(("did", "the", "agent"), 16, 1, 4)).save(tmp_path / "judge")
    command = ["train-reporter", "--base", str(tmp_path / "base"), *TRAIN]
    command += ["--detector", str(tmp_path / "judge")]
    assert main([*command, "--runs-dir", str(tmp_path / "runs"), "--out", str(tmp_path / "r")]) == 0
    whole = Path(capsys.readouterr().out.strip().splitlines()[-1])
    runs = tmp_path / "killed"
    killed = kill_when(runs, in_stage("reinforcement", 1), *command, "--runs-dir", str(runs))
    assert main(["train-reporter", "--resume", str(killed)]) == 0
    one, other = (load_file(f / "checkpoints/final/model.safetensors") for f in (whole, killed))
    assert len(one) > 40 and all((one[n] == other[n]).all() for n in one)
    summary = json.loads((killed / "summary.json").read_text())
    seen = {"captioning 3", "captioning 6", "reinforcement 3"}
    assert set(summary["validation"]) == seen and summary["n"] == 6 + 3
    with (killed / "curve.csv").open() as file:
        rows = list(csv.DictReader(file))[6:]
    for row in rows:
        assert row["success"] == row["truth"] and 0 < float(row["episode"]) < 1
        assert 0 < float(row["command"]) < 1 and float(row["episodes_per_second"]) > 0
    assert (killed / "plots" / "curve.png").stat().st_size > 5_000

    played = episode(
        *(tmp_path / "episodes", "--task", "visual-conditional", "--episodes", "2"),
        *("--reporter", str(tmp_path / "r"), "--max-turns", "2"),
    )
    assert len(lines(played)) == 2

    # Once more from that, with its vision encoder taught first.
    taught = ["train-reporter", "--base", str(tmp_path / "base"), *CAPTIONING]
    taught += ["--init", str(tmp_path / "r"), "--floor-steps", "3"]
    assert main([*taught, "--runs-dir", str(tmp_path / "runs")]) == 0
    whole = Path(capsys.readouterr().out.strip().splitlines()[-1])
    runs = tmp_path / "killed-again"
    killed = kill_when(runs, in_stage("sight", 1), *taught, "--runs-dir", str(runs))
    assert main(["train-reporter", "--resume", str(killed)]) == 0
    new = [load_file(f / "checkpoints/final/model.safetensors") for f in (whole, killed)]
    assert all((new[0][n] == new[1][n]).all() for n in one)
    assert any((new[0][n] != one[n]).any() for n in one if n.startswith("encoder.stem"))
    with (killed / "curve.csv").open() as file:
        steps = [(row["stage"], row["step"]) for row in csv.DictReader(file)]
    assert steps[2:4] == [("sight", "3"), ("captioning", "4")] and len(steps) == 3 + 6


def test_two_processes_train_one_reporter(tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    command = ["train-reporter", "--base", str(tmp_path / "base"), *TRAIN]
    out = in_two_processes(
        *(*command, "--runs-dir", str(tmp_path)),
        *("--episode-weight", "0", "--command-weight", "0"),
        *("--steps", "2", "--rl-steps", "2", "--validate-every", "2"),
    )
    (folder,) = (tmp_path / "train-reporter").iterdir()
    assert out.split() == [str(folder)]
    assert len((folder / "curve.csv").read_text().splitlines()) == 1 + 2 + 2
    assert len(load_file(folder / "checkpoints" / "final" / "model.safetensors")) > 40


def test_a_step_is_the_mean_of_all_processes(tmp_path: Path) -> None:
    how = ["--standalone", "--nproc-per-node", "2"]
    script = tmp_path / "both.py"
    script.write_text(
        "import torch\n"
        "from models.training.process_group import ProcessGroup\n"
        "group = ProcessGroup(torch.device('cpu'))\n"
        "p, q, r = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))\n"
        "if group.rank: p.grad = torch.tensor([4.0, 2.0])\n"
        "else: q.grad = torch.tensor([1.0, 3.0])\n"
        "group.average_gradients([p, q, r])\n"
        "shared = [p.grad.tolist(), q.grad.tolist(), r.grad]\n"
        "shared += [group.means([group.rank, 1.5]), group.maximum(group.rank)]\n"
        "if not group.rank: print(shared)\n"
    )
    process = start(*how, str(script), code=TORCHRUN, environment={"PYTHONPATH": str(HOUSE)})
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out.strip() == "[[2.0, 1.0], [0.5, 1.5], None, [0.5, 1.5], 1]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train-reporter", "--width", "20"], "--width must be a multiple of 8"),
        (["train-reporter", "--learning-rate", "0"], "--learning-rate must be above 0"),
        (["train-reporter", "--truth-weight", "0"], "nothing is rewarded"),
        (["train-reporter", "--members", "1"], "--samples-per-prompt must be at least 2"),
        (["train-reporter", "--sight-steps", "5"], "--floor-steps needs --init"),
        (["train-reporter", "--base", "nowhere"], "there is no file or folder 'nowhere'"),
        (["episode", "--reporter", "scribe"], "unknown reporter 'scribe'"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--runs-dir", str(tmp_path)]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.glob("*/*")), "a folder was left behind"
