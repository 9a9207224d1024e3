"""Items as MiniGrid objects: encoding and pixels."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from minigrid.core.constants import IDX_TO_OBJECT, OBJECT_TO_IDX, STATE_TO_IDX
from minigrid.core.grid import Grid
from minigrid.core.world_object import Floor

from envs.items import ALL_ITEMS, COLOURS, SHAPES, TEXTURES, Item
from envs.objects import MARKS, N_STATES, ItemObject

FLOORS = (None, *COLOURS)

# The floors of "can be told apart at 8 pixels": measured 7.1 and 6 for the nearest two items, 13
# and 12 for marks, 5.3 for floors.
MEAN_DIFFERENCE = 7.0
CLEAR_PIXELS = 6
CLEAR = 48


def tile(item: Item, mark: str = "", floor: str | None = None, size: int = 8) -> np.ndarray:
    thing = ItemObject(item, floor=floor)
    thing.mark = mark
    return Grid.render_tile(thing, tile_size=size).astype(np.int16)


def nearest(tiles: np.ndarray) -> tuple[float, int]:
    """Of the two most alike: the mean difference, and the pixels that differ clearly."""
    means, pixels = [], []
    for k in range(len(tiles) - 1):
        difference = np.abs(tiles[k + 1 :] - tiles[k])
        means.append(difference.mean((1, 2, 3)).min())
        pixels.append((difference.max(-1) > CLEAR).sum((1, 2)).min())
    return min(means), min(pixels)


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("floor", [None, "blue"])
def test_all_items_differ_at_8_pixels(mark: str, floor: str | None) -> None:
    items = [i for i in ALL_ITEMS if i.colour != floor]
    mean, pixels = nearest(np.array([tile(i, mark, floor) for i in items]))
    assert mean >= MEAN_DIFFERENCE and pixels >= CLEAR_PIXELS


def test_marks_differ_at_8_pixels() -> None:
    for item in ALL_ITEMS:
        mean, pixels = nearest(np.array([tile(item, m) for m in MARKS]))
        assert mean >= 10 and pixels >= 12, item


def test_floors_differ_at_8_pixels() -> None:
    for item in ALL_ITEMS:
        floors = [f for f in FLOORS if f != item.colour]
        mean, _ = nearest(np.array([tile(item, floor=f) for f in floors]))
        assert mean >= 5, item


def test_items_stand_out_from_their_floor() -> None:
    for item, floor in product(ALL_ITEMS, COLOURS):
        if item.colour != floor:
            bare = Grid.render_tile(Floor(floor), tile_size=8).astype(np.int16)
            assert np.abs(tile(item, floor=floor) - bare).mean() >= 10, (item, floor)


def test_no_item_looks_like_the_agent() -> None:
    items = np.array([tile(i) for i in ALL_ITEMS])
    for direction in range(4):
        agent = Grid.render_tile(None, agent_dir=direction, tile_size=8).astype(np.int16)
        assert (np.abs(items - agent).max(-1) > CLEAR).sum((1, 2)).min() >= 16


def test_encoding_is_unique_and_fits_minigrids_tables() -> None:
    codes = set()
    for item, mark, floor in product(ALL_ITEMS, MARKS, FLOORS):
        thing = ItemObject(item, floor=floor)
        thing.mark = mark
        code = thing.encode()
        assert code[2] < N_STATES <= len(STATE_TO_IDX)
        codes.add(code)
    assert len(codes) == len(ALL_ITEMS) * len(MARKS) * len(FLOORS)


def test_minigrids_tables_are_extended_not_changed() -> None:
    assert [OBJECT_TO_IDX[n] for n in ("unseen", "wall", "door", "agent")] == [0, 2, 4, 10]
    assert [STATE_TO_IDX[n] for n in ("open", "closed", "locked")] == [0, 1, 2]
    assert sorted(STATE_TO_IDX.values()) == list(range(len(STATE_TO_IDX)))
    assert sorted(OBJECT_TO_IDX.values()) == list(range(len(OBJECT_TO_IDX)))
    assert all(IDX_TO_OBJECT[i] == name for name, i in OBJECT_TO_IDX.items())


def test_the_mark_appears_in_encoding_and_pixels_after_examining() -> None:
    for mark in MARKS[1:]:
        thing = ItemObject(ALL_ITEMS[0], hidden_mark=mark)
        before, pixels = thing.encode(), Grid.render_tile(thing, tile_size=8)
        assert thing.encode() == ItemObject(ALL_ITEMS[0]).encode(), "seen before it is examined"
        thing.toggle(None, (0, 0))
        assert thing.encode()[:2] == before[:2]
        assert (thing.encode()[2] - before[2]) // 3 == MARKS.index(mark)
        assert (Grid.render_tile(thing, tile_size=8) != pixels).any()


@pytest.mark.parametrize("size", [8, 16, 32])
def test_looks_alike_at_every_size(size: int) -> None:
    # The same tile, large and small: shrinking the large one gives nearly the small one.
    for shape, texture in combinations([*SHAPES, *TEXTURES], 2):
        if shape in SHAPES and texture in TEXTURES:
            item = Item(shape, "red", texture)
            large = tile(item, size=size).reshape(8, size // 8, 8, size // 8, 3).mean((1, 3))
            assert np.abs(large - tile(item)).mean() < 20, item
