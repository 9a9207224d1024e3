"""Conditional tasks: whether something is true of one item decides which other to pick up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from envs.attributes import (
    BESIDE_WALL,
    FLOOR,
    HALF,
    IN_CORNER,
    IN_MIDDLE,
    MARK,
    SECRET_PROPERTY,
    Attribute,
)
from envs.commands import VERBS, Command, CommandWatch, judge
from envs.errors import some_of, whole_number, yes_or_no
from envs.events import Event
from envs.items import COLOURS, Item
from envs.objects import ItemObject
from envs.phrasings import CONDITIONAL_PHRASINGS, DEEDS, ORDINALS, PROPERTY_WORDS
from envs.room import Cell, RoomEnv, coin, one_of, right_pick

PROPERTIES = PROPERTY_WORDS["good"]
# The marks of the three words that a secret property can be.
MARK_OF = ("white", "orange", "")
DEED_VERBS = ("pick up", "go to", "put", "examine")
CONDITIONS = ("wall", "corner", "floor", "mark")
# For choosing among checkpoints, so that the others stay unseen until the end.
VALIDATION_CONDITIONS = ("half", "middle")
PHRASES = {
    "wall": "is beside a wall",
    "corner": "is in a corner",
    "mark": "shows a white mark when examined",
    "half": "is in the upper half of the room",
    "middle": "is in the middle of the room",
}
# For conditions about a place: what examining reveals of a thing at that place, and elsewhere.
_WHERE = {
    "wall": (Attribute(BESIDE_WALL), Attribute(BESIDE_WALL, holds=False)),
    "corner": (Attribute(IN_CORNER), Attribute(IN_CORNER, holds=False)),
    "half": (Attribute(HALF, "upper"), Attribute(HALF, "lower")),
    "middle": (Attribute(IN_MIDDLE), Attribute(IN_MIDDLE, holds=False)),
}


def secret(item: Item, words: Sequence[str], which: int, show_mark: bool) -> ItemObject:
    """An item with a secret property, which examining reveals.

    Args:
        item: The item.
        words: The words for the three properties: good, bad and unknown, or others in their place.
        which: The number of the item's property.
        show_mark: Whether examining also shows the property as a mark on the tile.
    """
    mark = MARK_OF[which] if show_mark else ""
    return ItemObject(item, Attribute(SECRET_PROPERTY, words[which]), mark)


def walls_beside(cell: Cell, width: int) -> int:
    """How many walls of a room of this width a cell is beside: two in a corner."""
    return sum(v in (1, width - 2) for v in cell)


class ConditionalEnv(RoomEnv):
    """The base of conditional tasks: a decider, two branches, and how the episode ends.

    ``condition`` is one of ``PHRASES``, or "floor", if it is about something visible. ``holds``
    says whether it is true of the decider. The sentence uses one of ``phrasings``.
    """

    phrasings: tuple[str, ...] = ("plain",)

    def __init__(self, n_items: int = 4, **kwargs: Any) -> None:
        self.condition = ""
        self.decider: Item
        self.right: Item
        self.holds = False
        super().__init__(n_items=n_items, **kwargs)

    def _judge(self, action: int, events: Sequence[Event]) -> bool | None:
        return right_pick(events, self.right)

    def oracle(self, examined: frozenset[Item]) -> Command:
        if self.decider not in examined:
            return Command("examine", self.decider)
        return Command("pick up", self.right)

    def _needed(self) -> frozenset[Item]:
        return frozenset(t.item for t in self.things[:3])

    def _draw_sentence(self, condition: str) -> str:
        """Choose the branches from the items after the first, which is the decider."""
        self.decider = self.things[0].item
        yes, no = self.things[1].item, self.things[2].item
        self.right = yes if self.holds else no
        template = CONDITIONAL_PHRASINGS[one_of(self.np_random, self.phrasings)]
        return template.format(decider=self.decider, condition=condition, yes=yes, no=no)

    def _thing(self, item: Item, first: bool) -> ItemObject:
        if self.condition != "mark":
            return ItemObject(item)
        white = self.holds if first else coin(self.np_random)
        mark = "white" if white else "orange"
        return ItemObject(item, Attribute(MARK, mark), mark)

    def _draw_floors(self, items: Sequence[Item], colour: str | None = None) -> str:
        """Lay each item on a floor. Returns the colour in the sentence, drawn where it is not
        given."""
        for k, item in enumerate(items):
            # A floor never has its item's colour, so that the item stays visible on it.
            colours = [c for c in COLOURS if c != item.colour]
            if k == 0:
                colour = colour or colours[self.np_random.integers(len(colours))]
                colours = [colour] if self.holds else [c for c in colours if c != colour]
            floor = colours[self.np_random.integers(len(colours))]
            self.things.append(ItemObject(item, Attribute(FLOOR, floor), floor=floor))
        assert colour is not None, "there are no items"
        return colour

    def _place_rule(self, thing: ItemObject) -> Callable[[Cell], bool] | None:
        if self.condition not in _WHERE or thing.item != self.decider:
            return None
        return lambda cell: self._fits(cell) == self.holds

    def _fits(self, cell: Cell) -> bool:
        if self.condition == "half":
            return 2 * cell[1] < self.height - 1
        if self.condition == "middle":
            return all(min(v, self.width - 1 - v) >= (self.width - 1) // 2 for v in cell)
        sides = walls_beside(cell, self.width)
        return sides == 2 if self.condition == "corner" else sides > 0

    def _gen_grid(self, width: int, height: int) -> None:
        super()._gen_grid(width, height)
        if self.condition in _WHERE:
            for thing in self.things:
                assert thing.cur_pos is not None
                there, elsewhere = _WHERE[self.condition]
                thing.revealed = there if self._fits(thing.cur_pos) else elsewhere


class SecretConditional(ConditionalEnv):
    """
    ## Description

    A room with `n_items` items, each with a secret property: good, bad or unknown. One item, the
    decider, is good or bad with equal chance, which decides which of two others to pick up.
    Items beyond the three named ones are distractors. Examining an item (`toggle` in front of
    it) reveals its property: in `info["events"]` always, and with `show_marks=True` also as a
    mark on its tile, white for good and orange for bad.

    `deeds` chooses what is to be done with the one item or the other: `pick up`, `go to`, `examine`
    or `put`, which lays it next to one more item. Where several are given, each outcome draws its
    own, and any verb can be commanded. Picking up anything else fails, and `go to` is done when
    the agent says `done` there.

    `words` chooses other words than good, bad and unknown, by the first of the three: `safe`
    stands for safe, dangerous and unclear. `asked` chooses which of the three the sentence asks
    about: `first`, `second`, `third`. With any but `first` alone the decider has the asked word
    with a chance of one half, and else either of the others. Where several are given, each
    episode draws one.

    ## Mission space

    "If the {decider} is good, pick up the {item}, otherwise pick up the {item}.", or the same
    in another of the `phrasings` and with another of the `words` of `envs.phrasings`.

    ## Action space

    MiniGrid's: left, right, forward, pickup, drop, toggle (examine), done.

    ## Observation

    MiniGrid's: the 7x7 view ahead `[7, 7, 3] uint8`, the direction, the mission. An item's shape
    is its object type, its colour the colour, its texture, mark and floor the state.

    ## Rewards

    1 for picking up the right item, otherwise 0.

    ## Termination

    Picking up any item ends the episode, a wrong one as failure. Truncated after `max_steps`.

    ## Registered ids

    - `Parley/SecretConditional-v0`
    """

    def __init__(
        self,
        n_items: int = 4,
        show_marks: bool = False,
        phrasings: Sequence[str] = ("plain",),
        words: Sequence[str] = ("good",),
        asked: Sequence[str] = ("first",),
        deeds: Sequence[str] = ("pick up",),
        **kwargs: Any,
    ) -> None:
        self.show_marks = yes_or_no("show_marks", show_marks)
        self.phrasings = some_of("phrasing", phrasings, tuple(CONDITIONAL_PHRASINGS))
        self.words = some_of("property word", words, tuple(PROPERTY_WORDS))
        self.asked = some_of("asked word", asked, ORDINALS)
        self.deeds = some_of("deed", deeds, DEED_VERBS)
        # Track the right and the wrong command; empty where both are "pick up", since then the
        # items suffice.
        self.watches: tuple[CommandWatch, ...] = ()
        if self.deeds != ("pick up",):
            command_phrasings = tuple(DEEDS)
            self.phrasings = some_of("phrasing of deeds", phrasings, command_phrasings)
            # Pointless commands can be given too, so that a Planner learns not to give them.
            self.verbs = VERBS
        least = 5 if "put" in self.deeds else self.min_items
        super().__init__(whole_number("n_items", n_items, least, self.max_items), **kwargs)

    def _draw_task(self) -> str:
        words = PROPERTY_WORDS[one_of(self.np_random, self.words)]
        ordinal = ORDINALS.index(one_of(self.np_random, self.asked))
        for k, item in enumerate(self._draw_items(self.n_items)):
            which = int(self.np_random.integers(3)) if k else self._draw_decider(ordinal)
            self.holds = self.holds if k else which == ordinal
            self.things.append(secret(item, words, which, self.show_marks))
        if self.deeds == ("pick up",):
            return self._draw_sentence(f"is {words[ordinal]}")
        return self._draw_deeds(f"is {words[ordinal]}")

    def _draw_deeds(self, condition: str) -> str:
        """Draw the command of each branch."""
        self.decider, *others = (thing.item for thing in self.things)
        branches = []
        for k in range(2):
            verb = one_of(self.np_random, self.deeds)
            branches.append(Command(verb, others[k], others[k + 2] if verb == "put" else None))
        right, wrong = branches if self.holds else branches[::-1]
        self.right = right.item
        self.watches = CommandWatch(right), CommandWatch(wrong)
        template = DEEDS[one_of(self.np_random, self.phrasings)]
        yes, no = map(str, branches)
        return template.format(decider=self.decider, condition=condition, yes=yes, no=no)

    def _judge(self, action: int, events: Sequence[Event]) -> bool | None:
        if not self.watches:
            return super()._judge(action, events)
        right, wrong = (judge(watch, self, action, events) for watch in self.watches)
        return right if wrong is not True else False

    def oracle(self, examined: frozenset[Item]) -> Command:
        if self.watches and self.decider in examined:
            return self.watches[0].command
        return super().oracle(examined)

    def _needed(self) -> frozenset[Item]:
        if not self.watches:
            return super()._needed()
        commands = [watch.command for watch in self.watches]
        return frozenset(i for c in commands for i in (c.item, c.target) if i) | {self.decider}

    def _draw_decider(self, ordinal: int) -> int:
        """Which of the three words is true of the decider."""
        if self.asked == ("first",):
            return int(self.np_random.integers(2))
        others = [k for k in range(len(ORDINALS)) if k != ordinal]
        return ordinal if coin(self.np_random) else one_of(self.np_random, others)


class VisualConditional(ConditionalEnv):
    """
    ## Description

    A room with `n_items` items. Something that can be seen of one of them, the decider, decides
    which of two others to pick up: whether it is beside a wall, in a corner, on a floor of some
    colour, or shows a white mark once it is examined. It holds with a chance of one half.
    `conditions` chooses among `wall`, `corner`, `floor` and `mark`; two more, `half` (whether it
    is in the upper half of the room) and `middle`, are played only where they are chosen: they
    serve validation.
    Examining an item brings an event with the fact that the condition is about; nothing about it
    is secret.

    ## Mission space

    "If the {decider} is beside a wall | is in a corner | is on a {colour} floor | shows a white
    mark when examined | is in the upper half of the room | is in the middle of the room, pick up
    the {item}, otherwise pick up the {item}.", or the same in another of the `phrasings` of
    `envs.phrasings`; where several are given, each episode draws one.

    ## Action space

    MiniGrid's: left, right, forward, pickup, drop, toggle (examine), done.

    ## Observation

    MiniGrid's: the 7x7 view ahead `[7, 7, 3] uint8`, the direction, the mission. An item's shape
    is its object type, its colour the colour, its texture, mark and floor the state.

    ## Rewards

    1 for picking up the right item, otherwise 0.

    ## Termination

    Picking up any item ends the episode, a wrong one as failure. Truncated after `max_steps`.

    ## Registered ids

    - `Parley/VisualConditional-v0`
    """

    def __init__(
        self,
        conditions: Sequence[str] = CONDITIONS,
        phrasings: Sequence[str] = ("plain",),
        **kwargs: Any,
    ) -> None:
        self.conditions = some_of("condition", conditions, CONDITIONS + VALIDATION_CONDITIONS)
        self.phrasings = some_of("phrasing", phrasings, tuple(CONDITIONAL_PHRASINGS))
        super().__init__(**kwargs)

    def _draw_task(self) -> str:
        self.condition = self.conditions[self.np_random.integers(len(self.conditions))]
        self.holds = coin(self.np_random)
        items = self._draw_items(self.n_items)
        if self.condition == "floor":
            return self._draw_sentence(f"is on a {self._draw_floors(items)} floor")
        self.things = [self._thing(item, first=k == 0) for k, item in enumerate(items)]
        return self._draw_sentence(PHRASES[self.condition])
