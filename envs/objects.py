"""Our own items as MiniGrid objects: how they are encoded and drawn.

MiniGrid's three channels hold everything visible of an item: the shape is the object
type, the colour the colour, and the state is ``texture + 3 * mark + 9 * floor``, where mark is
0 none, 1 white (good), 2 orange (bad) and floor is 0 plain, else 1 + the floor's colour.
Importing this module adds the shapes and states to MiniGrid's tables, so that its wrappers
(one-hot, symbolic, full view) size their arrays for them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
from minigrid.core.constants import (
    COLOR_TO_IDX,
    COLORS,
    IDX_TO_COLOR,
    IDX_TO_OBJECT,
    OBJECT_TO_IDX,
    STATE_TO_IDX,
)
from minigrid.core.world_object import Floor, WorldObj
from minigrid.minigrid_env import MiniGridEnv

from envs.attributes import Attribute
from envs.items import COLOURS, SHAPES, TEXTURES, Item

MARKS = ("", "white", "orange")
MARK_RGB = {"white": (255, 255, 255), "orange": (255, 128, 0)}
N_STATES = len(TEXTURES) * len(MARKS) * (1 + len(COLOURS))

for _shape in SHAPES:
    OBJECT_TO_IDX.setdefault(_shape, len(OBJECT_TO_IDX))
    IDX_TO_OBJECT[OBJECT_TO_IDX[_shape]] = _shape
for _state in range(len(STATE_TO_IDX), N_STATES):
    STATE_TO_IDX[f"item {_state}"] = _state


class ItemObject(WorldObj):
    """An item in a world. It can be picked up, and toggling it examines it.

    Args:
        item: Its appearance.
        revealed: What examining it reveals.
        hidden_mark: The mark that examining makes visible on its tile; "" for none.
        floor: The colour of the floor under it; None for no floor.
    """

    def __init__(
        self,
        item: Item,
        revealed: Attribute | None = None,
        hidden_mark: str = "",
        floor: str | None = None,
    ) -> None:
        assert item.colour is not None and item.texture is not None
        super().__init__(item.shape, item.colour)
        self.item = item
        self.texture = item.texture
        self.revealed = revealed
        self.hidden_mark = hidden_mark
        self.mark = ""
        self.floor = floor

    @property
    def fact(self) -> str:
        """``revealed`` as a phrase that follows "it" (``has secret property good``), or ""."""
        return "" if self.revealed is None else str(self.revealed)

    def can_pickup(self) -> bool:
        return True

    def toggle(self, env: object, pos: tuple[int, int]) -> bool:
        self.mark = self.hidden_mark
        return True

    def encode(self) -> tuple[int, int, int]:
        floor = 0 if self.floor is None else 1 + COLOR_TO_IDX[self.floor]
        state = TEXTURES.index(self.texture) + 3 * MARKS.index(self.mark) + 9 * floor
        return OBJECT_TO_IDX[self.type], COLOR_TO_IDX[self.color], state

    def render(self, img: np.ndarray) -> None:  # type: ignore[override]
        """Draw into a tile ``[size, size, 3] uint8`` (three times the final size)."""
        size = img.shape[0]
        y, x = (np.mgrid[:size, :size] + 0.5) / size
        if self.floor is not None:
            Floor(self.floor).render(img)
        inside = _OUTLINES[self.type](x, y)
        # Stripes are dark, checks are white: at 8 pixels the tone tells them apart as well as
        # the pattern, and the whole outline stays visible.
        second = {"striped": 0.5 * COLORS[self.color], "checkered": 0.85 * _WHITE}
        img[inside] = COLORS[self.color]
        if self.texture in second:
            img[inside & ~_TEXTURES[self.texture](x, y)] = second[self.texture].astype(np.uint8)
        if self.mark:
            # In the tile's corners, which few outlines reach.
            across, down = np.minimum(x, 1 - x), np.minimum(y, 1 - y)
            corner = (np.maximum(across, down) < 1 / 4) & (np.minimum(across, down) < 1 / 8)
            img[corner] = MARK_RGB[self.mark]


# Objects of kinds and colours that are neither MiniGrid's nor ours, by their encoding: a user's
# world brings the class that draws them.
_FOREIGN: dict[tuple[int, int, int], WorldObj] = {}
_MINIGRID_KINDS = ("unseen", "empty", "wall", "floor", "door", "key", "ball", "box", "goal", "lava")
_OUR_KINDS = [OBJECT_TO_IDX[kind] for kind in (*_MINIGRID_KINDS, *SHAPES)]
_OUR_COLOURS = [COLOR_TO_IDX[colour] for colour in COLOURS]


def remember_foreign(world: MiniGridEnv, codes: np.ndarray) -> None:
    """Keep an example of each object that `decode` could not make, so that it can be drawn.

    Args:
        world: a bare world as it is now.
        codes: encodings of its cells, ``[..., 3] uint8``; only where one of them is foreign is
            the world looked through.
    """
    kinds, colours = codes[..., 0], codes[..., 1]
    if np.isin(kinds, _OUR_KINDS).all() and np.isin(colours, _OUR_COLOURS).all():
        return
    for thing in (*world.grid.grid, world.carrying):
        if thing is not None:
            kind, colour, state = map(int, thing.encode())
            if kind not in _OUR_KINDS or colour not in _OUR_COLOURS:
                _FOREIGN[kind, colour, state] = copy.copy(thing)


def decode(kind: int, colour: int, state: int) -> WorldObj | None:
    """The object that MiniGrid encodes as these three numbers, as far as it is visible.

    Args:
        kind: MiniGrid's object type.
        colour: MiniGrid's colour.
        state: MiniGrid's state.
    """
    if (kind, colour, state) in _FOREIGN:
        return _FOREIGN[kind, colour, state]
    shape = IDX_TO_OBJECT[kind]
    if shape not in SHAPES:
        return WorldObj.decode(kind, colour, state)
    floor = state // 9
    item = Item(shape, IDX_TO_COLOR[colour], TEXTURES[state % 3])
    thing = ItemObject(item, floor=IDX_TO_COLOR[floor - 1] if floor else None)
    thing.mark = MARKS[state // 3 % 3]
    return thing


_WHITE = np.array((255, 255, 255))
Mask = Callable[[np.ndarray, np.ndarray], np.ndarray]

# All on a unit tile, y downwards. Edges lie on eighths where they can, so that they stay sharp
# at 8 pixels a tile.
_OUTLINES: dict[str, Mask] = {
    "circle": lambda x, y: np.hypot(x - 0.5, y - 0.5) <= 0.48,
    "square": lambda x, y: np.maximum(abs(x - 0.5), abs(y - 0.5)) <= 0.375,
    # Right-angled, for MiniGrid draws the agent as a red isosceles triangle.
    "triangle": lambda x, y: (x >= 0.125) & (y <= 0.875) & (x <= y + 0.04),
    "diamond": lambda x, y: abs(x - 0.5) + abs(y - 0.5) <= 0.51,
    "cross": lambda x, y: (
        (np.minimum(abs(x - 0.5), abs(y - 0.5)) <= 0.125)
        & (np.maximum(abs(x - 0.5), abs(y - 0.5)) <= 0.48)
    ),
    "ex": lambda x, y: (
        (abs(abs(x - 0.5) - abs(y - 0.5)) <= 0.13) & (np.maximum(abs(x - 0.5), abs(y - 0.5)) <= 0.4)
    ),
    "tee": lambda x, y: (
        ((y <= 0.375) | (abs(x - 0.5) <= 0.125)) & (y >= 0.125) & (y <= 0.9) & (abs(x - 0.5) <= 0.4)
    ),
    "ring": lambda x, y: (
        (np.hypot(x - 0.5, y - 0.5) <= 0.45) & (np.maximum(abs(x - 0.5), abs(y - 0.5)) >= 0.2)
    ),
}
_TEXTURES: dict[str, Mask] = {
    "striped": lambda x, y: np.floor(y * 8).astype(int) % 2 == 1,
    "checkered": lambda x, y: (np.floor(x * 4) + np.floor(y * 4)).astype(int) % 2 == 0,
}
