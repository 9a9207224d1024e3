"""Tasks with several steps: combined or negated conditions, a chain of them, a fixed order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envs.commands import Command
from envs.conditional import PROPERTIES, secret
from envs.errors import some_of, yes_or_no
from envs.events import Event
from envs.items import Item
from envs.room import RoomEnv, coin, one_of, right_pick

SENTENCES = {
    "and": "If the {} is good and the {} is good, pick up the {}, otherwise pick up the {}.",
    "or": "If the {} is good or the {} is good, pick up the {}, otherwise pick up the {}.",
    "not": "If the {} is not good, pick up the {}, otherwise pick up the {}.",
    "two": "If the {} is good, pick up the {}, otherwise, if the {} is good, pick up the {}, "
    "otherwise pick up the {}.",
    "nor": "If neither the {} nor the {} is good, pick up the {}, otherwise pick up the {}.",
    "three": "If the {} is good, pick up the {}, if it is bad, pick up the {}, otherwise pick up "
    "the {}.",
}
KINDS = ("and", "or", "not", "two", "order")
# For choosing among checkpoints, so that the others stay unseen until the end.
VALIDATION_KINDS = ("nor", "three", "after")
# Tasks of examining and then picking up another item, whatever their properties: the sentences
# for one item and for two to examine first. {0} is the item to pick up.
_ERRANDS: dict[str, tuple[str, ...]] = {
    "order": (
        "Before you pick up the {0}, examine the {1}.",
        "Examine the {1}, then examine the {2}, then pick up the {0}.",
    ),
    "after": (
        "Pick up the {0} after you have examined the {1}.",
        "Pick up the {0} after you have examined the {1} and the {2}.",
    ),
}
# For each kind and each outcome: the deciders' properties (good, bad or unknown) that lead to it.
# Outcomes are equally likely, and so are the ways to each outcome.
_WAYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "and": (("gg",), ("gb", "bg", "bb")),
    "or": (("gg", "gb", "bg"), ("bb",)),
    "not": (("b",), ("g",)),
    "two": (("gg", "gb"), ("bg",), ("bb",)),
    "nor": (("bb",), ("gg", "gb", "bg")),
    "three": (("g",), ("b",), ("u",)),
}


class SecretComposition(RoomEnv):
    """
    ## Description

    A room with `n_items` items, each with a secret property: good, bad or unknown. The task is of
    one of five kinds, among which `kinds` chooses; where several are chosen, each episode draws
    one. In `and`, `or`, `not` and `two`, one or two deciders, each good or bad, decide which item
    to pick up; each outcome is as likely. In `order`, one or two items have to be examined, in the
    order of the sentence, before another is picked up; what they are is no matter. Three more
    kinds are played only where they are chosen, as they serve validation: `nor` and `three`, which
    have deciders, and `after`, where one or two items have to be examined first in either order.
    Items beyond the named ones are distractors. Examining reveals as in
    `Parley/SecretConditional-v0`.

    ## Mission space

    - `and`, `or`: "If the {item} is good and | or the {item} is good, pick up the {item},
      otherwise pick up the {item}."
    - `not`: "If the {item} is not good, pick up the {item}, otherwise pick up the {item}."
    - `two`: "If the {item} is good, pick up the {item}, otherwise, if the {item} is good, pick up
      the {item}, otherwise pick up the {item}."
    - `nor`: "If neither the {item} nor the {item} is good, pick up the {item}, otherwise pick up
      the {item}."
    - `three`: "If the {item} is good, pick up the {item}, if it is bad, pick up the {item},
      otherwise pick up the {item}."
    - `order`: "Examine the {item}, then examine the {item}, then pick up the {item}." |
      "Before you pick up the {item}, examine the {item}."
    - `after`: "Pick up the {item} after you have examined the {item} (and the {item})."

    ## Action space

    MiniGrid's: left, right, forward, pickup, drop, toggle (examine), done.

    ## Observation

    MiniGrid's: the 7x7 view ahead `[7, 7, 3] uint8`, the direction, the mission. An item's shape
    is its object type, its colour the colour, its texture, mark and floor the state.

    ## Rewards

    1 for picking up the right item, in `order` after the others have been examined, each for
    the first time in the order of the sentence, in `after` after they have been examined in any
    order; otherwise 0.

    ## Termination

    Picking up any item ends the episode, a wrong one, or one too early, as failure. Truncated
    after `max_steps`.

    ## Registered ids

    - `Parley/SecretComposition-v0`
    """

    min_items = 5

    def __init__(
        self,
        n_items: int = 6,
        kinds: Sequence[str] = KINDS,
        show_marks: bool = False,
        **kwargs: Any,
    ) -> None:
        self.kinds = some_of("kind", kinds, KINDS + VALIDATION_KINDS)
        self.show_marks = yes_or_no("show_marks", show_marks)
        self.kind = ""
        self.right: Item
        self.named: tuple[Item, ...] = ()
        # The items to examine: the deciders, or those before the one to pick up.
        self.deciders: tuple[Item, ...] = ()
        self._good: frozenset[Item] = frozenset()
        self._examined: list[Item] = []
        super().__init__(n_items=n_items, **kwargs)

    def _draw_task(self) -> str:
        self._examined = []
        self.kind = one_of(self.np_random, self.kinds)
        items = self._draw_items(self.n_items)
        if self.kind in _ERRANDS:
            facts, sentence = self._draw_errand(items)
        else:
            facts, sentence = self._draw_decision(items)
        for k, item in enumerate(items):
            which = facts[k] if k < len(facts) else int(self.np_random.integers(3))
            self.things.append(secret(item, PROPERTIES, which, self.show_marks))
        return sentence

    def _draw_errand(self, items: Sequence[Item]) -> tuple[list[int], str]:
        """No facts, since none matters, and the sentence."""
        n = 2 if coin(self.np_random) else 1
        self.deciders, self.right = tuple(items[:n]), items[n]
        self.named = tuple(items[: n + 1])
        return [], _ERRANDS[self.kind][n - 1].format(self.right, *self.deciders)

    def _draw_decision(self, items: Sequence[Item]) -> tuple[list[int], str]:
        """The numbers of the deciders' properties, and the sentence."""
        ways = _WAYS[self.kind]
        outcome = int(self.np_random.integers(len(ways)))
        truth = one_of(self.np_random, ways[outcome])
        n = len(truth)
        self.deciders = tuple(items[:n])
        self._good = frozenset(i for i, t in zip(self.deciders, truth, strict=True) if t == "g")
        self.named = tuple(items[: n + len(ways)])
        picks = self.named[n:]
        self.right = picks[outcome]
        named_in_order = list(self.named)
        if self.kind == "two":
            named_in_order = [items[0], picks[0], items[1], *picks[1:]]
        return ["gbu".index(t) for t in truth], SENTENCES[self.kind].format(*named_in_order)

    def _judge(self, action: int, events: Sequence[Event]) -> bool | None:
        for event in events:
            if event.kind == "examined" and event.item not in self._examined:
                self._examined.append(event.item)
        right = right_pick(events, self.right)
        if self.kind not in _ERRANDS or not right:
            return right
        looked = [i for i in self._examined if i in self.deciders]
        if self.kind == "after":
            return len(looked) == len(self.deciders)
        return looked == [*self.deciders]

    def _needed(self) -> frozenset[Item]:
        return frozenset(self.named)

    def oracle(self, examined: frozenset[Item]) -> Command:
        for item in self.deciders:
            if item not in examined:
                return Command("examine", item)
            # A good first one settles "or", "nor" and "two", a bad one "and".
            all_count = self.kind == "not" or self.kind in _ERRANDS
            if not all_count and (item in self._good) != (self.kind == "and"):
                break
        return Command("pick up", self.right)
