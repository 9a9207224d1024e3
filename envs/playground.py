"""A room without a task, for recording clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minigrid.core.constants import COLOR_NAMES
from minigrid.core.world_object import Ball, Box, Key

from envs.attributes import BESIDE_WALL, FLOOR, IN_CORNER, MARK, Attribute
from envs.commands import Command
from envs.conditional import walls_beside
from envs.errors import BadInput, whole_number
from envs.events import Event
from envs.items import COLOURS, Item
from envs.objects import ItemObject
from envs.room import RoomEnv, coin

CLUTTER = (Ball, Box, Key)


class Playground(RoomEnv):
    """
    ## Description

    A room with `n_items` items in which nothing is to be achieved and nothing ends the episode.
    Every item hides a mark, white or orange, that examining shows; about half of the items lie on
    a coloured floor. With the chance `alike` an item differs from another one in one word only.
    `clutter` of MiniGrid's own balls, boxes and keys lie about as well.

    ## Mission space

    "Do as you like."

    ## Action space

    MiniGrid's: left, right, forward, pickup, drop, toggle (examine), done.

    ## Observation

    MiniGrid's: the 7x7 view ahead `[7, 7, 3] uint8`, the direction, the mission. An item's shape
    is its object type, its colour the colour, its texture, mark and floor the state.

    ## Rewards

    Always 0.

    ## Termination

    Never. Truncated after `max_steps`.

    ## Registered ids

    - `Parley/Playground-v0`
    """

    judged = False

    def __init__(self, clutter: int = 0, alike: float = 0.0, **kwargs: Any) -> None:
        if not 0 <= alike <= 1:
            raise BadInput(f"alike must be from 0 to 1, not {alike}")
        self.alike = alike
        self.n_clutter = whole_number("clutter", clutter, 0, 6)
        super().__init__(**kwargs)

    def _draw_task(self) -> str:
        self.things = []
        for item in self._draw_alike():
            floors = [c for c in COLOURS if c != item.colour]
            floor = floors[self.np_random.integers(len(floors))] if coin(self.np_random) else None
            mark = "white" if coin(self.np_random) else "orange"
            self.things.append(ItemObject(item, hidden_mark=mark, floor=floor))
        return "Do as you like."

    def _draw_alike(self) -> list[Item]:
        """The items, some of which have nearly the same names."""
        items = self._draw_items(self.n_items)
        for k in range(1, len(items)):
            if self.np_random.random() < self.alike:
                model = items[self.np_random.integers(k)]
                near = [i for i in self.item_set if model.likeness(i) == 2 and i not in items]
                if near:
                    items[k] = near[self.np_random.integers(len(near))]
        return items

    def _gen_grid(self, width: int, height: int) -> None:
        super()._gen_grid(width, height)
        for _ in range(self.n_clutter):
            kind = CLUTTER[self.np_random.integers(len(CLUTTER))]
            self.place_obj(kind(COLOR_NAMES[self.np_random.integers(len(COLOR_NAMES))]))

    def attributes(self) -> Mapping[Item, frozenset[Attribute]]:
        """What is true of each item as the episode begins, for the conditions of visual
        conditionals: its place, its floor, and the mark that examining shows."""
        attributes = {}
        for thing in self.things:
            assert thing.cur_pos is not None
            sides = walls_beside(thing.cur_pos, self.width)
            true = {Attribute(MARK, thing.hidden_mark)}
            true |= {Attribute(BESIDE_WALL)} if sides else set()
            true |= {Attribute(IN_CORNER)} if sides == 2 else set()
            true |= {Attribute(FLOOR, thing.floor)} if thing.floor else set()
            attributes[thing.item] = frozenset(true)
        return attributes

    def _judge(self, action: int, events: Sequence[Event]) -> bool | None:
        return None

    def _needed(self) -> frozenset[Item]:
        return frozenset()

    def oracle(self, examined: frozenset[Item]) -> Command:
        raise BadInput("there is nothing to achieve in a playground")
