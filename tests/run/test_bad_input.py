"""Bad input to the command line: one sentence, exit code 2, no traceback, nothing lost."""

from __future__ import annotations

import errno
import json
import os
import resource
from pathlib import Path

import pytest

import run.storage.folder
from run.__main__ import main
from tests.run.command import CHEATS, episode, folders, lines, one_sentence, start

BAD = {
    "unknown command": (["episod"], "did you mean 'episode'?"),
    "unknown option": (["episode", "--taks", "search"], "did you mean --task?"),
    "a word too many": (["episode", "search"], "search"),
    "a value that is missing": (["episode", "--task"], "--task"),
    "no whole number": (["episode", "--episodes", "ten"], "--episodes ten is no whole number"),
    "no whole number where none is the default": (["episode", "--n-items", "x"], "no whole number"),
    "not a choice": (["episode", "--items", "new"], "held-out"),
    "unknown task": (["episode", "--task", "serch"], "did you mean 'search'?"),
    "unknown id": (["episode", "--task", "Parley/SecretSerch-v0"], "Parley/SecretSearch-v0"),
    "no grid world": (["episode", "--task", "CartPole-v1"], "no MiniGrid world"),
    "unknown planner": (["episode", "--planner", "oracel"], "did you mean 'oracle'?"),
    "unknown actor": (["episode", "--actor", "scriptd"], "did you mean 'scripted'?"),
    "unknown reporter": (["episode", "--reporter", "irelevant"], "did you mean 'irrelevant'?"),
    "no episodes": (["episode", "--episodes", "0"], "--episodes must be at least 1, not 0"),
    "fewer than no episodes": (["episode", "--episodes", "-3"], "not -3"),
    "nothing parallel": (["episode", "--parallel", "0"], "--parallel"),
    "no turns": (["episode", "--max-turns", "0"], "--max-turns"),
    "no steps": (["episode", "--command-steps", "-1"], "--command-steps"),
    "negative seed": (["episode", "--seed", "-1"], "--seed"),
    "negative video": (["episode", "--video", "-1"], "--video"),
    "negative pause": (["episode", "--pause", "-1"], "--pause"),
    "no items": (["episode", "--n-items", "0"], "--n-items"),
    "too many items": (["episode", "--n-items", "11"], "11"),
    "too small a room": (["episode", "--room-size", "3"], "3"),
    "an option that the task does not take": (
        ["episode", "--task", "BabyAI-GoToLocal-v0", "--n-items", "3"],
        "n_items",
    ),
    "a setting that is none": (["episode", "--set", "distractors"], "write it as in distractors=0"),
    "a setting without a value": (["episode", "--set", "distractors="], "distractors=0"),
    "a setting that the task does not take": (
        ["episode", "--task", "babyai-mixed", "--set", "kind=open"],
        "did you mean 'kinds'?",
    ),
    "a setting out of range": (
        ["episode", "--task", "babyai-mixed", "--set", "distractors=99"],
        "distractors must be between 0 and 10, not 99",
    ),
    "a setting given twice": (
        ["episode", "--n-items", "3", "--set", "n_items=4"],
        "the setting n_items is given twice",
    ),
    "no probability": (["episode", "--reporter", "irrelevant", "--irrelevant-p", "2"], "2"),
    "a probability for nothing": (["episode", "--irrelevant-p", "0.1"], "--reporter irrelevant"),
    "an instruction without an item": (["episode", "--instruction", "be good"], "names no item"),
    "an empty instruction": (["episode", "--instruction", " "], "empty"),
    "an instruction and a task": (
        ["episode", "--instruction", "pick up the red ring", "--task", "search"],
        "not both",
    ),
    "no examples": (["episode", "--examples", "-1"], "examples"),
    "a prompt file that is not there": (
        ["episode", "--planner", "smollm2-135m", "--prompt", "/nowhere/p.jinja"],
        "/nowhere/p.jinja",
    ),
    "a folder that is no model": (["episode", "--planner", "/etc"], "/etc"),
    "a name that is no folder name": (["episode", "--name", "../x"], "'../x' is no folder name"),
    "resume of nothing": (["episode", "--resume", "/nowhere"], "'/nowhere' is no run folder"),
    "a key in the address": (
        ["episode", "--planner", "openai:x", "--base-url", "http://me:secret@host/v1"],
        "environment only",
    ),
}


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.replace(" ", "-"))
def test_bad_input_is_one_sentence(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given, expected = BAD[case]
    cheats = [] if "--resume" in given or given[0] != "episode" else list(CHEATS)
    assert main([given[0], *cheats, *given[1:]]) == 2
    said = capsys.readouterr()
    assert expected in one_sentence(said.err)
    assert said.out == ""
    # Nothing is left behind of a run that never began.
    assert not list(tmp_path.glob("runs/*/*"))


def test_without_a_traceback_in_a_process_too(tmp_path: Path) -> None:
    process = start(
        "episode", "--planner", "oracel", "--runs-dir", str(tmp_path), "--actor", "scripted"
    )
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (2, "")
    assert one_sentence(err) == "error: unknown planner 'oracel'; did you mean 'oracle'?"


def test_no_command_shows_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main(["--help"]) == 0
    assert "episode" in capsys.readouterr().out


def test_a_file_in_the_place_of_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").write_text("")
    assert main(["episode", *CHEATS, "--runs-dir", str(tmp_path / "runs")]) == 2
    assert "cannot make the run folder" in one_sentence(capsys.readouterr().err)


def test_a_read_only_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert main(["episode", *CHEATS, "--runs-dir", str(tmp_path)]) == 2
    said = one_sentence(capsys.readouterr().err)
    assert "Read-only file system" in said and "--runs-dir" in said


def test_a_disk_that_fills_up_in_mid_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = lines(episode(tmp_path / "whole", "--episodes", "10"))
    left = 3500
    write = os.write

    def fill(file: int, data: bytes) -> int:
        nonlocal left
        if left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        n = write(file, data[:left])
        left -= n
        return n

    monkeypatch.setattr(run.storage.folder.os, "write", fill)
    capsys.readouterr()
    assert main(["episode", *CHEATS, "--runs-dir", str(tmp_path)]) == 2
    monkeypatch.undo()
    (folder,) = folders(tmp_path)
    said = one_sentence(capsys.readouterr().err)
    assert "No space left on device" in said and f"--resume {folder}" in said
    kept = lines(folder)  # every line whole
    assert 0 < len(kept) < 10 and kept == whole[: len(kept)]
    assert main(["episode", "--resume", str(folder)]) == 0
    assert lines(folder) == whole


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """The same from the system itself: a limit on the size of files cuts a write in two."""
    limit = 3000
    process = start(
        "episode",
        *CHEATS,
        "--runs-dir",
        str(tmp_path),
        before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2 and "File too large" in one_sentence(err)
    (folder,) = folders(tmp_path)
    text = (folder / "episodes.jsonl").read_text("utf-8")
    assert text.endswith("\n") and limit - 1500 < len(text) <= limit


def test_a_full_standard_output(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:

        def onto_full() -> None:
            os.dup2(full.fileno(), 1)

        process = start(
            "episode",
            *CHEATS,
            "--runs-dir",
            str(tmp_path),
            before=onto_full,
        )
        _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "cannot write to standard output" in one_sentence(err)


def test_resume_refuses_other_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = episode(tmp_path, "--episodes", "2", "--seed", "4")
    # Even where the given value is the usual default, and the folder's is not.
    command = ["episode", "--resume", str(folder), "--seed", "0", "--examples", "3", "--plain"]
    assert main(command) == 2
    said = one_sentence(capsys.readouterr().err)
    assert "--seed 0 (there 4), --examples 3 (there left out)" in said and "plain" not in said
    assert main([*command[:3], "--seed", "4"]) == 0


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format": 99}, "another version"),
        ({"command": "train-actor"}, "of 'train-actor'"),
        ({"episodes": "ten"}, "damaged"),
    ],
)
def test_resume_refuses_another_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, object], expected: str
) -> None:
    folder = episode(tmp_path, "--episodes", "2")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    assert main(["episode", "--resume", str(folder)]) == 2
    assert expected in one_sentence(capsys.readouterr().err)


@pytest.mark.parametrize("line", ["{]", "3", '{"episode": 1}'])
def test_resume_names_a_damaged_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    folder = episode(tmp_path, "--episodes", "2")
    with open(folder / "episodes.jsonl", "a") as file:
        file.write(f"{line}\n")
    assert main(["episode", "--resume", str(folder)]) == 2
    assert "line 3 of" in one_sentence(capsys.readouterr().err)


def test_a_folder_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = episode(tmp_path, "--episodes", "2")
    with run.storage.folder.RunFolder.resume(folder, "episode"):
        assert main(["episode", "--resume", str(folder)]) == 2
    assert "in use by another process" in one_sentence(capsys.readouterr().err)
