"""The engine: N worlds stepped at once, over arrays that are never copied."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from envs.batched import kernels
from envs.batched.cells import MAX_THINGS, WALL_CELL, unpack
from envs.batched.kernels import LayoutArrays, State
from envs.batched.layouts import Pool, copy_layouts, empty_layouts
from envs.batched.pixels import TILE_SIZES, draw_views, draw_worlds
from envs.batched.randomness import generators
from envs.batched.rooms import NO_GENERATOR, Rooms
from envs.batched.sentences import sentence
from envs.errors import BadInput, whole_number

VIEW_SIZES = (3, 31)
MOST_WORLDS = 1_000_000
N_ACTIONS = 7
WORTH_A_THREAD = 512  # worlds; with fewer, waking a thread costs more than it brings


class Engine:
    """N worlds with MiniGrid's rules and views, stepped together.

    ``source`` is a ``Pool``, whose layouts are drawn at each reset, or ``Rooms``, which are made
    anew each time. ``view`` is the odd number of cells a side that an agent sees. The results do
    not depend on ``threads``.

    All arrays are the engine's own and are overwritten by the next step: ``images [N, view, view,
    3] uint8``, ``directions [N]``, ``rewards [N] float64``, ``terminated``, ``truncated`` and
    ``success [N] bool``, ``steps [N] int32`` since the episode began. Of worlds that ended and
    began anew in one step, ``last_images``, ``last_directions`` and ``last_steps`` hold the end.

    Raises BadInput for numbers out of range.
    """

    def __init__(
        self,
        source: Pool | Rooms,
        n: int,
        *,
        seed: int = 0,
        view: int = 7,
        threads: int = 1,
        autoreset: bool = True,
    ) -> None:
        self.n = whole_number("number of worlds", n, 1, MOST_WORLDS)
        self.view = whole_number("view size", view, *VIEW_SIZES)
        if self.view % 2 == 0:
            raise BadInput(f"view size must be odd, not {view}")
        whole_number("seed", seed, low=0)
        self.threads = whole_number("threads", threads, 1, int(numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
        self.source = source
        self.autoreset = autoreset
        if isinstance(source, Rooms):
            self.rooms = source.arrays()
            size = int(self.rooms.sizes.max())
            self.layouts: LayoutArrays = empty_layouts(n, size, size)
        else:
            self.rooms = NO_GENERATOR
            self.layouts = source.arrays
        self._pad = self.view - 1
        height, width = self.layouts.cells.shape[1:]
        shape = (n, self.view, self.view, 3)
        self.state = State(
            cells=np.full((n, height + 2 * self._pad, width + 2 * self._pad), WALL_CELL, np.uint32),
            pose=np.zeros((n, 3), np.int32),
            carried=np.zeros(n, np.uint32),
            steps=np.zeros(n, np.int32),
            layout=np.zeros(n, np.int32),
            random=generators(seed, n),
            places=np.full((n, MAX_THINGS + 1), -1, np.int32),
            held_before=np.zeros((n, 4), np.uint8),
            part_done=np.zeros((n, 4), np.uint8),
            first_done=np.zeros(n, np.uint8),
            command_done=np.zeros(n, np.uint8),
            images=np.zeros(shape, np.uint8),
            directions=np.zeros(n, np.int64),
            rewards=np.zeros(n),
            terminated=np.zeros(n, bool),
            truncated=np.zeros(n, bool),
            success=np.zeros(n, bool),
            event_kinds=np.zeros((n, 2), np.uint8),
            event_cells=np.zeros((n, 2), np.uint32),
            last_images=np.zeros(shape, np.uint8),
            last_directions=np.zeros(n, np.int64),
            last_steps=np.zeros(n, np.int32),
        )
        for name in (
            "images",
            "directions",
            "rewards",
            "terminated",
            "truncated",
            "success",
            "steps",
            "last_images",
            "last_directions",
            "last_steps",
        ):
            setattr(self, name, getattr(self.state, name))
        self._everyone = np.ones(n, bool)
        self._frames: np.ndarray | None = None

    images: np.ndarray
    directions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    success: np.ndarray
    steps: np.ndarray
    last_images: np.ndarray
    last_directions: np.ndarray
    last_steps: np.ndarray

    def __len__(self) -> int:
        return self.n

    def reset(self, seed: int | None = None, which: np.ndarray | None = None) -> None:
        """Begin new episodes in all worlds, or in ``which [K] int``; ``seed`` starts all of the
        engine's random numbers anew."""
        if seed is not None:
            self.state.random[:] = generators(whole_number("seed", seed, low=0), self.n)
        which = np.arange(self.n) if which is None else self._worlds(which)
        kernels.begin_some(self.layouts, self.rooms, self.state, which, self._pad, self.view)
        for array in (self.rewards, self.terminated, self.truncated, self.success):
            array[which] = 0

    def place(self, layouts: np.ndarray) -> None:
        """Begin an episode in each world i from layout ``layouts[i]`` of the pool."""
        layouts = np.asarray(layouts, np.int64)
        if not isinstance(self.source, Pool):
            raise BadInput("only the layouts of a pool can be chosen")
        if layouts.shape != (self.n,) or layouts.min() < 0 or layouts.max() >= len(self.source):
            raise BadInput(
                f"{self.n} layouts between 0 and {len(self.source) - 1} are needed, not {layouts}"
            )
        kernels.place_all(self.layouts, self.state, layouts, self._pad, self.view)
        for array in (self.rewards, self.terminated, self.truncated, self.success):
            array[:] = 0

    def put(self, i: int, layout: Pool) -> None:
        """Begin an episode in world i with a pool's only layout, which becomes layout i of the
        engine's own. For an engine whose source is a pool of ``n`` layouts, as large or larger."""
        copy_layouts(layout.arrays, self.layouts, i)
        kernels.load(self.layouts, self.state, i, i, self._pad)
        self.directions[i] = self.state.pose[i, 2]
        kernels.look_first(self.layouts, self.state, i, self._pad, self.view, self.state.images[i])

    def step(self, actions: np.ndarray, active: np.ndarray | None = None) -> None:
        """Take ``actions [N]`` of whole numbers from 0 to 6 in all worlds, or in the ``active
        [N] bool`` ones. With ``autoreset``, worlds that end begin anew in the same step.

        Raises BadInput for actions of the wrong shape or type or out of range.
        """
        try:
            actions = np.asarray(actions)
        except ValueError as error:  # a ragged list
            raise BadInput(f"actions must have the shape ({self.n},): {error}") from error
        if actions.shape != (self.n,):
            raise BadInput(f"actions must have the shape ({self.n},), not {actions.shape}")
        if actions.dtype.kind not in "iu":
            raise BadInput(f"actions must be whole numbers, not {actions.dtype}")
        whole = np.ascontiguousarray(actions, np.int64)
        if whole.view(np.uint64).max() >= N_ACTIONS:  # a number below 0 is a huge one there
            wrong = actions[(actions < 0) | (actions >= N_ACTIONS)][0]
            raise BadInput(f"action {wrong} is not between 0 and {N_ACTIONS - 1}")
        self._step(whole, self._active(active))

    def _step(self, actions: np.ndarray, active: np.ndarray) -> None:
        common = (self.layouts, self.rooms, self.state, actions, active)
        chunks = min(self.threads, self.n // WORTH_A_THREAD)
        if chunks <= 1:
            kernels.step_range(*common, 0, self.n, self._pad, self.view, self.autoreset)
        else:
            numba.set_num_threads(self.threads)
            kernels.step_parallel(*common, self.n, chunks, self._pad, self.view, self.autoreset)

    def frames(
        self, tile_size: int = 8, which: np.ndarray | None = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        """What the agents of all worlds, or of ``which [K] int``, see now, in pixels: ``[K, view
        * tile_size, view * tile_size, 3] uint8``, as MiniGrid's RGBImgPartialObsWrapper gives it.

        They are written into ``out`` where it is given. Otherwise those of all worlds are an
        array of the engine's own that the next call overwrites, those of ``which`` a new one.
        (``envs.batched.pixels.draw_views`` draws other views, such as ``last_images``.) Raises
        BadInput for a tile size, worlds or an ``out`` that won't do.
        """
        views = self._views(which)
        side = self.view * whole_number("tile size", tile_size, *TILE_SIZES)
        shape = (len(views), side, side, 3)
        if out is None and which is None:
            if self._frames is None or self._frames.shape != shape:
                self._frames = np.empty(shape, np.uint8)
            out = self._frames
        elif out is None:
            out = np.empty(shape, np.uint8)
        elif out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous:
            raise BadInput(
                f"out must be contiguous, uint8 and {shape}, not {out.dtype} {out.shape}"
            )
        draw_views(views, tile_size, out)
        return out

    def pictures(self, which: np.ndarray | int | None = None, tile_size: int = 32) -> np.ndarray:
        """All worlds, or ``which [K] int``, from above, with what the agents see highlighted:
        ``[K, height * tile_size, width * tile_size, 3] uint8``, as MiniGrid's ``get_frame``
        draws it. Where worlds differ in size, walls surround the smaller ones."""
        views = self._views(which)
        whole_number("tile size", tile_size, *TILE_SIZES)
        which = np.arange(self.n) if which is None else self._worlds(which)
        pad = self._pad
        cells = self.state.cells[which, pad:-pad, pad:-pad]
        height, width = cells.shape[1:]
        out = np.empty((len(which), height * tile_size, width * tile_size, 3), np.uint8)
        draw_worlds(cells, self.state.pose[which], views, tile_size, out)
        return out

    def _views(self, which: np.ndarray | int | None) -> np.ndarray:
        which = np.arange(self.n) if which is None else self._worlds(which)
        views = np.empty((len(which), self.view, self.view, 3), np.uint8)
        kernels.look_again(self.layouts, self.state, which, self._pad, self.view, views)
        return views

    def mission(self, i: int) -> str:
        """The mission of world i, as a sentence."""
        if isinstance(self.source, Pool):
            return self.source.missions[self.state.layout[i]]
        return sentence(self.rooms.family, self.layouts, int(self.state.layout[i]))

    def grid(self, i: int) -> np.ndarray:
        """World i as MiniGrid's ``Grid.encode`` gives it: ``[width, height, 3] uint8``."""
        return unpack(self.cells(i).T)

    def cells(self, i: int) -> np.ndarray:
        """World i's cells ``[height, width] uint32``, a view."""
        pad = self._pad
        return self.state.cells[i, pad:-pad, pad:-pad]

    def _worlds(self, which: Any) -> np.ndarray:
        which = np.asarray(which)
        if which.ndim > 1 or (which.size and which.dtype.kind not in "iu"):
            raise BadInput(
                f"worlds are chosen by their numbers, not by {which.dtype} {which.shape}"
            )
        which = which.astype(np.int64).reshape(-1)
        if len(which) and (which.min() < 0 or which.max() >= self.n):
            raise BadInput(f"there are worlds 0 to {self.n - 1}, not {which}")
        return which

    def _active(self, active: np.ndarray | None) -> np.ndarray:
        if active is None:
            return self._everyone
        active = np.asarray(active)
        if active.shape != (self.n,) or active.dtype != bool:
            raise BadInput(
                f"active must be {self.n} truth values, not {active.dtype} {active.shape}"
            )
        return active
