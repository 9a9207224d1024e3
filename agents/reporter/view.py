"""The view Reporter: what lies in the agent's view, in words, and where."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from minigrid.core.world_object import Door, Floor, Wall, WorldObj

from agents.dialogue import Dialogue, Rollout
from agents.protocols import TeamMember
from envs.events import item_of
from envs.items import with_article
from envs.objects import ItemObject, decode
from envs.worlds import Worlds


class ViewReporter(TeamMember):
    """Says what can be seen in the 7x7 cells ahead and what examining revealed, after each command
    and before the first; what came of the command is for the Planner to tell from it.

    The words are near to those of BALROG's BabyAI (arXiv 2411.13543): each thing with how many
    steps ahead and to a side it is.
    """

    tells_views = True

    def __init__(self) -> None:
        self._worlds: Worlds | None = None

    def begin(self, worlds: Worlds) -> None:
        self._worlds = worlds

    def opening(self, worlds: Worlds, i: int) -> str:
        return describe(worlds.images[i])

    def report(self, rollouts: Sequence[Rollout], dialogues: Sequence[Dialogue]) -> list[str]:
        assert self._worlds is not None, "begin() has not been called"
        return [
            " ".join(
                [
                    *(f"The {e.item} {e.fact}." for e in rollout.events if e.fact),
                    describe(self._worlds.images[dialogue.world]),
                ]
            )
            for rollout, dialogue in zip(rollouts, dialogues, strict=True)
        ]


def describe(view: np.ndarray) -> str:
    """An agent's view ``[v, v, 3] uint8``, in which it stands below, in the middle, looking up, in
    words: walls straight ahead and beside it, all things from the nearest on, what it carries."""
    size = len(view)
    middle, here = size // 2, size - 1
    seen: list[tuple[int, str]] = []
    walls: dict[str, tuple[int, str]] = {}
    for i in range(size):
        for j in range(size):
            ahead, right = here - j, i - middle
            if (ahead, right) == (0, 0):
                continue
            far, thing = ahead + abs(right), decode(*map(int, view[i, j]))
            if isinstance(thing, Wall) and not (ahead and right):
                side = "ahead" if ahead else "right" if right > 0 else "left"
                walls[side] = min(walls.get(side, (size, "")), (far, where(ahead, right)))
            elif name := name_of(thing):
                seen.append((far, f"{name} {where(ahead, right)}"))
    found = [f"a wall {walls[side][1]}" for side in ("ahead", "left", "right") if side in walls]
    found += [name for _, name in sorted(seen, key=lambda s: s[0])]
    said = [f"I see {', '.join(found)}." if found else "I see nothing."]
    if carried := name_of(decode(*map(int, view[middle, here]))):
        said.append(f"I carry {carried}.")
    return " ".join(said)


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
