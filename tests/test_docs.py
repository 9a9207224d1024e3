"""The pages that are made from the code are up to date."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
from PIL import Image

from envs.items import HELD_OUT_ITEMS

DOCS = Path(__file__).parents[1] / "docs"


def test_the_list_of_held_out_items_is_the_list() -> None:
    text = (DOCS / "items.md").read_text()
    listed = [line.removeprefix("- ") for line in text.splitlines() if line.startswith("- ")]
    assert listed == [str(i) for i in HELD_OUT_ITEMS]
    assert len(listed) == 29


def test_the_page_and_the_picture_of_all_items_are_up_to_date() -> None:
    made = runpy.run_path(str(DOCS / "items.py"))
    assert (DOCS / "items.md").read_text() == made["page"](), "run: python docs/items.py"
    drawn = np.asarray(made["picture"]()).astype(int)
    stored = np.asarray(Image.open(DOCS / "items.png").convert("RGB")).astype(int)
    assert drawn.shape == stored.shape
    # Another Pillow may set the labels otherwise; tiles are most of the picture.
    assert (np.abs(drawn - stored).max(-1) > 8).mean() < 0.02, "run: python docs/items.py"
