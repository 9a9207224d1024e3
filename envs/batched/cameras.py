"""Cameras that film worlds, and looks: how what they film can be made to look otherwise.

A ``StateTrajectory`` keeps what a world was like at some steps as numbers, not as pixels, so that
the same rollout can be filmed by any camera afterwards, and only at the moments that are wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from envs.batched.cells import CODE_MASK, COLOUR_SHIFT, KEY, STATE_SHIFT, WALL_CELL
from envs.batched.kernels import step_x, step_y
from envs.batched.pixels import draw_worlds, view_frames
from envs.errors import unknown

CAMERAS = ("view", "follow", "scroll", "above")
_MARGIN = 1  # cells between the agent and the edge of what "scroll" shows


@dataclass(frozen=True)
class StateTrajectory:
    """What is to be filmed: ``images [T, view, view, 3] uint8`` (what the agent sees), ``cells [T,
    height, width] uint32`` (the engine's) and ``poses [T, 3]`` (x, y, direction)."""

    images: np.ndarray
    cells: np.ndarray
    poses: np.ndarray

    def __len__(self) -> int:
        return len(self.poses)

    def at(self, steps: Sequence[int]) -> StateTrajectory:
        """Only these moments."""
        which = np.asarray(steps)
        return StateTrajectory(self.images[which], self.cells[which], self.poses[which])


@dataclass(frozen=True)
class Camera:
    """Where the camera is.

    ``view`` is the agent's own view; ``above`` the whole room; ``follow`` and ``scroll`` are
    windows of ``size`` x ``size`` cells from above: the first keeps the agent at one place of the
    picture, ``offset`` cells from its middle, the second moves only as the agent nears the edge.
    ``lit`` highlights, from above, what the agent sees. A cell is ``tile_size`` pixels a side.

    Every camera shows what the agent carries under the agent, as its own view does; MiniGrid's own
    picture from above does not.
    """

    kind: str = "view"
    tile_size: int = 8
    size: int = 7
    offset: tuple[int, int] = (0, 0)
    lit: bool = True

    def __post_init__(self) -> None:
        if self.kind not in CAMERAS:
            raise unknown("camera", self.kind, CAMERAS)

    def film(self, take: StateTrajectory) -> np.ndarray:
        """Frames ``[T, height, width, 3] uint8``."""
        n, tile = len(take), self.tile_size
        if self.kind == "view":
            return view_frames(take.images, tile)
        cells = _with_carried(take)
        poses = np.ascontiguousarray(take.poses)
        if self.kind != "above":
            cells, poses = self._window(cells, poses)
        images = take.images if self.lit else np.zeros_like(take.images)  # 0 is unseen
        height, width = cells.shape[1] * tile, cells.shape[2] * tile
        frames = np.empty((n, height, width, 3), np.uint8)
        draw_worlds(cells, poses, np.ascontiguousarray(images), tile, frames)
        return frames

    def shown(self, take: StateTrajectory) -> list[frozenset[int]]:
        """What can be seen at each moment, as numbers such as `item_of_code` takes."""
        if self.kind == "view":
            codes = _codes(take.images)
            return [frozenset(int(c) for c in np.unique(moment)) for moment in codes]
        cells = _with_carried(take)
        if self.kind != "above":
            cells, _ = self._window(cells, take.poses)
        return [frozenset(int(c) for c in np.unique(moment & CODE_MASK)) for moment in cells]

    def places(self, take: StateTrajectory) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (row, column) in the middle of the agent's cell at each moment, and of the cell
        before it: ``[T, 2] int64`` each."""
        if self.kind == "view":
            view = take.images.shape[1]
            at = np.tile([view // 2, view - 1, 3], (len(take), 1))
        elif self.kind == "above":
            at = take.poses
        else:
            at = self._window(take.cells, take.poses)[1]
        x, y, direction = (at[:, k].astype(np.int64) for k in range(3))
        half = self.tile_size // 2
        agent = np.stack([y, x], 1)
        ahead = np.array([[step_y(d), step_x(d)] for d in range(4)])[direction]
        return agent * self.tile_size + half, (agent + ahead) * self.tile_size + half

    def _window(self, cells: np.ndarray, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The cells of the window at each moment, and the agent's place in it."""
        size, n = self.size, len(cells)
        wide = np.pad(cells, ((0, 0), (size, size), (size, size)), constant_values=WALL_CELL)
        shown = np.empty((n, size, size), cells.dtype)
        placed = poses.copy()
        corner = poses[0, :2] - size // 2 + np.array(self.offset)
        for t in range(n):
            if self.kind == "follow":
                corner = poses[t, :2] - size // 2 + np.array(self.offset)
            # The agent, and what is before it, stay in the picture.
            low = poses[t, :2] - (size - 1 - _MARGIN)
            corner = np.clip(corner, low, poses[t, :2] - _MARGIN)
            x, y = corner + size
            shown[t] = wide[t, y : y + size, x : x + size]
            placed[t, :2] = poses[t, :2] - corner
        return shown, placed


def _codes(images: np.ndarray) -> np.ndarray:
    """What the agent sees ``[..., 3] uint8`` as the engine's numbers ``[...] uint32``."""
    kinds, colours, states = np.moveaxis(images.astype(np.uint32), -1, 0)
    return kinds | colours << COLOUR_SHIFT | states << STATE_SHIFT


def _with_carried(take: StateTrajectory) -> np.ndarray:
    """The cells, that of the agent with what it carries."""
    cells = take.cells.copy()
    view = take.images.shape[1]
    own = _codes(take.images[:, view // 2, view - 1])
    at = np.arange(len(take)), take.poses[:, 1], take.poses[:, 0]
    carries = (own & 31) >= KEY
    cells[at] = np.where(carries, cells[at] & ~np.uint32(CODE_MASK) | own, cells[at])
    return cells


@dataclass(frozen=True)
class Look:
    """How a picture's colours are changed: ``gain`` times each channel, mixed with the grey of the
    pixel by ``fade`` (0 leaves the colours, 1 leaves none), plus ``light``, plus noise of that
    standard deviation; all in steps of the 0 to 255 of a channel."""

    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    light: tuple[float, float, float] = (0.0, 0.0, 0.0)
    fade: float = 0.0
    noise: float = 0.0

    def apply(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The same frames ``[..., 3] uint8`` with this look."""
        if self == Look():
            return frames
        colours = frames.astype(np.float32)
        grey = colours.mean(-1, keepdims=True)
        colours = (1 - self.fade) * colours + self.fade * grey
        colours = colours * np.array(self.gain, np.float32) + np.array(self.light, np.float32)
        if self.noise:
            colours += rng.standard_normal(colours.shape, np.float32) * self.noise
        return np.clip(colours, 0, 255).astype(np.uint8)
