"""The batched engine as `Worlds`, for the loop of Planner, Actor and Reporter."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker
from minigrid.core.actions import Actions
from minigrid.core.constants import IDX_TO_COLOR, IDX_TO_OBJECT
from minigrid.minigrid_env import MiniGridEnv

from envs.batched.cells import (
    CODE_MASK,
    EMPTY,
    FIRST_ITEM,
    FLOOR,
    GOAL,
    ID_SHIFT,
    LAVA,
    UNSEEN,
    WALL,
    pack_codes,
    unpack,
)
from envs.batched.compiled import jit
from envs.batched.engine import Engine
from envs.batched.kernels import step_x, step_y
from envs.batched.layouts import Pool, check_rules, empty_layouts, layout_of
from envs.batched.rooms import FACTS
from envs.batched.truth import EVENT_KINDS, EXAMINED, is_command_done
from envs.commands import VERBS, Command
from envs.errors import BadInput
from envs.events import Event
from envs.items import TEXTURES, Item
from envs.objects import MARKS
from envs.places import Places
from envs.states import WorldState
from envs.worlds import Worlds

_TRANSPARENT = (OrderEnforcing, PassiveEnvChecker)  # wrappers that change nothing
_NO_VERB = -1


class BatchedWorlds(Worlds):
    """N MiniGrid worlds, stepped together by one ``Engine``; otherwise the same as ``Worlds``.

    A world is reset by MiniGrid itself, so its episode is the one that ``Worlds`` plays for that
    seed. The bare world stands still while the engine steps, and catches up, without computing
    views, when it is needed. A layout that the engine does not support is played by MiniGrid.

    Raises:
        BadInput: The engine does not implement the level's rules.
    """

    def __init__(self, envs: Sequence[gym.Env]) -> None:
        super().__init__(envs)
        bare = [self._bare(i) for i in range(len(self))]
        for env, world in zip(self.envs, bare, strict=True):
            _check(env, world, bare[0].agent_view_size)
        n = len(bare)
        height, width = max(w.height for w in bare), max(w.width for w in bare)
        own = Pool(empty_layouts(n, height, width), ("",) * n, ("",) * n)
        self.engine = Engine(own, n, view=bare[0].agent_view_size, autoreset=False)
        self.images, self.directions = self.engine.images, self.engine.directions
        self._apart = np.zeros(n, bool)  # whether MiniGrid plays the world, not the engine
        self._taken = np.zeros((n, 64), np.uint8)  # the episode's actions,
        self._replayed = np.zeros(n, np.int64)  # and how many of them the bare world has taken
        self._eventful: list[int] = []
        # The commands of `watch` in the engine's numbers; _NO_VERB where MiniGrid decides.
        self._verbs = np.full(n, _NO_VERB)
        self._wanted = np.zeros(n, np.uint64)
        self._fixed = np.zeros(n, np.uint64)

    def world(self, i: int) -> MiniGridEnv:
        world = self._bare(i)
        missed = self._taken[i, self._replayed[i] : self.steps[i]]
        if len(missed) and not self._apart[i]:
            self.places(i)
            with self._blindly(i):
                for action in missed.tolist():
                    world.step(action)
            self._replayed[i] = self.steps[i]
            pose = (*map(int, world.agent_pos), int(world.agent_dir))
            assert pose == tuple(self.engine.state.pose[i]), "the engine and MiniGrid differ"
        return world

    def places(self, i: int) -> Places:
        if i not in self._places:
            self._places[i] = Places(self._bare(i))
        return self._places[i]

    def reset(self, i: int, seed: int) -> None:
        self._replayed[i] = self.steps[i]  # the last episode need not catch up any more
        self._verbs[i] = _NO_VERB
        with self._blindly(i):
            super().reset(i, seed)
        self._replayed[i] = 0
        try:
            self.engine.put(i, layout_of(self._bare(i), _name(self.envs[i])))
        except BadInput:
            self._apart[i] = True
            super().reset(i, seed)
            self.places(i)
        else:
            self._apart[i] = False

    def watch(self, i: int, command: Command) -> None:
        # The place of an opened box is that of its cell, since the box is gone.
        by_cell = command.verb == "open" and command.item.place and command.item.shape != "door"
        if self._apart[i] or by_cell:
            self._verbs[i] = _NO_VERB
            super().watch(i, command)
            return
        self._watches[i] = None
        self._verbs[i] = VERBS.index(command.verb)
        self._wanted[i] = self._meant(i, command.item)
        self._fixed[i] = 0 if command.target is None else self._meant(i, command.target)
        self.done[i] = False

    def step(self, actions: np.ndarray, active: np.ndarray) -> None:
        going = active & ~self.over
        if (going & self._apart).any():
            super().step(actions, going & self._apart)
            going &= ~self._apart
        rows = np.flatnonzero(going)
        if not len(rows):
            return
        actions = np.where(going, actions, int(Actions.done))
        if actions.min() < 0 or actions.max() > max(Actions):
            raise ValueError(f"Unknown action: {actions[rows].tolist()}")
        engine = self.engine
        engine.step(actions, going)
        at = self.steps[rows]
        if at.max() >= self._taken.shape[1]:
            self._taken = np.concatenate([self._taken, np.zeros_like(self._taken)], axis=1)
        self._taken[rows, at] = self.last_actions[rows] = actions[rows]
        self.steps[rows] += 1
        self.success[rows] = engine.success[rows]
        self.truncated[rows] = (engine.truncated & ~engine.terminated)[rows]
        self.over[rows] = (engine.truncated | engine.terminated)[rows]
        self._update_events(going)
        self._update_done(going)

    def states(self, which: Sequence[int], *, with_grids: bool = False) -> list[WorldState]:
        if self._apart[which].any():
            return [
                super(BatchedWorlds, self).states([i], with_grids=with_grids)[0]
                if self._apart[i]
                else self.states([i], with_grids=with_grids)[0]
                for i in which
            ]
        state, pad = self.engine.state, self.engine.view - 1
        carried = state.carried[which]
        hands = unpack(np.where(carried == 0, np.uint32(EMPTY), carried))
        grids: list[np.ndarray | None] = [None] * len(which)
        if with_grids:
            cells = unpack(state.cells[which, pad:-pad, pad:-pad])
            # Walls surround what is smaller than the largest world.
            bare = [self._bare(i) for i in which]
            grids = [grid[: w.height, : w.width] for grid, w in zip(cells, bare, strict=True)]
        poses = state.pose[which]
        return list(map(WorldState, state.images[which], grids, poses, hands))

    def _begin(self, i: int) -> None:
        # Made when they are first needed, but before the world moves on.
        self._places.pop(i, None)

    @contextlib.contextmanager
    def _blindly(self, i: int) -> Iterator[None]:
        """Without views of the bare world i, which are MiniGrid's slowest operation."""
        world = self._bare(i)

        def gen_obs() -> dict[str, Any]:
            direction = int(world.agent_dir)
            return {"image": self.images[i], "direction": direction, "mission": world.mission}

        world.gen_obs = gen_obs  # type: ignore[method-assign]
        try:
            yield
        finally:
            del world.gen_obs

    def _update_events(self, going: np.ndarray) -> None:
        state, facts = self.engine.state, self.engine.layouts.facts
        quiet = [i for i in self._eventful if not going[i]]
        for i in self._eventful:
            if going[i]:
                self.events[i] = ()
        fresh = np.flatnonzero(going & (state.event_kinds[:, 0] != 0)).tolist()
        for i in fresh:
            self.events[i] = tuple(
                Event(
                    EVENT_KINDS[kind],
                    item_of_code(cell & CODE_MASK),
                    FACTS[facts[i, cell >> ID_SHIFT & 255]] if kind == EXAMINED else None,
                )
                for kind, cell in zip(
                    state.event_kinds[i].tolist(), state.event_cells[i].tolist(), strict=True
                )
                if kind
            )
        self._eventful = quiet + fresh

    def _update_done(self, going: np.ndarray) -> None:
        state = self.engine.state
        _follow_commands(
            (state.cells, state.pose, state.carried, state.event_kinds, state.event_cells),
            (self._verbs, self._wanted, self._fixed, self.done),
            going,
            self.engine.view - 1,
        )
        for i in np.flatnonzero(going & (self._verbs == _NO_VERB)).tolist():
            watch = self._watches[i]
            if watch is not None:
                self.done[i] = watch.update(self.world(i), self.events[i])

    def _meant(self, i: int, name: Item) -> int:
        """The set of the things that a name describes, as bits of their numbers."""
        layouts = self.engine.layouts
        cells = np.concatenate([layouts.cells[i].ravel(), layouts.inside[i], layouts.carried[[i]]])
        things = 0
        for cell in cells[cells >> ID_SHIFT & 255 != 0].tolist():
            number = cell >> ID_SHIFT & 255
            if name.describes(item_of_code(cell & CODE_MASK)) and self._lay(i, number, name):
                things |= 1 << number
        return things

    def _lay(self, i: int, number: int, name: Item) -> bool:
        if name.place is None:
            return True
        at, width = int(self.engine.layouts.places[i, number]), self.engine.layouts.cells.shape[2]
        return at >= 0 and name.place in self.places(i).at((at % width, at // width))


def _name(env: gym.Env) -> str:
    return type(env.unwrapped).__name__ if env.spec is None else env.spec.id


def _check(env: gym.Env, world: MiniGridEnv, view: int) -> None:
    level = _name(env)
    check_rules(world, level)
    if world.agent_view_size != view:
        raise BadInput(f"worlds with views of {view} and of {world.agent_view_size} cells")
    if world.render_mode == "human":
        raise BadInput(f"level '{level}' is to be shown in a window; the engine has none")
    while isinstance(env, gym.Wrapper):
        if not isinstance(env, _TRANSPARENT):
            raise BadInput(f"level '{level}' is wrapped in {type(env).__name__}")
        env = env.env


def thing_of(cell: int) -> Item | None:
    """The item on a cell, or None for walls, floors and nothing."""
    return item_of_code(cell & CODE_MASK) if cell >> ID_SHIFT & 255 else None


def item_of_encoding(encoding: np.ndarray) -> Item | None:
    """The item on a cell in MiniGrid's encoding ``[3] uint8``; None for walls, floors, goals, lava
    and nothing."""
    if int(encoding[0]) in (UNSEEN, EMPTY, WALL, FLOOR, GOAL, LAVA):
        return None
    return item_of_code(int(pack_codes(encoding)))


def mark_of_code(code: int) -> str:
    """The mark that an item shows, "" for none."""
    return MARKS[int(unpack(np.array(code, np.uint32))[2]) // 3 % 3]


@lru_cache(maxsize=4096)
def item_of_code(code: int) -> Item:
    """The item that a cell's code looks like."""
    kind, colour, state = map(int, unpack(np.array(code, np.uint32)))
    texture = TEXTURES[state % 3] if kind >= FIRST_ITEM else None
    return Item(IDX_TO_OBJECT[kind], IDX_TO_COLOR[colour], texture)


@jit()
def _follow_commands(seen: Any, commands: Any, going: np.ndarray, pad: int) -> None:
    """Update whether each world's command is done."""
    cells, pose, carried, kinds, events = seen
    verbs, wanted, fixed, done = commands
    for w in range(len(going)):
        if not going[w] or verbs[w] == _NO_VERB:
            continue
        fx = pose[w, 0] + pad + step_x(pose[w, 2])
        fy = pose[w, 1] + pad + step_y(pose[w, 2])
        done[w] = is_command_done(
            verbs[w],
            wanted[w],
            fixed[w],
            done[w],
            cells[w, fy, fx],
            carried[w],
            kinds[w],
            events[w],
            cells[w],
            fx,
            fy,
        )
