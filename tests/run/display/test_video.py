"""Videos: they decode, have every moment, and no half of one is left behind."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
from PIL import Image

from run.__main__ import main
from run.display.video import (
    BEGIN,
    DECISION,
    END,
    FPS,
    HEIGHT,
    MARGIN,
    REPORT,
    STEP,
    WIDTH,
    WORLD,
    VideoCallback,
    VideoWriter,
    font,
    wrap,
)
from tests.run.command import CHEATS, episode, folders, lines


def test_a_video_has_every_moment(tmp_path: Path) -> None:
    folder = episode(tmp_path, "--episodes", "2", "--video", "1")
    assert sorted(p.name for p in (folder / "videos").iterdir()) == [
        f"episode-0000.{end}" for end in ("gif", "mp4", "png")
    ]
    line = next(line for line in lines(folder) if line["episode"] == 0)
    turns = len(line["turns"])
    expected = BEGIN + turns * (DECISION + REPORT) + line["steps"] * STEP + END
    frames = imageio.imread(folder / "videos" / "episode-0000.mp4")
    assert frames.shape == (expected, HEIGHT, WIDTH, 3)
    # Something moves, and the last frame stays.
    assert np.abs(frames[BEGIN - 1].astype(int) - frames[-1]).mean() > 1
    assert np.abs(frames[-END + 2].astype(int) - frames[-1]).mean() < 1
    with Image.open(folder / "videos" / "episode-0000.gif") as gif:
        lasting = 0
        for k in range(gif.n_frames):
            gif.seek(k)
            lasting += gif.info["duration"]
    assert lasting == pytest.approx(1000 * expected / FPS, rel=0.02)


def test_a_still_of_a_planner_with_scores(tmp_path: Path) -> None:
    """The bars are drawn where there are scores, and only there."""
    from agents.dialogue import Decision, Dialogue
    from envs.tasks import make_worlds
    from run.display.video import picture

    worlds = make_worlds("conditional", 1)
    worlds.reset(0, 0)
    dialogue = Dialogue(worlds.tasks[0], worlds.verbs(0))
    pictures = []
    for scores in ({}, {c.sentence(): -0.1 * k for k, c in enumerate(dialogue.candidates())}):
        stage = VideoCallback({}, "test")
        stage.on_begin(worlds, [dialogue])
        command = dialogue.candidates()[0]
        stage.on_decision(0, dialogue, Decision(command.sentence(), command, scores))
        pictures.append(np.asarray(picture(stage, 0, "test")).astype(int))
    changed = np.abs(pictures[0] - pictures[1]).sum(-1) > 0
    left = 2 * MARGIN + WORLD
    assert changed[-200:, left:].any() and not changed[:, :left].any()


def test_nothing_half_is_left_behind(tmp_path: Path) -> None:
    film = VideoWriter(tmp_path / "film")
    film.add(Image.new("RGB", (WIDTH, HEIGHT)), 2)
    film.abandon()
    assert list(tmp_path.iterdir()) == []


def test_a_very_long_film_keeps_its_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("run.display.video.GIF_FRAMES", 5)
    film = VideoWriter(tmp_path / "film")
    for k in range(23):
        film.add(Image.new("RGB", (64, 64), (10 * k, 0, 0)), 2)
    film.finish()
    with Image.open(tmp_path / "film.gif") as gif:
        assert gif.n_frames <= 5
        total = 0
        for k in range(gif.n_frames):
            gif.seek(k)
            total += gif.info["duration"]
    assert total == pytest.approx(1000 * 46 / FPS, rel=0.02)
    assert len(imageio.imread(tmp_path / "film.mp4")) == 46


def test_a_video_that_is_missing_is_made_on_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BEGIN", "DECISION", "REPORT", "END"):
        monkeypatch.setattr(f"run.display.video.{name}", 1)
    folder = episode(tmp_path, "--episodes", "2", "--video", "1")
    (folder / "videos" / "episode-0000.mp4").unlink()
    # Its line is there, but the other of its group is not.
    text = (folder / "episodes.jsonl").read_text().splitlines()
    (folder / "episodes.jsonl").write_text(text[0] + "\n")
    before = lines(folder)
    assert main(["episode", "--resume", str(folder)]) == 0
    assert lines(folder)[:1] == before and len(lines(folder)) == 2
    assert (folder / "videos" / "episode-0000.mp4").exists()


def test_rows_fit() -> None:
    text = f"a few words and {'w' * 80} and the rest"
    rows = wrap(text, font(18), 200)
    assert all(font(18).getlength(row) <= 200 for row in rows)
    assert "".join(rows).replace(" ", "") == text.replace(" ", "")
    assert wrap("", font(18), 200) == [""]


def test_no_room_on_the_disk_for_a_video(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(VideoWriter, "finish", full)
    command = ["episode", *CHEATS, "--runs-dir", str(tmp_path), "--episodes", "2", "--video", "1"]
    assert main(command) == 2
    (folder,) = folders(tmp_path)
    said = capsys.readouterr().err
    assert "cannot write the video" in said and f"--resume {folder}" in said
    assert list((folder / "videos").iterdir()) == []
