"""The base class of our own task families: one room of items."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
from gymnasium.core import ObsType
from minigrid.core.grid import Grid
from minigrid.core.mission import MissionSpace
from minigrid.core.world_object import Floor
from minigrid.minigrid_env import MiniGridEnv

from envs.commands import Command
from envs.errors import unknown, whole_number
from envs.events import Event, EventWatch
from envs.items import ITEM_SETS, SHAPES, Item
from envs.objects import ItemObject

ROOM_SIZES = (6, 16)
LETTERS = dict(zip(SHAPES, "osvd+xTO", strict=True))
Cell = tuple[int, int]
_T = TypeVar("_T")


class TaskSpace(MissionSpace):
    """The space of task sentences: any text. A family's sentences are too many to list."""

    def __init__(self) -> None:
        super().__init__(lambda: "pick up the solid red circle")

    def contains(self, x: Any) -> bool:
        return isinstance(x, str)


class RoomEnv(MiniGridEnv):
    """One square room of items and a task about them; the base of our families.

    A family's ``_draw_task`` draws the items, their properties and the sentence, and its ``_judge``
    decides what an event means for the task. ``oracle`` is the right next command of a Planner that
    knows only what has been examined so far.

    Args:
        n_items: The number of items.
        room_size: Cells a side, walls included.
        items: The set that items are drawn from: train, held-out or all.
        max_steps: The step limit; None for one that grows with the room and the number of items.

    Raises:
        BadInput: A setting is out of range.
    """

    verbs: tuple[str, ...] = ("go to", "examine", "pick up")
    min_items: ClassVar[int] = 3
    max_items: ClassVar[int] = 10

    def __init__(
        self,
        n_items: int = 4,
        room_size: int = 8,
        items: str = "train",
        max_steps: int | None = None,
        **kwargs: Any,
    ) -> None:
        room_size = whole_number("room_size", room_size, *ROOM_SIZES)
        self.n_items = whole_number("n_items", n_items, self.min_items, self.max_items)
        if items not in ITEM_SETS:
            raise unknown("item set", items, ITEM_SETS)
        if max_steps is None:
            # Enough to cross the room and back for every item, and to search it all once.
            max_steps = 4 * room_size**2 + 4 * room_size * self.n_items
        self.item_set = ITEM_SETS[items]
        self.things: list[ItemObject] = []
        self.reachable: frozenset[Item] = frozenset()
        self._verdict: bool | None = None
        super().__init__(
            mission_space=TaskSpace(),
            grid_size=room_size,
            max_steps=whole_number("max_steps", max_steps, low=1),
            **kwargs,
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[ObsType, dict[str, Any]]:
        self._verdict = None
        obs, info = super().reset(seed=seed, options=options)
        return obs, {**info, "events": (), "success": False}

    def step(self, action: Any) -> tuple[ObsType, float, bool, bool, dict[str, Any]]:
        watch = EventWatch(self)
        front = watch.front
        obs, _, _, truncated, info = super().step(action)
        events = watch.events(self, int(action))
        if self.carrying is front and isinstance(front, ItemObject) and front.floor:
            # The floor stays where it is.
            self.grid.set(*self.front_pos, Floor(front.floor))
            front.floor = None
            obs = self.gen_obs()
        self._verdict = self._judge(int(action), events)
        success = self._verdict is True
        info = {**info, "events": events, "success": success}
        return obs, float(success), self._verdict is not None, truncated, info

    def agent_sees(self, x: int, y: int) -> bool:
        """Whether the agent sees the thing at this cell (MiniGrid's cannot decode our items)."""
        view = self.relative_coords(x, y)
        if view is None:
            return False
        grid, visible = self.gen_obs_grid()
        return bool(visible[view]) and grid.get(*view) is self.grid.get(x, y)

    def pprint_grid(self) -> str:
        """The room as text, two letters a cell (MiniGrid's does not know our shapes)."""
        rows = []
        for y in range(self.height):
            cells = []
            for x in range(self.width):
                thing = self.grid.get(x, y)
                if (x, y) == tuple(self.agent_pos):
                    cells.append(2 * ">V<^"[self.agent_dir])
                elif thing is None:
                    cells.append("  ")
                else:
                    letter = LETTERS.get(thing.type, thing.type[0].upper())
                    cells.append(letter + thing.color[0].upper())
            rows.append("".join(cells))
        return "\n".join(rows)

    @abstractmethod
    def _draw_task(self) -> str:
        """Fill ``self.things`` and return the task sentence."""

    @abstractmethod
    def _judge(self, action: int, events: Sequence[Event]) -> bool | None:
        """True or False when this step ended the episode in success or failure, else None.

        Args:
            action: The step's action.
            events: The step's events.
        """

    @abstractmethod
    def oracle(self, examined: frozenset[Item]) -> Command:
        """The right next command, given the items that have been examined (the oracle's answer)."""

    @abstractmethod
    def _needed(self) -> frozenset[Item]:
        """The items without which the task cannot be solved."""

    def _draw_items(self, n: int) -> list[Item]:
        chosen = self.np_random.choice(len(self.item_set), size=n, replace=False)
        return [self.item_set[i] for i in chosen]

    def _place_rule(self, thing: ItemObject) -> Callable[[Cell], bool] | None:
        """Which cells a thing may lie on; None for all."""
        return None

    def _gen_grid(self, width: int, height: int) -> None:
        self.grid = Grid(width, height)
        self.grid.wall_rect(0, 0, width, height)
        self.things = []
        self.mission = self._draw_task()
        cells = [(x, y) for x in range(1, width - 1) for y in range(1, height - 1)]
        taken, self.agent_pos = self._draw_layout(cells)
        self.agent_dir = int(self.np_random.integers(4))
        for thing, cell in zip(self.things, taken, strict=True):
            self.put_obj(thing, *cell)
        region = _region(self.agent_pos, set(cells) - set(taken))
        self.reachable = frozenset(
            t.item for t, c in zip(self.things, taken, strict=True) if _beside(c, region)
        )

    def _draw_layout(self, cells: list[Cell]) -> tuple[list[Cell], Cell]:
        """Draw a cell for each thing, and one for the agent.

        Everything can be reached, except in rooms too crowded for that (10 items on 16 cells),
        where only what the task needs is certain to be reachable.
        """
        for _ in range(10):
            taken = self._place_in_turn(cells)
            if taken is not None:
                return taken, self._any([c for c in cells if c not in taken])
        needed = self._needed()
        while True:
            taken = []
            for thing in self.things:
                rule = self._place_rule(thing)
                options = [c for c in cells if c not in taken and (rule is None or rule(c))]
                if options:
                    taken.append(self._any(options))
            free = set(cells) - set(taken)
            agent = self._any(sorted(free))
            region = _region(agent, free)
            if len(taken) == len(self.things) and all(
                _beside(c, region)
                for t, c in zip(self.things, taken, strict=True)
                if t.item in needed
            ):
                return taken, agent

    def _place_in_turn(self, cells: list[Cell]) -> list[Cell] | None:
        """Draw a cell for each thing so that everything can be reached, or None at a dead end.

        Things are placed one after the other; the free cells always stay one region, and every
        thing stays beside one of them.
        """
        taken: list[Cell] = []
        for thing in self.things:
            rule = self._place_rule(thing)
            options = [c for c in cells if c not in taken and (rule is None or rule(c))]
            for k in self.np_random.permutation(len(options)):
                trial = [*taken, options[k]]
                free = set(cells) - set(trial)
                if _region(next(iter(free)), free) == free and all(_beside(c, free) for c in trial):
                    taken = trial
                    break
            else:
                return None
        return taken

    def _any(self, cells: Sequence[Cell]) -> Cell:
        return cells[int(self.np_random.integers(len(cells)))]


def neighbours(cell: Cell) -> tuple[Cell, Cell, Cell, Cell]:
    """The four cells beside a cell."""
    x, y = cell
    return (x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)


def _region(start: Cell, free: set[Cell]) -> set[Cell]:
    """The free cells that can be walked to from ``start``."""
    seen = edge = {start}
    while edge:
        edge = {n for c in edge for n in neighbours(c) if n in free} - seen
        seen = seen | edge
    return seen


def _beside(cell: Cell, region: set[Cell]) -> bool:
    return any(n in region for n in neighbours(cell))


def right_pick(events: Sequence[Event], right: Item) -> bool | None:
    """Whether the item that these events picked up is the right one; None if none was picked up."""
    picked = [e.item for e in events if e.kind == "picked up"]
    return picked[0] == right if picked else None


def join(items: Sequence[Item], last: str = "and") -> str:
    """``the A, the B and the C``"""
    names = [f"the {i}" for i in items]
    return f"{', '.join(names[:-1])} {last} {names[-1]}" if len(names) > 1 else names[0]


def coin(rng: np.random.Generator) -> bool:
    """A fair coin."""
    return bool(rng.integers(2))


def one_of(rng: np.random.Generator, choices: Sequence[_T]) -> _T:
    """One of the choices, all equally likely. A single choice is returned without a draw."""
    return choices[0] if len(choices) == 1 else choices[int(rng.integers(len(choices)))]
