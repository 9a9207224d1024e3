"""Commands from the Planner to the Actor, and the ground truth of when each is done.

The grammar is closed: a verb and the names of one or two items, or a move. Text from a language
model, a server or a person becomes either a command of this grammar or no command at all.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from minigrid.core.actions import Actions
from minigrid.core.world_object import Door, WorldObj
from minigrid.minigrid_env import MiniGridEnv

from envs.errors import BadInput
from envs.events import Event, item_of
from envs.items import ANY_SHAPE, MINIGRID_SHAPES, Item
from envs.places import Places

VERBS = ("go to", "examine", "pick up", "open", "put")
# The commands of a Planner without an Actor, each of which is one action.
MOVES = {
    "turn left": Actions.left,
    "turn right": Actions.right,
    "go forward": Actions.forward,
    "pick up what is ahead": Actions.pickup,
    "drop what you carry": Actions.drop,
    "use what is ahead": Actions.toggle,
}
_WHATEVER = Item(ANY_SHAPE)


@dataclass(frozen=True)
class Command:
    """A verb and its item.

    The verb ``put`` also has a ``target``: the item to put the first one next to.

    Raises:
        BadInput: The verb is unknown, or has the wrong number of items.
    """

    verb: str
    item: Item
    target: Item | None = None

    def __post_init__(self) -> None:
        if self.verb not in VERBS:
            raise BadInput(unknown_verb(self.verb))
        if (self.target is not None) != (self.verb == "put"):
            raise BadInput(
                f"'{self.verb}' takes {'two items' if self.verb == 'put' else 'one item'}"
            )

    def __str__(self) -> str:
        if self.target is not None:
            return f"put the {self.item} next to the {self.target}"
        return f"{self.verb} the {self.item}"

    def sentence(self) -> str:
        """The command as it stands in a dialogue: ``Examine the solid blue circle.``"""
        text = str(self)
        return f"{text[0].upper()}{text[1:]}."

    @classmethod
    def parse(cls, text: str) -> Command:
        """Parse a command. ``text`` must contain nothing else; case, articles and a final period or
        exclamation mark are ignored.

        Raises:
            BadInput: The text is no command; the message is one sentence with the nearest valid
                word.
        """
        words = " ".join(text.lower().split()).rstrip(".!")
        if words in MOVES:
            return Move(words)
        for verb in VERBS:
            if words.startswith(verb + " "):
                names = words[len(verb) + 1 :]
                if verb != "put":
                    return cls(verb, Item.parse(names))
                parts = re.split(r"\s+next to\s+", names)
                if len(parts) != 2:
                    raise BadInput(f"'{text}' is no command; put what next to what?")
                return cls(verb, Item.parse(parts[0]), Item.parse(parts[1]))
        raise BadInput(unknown_verb(words))


@dataclass(frozen=True)
class Move(Command):
    """A single low-level action, on whatever is in front of the agent.

    Raises:
        BadInput: The verb is no move.
    """

    item: Item = _WHATEVER

    def __post_init__(self) -> None:
        if self.verb not in MOVES:
            raise BadInput(f"'{self.verb}' is no move; known moves: {', '.join(MOVES)}")

    def __str__(self) -> str:
        return self.verb


def unknown_verb(words: str) -> str:
    """An error message for a text that begins with no known verb, with the nearest verb."""
    start = " ".join(words.split()[:2])
    near = difflib.get_close_matches(start, VERBS, n=1) or difflib.get_close_matches(
        start.split(" ")[0], VERBS, n=1
    )
    hint = f"did you mean '{near[0]}'?" if near else f"known verbs: {', '.join(VERBS)}"
    return f"unknown verb in '{words}'; {hint}"


def all_commands(items: Iterable[Item], verbs: Iterable[str] = VERBS) -> tuple[Command, ...]:
    """All commands that can be made from these items and verbs, in a fixed order.

    ``verbs`` may include moves. Commands that are impossible by their words are left out: only
    doors and boxes can be opened, doors cannot be picked up or put anywhere, nothing is put next to
    itself, and only our own items can be examined.
    """
    items = tuple(items)
    commands: list[Command] = []
    for verb in verbs:
        if verb in MOVES:
            commands.append(Move(verb))
        elif verb == "put":
            commands += [
                Command(verb, a, b) for a in items for b in items if a != b and a.shape != "door"
            ]
        else:
            commands += [Command(verb, i) for i in items if _can(verb, i)]
    return tuple(commands)


def _can(verb: str, item: Item) -> bool:
    if verb == "open":
        return item.shape in ("door", "box")
    if verb == "pick up":
        return item.shape != "door"
    if verb == "examine":
        return item.shape not in MINIGRID_SHAPES
    return True


class CommandWatch:
    """Tracks whether a command is done, from its start on (ground truth).

    ``go to`` and ``pick up`` are states: they are done while the agent faces, or carries, such an
    item. ``examine``, ``open`` and ``put`` are events: they are done once the event has happened to
    such an item, whatever comes after.

    Args:
        command: The command.
        places: Where things were when the episode began. Without it no thing is at any place.
    """

    def __init__(self, command: Command, places: Places | None = None) -> None:
        self.command = command
        self.places = places
        self.done = False

    def update(self, world: MiniGridEnv, events: Iterable[Event]) -> bool:
        """Update after a step, of which these are the events, and return whether the command is
        done."""
        command = self.command
        front = world.grid.get(*world.front_pos)
        if command.verb == "go to":
            self.done = self._is(command.item, world, front)
        elif command.verb == "pick up":
            self.done = self._is(command.item, world, world.carrying)
        else:
            kind = {"examine": "examined", "open": "opened", "put": "dropped"}[command.verb]
            self.done |= any(
                e.kind == kind
                and command.item.describes(e.item)
                and self._lay(command.item.place, world, front)
                and (command.target is None or self._is_beside(world, command.target))
                for e in events
            )
        return self.done

    def _is(self, name: Item, world: MiniGridEnv, thing: WorldObj | None) -> bool:
        item = item_of(thing)
        return item is not None and name.describes(item) and self._lay(name.place, world, thing)

    def _lay(self, place: str | None, world: MiniGridEnv, thing: WorldObj | None) -> bool:
        if place is None or self.places is None:
            return place is None
        # A box that has been opened is gone, so its cell decides.
        if self.command.verb == "open" and not isinstance(thing, Door):
            x, y = world.front_pos
            return place in self.places.at((int(x), int(y)))
        return place in self.places.of(thing)

    def _is_beside(self, world: MiniGridEnv, target: Item) -> bool:
        """Whether what has just been dropped lies beside, not diagonally, such an item."""
        x, y = world.front_pos
        near = ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1))
        return any(self._is(target, world, world.grid.get(*cell)) for cell in near)


def judge(
    watch: CommandWatch, world: MiniGridEnv, action: int, events: Sequence[Event]
) -> bool | None:
    """The verdict on a step where carrying out one command is the whole task.

    ``go to`` is done when the agent says ``done`` in front of the item.

    Args:
        watch: Tracks the command; updated by this call.
        world: The world after the step.
        action: The step's action.
        events: The step's events.

    Returns:
        True once the command is done, False once something else was picked up, None while the
        episode goes on.
    """
    command = watch.command
    done = watch.update(world, events)
    picked = [e.item for e in events if e.kind == "picked up"]
    if picked and (command.verb not in ("pick up", "put") or picked[0] != command.item):
        return False
    if command.verb == "go to" and action != world.actions.done:
        return None
    return True if done else None
