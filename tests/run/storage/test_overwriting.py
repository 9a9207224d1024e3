"""What exists is not overwritten unasked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from envs.errors import BadInput
from run.__main__ import main
from run.storage.overwriting import check_free, replace_folder, write_files


def test_only_what_is_empty_is_free(tmp_path: Path) -> None:
    check_free(None, False)
    check_free(tmp_path / "new" / "folder", False)
    (tmp_path / "empty").mkdir()
    check_free(tmp_path / "empty", False)
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(BadInput, match=r"exists already; .*--force"):
        check_free(file, False)
    check_free(file, True)
    with pytest.raises(BadInput, match="is a file"):
        check_free(file / "below", True)
    with pytest.raises(BadInput, match="is a folder with files in it"):
        check_free(tmp_path, False)
    with pytest.raises(BadInput, match="does not delete it"):
        check_free(tmp_path, True)
    (tmp_path / "config.json").write_text("{}")
    check_free(tmp_path, True)
    with pytest.raises(BadInput, match="would hold the run folders too"):
        check_free(tmp_path / "new", False, runs_dir=tmp_path / "new" / "runs")


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    place = tmp_path / "place"
    replace_folder(place, lambda p: (p / "a").write_text("1"))
    replace_folder(place, lambda p: (p / "b").write_text("2"))
    assert [p.name for p in place.iterdir()] == ["b"]

    def fails(folder: Path) -> None:
        (folder / "c").write_text("3")
        raise BadInput("no")

    with pytest.raises(BadInput, match="no"):
        replace_folder(place, fails)
    assert [p.name for p in place.iterdir()] == ["b"] and list(tmp_path.iterdir()) == [place]


def test_files_are_written_all_or_none(tmp_path: Path) -> None:
    first, second = tmp_path / "new" / "a.md", tmp_path / "new" / "b.png"

    def fails(file: Path) -> None:
        file.write_text("half")
        raise OSError(28, "No space left on device")

    write: dict[Path, Callable[[Path], object]] = {first: lambda f: f.write_text("x")}
    with pytest.raises(BadInput, match=r"cannot write '.*b\.png': No space left"):
        write_files({**write, second: fails})
    assert list(tmp_path.iterdir()) == []
    write_files(write)
    assert [f.name for f in first.parent.iterdir()] == ["a.md"]


@pytest.mark.parametrize(
    "command",
    [
        ["make-clips", "--clips", "2", "--splits", "train"],
        ["train-actor", "--imitation-steps", "0", "--ppo-steps", "0"],
        ["train-planner", "--imitation-steps", "0", "--rl-steps", "0"],
        ["train-reporter", "--steps", "0"],
        ["train-detector", "--steps", "0"],
    ],
    ids=lambda c: c[0],
)
def test_every_command_with_out_keeps_what_is_there(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").write_text("x")
    runs = tmp_path / "runs"
    assert main([*command, "--out", str(out), "--runs-dir", str(runs)]) == 2
    assert "is a folder with files in it" in capsys.readouterr().err
    assert (out / "precious").read_text() == "x" and not runs.exists()


def test_a_data_set_is_made_anew_only_by_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "clips"
    command = ["make-clips", "--splits", "test6", "--test-clips", "3", "--out", str(out)]
    command += ["--runs-dir", str(tmp_path / "runs")]
    assert main(command) == 0
    before = (out / "data" / "test6.parquet").read_bytes()
    assert main([*command, "--seed", "1"]) == 2
    assert (out / "data" / "test6.parquet").read_bytes() == before
    assert main([*command, "--seed", "1", "--force"]) == 0
    assert (out / "data" / "test6.parquet").read_bytes() != before
    assert sorted(p.name for p in out.iterdir()) == ["README.md", "data"]
    capsys.readouterr()
