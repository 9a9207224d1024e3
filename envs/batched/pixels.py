"""Pixels of batched worlds, assembled from tiles that MiniGrid itself drew.

A tile depends on its object's encoding, on whether and in which direction the agent stands there,
and on whether it is highlighted; together these are the tile's key. MiniGrid's ``Grid.render_tile``
draws a tile when it is first needed; after that it is copied.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from minigrid.core.grid import Grid

from envs.batched.cells import EMPTY, UNSEEN, colour_of, kind_of, state_of
from envs.batched.compiled import kernel
from envs.batched.view import step_x, step_y
from envs.errors import whole_number
from envs.objects import decode

TILE_SIZES = (1, 128)
# A key: type 5 bits, colour 3, state 6, highlighted 1, and the agent: 0 none, else 1 + direction.
_COLOUR, _STATE, _LIT, _AGENT = 5, 8, 14, 15
_N_KEYS = 5 << _AGENT
_NORTH = 3


class Tiles:
    """Tiles of ``size`` by ``size`` pixels, by key."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._number = np.full(_N_KEYS, -1, np.int32)
        self._tiles = np.zeros((0, size, size, 3), np.uint8)

    def draw(self, keys: np.ndarray, out: np.ndarray) -> None:
        """Write the tiles of ``keys [K, rows, columns]`` into ``out [K, height, width, 3]``."""
        # Copied eight bytes at a time if the rows of a tile allow it.
        word = np.uint64 if self.size % 8 == 0 else np.uint8
        rows = out.reshape(len(keys), out.shape[1], -1).view(word)
        done = 0
        while done < len(keys):
            tiles = self._tiles.reshape(len(self._tiles), self.size, 3 * self.size).view(word)
            done, missing = _copy(keys, done, self._number, tiles, rows)
            if done < len(keys):
                self._number[missing] = len(self._tiles)
                self._tiles = np.concatenate([self._tiles, self._render(missing)[None]])

    def _render(self, key: int) -> np.ndarray:
        agent = key >> _AGENT
        tile = Grid.render_tile(
            decode(key & 31, key >> _COLOUR & 7, key >> _STATE & 63),
            agent_dir=agent - 1 if agent else None,
            highlight=bool(key >> _LIT & 1),
            tile_size=self.size,
        )
        return tile.astype(np.uint8)  # truncated, not rounded, as MiniGrid does


@cache
def tiles(size: int) -> Tiles:
    """The tiles of a size.

    Raises:
        BadInput: The size is out of range.
    """
    return Tiles(whole_number("tile size", size, *TILE_SIZES))


def draw_views(images: np.ndarray, tile_size: int, out: np.ndarray) -> None:
    """Draw views as MiniGrid's ``get_pov_render`` draws them.

    The agent stands at the bottom and looks up. Visible cells are highlighted; others are drawn as
    if they were empty.

    Args:
        images: The views, ``[K, view, view, 3] uint8``.
        tile_size: Pixels a side of a cell.
        out: Gets the frames, ``[K, view * tile_size, view * tile_size, 3] uint8``.
    """
    keys = np.empty(images.shape[:3], np.int32)
    _view_keys(images, keys)
    tiles(tile_size).draw(keys, out)


def view_frames(images: np.ndarray, tile_size: int) -> np.ndarray:
    """Views ``[K, view, view, 3]`` as new frames ``[K, view * tile_size, ..., 3] uint8``."""
    side = images.shape[1] * tile_size
    frames = np.empty((len(images), side, side, 3), np.uint8)
    draw_views(np.ascontiguousarray(images), tile_size, frames)
    return frames


def draw_worlds(
    cells: np.ndarray, pose: np.ndarray, images: np.ndarray, tile_size: int, out: np.ndarray
) -> None:
    """Draw worlds from above as MiniGrid's ``get_frame`` draws them.

    Args:
        cells: The worlds' cells, ``[K, height, width] uint32``.
        pose: The agents' x, y and direction, ``[K, 3]``.
        images: What the agents see, which is highlighted, ``[K, view, view, 3] uint8``.
        tile_size: Pixels a side of a cell.
        out: Gets the pictures, ``[K, height * tile_size, width * tile_size, 3] uint8``.
    """
    keys = np.empty(cells.shape, np.int32)
    _world_keys(cells, pose, images, keys)
    tiles(tile_size).draw(keys, out)


@kernel()
def _copy(keys, first, number, tiles, rows):
    """Draw from image ``first`` on, row by row of pixels. Returns the first image that could not be
    drawn and the key of the tile that it lacks."""
    size, words = tiles.shape[1], tiles.shape[2]
    for k in range(first, keys.shape[0]):
        for j in range(keys.shape[1]):
            for i in range(keys.shape[2]):
                if number[keys[k, j, i]] < 0:
                    return k, keys[k, j, i]
            for y in range(size):
                for i in range(keys.shape[2]):
                    tile = number[keys[k, j, i]]
                    for x in range(words):
                        rows[k, j * size + y, i * words + x] = tiles[tile, y, x]
    return keys.shape[0], np.int32(0)


@kernel()
def _view_keys(images, keys):
    view = images.shape[1]
    for k in range(images.shape[0]):
        for j in range(view):
            for i in range(view):
                kind = np.int32(images[k, i, j, 0])
                colour, state = np.int32(images[k, i, j, 1]), np.int32(images[k, i, j, 2])
                key = kind | colour << _COLOUR | state << _STATE | 1 << _LIT
                keys[k, j, i] = EMPTY if kind == UNSEEN else key
        keys[k, view - 1, view // 2] |= (1 + _NORTH) << _AGENT


@kernel()
def _world_keys(cells, pose, images, keys):
    view = images.shape[1]
    for k in range(cells.shape[0]):
        for y in range(cells.shape[1]):
            for x in range(cells.shape[2]):
                cell = np.int32(cells[k, y, x] & np.uint32(0xFFFFFF))
                looks = kind_of(cell) | colour_of(cell) << _COLOUR | state_of(cell) << _STATE
                keys[k, y, x] = looks
        px, py, direction = pose[k, 0], pose[k, 1], pose[k, 2]
        keys[k, py, px] |= (1 + direction) << _AGENT
        fx, fy = step_x(direction), step_y(direction)
        for j in range(view):
            for i in range(view):
                ahead, right = view - 1 - j, i - view // 2
                x, y = px + fx * ahead - fy * right, py + fy * ahead + fx * right
                inside = 0 <= x < cells.shape[2] and 0 <= y < cells.shape[1]
                if inside and images[k, i, j, 0] != UNSEEN:
                    keys[k, y, x] |= 1 << _LIT
