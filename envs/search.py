"""Search tasks: find the good one of several items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envs.commands import Command
from envs.conditional import secret
from envs.errors import some_of, whole_number, yes_or_no
from envs.events import Event
from envs.items import Item
from envs.phrasings import PROPERTY_WORDS, SEARCH_PHRASINGS
from envs.room import RoomEnv, join, one_of, right_pick


class SecretSearch(RoomEnv):
    """
    ## Description

    A room with `n_items` items, all of them named by the task; exactly one has the secret
    property good, the others are bad or unknown. Find it by examining, and pick it up. With
    `distractors=K`, K more items lie about that the task does not name. Examining reveals as in
    `Parley/SecretConditional-v0`, and `words` chooses other words as there.

    ## Mission space

    "Exactly one of the {item}, the {item} and the {item} is good. Pick up the good one.", or the
    same in another of the `phrasings` and with another of the `words` of `envs.phrasings`; where
    several are given, each episode draws one.

    ## Action space

    MiniGrid's: left, right, forward, pickup, drop, toggle (examine), done.

    ## Observation

    MiniGrid's: the 7x7 view ahead `[7, 7, 3] uint8`, the direction, the mission. An item's shape
    is its object type, its colour the colour, its texture, mark and floor the state.

    ## Rewards

    1 for picking up the good item, otherwise 0.

    ## Termination

    Picking up any item ends the episode, a wrong one as failure. Truncated after `max_steps`.

    ## Registered ids

    - `Parley/SecretSearch-v0`
    """

    min_items = 2

    def __init__(
        self,
        n_items: int = 4,
        distractors: int = 0,
        show_marks: bool = False,
        phrasings: Sequence[str] = ("plain",),
        words: Sequence[str] = ("good",),
        **kwargs: Any,
    ) -> None:
        n_items = whole_number("n_items", n_items, self.min_items, self.max_items)
        self.distractors = whole_number("distractors", distractors, 0, self.max_items - n_items)
        self.show_marks = yes_or_no("show_marks", show_marks)
        self.phrasings = some_of("phrasing", phrasings, tuple(SEARCH_PHRASINGS))
        self.words = some_of("property word", words, tuple(PROPERTY_WORDS))
        self.good: Item
        self.named: tuple[Item, ...] = ()
        super().__init__(n_items=n_items, **kwargs)

    def _draw_task(self) -> str:
        words = PROPERTY_WORDS[one_of(self.np_random, self.words)]
        items = self._draw_items(self.n_items + self.distractors)
        self.named = tuple(items[: self.n_items])
        self.good = self.named[self.np_random.integers(self.n_items)]
        for item in items:
            other = 1 if self.np_random.random() < 0.75 else 2
            which = 0 if item == self.good else other
            self.things.append(secret(item, words, which, self.show_marks))
        name = one_of(self.np_random, self.phrasings)
        return search_sentence(self.named, words[0], name)

    def _judge(self, action: int, events: Sequence[Event]) -> bool | None:
        return right_pick(events, self.good)

    def _needed(self) -> frozenset[Item]:
        return frozenset({self.good})

    def oracle(self, examined: frozenset[Item]) -> Command:
        return next_in_search(self.named, self.reachable - examined, self.good)


def next_in_search(named: Sequence[Item], untried: frozenset[Item], good: Item) -> Command:
    """The next command of a search: examine the first untried item, until the good one is certain.

    The good item can always be reached; if it is the only one left, there is nothing to examine.

    Args:
        named: The items of the task.
        untried: Items that can be reached and have not been examined.
        good: The good item.
    """
    left = [i for i in named if i in untried]
    if good not in left or len(left) == 1:
        return Command("pick up", good)
    return Command("examine", left[0])


def search_sentence(named: Sequence[Item], word: str = "good", phrasing: str = "plain") -> str:
    """The sentence of a search task.

    Args:
        named: The items to search.
        word: The property of the item to find.
        phrasing: A name of ``SEARCH_PHRASINGS``.
    """
    both = join(named)
    return SEARCH_PHRASINGS[phrasing].format(
        all=both, All=both[0].upper() + both[1:], any=join(named, "or"), word=word
    )
