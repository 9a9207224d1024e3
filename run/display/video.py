"""Videos: an episode as mp4 and GIF, the world beside the dialogue and the Planner's scores.

Beside them lies a PNG of the moment of the last decision.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from agents.dialogue import PLANNER, REPORTER, TASK, Decision, Dialogue
from agents.team import Episode
from envs.errors import BadInput
from envs.worlds import Worlds
from run.display.state import DisplayState, verdict

FPS = 8
# How many frames each moment stays: the start, a decision, a step, a report, the end.
BEGIN, DECISION, STEP, REPORT, END = 8, 10, 1, 8, 24
GIF_FRAMES = 300
WIDTH, HEIGHT, MARGIN, WORLD = 1040, 560, 28, 448
BARS = 5

BACKGROUND, PANEL, LINE = (22, 24, 29), (32, 35, 42), (58, 62, 72)
TEXT, DIM = (232, 234, 240), (150, 156, 170)
COLOUR = {TASK: (240, 200, 110), PLANNER: (125, 185, 255), REPORTER: (135, 215, 150)}
GOOD, BAD, BAR, BAR_BACK = (120, 215, 130), (240, 110, 100), (90, 100, 122), (44, 48, 58)


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, which is always there."""
    found = ImageFont.load_default(size)
    assert isinstance(found, ImageFont.FreeTypeFont), "this Pillow was built without FreeType"
    return found


