"""Videos: an episode as mp4 and GIF, the world beside the dialogue and the Planner's scores.

A PNG shows the moment of the last decision.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from agents.dialogue import PLANNER, REPORTER, TASK, THOUGHT, Decision, Dialogue
from agents.episode import Episode
from envs.errors import BadInput
from envs.trajectory import TrajectoryRecorder
from envs.worlds import Worlds
from run.display.state import DisplayState, EpisodeDisplay

FPS = 8
# For how many frames each moment is shown: start, decision, step, report, end.
BEGIN, DECISION, STEP, REPORT, END = 8, 10, 1, 8, 24
GIF_FRAMES = 300
WIDTH, HEIGHT, MARGIN, WORLD = 1040, 560, 28, 448
BARS = 5

BACKGROUND, PANEL, LINE = (22, 24, 29), (32, 35, 42), (58, 62, 72)
TEXT, DIM = (232, 234, 240), (150, 156, 170)
COLOUR = {
    TASK: (240, 200, 110),
    THOUGHT: (160, 160, 175),
    PLANNER: (125, 185, 255),
    REPORTER: (135, 215, 150),
}
GOOD, BAD, BAR, BAR_BACK = (120, 215, 130), (240, 110, 100), (90, 100, 122), (44, 48, 58)


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, which needs no file of the system's."""
    face = ImageFont.load_default(size)
    assert isinstance(face, ImageFont.FreeTypeFont), "this Pillow was built without FreeType"
    return face


