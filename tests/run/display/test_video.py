"""Videos: they decode, have every moment, and no half of one is left behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
from PIL import Image

from agents.actor import make_actor
from agents.dialogue import Decision, Dialogue
from agents.episode import Episode
from agents.planner.registry import make_planner
from agents.reporter import make_reporter
from agents.team import Callback, Team
from envs.tasks import make_worlds
from envs.worlds import Worlds
from run.__main__ import main
from run.display.state import CallbackList, DisplayState
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
    picture,
    thinned,
    tile_size,
    wrap,
)
from tests.run.command import CHEATS, episode, folders, lines, one_sentence


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


def test_a_still_of_a_planner_with_scores() -> None:
    """The bars are drawn where there are scores, and only there."""
    worlds = make_worlds("conditional", 1)
    worlds.reset(0, 0)
    dialogue = Dialogue(worlds.tasks[0], worlds.verbs(0))
    pictures = []
    for scores in ({}, {c.sentence(): -0.1 * k for k, c in enumerate(dialogue.candidates())}):
        state = DisplayState()
        state.on_begin(worlds, [dialogue])
        command = dialogue.candidates()[0]
        state.on_decision(0, dialogue, Decision(command.sentence(), command, scores))
        still = picture(state.display(0), worlds.frame(0, 56), "test")
        pictures.append(np.asarray(still).astype(int))
    changed = np.abs(pictures[0] - pictures[1]).sum(-1) > 0
    left = 2 * MARGIN + WORLD
    assert changed[-200:, left:].any() and not changed[:, :left].any()


class Pictures(Callback):
    """Draws with MiniGrid, while the episode is played, what the video is to show."""

    def __init__(self, title: str) -> None:
        self.state = DisplayState()
        self.title = title
        self.pictures: list[np.ndarray] = []
        self.durations: list[int] = []
        self.step = 0

    def on_begin(self, worlds: Worlds, dialogues: Sequence[Dialogue]) -> None:
        self.state.on_begin(worlds, dialogues)
        self.add(BEGIN)

    def on_decision(self, i: int, dialogue: Dialogue, decision: Decision) -> None:
        self.state.on_decision(i, dialogue, decision)
        if i == 0:
            self.add(DECISION)

    def on_step(self, worlds: Worlds) -> None:
        if worlds.steps[0] > self.step:
            self.step = int(worlds.steps[0])
            self.add(STEP)

    def on_report(self, i: int, dialogue: Dialogue) -> None:
        self.state.on_report(i, dialogue)
        if i == 0:
            self.add(REPORT)

    def on_end(self, i: int, episode: Episode) -> None:
        self.state.on_end(i, episode)
        if i == 0:
            self.add(END)

    def add(self, frames: int) -> None:
        assert self.state.worlds is not None
        world = self.state.worlds.world(0)
        room = world.get_frame(tile_size=tile_size(world.height, world.width))
        self.pictures.append(np.asarray(picture(self.state.display(0), room, self.title)))
        self.durations.append(frames)


def test_what_is_drawn_at_the_end_is_what_was_there_to_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two episodes of different lengths, played together."""
    written: list[tuple[list[int], list[np.ndarray], np.ndarray]] = []

    def write(
        self: VideoWriter, durations: list[int], draw: Callable[[int], Image.Image], poster: int
    ) -> None:
        pictures = [np.asarray(draw(k)) for k in range(len(durations))]
        written.append((list(durations), pictures, np.asarray(draw(poster))))

    monkeypatch.setattr(VideoWriter, "write", write)
    video = VideoCallback({0: tmp_path / "video"}, "title")
    seen = Pictures("title · seed 4")
    team = Team(make_planner("oracle"), make_actor("scripted"), make_reporter("scripted"))
    team.play(make_worlds("conditional", 2), [4, 9], CallbackList([video, seen]))
    ((durations, pictures, poster),) = written
    assert durations == seen.durations and len(durations) > 12
    for mine, theirs in zip(pictures, seen.pictures, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    last_decision = max(k for k, n in enumerate(durations) if n == DECISION)
    np.testing.assert_array_equal(poster, seen.pictures[last_decision])


def test_nothing_half_is_left_behind(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "video")

    def draw(k: int) -> Image.Image:
        if k == 1:
            raise RuntimeError("oh")
        return Image.new("RGB", (WIDTH, HEIGHT))

    with pytest.raises(RuntimeError):
        writer.write([2, 2], draw)
    writer.abandon()
    assert list(tmp_path.iterdir()) == []


def test_a_very_long_video_keeps_its_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("run.display.video.GIF_FRAMES", 5)
    writer = VideoWriter(tmp_path / "video")
    writer.write([2] * 23, lambda k: Image.new("RGB", (64, 64), (10 * k, 0, 0)))
    with Image.open(tmp_path / "video.gif") as gif:
        assert gif.n_frames <= 5
        total = 0
        for k in range(gif.n_frames):
            gif.seek(k)
            total += gif.info["duration"]
    assert total == pytest.approx(1000 * 46 / FPS, rel=0.02)
    assert len(imageio.imread(tmp_path / "video.mp4")) == 46


def test_a_gif_shows_every_second_or_fourth_picture_for_as_long() -> None:
    assert thinned([1, 2, 3], 3) == [(0, 1), (1, 2), (2, 3)]
    assert thinned([1, 2, 3, 4], 3) == [(0, 3), (2, 7)]
    assert thinned([1, 2, 3, 4, 5], 3) == [(0, 3), (2, 7), (4, 5)]
    assert thinned([1] * 6, 3) == [(0, 4), (4, 2)]


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

    monkeypatch.setattr(VideoWriter, "write", full)
    command = ["episode", *CHEATS, "--runs-dir", str(tmp_path), "--episodes", "2", "--video", "1"]
    assert main(command) == 2
    assert "cannot write the video" in one_sentence(capsys.readouterr().err)
    # No episode was finished: there is nothing to go on with.
    assert not folders(tmp_path)
