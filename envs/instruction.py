"""The user's own task sentence, played in a room with the items that it names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from envs.attributes import SECRET_PROPERTY, Attribute
from envs.commands import Command, CommandWatch, judge
from envs.conditional import PHRASES, PROPERTIES, ConditionalEnv
from envs.errors import BadInput, whole_number
from envs.events import Event
from envs.items import ALL_ITEMS, COLOURS, MINIGRID_SHAPES, WORDS, Item, find_items
from envs.objects import ItemObject
from envs.room import ROOM_SIZES, RoomEnv, coin
from envs.search import next_in_search

_CONDITIONAL = re.compile(
    rf"if (?P<decider>.+?) (?P<condition>is (?:{'|'.join(PROPERTIES)})|{'|'.join(PHRASES.values())}"
    rf"|is on an? (?P<floor>{'|'.join(COLOURS)}) floor)[,;]? (?:then )?pick up (?P<yes>.+?)"
    r"[.,;]? (?:otherwise|else),? pick up (?P<no>.+)"
)
_SEARCH = re.compile(r"exactly one of (?P<names>.+) is good[.,;]? pick up the good one")
_ORDINARY = ("wall", "walls")  # too near to "ball" to tell a slip from a word


@dataclass(frozen=True)
class Reading:
    """The parsed sentence.

    Attributes:
        kind: ``conditional``, ``search`` or ``command``; empty for any other sentence.
        named: The items' names: the decider and the two branches of a conditional, the item and the
            target of a command.
        condition: What a conditional says of its decider.
        floor: The colour in a condition about a floor.
        verb: The verb of a command.
    """

    kind: str
    named: tuple[Item, ...]
    condition: str = ""
    floor: str | None = None
    verb: str = ""

    @classmethod
    def of(cls, text: str) -> Reading:
        """Parse a sentence. Case, articles and the final period do not matter.

        Raises:
            BadInput: It names no item, or an item is misspelt or not one of ours; the message is
                one sentence with the nearest valid word.
        """
        items = tuple(dict.fromkeys(replace(i, place=None) for i in find_items(text)))
        words = re.findall(r"[a-z]+", text.lower())
        if not items:
            slips = [w for w in words if w not in WORDS]
            near = [m for w in slips for m in difflib.get_close_matches(w, WORDS, 1, 0.75)]
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise BadInput(
                f"the instruction '{text[:80]}' names no item as an item is named, by texture, "
                f"colour and shape, like 'striped red cross' or 'red cross'{hint}"
            )
        for k, word in enumerate(words):
            beside = words[max(k - 1, 0) : k + 2]
            if word not in (*WORDS, *_ORDINARY) and any(w in WORDS for w in beside):
                near = difflib.get_close_matches(word, WORDS, 1, 0.75)
                if near:
                    raise BadInput(
                        f"unknown item word '{word}' in the instruction; did you mean '{near[0]}'?"
                    )
        reading = cls._grammar(" ".join(text.lower().split()).rstrip(".! ")) or cls("", items)
        for item in reading.named:
            if item.shape in MINIGRID_SHAPES:
                raise BadInput(f"there is no {item} in our rooms; name items like 'red cross'")
            if item.texture is None and item.colour is None:
                raise BadInput(f"'{item}' alone is no name; say its texture or colour as well")
        return reading

    @classmethod
    def _grammar(cls, words: str) -> Reading | None:
        try:
            if match := _CONDITIONAL.fullmatch(words):
                named = tuple(Item.parse(match[g]) for g in ("decider", "yes", "no"))
                return cls("conditional", named, match["condition"], match["floor"])
            if match := _SEARCH.fullmatch(words):
                names = re.split(r",? (?:and|or) |, ", match["names"])
                return cls("search", tuple(dict.fromkeys(map(Item.parse, names))))
            command = Command.parse(words)
        except BadInput:
            return None
        named = tuple(i for i in (command.item, command.target) if i is not None)
        if command.verb == "open" or len({*named}) < len(named) or any(i.place for i in named):
            return (
                None  # our items cannot be opened or put next to themselves; places are not judged
            )
        return cls("command", named, verb=command.verb)


class Instruction(ConditionalEnv):
    """
    ## Description

    A room with the items that the sentence `instruction` names, and distractors up to `n_items`.
    An item that is named without its texture or colour gets one at random, and no distractor
    goes by the same name. Each item has a secret property, or shows what the sentence asks about.
    A sentence of a family's grammar is judged as the family does; any other can be played, but
    not judged: `judged` is False, and so is `info["success"]`, always.

    ## Mission space

    The sentence as it was given.

    ## Action space

    MiniGrid's: left, right, forward, pickup, drop, toggle (examine), done.

    ## Observation

    MiniGrid's: the 7x7 view ahead `[7, 7, 3] uint8`, the direction, the mission. An item's shape
    is its object type, its colour the colour, its texture, mark and floor the state.

    ## Rewards

    1 on success, otherwise 0: picking up the right item of "If the {item} is good, pick up the
    {item}, otherwise pick up the {item}." (or any condition of `Parley/VisualConditional-v0`) and
    of "Exactly one of the {item}, … is good. Pick up the good one."; carrying out a plain command.

    ## Termination

    Success ends the episode, and so does picking up an item, but for the one that is to be put
    somewhere. "Go to the {item}" is done when the agent says `done` in front of it. Truncated
    after `max_steps`.

    ## Registered ids

    - `Parley/Instruction-v0`
    """

    min_items = 1

    def __init__(
        self, instruction: str = "Pick up the solid red circle.", n_items: int = 4, **kwargs: Any
    ) -> None:
        self.instruction = " ".join(instruction.split())
        self.reading = Reading.of(self.instruction)
        self.judged = self.reading.kind != ""
        n_named = len(set(self.reading.named))
        if n_named > self.max_items:
            raise BadInput(
                f"the instruction names {n_named} items; a room holds at most {self.max_items}"
            )
        if self.reading.verb == "put":
            self.verbs = (*RoomEnv.verbs, "put")
        self.named: tuple[Item, ...] = ()
        self.watch: CommandWatch | None = None
        n_items = whole_number("n_items", n_items, self.min_items, self.max_items)
        super().__init__(n_items=max(n_items, n_named), **kwargs)
        # A free sentence may need all items that it names, and in the smallest room at most this
        # many can be reached in any layout.
        if not self.judged and n_named > 9 and self.width == ROOM_SIZES[0]:
            raise BadInput(
                f"the instruction names {n_named} items; a room of size {self.width} holds at most "
                f"9 that can all be reached, so room_size must be at least {self.width + 1}"
            )

    def _draw_task(self) -> str:
        reading = self.reading
        # Two names may mean one item.
        meant = self._draw_named()
        self.named = tuple(meant[name] for name in reading.named)
        items = [*dict.fromkeys(self.named)]
        others = [i for i in self.item_set if not any(n.describes(i) for n in meant)]
        order = self.np_random.permutation(len(others))
        items += [others[k] for k in order[: self.n_items - len(items)]]

        self.watch = None
        self.holds = coin(self.np_random)
        if reading.kind == "command":
            self.watch = CommandWatch(Command(reading.verb, *self.named))
        elif reading.kind == "search":
            self.right = self.named[self.np_random.integers(len(self.named))]
        elif reading.kind == "conditional":
            self.decider = self.named[0]
            if reading.floor == self.decider.colour:
                self.holds = False  # an item is invisible on a floor of its own colour
            self.right = self.named[1 if self.holds else 2]
        self._draw_things(items)
        return self.instruction

    def _draw_named(self) -> dict[Item, Item]:
        """For each name, the item that it means in this episode; different items where possible."""
        names = [*dict.fromkeys(self.reading.named)]
        meant: dict[Item, Item] = {}
        for name in sorted(names, key=lambda n: -len(str(n).split())):
            described = [i for i in meant.values() if name.describes(i)]
            if described and self.reading.verb != "put":
                meant[name] = described[0]
                continue
            others = [n for n in names if n != name]
            fitting = [i for i in self.item_set if name.describes(i)]
            fitting = fitting or [i for i in ALL_ITEMS if name.describes(i)]
            own = [i for i in fitting if not any(n.describes(i) for n in others)] or fitting
            meant[name] = own[self.np_random.integers(len(own))]
        return meant

    def _draw_things(self, items: list[Item]) -> None:
        reading = self.reading
        seen = [k for k, phrase in PHRASES.items() if phrase == reading.condition]
        if reading.floor is not None:
            self.condition = "floor"
            self._draw_floors(items, reading.floor)
        elif seen:
            self.condition = seen[0]
            self.things = [self._thing(item, first=k == 0) for k, item in enumerate(items)]
        else:
            for item in items:
                prop = self._draw_property(item)
                self.things.append(ItemObject(item, Attribute(SECRET_PROPERTY, prop)))

    def _draw_property(self, item: Item) -> str:
        reading = self.reading
        if reading.kind == "search" and item in self.named:
            allowed = ["good"] if item == self.right else ["bad", "unknown"]
        elif reading.kind == "conditional" and item == self.decider:
            word = reading.condition.split()[-1]
            allowed = [word] if self.holds else [p for p in PROPERTIES if p != word]
        else:
            allowed = list(PROPERTIES)
        return allowed[self.np_random.integers(len(allowed))]

    def _judge(self, action: int, events: Sequence[Event]) -> bool | None:
        if self.watch is not None:
            return judge(self.watch, self, action, events)
        picked = [e.item for e in events if e.kind == "picked up"]
        right = self.judged and picked[:1] == [self.right]
        return right if picked else None

    def _needed(self) -> frozenset[Item]:
        if self.reading.kind == "search":
            return frozenset({self.right})
        return frozenset(self.named)

    def oracle(self, examined: frozenset[Item]) -> Command:
        if self.watch is not None:
            return self.watch.command
        if self.reading.kind == "conditional":
            return super().oracle(examined)
        if self.reading.kind == "search":
            return next_in_search(self.named, self.reachable - examined, self.right)
        raise BadInput(f"the oracle does not know the answer to '{self.instruction}'")
