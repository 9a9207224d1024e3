"""A command that cannot do its work leaves nothing behind, wherever that shows."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from envs.errors import BadInput
from run.__main__ import main
from run.storage.folder import RunFolder
from tests.run.command import CHEATS, start

FAILURES = {
    "a prompt, after the run folder is made": (
        ["episode", "--planner", "smollm2-135m", "--prompt", "nowhere.jinja"],
        "nowhere.jinja",
    ),
    "a prompt of a whole suite": (
        ["evaluate", "--planner", "smollm2-135m", "--prompt", "nowhere.jinja"],
        "nowhere.jinja",
    ),
    "no run to report": (["report", "nowhere", "--out", "new/page.html"], "nowhere"),
    "no results": (["leaderboard", "--results", "nowhere", "--out", "new/page.md"], "--add"),
    "no curve": (["curves", "nowhere", "--out", "new/x.png"], "nowhere"),
    "no clips to label": (["label", "--by", "anna", "--data", "nowhere"], "nowhere"),
    "no clips to score": (["score-detector", "--data", "nowhere"], "nowhere"),
    "no such detector": (["score-detector", "--detectors", "detectr"], "'detector'"),
    "no such split": (["make-clips", "--splits", "tain", "--out", "new"], "'train'"),
    "no questions": (["make-clips", "--questions", "nowhere.toml", "--out", "new"], "nowhere.toml"),
    "no such level": (["check-engine", "--levels", "nope"], "nope"),
    "no such reward": (["train-actor", "--reward", "detectr", "--out", "new"], "'detector'"),
    "no such weights": (["train-actor", "--init", "./nowhere", "--out", "new"], "nowhere"),
    "no such actor": (["train-planner", "--actor", "scriptd", "--out", "new"], "'scripted'"),
    "no such base": (["train-planner", "--base", "./nowhere", "--out", "new"], "nowhere"),
    "no such planner": (["train-reporter", "--planner", "oracel", "--rl-steps", "1"], "'oracle'"),
    "no such detector of a reward": (
        ["train-reporter", "--rl-steps", "1", "--episode-weight", "1", "--detector", "detectr"],
        "'detector'",
    ),
    "no such weights of a Reporter": (["train-reporter", "--init", "./nowhere"], "nowhere"),
    "no data": (["train-detector", "--data", "nowhere", "--out", "new"], "nowhere"),
    "no such weights of a detector": (["train-detector", "--init", "./nowhere"], "nowhere"),
    "no such device": (["train-solo", "--device", "gpu"], "use cpu or cuda"),
}


@pytest.mark.parametrize("case", FAILURES, ids=lambda case: case.replace(" ", "-"))
def test_a_failed_command_leaves_nothing(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, expected = FAILURES[case]
    assert main(arguments) == 2
    said = [row for row in capsys.readouterr().err.splitlines() if row.startswith("error: ")]
    assert len(said) == 1 and expected in said[0]
    assert "--resume" not in said[0]
    assert list(tmp_path.rglob("*")) == []


def test_what_was_done_stays(tmp_path: Path) -> None:
    with pytest.raises(BadInput), RunFolder.new(tmp_path, "episode", "x", {}, True) as folder:
        folder.part("plots", "a.png").write_text("x")
        raise BadInput("no")
    assert (folder.path / "plots" / "a.png").exists() and (folder.path / "config.json").exists()
    with pytest.raises(BadInput), RunFolder.resume(folder.path, "episode"):
        raise BadInput("no")
    assert folder.path.exists()


@pytest.mark.parametrize(("mask", "file", "folder"), [(0o022, 0o644, 0o755), (0o027, 0o640, 0o750)])
def test_files_have_ordinary_permissions(mask: int, file: int, folder: int, tmp_path: Path) -> None:
    arguments = ["train-actor", "--imitation-steps", "0", "--ppo-steps", "0", "--score-commands"]
    out = ["--out", str(tmp_path / "weights"), "--runs-dir", str(tmp_path / "runs")]
    code = (
        f"import os, sys; os.umask({mask}); from run.__main__ import main; "
        f"main({['episode', *CHEATS, '--episodes', '1', *out[2:]]!r}); "
        "sys.exit(main(sys.argv[1:]))"
    )
    process = start(*arguments, "0", *out, code=code)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    found = {p: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.rglob("*")}
    assert len(found) > 12
    wrong = {str(p): oct(m) for p, m in found.items() if m != (folder if p.is_dir() else file)}
    assert wrong == {}
