"""Prerequisites: the command that must be carried out before another can be (privileged)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from minigrid.core.actions import Actions
from minigrid.core.constants import STATE_TO_IDX
from minigrid.core.world_object import Box, Key
from minigrid.minigrid_env import MiniGridEnv

from agents.actor.route import DOOR, EMPTY, Cell, Pose, item_at, route_in
from envs.commands import Command
from envs.events import item_of
from envs.items import Item
from envs.places import Places

CLOSED, LOCKED = STATE_TO_IDX["closed"], STATE_TO_IDX["locked"]


class PrerequisitePlanner:
    """A world as it is now, and what lay where when its episode began."""

    def __init__(self, world: MiniGridEnv, places: Places) -> None:
        self.world = world
        self.places = places
        self.grid = world.grid.encode()
        self.carried = item_of(world.carrying)

    def to(self, command: Command, sought: tuple[Item, ...] = ()) -> Command:
        """The command, if it can be carried out as things are, else what must come before it.

        A locked door needs its key; a thing in the way is picked up, or opened. ``sought`` are the
        keys that this is for: where it takes a key to get that same key, nothing helps.
        """
        if command.verb == "pick up" and self._carries(command.item):
            # It counts once it is picked up anew.
            return self._lay_down(command)
        cell = self._obstacle(command)
        if cell is None:
            return command
        item, thing = self._name(cell), self.world.grid.get(*cell)
        if item.shape != "door":
            # A box may hold the key.
            return Command("open" if getattr(thing, "contains", None) else "pick up", item)
        key = Item("key", item.colour)
        if self.carried == key:
            return Command("open", item)
        return command if key in sought else self._fetch(key, (*sought, key))

    def _name(self, cell: Cell) -> Item:
        """What lies on a cell, with its place where that tells it from others that look alike."""
        item, thing = item_at(self.grid, cell), self.world.grid.get(*cell)
        assert item is not None
        others = [t for t in self.world.grid.grid if item_of(t) == item and t is not thing]
        others += [self.world.carrying] if self.carried == item else []
        for place in sorted(self.places.of(thing)) if others else ():
            if not any(place in self.places.of(other) for other in others):
                return replace(item, place=place)
        return item

    def _fetch(self, key: Item, sought: tuple[Item, ...]) -> Command:
        things = self.world.grid.grid
        if key not in map(item_of, things):
            for box in things:
                if isinstance(box, Box) and item_of(box.contains) == key:
                    return self.to(Command("open", Item("box", box.color)), sought)
        return self.to(Command("pick up", key), sought)

    def _carries(self, name: Item) -> bool:
        return self.carried is not None and name.describes(self.carried)

    def _lay_down(self, command: Command) -> Command:
        """Put what is carried, and to be picked up, beside any other thing."""
        cells = np.ndindex(*self.grid.shape[:2])
        others = {i for c in cells if (i := item_at(self.grid, c)) is not None}
        puts = [Command("put", command.item, other) for other in sorted(others, key=str)]
        return next((p for p in puts if route_in(self.world, self.places, p)), command)

    def _obstacle(self, command: Command) -> Cell | None:
        """The first locked door or thing on the way; None where there is none, or no way."""
        for grid in (self.grid, _unlocked(self.grid), self._cleared(command)):
            actions = route_in(self.world, self.places, command, grid)
            if actions is not None:
                return self._follow(actions, command)
        return None

    def _cleared(self, command: Command) -> np.ndarray:
        """The grid without locks, and without no more things than must be taken out of the way."""
        full = _unlocked(self.grid)
        named = [n for n in (command.item, command.target) if n is not None]
        cells = [
            cell
            for cell in np.ndindex(*full.shape[:2])
            if (item := item_at(full, cell)) is not None
            and item.shape != "door"
            and not any(n.describes(item) for n in named)
        ]
        grid = full.copy()
        for cell in cells:
            grid[cell] = (EMPTY, 0, 0)
        for cell in cells:
            trial = grid.copy()
            trial[cell] = full[cell]
            if route_in(self.world, self.places, command, trial) is not None:
                grid = trial
        return grid

    def _follow(self, actions: list[int], command: Command) -> Cell | None:
        """The first obstacle on the path of these actions."""
        x, y = map(int, self.world.agent_pos)
        pose, taken = Pose(x, y, int(self.world.agent_dir)), set()
        for k, action in enumerate(actions):
            front = pose.front()
            item = item_at(self.grid, front)
            if action in (Actions.left, Actions.right):
                turn = 1 if action == Actions.right else -1
                pose = replace(pose, direction=(pose.direction + turn) % 4)
            elif action == Actions.toggle and _locked(self.grid)[front]:
                last = k == len(actions) - 1 and command.verb == "open"
                if not (last and self._opens(front)):
                    return front
            elif action == Actions.forward:
                if item is not None and item.shape != "door" and front not in taken:
                    return front
                pose = Pose(*front, pose.direction)
            elif action == Actions.pickup:
                taken.add(front)
        return None

    def _opens(self, door: Cell) -> bool:
        thing, carried = self.world.grid.get(*door), self.world.carrying
        return thing is not None and isinstance(carried, Key) and carried.color == thing.color


def _locked(grid: np.ndarray) -> np.ndarray:
    """Which cells are locked doors: ``[width, height] bool``."""
    return (grid[..., 0] == DOOR) & (grid[..., 2] == LOCKED)


def _unlocked(grid: np.ndarray) -> np.ndarray:
    """The grid as if every locked door were only closed."""
    grid = grid.copy()
    grid[_locked(grid), 2] = CLOSED
    return grid
