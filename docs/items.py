"""Draw ``docs/items.png`` and write ``docs/items.md``: all items, and which are held out.

    python docs/items.py

Run it again after a change to the items or to how they are drawn; a test says when.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from minigrid.core.grid import Grid
from PIL import Image, ImageDraw, ImageFont

from envs.items import ALL_ITEMS, COLOURS, HELD_OUT_ITEMS, SHAPES, TEXTURES, Item
from envs.objects import MARKS, ItemObject

HERE = Path(__file__).parent
SIZE = 32  # pixels of a tile in the picture; the small ones are 8, magnified to it
GAP, LABEL, TITLE = 4, 56, 20
INK, PAPER, FRAME = (20, 20, 20), (235, 235, 235), (230, 0, 120)
STEP = SIZE + GAP


def tile(item: Item, size: int, mark: str = "", floor: str | None = None) -> Image.Image:
    """One item as it is drawn at ``size`` pixels a tile, magnified to ``SIZE``."""
    thing = ItemObject(item, floor=floor)
    thing.mark = mark
    pixels = np.asarray(Grid.render_tile(thing, tile_size=size), np.uint8)
    return Image.fromarray(pixels).resize((SIZE, SIZE), Image.Resampling.NEAREST)


def picture() -> Image.Image:
    """All items at 8 and at 32 pixels a tile, then marks and floors."""
    block = (LABEL + len(SHAPES) * STEP, TITLE + len(COLOURS) * STEP)
    width, height = 2 * block[0] + 4 * GAP, (len(TEXTURES) + 1) * (block[1] + GAP) + TITLE
    image = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(11)

    def place(item: Item, size: int, at: tuple[int, int], mark: str, floor: str | None) -> None:
        image.paste(tile(item, size, mark, floor), at)
        if item in HELD_OUT_ITEMS and not mark and floor is None:
            x, y = at
            draw.rectangle((x - 2, y - 2, x + SIZE + 1, y + SIZE + 1), outline=FRAME, width=2)

    for column, size in enumerate((8, SIZE)):
        left = GAP + column * (block[0] + 2 * GAP)
        note = f"{size} pixels a tile" + (", magnified" if size < SIZE else "")
        for row, texture in enumerate(TEXTURES):
            top = GAP + row * (block[1] + GAP)
            draw.text((left, top), f"{texture} - {note}", INK, font)
            for r, colour in enumerate(COLOURS):
                y = top + TITLE + r * STEP
                draw.text((left, y + 8), colour, INK, font)
                for c, shape in enumerate(SHAPES):
                    at = (left + LABEL + c * STEP, y)
                    place(Item(shape, colour, texture), size, at, "", None)
        top = GAP + len(TEXTURES) * (block[1] + GAP)
        draw.text((left, top), f"marks and floors - {note}", INK, font)
        shown = [("no mark", "", None), ("white", "white", None), ("orange", "orange", None)]
        shown += [(f"{floor} floor", "", floor) for floor in ("red", "blue", "grey")]
        for r, (label, mark, floor) in enumerate(shown):
            y = top + TITLE + r * STEP
            draw.text((left, y + 8), label, INK, font)
            for c, shape in enumerate(SHAPES):
                item = Item(shape, "yellow", TEXTURES[c % 3])
                place(item, size, (left + LABEL + c * STEP, y), mark, floor)
    legend = "columns: " + ", ".join(SHAPES) + "; framed: held out of training"
    draw.text((GAP, height - TITLE), legend, INK, font)
    return image


def page() -> str:
    """The list of held-out combinations, as Markdown."""
    rows = [
        f"| {texture} {colour} | "
        + ", ".join(i.shape for i in HELD_OUT_ITEMS if (i.texture, i.colour) == (texture, colour))
        + " |"
        for texture in TEXTURES
        for colour in COLOURS
    ]
    names = "\n".join(f"- {item}" for item in HELD_OUT_ITEMS)
    return f"""# Items

{len(TEXTURES)} textures ({", ".join(TEXTURES)}) x {len(COLOURS)} colours ({", ".join(COLOURS)}) x
{len(SHAPES)} shapes ({", ".join(SHAPES)}) make {len(ALL_ITEMS)} items.

![All items, with marks and floors](items.png)

Examining an item may show a mark in its tile's corners: {" or ".join(m for m in MARKS if m)}. Where
a task lays floors, an item's floor is in another colour than the item. The two items that are
most alike at 8 pixels a tile differ clearly in 6 of 64 pixels; `tests/envs/test_objects.py`
keeps it so.

## Held out

{len(HELD_OUT_ITEMS)} combinations never occur in training (`--items train`); they are all that
occurs with `--items held-out`. They lie on a diagonal through the word lists, so that each word,
and nearly each pair of words, does occur in training.

| texture and colour | shapes |
|---|---|
{chr(10).join(rows)}

In full:

{names}

This page and the picture are made by `python docs/items.py`.
"""


if __name__ == "__main__":
    picture().save(HERE / "items.png", optimize=True)
    (HERE / "items.md").write_text(page())
