"""Rooms in a terminal: as a picture of half blocks, or, where that is too small to read or cannot
be shown, as letters with a legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from string import ascii_lowercase, ascii_uppercase

import numpy as np
from minigrid.core.constants import COLORS
from minigrid.core.world_object import Door, WorldObj
from minigrid.minigrid_env import MiniGridEnv
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from envs.objects import MARK_RGB, ItemObject
from envs.worlds import Worlds

READABLE = 6
"""From how many pixels a tile on the outlines and textures of items can be told apart."""
_FLOOR, _WALL, _AGENT = "#101010", "#707070", "#ffffff"
_HEADINGS = (">>", "vv", "<<", "^^")
# v is also a heading of the agent.
_SIGNS = ascii_uppercase + ascii_lowercase.replace("v", "")


class HalfBlocks:
    """A picture in a terminal, two pixels to a character: ``▀`` has two colours."""

    def __init__(self, pixels: np.ndarray) -> None:
        """``pixels [height, width, 3] uint8``."""
        self.pixels = pixels if len(pixels) % 2 == 0 else np.pad(pixels, ((0, 1), (0, 0), (0, 0)))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for upper, lower in zip(self.pixels[::2].tolist(), self.pixels[1::2].tolist(), strict=True):
            # Neighbours of one colour as one segment: a tenth of the text to send.
            pairs = zip(map(tuple, upper), map(tuple, lower), strict=True)
            for (up, low), same in groupby(pairs):
                style = Style(color=Color.from_rgb(*up), bgcolor=Color.from_rgb(*low))
                yield Segment("▀" * len(list(same)), style)
            yield Segment.line()

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(self.pixels.shape[1], self.pixels.shape[1])


def shows_pictures(console: Console) -> bool:
    """Whether a console can show `HalfBlocks`: it has colours, and their character."""
    return (
        console.color_system is not None
        and not console.no_color
        and console.encoding.startswith("utf")
    )


def small_frame(worlds: Worlds, i: int, columns: int, rows: int) -> np.ndarray:
    """World i as ``[height, width, 3] uint8``, with at most 8 pixels a tile, small enough for
    ``columns`` by ``rows`` characters of `HalfBlocks`.

    Only the inner edge of the outer walls is kept, which leaves more room for what is inside.

    Args:
        worlds: The worlds.
        i: The number of the world.
        columns: The width that is available, in characters.
        rows: The height that is available, in characters.
    """
    tile = max(1, _largest_tile(worlds.world(i), columns, rows))
    # Drawn larger and averaged: MiniGrid's own small tiles lose their outlines.
    large = worlds.frame(i, 4 * tile)
    height, width, _ = large.shape
    pixels = large.reshape(height // 4, 4, width // 4, 4, 3).mean((1, 3)).astype(np.uint8)
    cut = tile - 1
    return pixels[cut : len(pixels) - cut, cut : pixels.shape[1] - cut]


def _largest_tile(world: MiniGridEnv, columns: int, rows: int) -> int:
    inside = min((columns - 2) // (world.width - 2), (2 * rows - 2) // (world.height - 2))
    return min(inside, 8)


@dataclass(frozen=True)
class RoomDrawing:
    """A room as lines of equal width.

    Attributes:
        lines: The lines, with their colours.
        width: How many columns each takes.
        legend: What the letters of the lines stand for; empty for a picture.
        note: What is not shown, in a few words; empty where all is.
    """

    lines: Sequence[Text | list[Segment]]
    width: int
    legend: Sequence[Text] = ()
    note: str = ""


def draw_room(worlds: Worlds, i: int, console: Console, columns: int, rows: int) -> RoomDrawing:
    """World i as it fits: a picture where its tiles are readable, otherwise letters, and where not
    even those fit, the part around the agent.

    Args:
        worlds: The worlds.
        i: The number of the world.
        console: Where the room is to be shown.
        columns: The width that is available, in characters.
        rows: The height that is available, in characters.
    """
    world = worlds.world(i)
    if shows_pictures(console) and _largest_tile(world, columns, rows) >= READABLE:
        pixels = small_frame(worlds, i, columns, rows)
        width = pixels.shape[1]
        lines = console.render_lines(HalfBlocks(pixels), console.options.update(width=width))
        return RoomDrawing(lines, width)
    return _in_letters(world, columns, rows)


def letters(worlds: Worlds, i: int) -> str:
    """World i in characters, for terminals without colour: two to a cell, with a legend below."""
    world = worlds.world(i)
    drawing = _in_letters(world, 2 * world.width, world.height)
    names = ", ".join(str(name) for name in drawing.legend)
    return "\n".join([*map(str, drawing.lines), names])


def _in_letters(world: MiniGridEnv, columns: int, rows: int) -> RoomDrawing:
    width, height = min(world.width, max(columns // 2, 1)), min(world.height, max(rows, 1))
    left = _first(int(world.agent_pos[0]), width, world.width)
    top = _first(int(world.agent_pos[1]), height, world.height)
    signs: dict[str, tuple[str, str]] = {}
    lines = []
    for y in range(top, top + height):
        line = Text(no_wrap=True)
        for x in range(left, left + width):
            if (x, y) == tuple(world.agent_pos):
                heading = _HEADINGS[int(world.agent_dir)]
                line.append(heading, f"bold #000000 on {_AGENT}")
            else:
                _add_cell(line, world.grid.get(x, y), signs)
        lines.append(line)
    legend = [
        Text.assemble((sign, f"bold {_contrast(colour)} on {_hex(colour)}"), f" {name}")
        for name, (sign, colour) in signs.items()
    ]
    whole = width == world.width and height == world.height
    note = "" if whole else f"{width}x{height} of {world.width}x{world.height} tiles"
    return RoomDrawing(lines, 2 * width, legend, note)


def _first(position: int, shown: int, size: int) -> int:
    """Where a window of ``shown`` cells around a position begins."""
    return min(max(position - shown // 2, 0), size - shown)


def _add_cell(line: Text, thing: WorldObj | None, signs: dict[str, tuple[str, str]]) -> None:
    if thing is None:
        line.append(" .", f"#606060 on {_FLOOR}")
    elif thing.type == "floor":
        line.append(" .", f"#000000 on {_hex(thing.color)}")
    elif thing.type == "wall":
        line.append("##", f"{_WALL} on {_WALL}")
    else:
        name = name_in_legend(thing)
        if name not in signs:
            sign = _SIGNS[len(signs)] if len(signs) < len(_SIGNS) else "?"
            signs[name] = sign, thing.color
        sign, colour = signs[name]
        mark, floor = getattr(thing, "mark", ""), getattr(thing, "floor", None)
        line.append(sign, f"bold {_contrast(colour)} on {_hex(colour)}")
        below = _FLOOR if floor is None else _hex(floor)
        over = "#{:02x}{:02x}{:02x}".format(*MARK_RGB[mark]) if mark else below
        line.append("*" if mark else " ", f"bold {over} on {below}")


def name_in_legend(thing: WorldObj) -> str:
    """What a thing looks like, in words: its name, and what can be seen of floor, mark and lock."""
    texture = getattr(thing, "texture", "")
    name = f"{texture} {thing.color} {thing.type}".strip()
    if isinstance(thing, ItemObject):
        if thing.floor is not None:
            name += f" on {thing.floor}"
        if thing.mark:
            name += f" with a {thing.mark} mark"
    if isinstance(thing, Door):
        name += " (locked)" if thing.is_locked else " (open)" if thing.is_open else " (closed)"
    return name


def _hex(colour: str) -> str:
    # MiniGrid's grey is that of walls.
    if colour == "grey" or colour not in COLORS:
        return "#b0b0b0"
    return "#{:02x}{:02x}{:02x}".format(*COLORS[colour])


def _contrast(colour: str) -> str:
    """Black or white, whichever can be read on a colour."""
    return "#ffffff" if colour in ("red", "blue", "purple") else "#000000"
