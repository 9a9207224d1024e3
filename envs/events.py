"""Events: what happened in the world in one step (ground truth, ``info["events"]``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from minigrid.core.world_object import Box, Door, WorldObj
from minigrid.minigrid_env import MiniGridEnv

from envs.attributes import Attribute
from envs.items import COLOURS, MINIGRID_SHAPES, SHAPES, Item
from envs.objects import ItemObject


@dataclass(frozen=True)
class Event:
    """One thing that happened to one item.

    Attributes:
        kind: examined, picked up, dropped, opened, closed, unlocked or found locked.
        item: The item.
        revealed: What examining revealed; None for all other kinds.
    """

    kind: str
    item: Item
    revealed: Attribute | None = None

    @property
    def fact(self) -> str:
        """``revealed`` as a phrase that follows "it" (``has secret property good``, ``is not beside
        a wall``), or ""."""
        return "" if self.revealed is None else str(self.revealed)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "item": str(self.item), "fact": self.fact}


def item_of(thing: WorldObj | None) -> Item | None:
    """The item that an object looks like, or None for walls, floor and nothing."""
    if thing is None or thing.type not in SHAPES + MINIGRID_SHAPES or thing.color not in COLOURS:
        return None
    return Item(thing.type, thing.color, getattr(thing, "texture", None))


class EventWatch:
    """Detects the events of one step in any MiniGrid world by comparing before and after.

    Make one before the step, then call `events` after it. ``front`` is the object that was in front
    of the agent.
    """

    def __init__(self, world: MiniGridEnv) -> None:
        self._carried = world.carrying
        front = self.front = world.grid.get(*world.front_pos)
        self._door = (front.is_open, front.is_locked) if isinstance(front, Door) else None

    def events(self, world: MiniGridEnv, action: int) -> tuple[Event, ...]:
        """The events of the step that has just been taken with ``action``."""
        events: list[Event] = []
        if world.carrying is not self._carried:
            events += _event("dropped", self._carried)
            events += _event("picked up", world.carrying)
        front = self.front
        if action == world.actions.toggle and isinstance(front, Door) and self._door:
            was_open, was_locked = self._door
            if was_locked:
                events += _event("found locked" if front.is_locked else "unlocked", front)
            if front.is_open != was_open:
                events += _event("opened" if front.is_open else "closed", front)
        elif action == world.actions.toggle and isinstance(front, Box):
            events += _event("opened", front)
        elif action == world.actions.toggle and isinstance(front, ItemObject):
            events.append(Event("examined", front.item, front.revealed))
        return tuple(events)


def _event(kind: str, thing: WorldObj | None) -> list[Event]:
    """The event, if there is an object that we have a name for (other worlds may have more)."""
    item = item_of(thing)
    return [] if item is None else [Event(kind, item)]
