"""The task of carrying out one command, for training and measuring the Actor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envs.attributes import SECRET_PROPERTY, Attribute
from envs.commands import Command, CommandWatch
from envs.errors import some_of
from envs.events import Event
from envs.items import Item
from envs.objects import ItemObject
from envs.room import RoomEnv


class CommandTask(RoomEnv):
    """
    ## Description

    A room with `n_items` items and one command about one of them. The episode ends when the
    agent says `done`; it succeeds if the command is done by then. `examine` counts as done once
    the right item has been examined, wherever the agent is afterwards. `verbs` chooses which
    commands are drawn.

    ## Mission space

    "go to the {item}" | "examine the {item}" | "pick up the {item}"

    ## Action space

    MiniGrid's: left, right, forward, pickup, drop, toggle (examine), done.

    ## Observation

    MiniGrid's: the 7x7 view ahead `[7, 7, 3] uint8`, the direction, the mission. An item's shape
    is its object type, its colour the colour, its texture, mark and floor the state.

    ## Rewards

    1 for `done` after the command is done, otherwise 0.

    ## Termination

    Saying `done` ends the episode, and so does picking up what the command does not tell to pick
    up, as failure. Truncated after `max_steps`.

    ## Registered ids

    - `Parley/Command-v0`
    """

    def __init__(self, verbs: Sequence[str] = ("examine", "pick up"), **kwargs: Any) -> None:
        self.task_verbs = some_of("verb", verbs, RoomEnv.verbs)
        self.command: Command
        self.watch: CommandWatch
        super().__init__(**kwargs)

    def _draw_task(self) -> str:
        items = self._draw_items(self.n_items)
        self.things = [ItemObject(i, Attribute(SECRET_PROPERTY, "unknown")) for i in items]
        verb = self.task_verbs[self.np_random.integers(len(self.task_verbs))]
        self.command = Command(verb, items[self.np_random.integers(len(items))])
        self.watch = CommandWatch(self.command)
        return str(self.command)

    def _judge(self, action: int, events: Sequence[Event]) -> bool | None:
        done = self.watch.update(self, events)
        picked = [e.item for e in events if e.kind == "picked up"]
        if picked and (self.command.verb != "pick up" or picked[0] != self.command.item):
            return False
        return done if action == self.actions.done else None

    def _needed(self) -> frozenset[Item]:
        return frozenset({self.command.item})

    def oracle(self, examined: frozenset[Item]) -> Command:
        return self.command
