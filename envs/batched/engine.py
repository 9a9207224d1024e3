"""The engine: N worlds stepped together, over arrays that are never copied."""

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
WORTH_A_THREAD = 512  # worlds; with fewer, waking a thread costs more than it gains


class Engine:
    """N worlds with MiniGrid's rules and views, stepped together.

    All arrays are the engine's own and are overwritten by the next step.

    Args:
        source: A ``Pool``, whose layouts are drawn at each reset, or ``Rooms``, which generate a
            new one each time.
        n: The number of worlds.
        seed: Seeds the worlds' random generators.
        view: Cells a side of an agent's view, an odd number.
        threads: The number of threads. Results do not depend on it.
        autoreset: Begin a new episode in the step in which one ends.

    Attributes:
        images: What the agents see, ``[N, view, view, 3] uint8``.
        directions: The agents' directions, ``[N] int64``.
        rewards: ``[N] float64``.
        terminated: ``[N] bool``.
        truncated: ``[N] bool``.
        success: ``[N] bool``.
        steps: Steps since the episode began, ``[N] int32``.
        last_images: The last images of the episodes that ended in the last step, if the next have
            begun already; as are the next two.
        last_directions: Their last directions.
        last_steps: Their numbers of steps.

    Raises:
        BadInput: A number is out of range.
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
        """Begin new episodes.

        Args:
            seed: Seeds the random generators of all worlds anew; None leaves them as they are.
            which: The worlds to reset, ``[K] int``; None for all.

        Raises:
            BadInput: There is no such seed or world.
        """
        if seed is not None:
            self.state.random[:] = generators(whole_number("seed", seed, low=0), self.n)
        which = np.arange(self.n) if which is None else self._worlds(which)
        kernels.begin_some(self.layouts, self.rooms, self.state, which, self._pad, self.view)
        for array in (self.rewards, self.terminated, self.truncated, self.success):
            array[which] = 0

    def place(self, layouts: np.ndarray) -> None:
        """Begin an episode in each world i from layout ``layouts[i]`` of the pool.

        Raises:
            BadInput: The source is no pool, or ``layouts`` are not N numbers of its layouts.
        """
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
        """Begin an episode in world i from the only layout of a pool, which becomes layout i of the
        engine's own pool.

        The engine's source must be a pool of ``n`` layouts that are as large or larger.
        """
        copy_layouts(layout.arrays, self.layouts, i)
        kernels.load(self.layouts, self.state, i, i, self._pad)
        self.directions[i] = self.state.pose[i, 2]
        kernels.look_first(self.layouts, self.state, i, self._pad, self.view, self.state.images[i])

    def step(self, actions: np.ndarray, active: np.ndarray | None = None) -> None:
        """Step all worlds, or only the active ones.

        Args:
            actions: Whole numbers from 0 to 6, ``[N]``.
            active: Which worlds take a step, ``[N] bool``; None for all.

        Raises:
            BadInput: The actions have the wrong shape or type, or are out of range.
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
        """What the agents see now, in pixels, as MiniGrid's RGBImgPartialObsWrapper draws it.

        ``envs.batched.pixels.draw_views`` draws other views, such as ``last_images``.

        Args:
            tile_size: Pixels a side of a cell.
            which: The worlds to draw, ``[K] int``; None for all.
            out: The array to write to. By default frames of all worlds are written to an array of
                the engine's own, which the next call overwrites, and those of ``which`` to a new
                one.

        Returns:
            ``[K, view * tile_size, view * tile_size, 3] uint8``.

        Raises:
            BadInput: The tile size, the worlds or ``out`` are not valid.
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
        """Worlds from above, with what the agents see highlighted, as MiniGrid's ``get_frame``
        draws it.

        Args:
            which: The worlds to draw, ``[K] int``; None for all.
            tile_size: Pixels a side of a cell.

        Returns:
            ``[K, height * tile_size, width * tile_size, 3] uint8``. Walls surround worlds that are
            smaller than the largest.

        Raises:
            BadInput: The tile size or the worlds are not valid.
        """
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
        """World i as MiniGrid's ``Grid.encode`` returns it: ``[width, height, 3] uint8``."""
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