def picture(stage: DisplayState, i: int, title: str) -> Image.Image:
    """Episode i of the group as it stands, ``WIDTH`` by ``HEIGHT`` pixels."""
    assert stage.worlds is not None
    image = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
    draw = ImageDraw.Draw(image)
    top = 56
    draw.text((MARGIN, 20), title, DIM, font(16))
    tile = max(4, WORLD // max(stage.worlds.world(i).width, stage.worlds.world(i).height))
    world = Image.fromarray(stage.worlds.frame(i, tile))
    draw.rectangle((MARGIN, top, MARGIN + WORLD - 1, top + WORLD - 1), PANEL)
    image.paste(world, (MARGIN + (WORLD - world.width) // 2, top + (WORLD - world.height) // 2))
    _draw_status(draw, stage, i, top + WORLD + 14)
    left, right = MARGIN + WORLD + MARGIN, WIDTH - MARGIN
    best = stage.best(i, BARS)
    bottom = HEIGHT - MARGIN
    if best:
        bottom -= 26 * len(best) + 44
        _draw_bars(draw, best, left, right, bottom + 20)
    _draw_script(draw, stage.script(i), left, right, 20, bottom)
    return image


def _draw_status(draw: ImageDraw.ImageDraw, stage: DisplayState, i: int, y: int) -> None:
    assert stage.worlds is not None
    if i in stage.ended:
        episode = stage.ended[i]
        colour = {True: GOOD, False: BAD, None: DIM}[episode.success]
        said = verdict(episode)
        draw.text((MARGIN, y), f"{said[0].upper()}{said[1:]}", colour, font(18))
        return
    steps = int(stage.worlds.steps[i])
    doing = "The Actor acts" if i in stage.pending else "The Planner thinks"
    draw.text((MARGIN, y), f"{doing} · step {steps}", TEXT, font(18))


def _draw_script(
    draw: ImageDraw.ImageDraw,
    script: Sequence[tuple[str, str]],
    left: int,
    right: int,
    top: int,
    bottom: int,
) -> None:
    """The dialogue, its task always, of the rest as much of the end as there is room for."""
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
) -> None:
    """Each candidate with its score: the mean probability of its tokens (geometric)."""
    draw.line((left, top - 12, right, top - 12), LINE)
    draw.text(
        (left, top - 4), "The Planner's best candidates, probability per token", DIM, font(14)
    )
    bar = right - 152
    for k, (sentence, score, said) in enumerate(best):
        y = top + 22 + 26 * k
        draw.text(
            (left, y), _cut(sentence, font(15), bar - left - 12), TEXT if said else DIM, font(15)
        )
        p = math.exp(min(score, 0.0))
        draw.rounded_rectangle((bar, y + 3, right - 42, y + 16), 3, BAR_BACK)
        if p > 0.02:
            end = bar + round(p * (right - 42 - bar))
            draw.rounded_rectangle((bar, y + 3, end, y + 16), 3, COLOUR[PLANNER] if said else BAR)
        draw.text((right, y), f"{p:.2f}", TEXT if said else DIM, font(15), anchor="ra")


def wrap(text: str, face: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """A text in rows of at most ``width`` pixels; a word longer than that is broken."""
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


class VideoWriter:
    """One video being written: PATH with ``.mp4``, ``.gif`` and ``.png``, named when complete.

    ``poster`` is the picture that the PNG shows.
    """

    def __init__(self, path: Path) -> None:
        import imageio.v2 as imageio

        self.path = path
        self._mp4 = self._named("mp4", half=True)
        self._gif: list[tuple[Image.Image, int]] = []
        self.n_frames = 0
        self.poster: Image.Image | None = None
        self._writer: Any = imageio.get_writer(
            self._mp4,
            fps=FPS,
            codec="libx264",
            quality=8,
            macro_block_size=2,
            ffmpeg_log_level="error",
        )

    def add(self, image: Image.Image, frames: int) -> None:
        """Show a picture for so many frames."""
        pixels = np.asarray(image)
        for _ in range(frames):
            self._writer.append_data(pixels)
        self.n_frames += frames
        # Flat areas and no dithering: a GIF of a quarter of the size.
        small = image.quantize(64, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        self._gif.append((small, frames))
        if len(self._gif) > GIF_FRAMES:
            # A very long episode: every other picture, shown for twice as long.
            self._gif = [
                (a, n + (self._gif[k + 1][1] if k + 1 < len(self._gif) else 0))
                for k, (a, n) in enumerate(self._gif)
                if k % 2 == 0
            ]

    def finish(self) -> None:
        """Complete the files and give them their names, the mp4 last."""
        self._writer.close()
        half = self._named("gif", half=True)
        first, *rest = [image for image, _ in self._gif]
        first.save(
            half,
            save_all=True,
            append_images=rest,
            duration=[1000 * n // FPS for _, n in self._gif],
            loop=0,
        )
        os.replace(half, self._named("gif"))
        if self.poster is not None:
            half = self._named("png", half=True)
            self.poster.save(half)
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


class VideoCallback(DisplayState):
    """Films episodes of a group: ``films`` maps their place in the group to where to write.

    Raises BadInput where the disk is full.
    """

    def __init__(self, films: dict[int, Path], title: str) -> None:
        super().__init__()
        self.paths = films
        self.title = title
        self.films: dict[int, VideoWriter] = {}
        self._steps: dict[int, int] = {}

    def on_begin(self, worlds: Worlds, dialogues: Sequence[Dialogue]) -> None:
        super().on_begin(worlds, dialogues)
        for i in self.dialogues:
            if i in self.paths:
                with self._telling(i):
                    self.films[i] = VideoWriter(self.paths[i])
                self._show(i, BEGIN)

    def on_decision(self, i: int, dialogue: Dialogue, decision: Decision) -> None:
        super().on_decision(i, dialogue, decision)
        self._show(i, DECISION, poster=True)

    def on_step(self, worlds: Worlds) -> None:
        for i in self.films:
            # A step of the batch moves only the worlds whose command goes on.
            if self._steps[i] != int(worlds.steps[i]):
                self._show(i, STEP)

    def on_report(self, i: int, dialogue: Dialogue) -> None:
        super().on_report(i, dialogue)
        self._show(i, REPORT)

    def on_end(self, i: int, episode: Episode) -> None:
        super().on_end(i, episode)
        if i in self.films:
            self.pending.discard(i)
            self._show(i, END)
            with self._telling(i):
                self.films[i].finish()
            del self.films[i]

    def close(self) -> None:
        """Drop the films of episodes that did not end."""
        for film in self.films.values():
            film.abandon()
        self.films = {}

    def _show(self, i: int, frames: int, poster: bool = False) -> None:
        if i not in self.films:
            return
        assert self.worlds is not None
        self._steps[i] = int(self.worlds.steps[i])
        image = picture(self, i, f"{self.title} · seed {self.dialogues[i].seed}")
        if poster:
            self.films[i].poster = image
        with self._telling(i):
            self.films[i].add(image, frames)

    @contextlib.contextmanager
    def _telling(self, i: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # imageio adds ffmpeg's whole command line below.
            why = error.strerror or str(error).strip().splitlines()[0]
            raise BadInput(f"cannot write the video {self.paths[i]}: {why}") from error