def tile_size(height: int, width: int) -> int:
    """Pixels a side of a cell, for a room of so many cells to fill its place in a picture."""
    return max(4, WORLD // max(height, width))


def picture(display: EpisodeDisplay, room: np.ndarray, title: str) -> Image.Image:
    """One moment of an episode, ``WIDTH`` by ``HEIGHT`` pixels.

    Args:
        display: the episode at that moment.
        room: the room at that moment, ``[height, width, 3] uint8``.
        title: stands above the room.
    """
    image = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
    draw = ImageDraw.Draw(image)
    top = 56
    draw.text((MARGIN, 20), title, DIM, font(16))
    world = Image.fromarray(room)
    draw.rectangle((MARGIN, top, MARGIN + WORLD - 1, top + WORLD - 1), PANEL)
    image.paste(world, (MARGIN + (WORLD - world.width) // 2, top + (WORLD - world.height) // 2))
    colour = TEXT
    if display.episode is not None:
        colour = {True: GOOD, False: BAD, None: DIM}[display.episode.success]
    draw.text((MARGIN, top + WORLD + 14), display.status(), colour, font(18))
    left, right = MARGIN + WORLD + MARGIN, WIDTH - MARGIN
    best = display.best(BARS)
    bottom = HEIGHT - MARGIN
    if best:
        bottom -= 26 * len(best) + 44
        _draw_bars(draw, best, left, right, bottom + 20, display.kind_of_scores)
    _draw_script(draw, display.script(), left, right, 20, bottom)
    return image


def _draw_script(
    draw: ImageDraw.ImageDraw,
    script: Sequence[tuple[str, str]],
    left: int,
    right: int,
    top: int,
    bottom: int,
) -> None:
    """The dialogue: the task, and below it as many of the last lines as there is room for."""
    size, line, gap, indent = 18, 25, 9, 88
    blocks = [(who, wrap(text, font(size), right - left - indent)) for who, text in script]

    def height(block: tuple[str, list[str]]) -> int:
        return line * len(block[1]) + gap

    room = bottom - top - height(blocks[0])
    shown: list[tuple[str, list[str]]] = []
    for block in reversed(blocks[1:]):
        if height(block) > room:
            break
        room -= height(block)
        shown.insert(0, block)
    y = top
    for k, (who, rows) in enumerate([blocks[0], *shown]):
        draw.text((left, y), who, COLOUR[who], font(size))
        for row in rows:
            draw.text((left + indent, y), row, TEXT, font(size))
            y += line
        y += gap
        if k == 0 and len(shown) < len(blocks) - 1:
            # Earlier turns are out of sight.
            draw.line((left, y - 5, right, y - 5), LINE)


def _draw_bars(
    draw: ImageDraw.ImageDraw,
    best: Sequence[tuple[str, float, bool]],
    left: int,
    right: int,
    top: int,
    kind: str,
) -> None:
    """Each candidate with its score, of this kind."""
    draw.line((left, top - 12, right, top - 12), LINE)
    draw.text((left, top - 4), f"The Planner's best candidates, {kind}", DIM, font(14))
    bar = right - 152
    for k, (sentence, score, chosen) in enumerate(best):
        y = top + 22 + 26 * k
        draw.text(
            (left, y), _cut(sentence, font(15), bar - left - 12), TEXT if chosen else DIM, font(15)
        )
        p = math.exp(min(score, 0.0))
        draw.rounded_rectangle((bar, y + 3, right - 42, y + 16), 3, BAR_BACK)
        if p > 0.02:
            end = bar + round(p * (right - 42 - bar))
            draw.rounded_rectangle((bar, y + 3, end, y + 16), 3, COLOUR[PLANNER] if chosen else BAR)
        draw.text((right, y), f"{p:.2f}", TEXT if chosen else DIM, font(15), anchor="ra")


def wrap(text: str, face: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Break a text into rows of at most ``width`` pixels; words that are wider are broken too.

    Args:
        text: The text.
        face: The font.
        width: The width of a row, in pixels.
    """
    rows = [""]
    for word in text.split():
        while face.getlength(word) > width:
            fits = next(
                n for n in range(len(word), 0, -1) if n == 1 or face.getlength(word[:n]) <= width
            )
            rows += [word[:fits], ""]
            word = word[fits:]
        joined = f"{rows[-1]} {word}".strip()
        if face.getlength(joined) <= width:
            rows[-1] = joined
        else:
            rows.append(word)
    return [row for row in rows if row] or [""]


def _cut(text: str, face: ImageFont.FreeTypeFont, width: int) -> str:
    if face.getlength(text) <= width:
        return text
    while text and face.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


def thinned(durations: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Which of the pictures a GIF of at most ``most`` shows, as (number, frames), for as long in
    all: of a longer video every second, fourth, ... picture, which stays for the ones left out."""
    kept: list[tuple[int, int]] = []
    for number, frames in enumerate(durations):
        kept.append((number, frames))
        if len(kept) > most:
            kept = [
                (first, n + (kept[k + 1][1] if k + 1 < len(kept) else 0))
                for k, (first, n) in enumerate(kept)
                if k % 2 == 0
            ]
    return kept


class VideoWriter:
    """Writes one video: PATH with ``.mp4``, ``.gif`` and ``.png``, named when complete."""

    def __init__(self, path: Path) -> None:
        import imageio.v2 as imageio

        self.path = path
        self._mp4 = self._named("mp4", half=True)
        self._writer: Any = imageio.get_writer(
            self._mp4,
            fps=FPS,
            codec="libx264",
            quality=8,
            macro_block_size=2,
            ffmpeg_log_level="error",
        )

    def write(
        self,
        durations: Sequence[int],
        draw: Callable[[int], Image.Image],
        poster: int | None = None,
    ) -> None:
        """Draw and write all pictures, and give the files their names, the mp4 last.

        Args:
            durations: for how many frames each picture is shown.
            draw: draws picture k. It is called again for the GIF, so that no more than one
                picture is held at a time.
            poster: the picture that the PNG shows; None for no PNG.
        """
        for k, frames in enumerate(durations):
            pixels = np.asarray(draw(k))
            for _ in range(frames):
                self._writer.append_data(pixels)
        self._writer.close()
        half = self._named("gif", half=True)
        shown = thinned(durations, GIF_FRAMES)
        first, *rest = [k for k, _ in shown]
        _for_gif(draw(first)).save(
            half,
            save_all=True,
            append_images=(_for_gif(draw(k)) for k in rest),
            duration=[1000 * n // FPS for _, n in shown],
            loop=0,
        )
        os.replace(half, self._named("gif"))
        if poster is not None:
            half = self._named("png", half=True)
            draw(poster).save(half)
            os.replace(half, self._named("png"))
        os.replace(self._mp4, self._named("mp4"))

    def abandon(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(OSError):
            self._writer.close()
        for end in ("mp4", "gif", "png"):
            self._named(end, half=True).unlink(missing_ok=True)

    def _named(self, end: str, half: bool = False) -> Path:
        name = f".{self.path.name}.half.{end}" if half else f"{self.path.name}.{end}"
        return self.path.with_name(name)


def _for_gif(image: Image.Image) -> Image.Image:
    # Flat areas and no dithering: a GIF of a quarter of the size.
    return image.quantize(64, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)


@dataclass
class _Storyboard:
    """What the video of one episode is to show: moments, and for how many frames each."""

    writer: VideoWriter
    displays: list[EpisodeDisplay] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    poster: int | None = None


class VideoCallback(DisplayState):
    """Makes videos of some episodes of a group, each when the episode ends.

    Until then only numbers are kept: the trajectory, and the state of the display at each moment.
    """

    def __init__(self, paths: Mapping[int, Path], title: str) -> None:
        """Make a callback for one group.

        Args:
            paths: for each episode to be shown, by its place in the group, where to write, without
                suffix.
            title: stands in every picture.
        """
        super().__init__()
        self.paths = dict(paths)
        self.title = title
        self._trajectories = TrajectoryRecorder(with_grids=True)
        self._storyboards: dict[int, _Storyboard] = {}

    def on_begin(self, worlds: Worlds, dialogues: Sequence[Dialogue]) -> None:
        super().on_begin(worlds, dialogues)
        chosen = [i for i in self.dialogues if i in self.paths]
        self._trajectories.begin(worlds, chosen)
        for i in chosen:
            with self._naming_the_video(i):
                self._storyboards[i] = _Storyboard(VideoWriter(self.paths[i]))
            self._add(i, BEGIN)

    def on_decision(self, i: int, dialogue: Dialogue, decision: Decision) -> None:
        super().on_decision(i, dialogue, decision)
        self._add(i, DECISION)
        if i in self._storyboards:
            self._storyboards[i].poster = len(self._storyboards[i].displays) - 1

    def on_step(self, worlds: Worlds) -> None:
        self._trajectories.on_step(worlds)
        for i, storyboard in self._storyboards.items():
            # A step of the batch moves only the worlds whose command goes on.
            if storyboard.displays[-1].step != int(worlds.steps[i]):
                self._add(i, STEP)

    def on_report(self, i: int, dialogue: Dialogue) -> None:
        super().on_report(i, dialogue)
        self._add(i, REPORT)

    def on_end(self, i: int, episode: Episode) -> None:
        """Write the episode's video. Raises BadInput where that fails, as on a full disk."""
        super().on_end(i, episode)
        self.pending.discard(i)
        self._add(i, END)
        if i in self._storyboards:
            with self._naming_the_video(i):
                self._write(i, self._storyboards[i])
            del self._storyboards[i]

    def close(self) -> None:
        """Drop the videos of episodes that did not end."""
        for storyboard in self._storyboards.values():
            storyboard.writer.abandon()
        self._storyboards = {}

    def _add(self, i: int, frames: int) -> None:
        if i in self._storyboards:
            self._storyboards[i].displays.append(self.display(i))
            self._storyboards[i].durations.append(frames)

    def _write(self, i: int, storyboard: _Storyboard) -> None:
        # numba is loaded only where something is drawn.
        from envs.batched.cameras import room_camera

        trajectory = self._trajectories.trajectory(i)
        assert trajectory.grids is not None
        camera = room_camera(tile_size(*trajectory.grids.shape[1:3]))
        title = f"{self.title} · seed {self.dialogues[i].seed}"

        def draw(k: int) -> Image.Image:
            display = storyboard.displays[k]
            (room,) = trajectory.frames([display.step], camera)
            return picture(display, room, title)

        storyboard.writer.write(storyboard.durations, draw, storyboard.poster)

    @contextlib.contextmanager
    def _naming_the_video(self, i: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # imageio adds ffmpeg's whole command line below.
            why = error.strerror or str(error).strip().splitlines()[0]
            raise BadInput(f"cannot write the video {self.paths[i]}: {why}") from error
