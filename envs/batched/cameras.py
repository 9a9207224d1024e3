"""Cameras, which draw recorded worlds, and looks, which change the colours of frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.batched.cells import CODE_MASK, KEY, WALL_CELL, pack_codes
from envs.batched.kernels import step_x, step_y
from envs.batched.pixels import draw_worlds, view_frames
from envs.errors import BadInput, unknown
from envs.states import WorldStates

CAMERAS = ("view", "follow", "scroll", "above")
_MARGIN = 1  # cells between the agent and the edge of what "scroll" shows


@dataclass(frozen=True)
class Camera:
    """Where a camera stands and how large it draws.

    Attributes:
        kind: ``view`` is the agent's own view; ``above`` the whole room; ``follow`` and ``scroll``
            are windows from above: the first keeps the agent at one place of the picture, the
            second moves only when the agent comes near its edge.
        tile_size: Pixels a side of a cell.
        size: Cells a side of a window.
        offset: How many cells from the middle of its window ``follow`` keeps the agent, and
            ``scroll`` starts with it.
        lit: Whether a camera from above highlights what the agent sees.
        carried: Whether a camera from above draws what the agent carries below it, as the agent's
            own view does. MiniGrid's ``get_frame`` does not draw it.

    Raises:
        BadInput: There is no such kind.
    """

    kind: str = "view"
    tile_size: int = 8
    size: int = 7
    offset: tuple[int, int] = (0, 0)
    lit: bool = True
    carried: bool = True

    def __post_init__(self) -> None:
        if self.kind not in CAMERAS:
            raise unknown("camera", self.kind, CAMERAS)

    def frames(self, states: WorldStates) -> np.ndarray:
        """Draw T moments: ``[T, height, width, 3] uint8``.

        Raises:
            BadInput: The camera needs the whole grid and only views were recorded.
        """
        tile = self.tile_size
        if self.kind == "view":
            return view_frames(states.views, tile)
        cells, poses = self._cells(states), np.ascontiguousarray(states.poses)
        if self.kind != "above":
            cells, poses = self._window(cells, poses)
        views = states.views if self.lit else np.zeros_like(states.views)  # 0 is unseen
        height, width = cells.shape[1] * tile, cells.shape[2] * tile
        frames = np.empty((len(states), height, width, 3), np.uint8)
        draw_worlds(cells, poses, np.ascontiguousarray(views), tile, frames)
        return frames

    def codes(self, states: WorldStates) -> list[frozenset[int]]:
        """The cells in the picture at each of T moments, as codes for `item_of_code`."""
        if self.kind == "view":
            cells = pack_codes(states.views)
        else:
            cells = self._cells(states)
            if self.kind != "above":
                cells, _ = self._window(cells, states.poses)
        return [frozenset(int(c) for c in np.unique(moment)) for moment in cells]

    def agent_pixels(self, states: WorldStates) -> tuple[np.ndarray, np.ndarray]:
        """The pixels (row, column) in the middle of the agent's cell and of the cell in front of
        it, at each of T moments: ``[T, 2] int64`` each."""
        if self.kind == "view":
            view = states.views.shape[1]
            at = np.tile([view // 2, view - 1, 3], (len(states), 1))
        elif self.kind == "above":
            at = states.poses
        else:
            at = self._window(self._cells(states), states.poses)[1]
        x, y, direction = (at[:, k].astype(np.int64) for k in range(3))
        half = self.tile_size // 2
        agent = np.stack([y, x], 1)
        ahead = np.array([[step_y(d), step_x(d)] for d in range(4)])[direction]
        return agent * self.tile_size + half, (agent + ahead) * self.tile_size + half

    def _cells(self, states: WorldStates) -> np.ndarray:
        """The rooms' cells ``[T, height, width] uint32``, with what is carried if that is drawn."""
        if states.grids is None:
            raise BadInput(f"camera '{self.kind}' needs trajectories that were recorded with_grids")
        cells = pack_codes(states.grids)
        if self.carried:
            hands = pack_codes(states.carried)
            at = np.arange(len(states)), states.poses[:, 1], states.poses[:, 0]
            cells[at] = np.where((hands & 31) >= KEY, hands, cells[at])
        return cells

    def _window(self, cells: np.ndarray, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The window's cells ``[T, size, size] uint32``, and the agent's pose in it ``[T, 3]``."""
        size, n = self.size, len(cells)
        wall = WALL_CELL & CODE_MASK
        wide = np.pad(cells, ((0, 0), (size, size), (size, size)), constant_values=wall)
        shown = np.empty((n, size, size), cells.dtype)
        placed = poses.copy()
        corner = poses[0, :2] - size // 2 + np.array(self.offset)
        for t in range(n):
            if self.kind == "follow":
                corner = poses[t, :2] - size // 2 + np.array(self.offset)
            # The agent, and the cell in front of it, stay in the picture.
            low = poses[t, :2] - (size - 1 - _MARGIN)
            corner = np.clip(corner, low, poses[t, :2] - _MARGIN)
            x, y = corner + size
            shown[t] = wide[t, y : y + size, x : x + size]
            placed[t, :2] = poses[t, :2] - corner
        return shown, placed


AGENT_VIEW = Camera()


def room_camera(tile_size: int) -> Camera:
    """The whole room as MiniGrid's ``get_frame`` and ``Worlds.frame`` draw it."""
    return Camera("above", tile_size, carried=False)


@dataclass(frozen=True)
class Look:
    """A change of the colours of frames.

    Attributes:
        gain: A factor for each channel (red, green, blue).
        light: An addition to each channel, on its scale from 0 to 255.
        fade: How much of the pixel's grey is mixed in first, from 0 (none) to 1 (grey alone).
        noise: The standard deviation of the noise added last, on the same scale.
    """

    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    light: tuple[float, float, float] = (0.0, 0.0, 0.0)
    fade: float = 0.0
    noise: float = 0.0

    def apply(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Frames ``[..., 3] uint8`` with their colours changed; ``rng`` draws the noise."""
        if self == Look():
            return frames
        colours = frames.astype(np.float32)
        grey = colours.mean(-1, keepdims=True)
        colours = (1 - self.fade) * colours + self.fade * grey
        colours = colours * np.array(self.gain, np.float32) + np.array(self.light, np.float32)
        if self.noise:
            colours += rng.standard_normal(colours.shape, np.float32) * self.noise
        return np.clip(colours, 0, 255).astype(np.uint8)
