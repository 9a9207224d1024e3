"""The view Reporter: what lies in the agent's view, in words, and where."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from minigrid.core.world_object import Door, Floor, Wall, WorldObj

from agents.dialogue import Dialogue, Rollout
from agents.messages import Fact, Report
from agents.protocols import TeamMember
from envs.attributes import CARRIED, FLOOR, LOCKED, MARK, OPEN
from envs.events import item_of
from envs.items import with_article
from envs.objects import ItemObject, decode
from envs.worlds import Worlds


class ViewReporter(TeamMember):
    """Says what can be seen in the 7x7 cells ahead and what examining revealed, after each command
    and before the first. It does not say whether the command was carried out.

    The words are near to those of BALROG's BabyAI (arXiv 2411.13543): each thing with how many
    steps ahead and to a side it is.
    """

    tells_views = True

    def __init__(self) -> None:
        self._worlds: Worlds | None = None

    def begin(self, worlds: Worlds) -> None:
        self._worlds = worlds

    def opening(self, worlds: Worlds, i: int) -> Report:
        return describe(worlds.images[i])

    def report(self, rollouts: Sequence[Rollout], dialogues: Sequence[Dialogue]) -> list[Report]:
        assert self._worlds is not None, "begin() has not been called"
        return [
            self._one(rollout, describe(self._worlds.images[dialogue.world]))
            for rollout, dialogue in zip(rollouts, dialogues, strict=True)
        ]

    def _one(self, rollout: Rollout, view: Report) -> Report:
        revealed = [Fact.of(e.item, e.revealed) for e in rollout.events if e.revealed]
        sentences = [f"The {fact.subject} {fact.attribute}." for fact in revealed]
        return Report(" ".join([*sentences, view.text]), (*revealed, *view.facts))


def describe(view: np.ndarray) -> Report:
    """An agent's view ``[v, v, 3] uint8``, in which it stands below, in the middle, looking up:
    walls straight ahead and beside it, all things from the nearest on, what it carries."""
    size = len(view)
    middle, here = size // 2, size - 1
    things: list[tuple[int, str]] = []
    facts: list[Fact] = []
    walls: dict[str, tuple[int, str]] = {}
    for i in range(size):
        for j in range(size):
            ahead, right = here - j, i - middle
            if (ahead, right) == (0, 0):
                continue
            distance, thing = ahead + abs(right), decode(*map(int, view[i, j]))
            if isinstance(thing, Wall) and not (ahead and right):
                side = "ahead" if ahead else "right" if right > 0 else "left"
                walls[side] = min(walls.get(side, (size, "")), (distance, where(ahead, right)))
            elif name := name_of(thing):
                things.append((distance, f"{name} {where(ahead, right)}"))
                facts += visible_facts(thing)
    names = [f"a wall {walls[side][1]}" for side in ("ahead", "left", "right") if side in walls]
    names += [name for _, name in sorted(things, key=lambda t: t[0])]
    sentences = [f"I see {', '.join(names)}." if names else "I see nothing."]
    carried = decode(*map(int, view[middle, here]))
    if name := name_of(carried):
        sentences.append(f"I carry {name}.")
        if (item := item_of(carried)) is not None:
            facts.append(Fact(item, CARRIED))
    return Report(" ".join(sentences), tuple(facts))


def visible_facts(thing: WorldObj | None) -> list[Fact]:
    """What a thing's looks state of it: whether a door is locked, an item's floor and mark."""
    item = item_of(thing)
    if item is None:
        return []
    if isinstance(thing, Door):
        return [
            Fact(item, LOCKED) if thing.is_locked else Fact(item, OPEN, "", bool(thing.is_open))
        ]
    if isinstance(thing, ItemObject):
        floor = [Fact(item, FLOOR, thing.floor)] if thing.floor else []
        return floor + ([Fact(item, MARK, thing.mark)] if thing.mark else [])
    return []


def where(ahead: int, right: int) -> str:
    """A place as seen by the agent, in cells: ``2 steps ahead and 1 step to the left``."""
    parts = [f"{_steps(ahead)} ahead"] if ahead else []
    if right:
        parts.append(f"{_steps(abs(right))} to the {'right' if right > 0 else 'left'}")
    return " and ".join(parts)


def name_of(thing: WorldObj | None) -> str:
    """A thing as it looks, with its article; nothing for what has no name."""
    if thing is None or isinstance(thing, Floor | Wall):
        return ""
    name, after = str(item_of(thing) or thing.type), ""
    if isinstance(thing, Door):
        name = f"{'locked' if thing.is_locked else 'open' if thing.is_open else 'closed'} {name}"
    elif isinstance(thing, ItemObject):
        after += f" on a {thing.floor} floor" if thing.floor else ""
        after += f" with {with_article(thing.mark)} mark" if thing.mark else ""
    return f"{with_article(name)}{after}"


def _steps(n: int) -> str:
    return f"{n} step{'s' if n > 1 else ''}"
