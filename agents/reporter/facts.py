"""True sentences about a rollout that can be seen: what a Reporter may say before it knows what
matters, and by which its reports are checked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from minigrid.minigrid_env import MiniGridEnv

from agents.dialogue import Dialogue, Rollout
from agents.parts import Part
from agents.reporter.irrelevant import irrelevant_truths
from agents.reporter.registry import REPORTERS
from agents.reporter.scripted import deed
from envs.conditional import walls_beside
from envs.items import Item
from envs.objects import ItemObject
from envs.worlds import Worlds


def phrases(world: MiniGridEnv, item: Item) -> list[str]:
    """What can be seen of an item where it lies, as phrases that follow "it"."""
    found: list[str] = []
    for x in range(world.width):
        for y in range(world.height):
            thing = world.grid.get(x, y)
            if isinstance(thing, ItemObject) and item.describes(thing.item):
                sides = walls_beside((x, y), world.width)
                found.append("is beside a wall" if sides else "is not beside a wall")
                found.append("is in a corner" if sides == 2 else "is not in a corner")
                if thing.floor:
                    found.append(f"is on a {thing.floor} floor")
                if thing.mark:
                    article = "an" if thing.mark[0] in "aeiou" else "a"
                    found.append(f"shows {article} {thing.mark} mark")
                for dx, dy in ((1, 0), (0, 1), (-1, 0), (0, -1)):
                    other = world.grid.get(x + dx, y + dy)
                    if isinstance(other, ItemObject):
                        found.append(f"is next to the {other.item}")
    return found


def facts(world: MiniGridEnv, rollout: Rollout) -> list[list[str]]:
    """True reports of a rollout that has just ended, by what they tell of: the deed, the item that
    was commanded, others in view, movements."""
    did = deed(rollout)
    about = phrases(world, rollout.command.item) if rollout.done else []
    others = [s for s in irrelevant_truths(world, rollout) if s.startswith("I see")]
    moved = [s for s in irrelevant_truths(world, rollout) if s not in others]
    kinds = [[did], [f"{did[:-1]}, it {p}." for p in about], others, moved]
    return [kind for kind in kinds if kind]


def is_true(report: str, world: MiniGridEnv, rollout: Rollout) -> bool:
    """Whether a report is one of those that are true of a rollout that has just ended."""
    return any(report in kind for kind in facts(world, rollout))


@REPORTERS.register("random-fact")
class RandomFactReporter(Part):
    """Says something true about a rollout, whatever it is (a cheat). Half of its reports tell of
    the item that was commanded, where that was reached."""

    def __init__(self) -> None:
        self._worlds: Worlds | None = None

    def begin(self, worlds: Worlds) -> None:
        self._worlds = worlds

    def report(self, rollouts: Sequence[Rollout], dialogues: Sequence[Dialogue]) -> list[str]:
        return [self._one(r, d) for r, d in zip(rollouts, dialogues, strict=True)]

    def _one(self, rollout: Rollout, dialogue: Dialogue) -> str:
        assert self._worlds is not None, "begin() has not been called"
        # The last number keeps this apart from what the world is drawn from (zeros change nothing).
        rng = np.random.default_rng((dialogue.seed, dialogue.world, len(dialogue.turns), 3))
        kinds = facts(self._worlds.world(dialogue.world), rollout)
        weights = np.array([3.0 if ", it " in kind[0] else 1.0 for kind in kinds])
        kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
        return kind[int(rng.integers(len(kind)))]


@REPORTERS.register("silent")
class SilentReporter(Part):
    """Says nothing."""

    def report(self, rollouts: Sequence[Rollout], dialogues: Sequence[Dialogue]) -> list[str]:
        return [""] * len(rollouts)
