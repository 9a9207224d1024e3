"""True sentences about a rollout that can be seen: what a Reporter may say before it knows what
matters, and by which its reports are checked."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from minigrid.minigrid_env import MiniGridEnv

from agents.dialogue import Dialogue, Rollout
from agents.protocols import Reporter, TeamMember
from agents.reporter.irrelevant import irrelevant_truths
from agents.reporter.scripted import deed
from envs.conditional import walls_beside
from envs.items import Item, with_article
from envs.objects import ItemObject
from envs.room import one_of
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
                    found.append(f"shows {with_article(thing.mark)} mark")
                for dx, dy in ((1, 0), (0, 1), (-1, 0), (0, -1)):
                    other = world.grid.get(x + dx, y + dy)
                    if isinstance(other, ItemObject):
                        found.append(f"is next to the {other.item}")
    return found


def about(world: MiniGridEnv, rollout: Rollout) -> list[str]:
    """What can be seen of the item that was commanded, as `phrases`; nothing where that was not
    managed."""
    return phrases(world, rollout.command.item) if rollout.done else []


def besides(world: MiniGridEnv, rollout: Rollout) -> list[str]:
    """True reports of other things than the item that was commanded: what else is in view, how the
    agent moved."""
    return irrelevant_truths(world, rollout)


def tell(rollout: Rollout, told: Sequence[str]) -> str:
    """The deed and phrases about its item, in one sentence: "I examined the red ring, it is beside
    a wall, is on a blue floor and shows a white mark."."""
    did = deed(rollout)
    if not told:
        return did
    return f"{did[:-1]}, it {' and '.join([', '.join(told[:-1]), told[-1]] if told[1:] else told)}."


def is_true(report: str, world: MiniGridEnv, rollout: Rollout) -> bool:
    """Whether a report is one that could be made of a rollout that has just ended, of which all
    is true."""
    did = deed(rollout)
    start = f"{did[:-1]}, it "
    if report.startswith(start) and report.endswith("."):
        known = set(about(world, rollout))
        told = re.split(", | and ", report[len(start) : -1])
        return len(set(told)) == len(told) and set(told) <= known
    return report == did or report in besides(world, rollout)


class RandomFactReporter(TeamMember):
    """Says something true about a rollout, whatever it is (a cheat). Where the item that was
    commanded was reached, three of five reports say up to four things about it."""

    tells_facts = True

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
        world = self._worlds.world(dialogue.world)
        known = about(world, rollout)
        kind = rng.random()
        if known and kind < 0.6:
            n = int(rng.integers(1, min(4, len(known)) + 1))
            return tell(rollout, [known[k] for k in rng.permutation(len(known))[:n]])
        return deed(rollout) if kind < 0.8 else one_of(rng, besides(world, rollout))


class ThoroughReporter(TeamMember):
    """Says all that can be seen of the item that was commanded, whatever matters (a cheat)."""

    tells_facts = True

    def __init__(self) -> None:
        self._worlds: Worlds | None = None

    def begin(self, worlds: Worlds) -> None:
        self._worlds = worlds

    def report(self, rollouts: Sequence[Rollout], dialogues: Sequence[Dialogue]) -> list[str]:
        assert self._worlds is not None, "begin() has not been called"
        return [
            tell(r, [p for p in about(self._worlds.world(d.world), r) if "next to" not in p])
            for r, d in zip(rollouts, dialogues, strict=True)
        ]


class SilentReporter(TeamMember):
    """Says nothing."""

    def report(self, rollouts: Sequence[Rollout], dialogues: Sequence[Dialogue]) -> list[str]:
        return [""] * len(rollouts)


class TruthChecker(TeamMember):
    """A Reporter whose reports are checked: ``true`` of all of them, ``told`` of each world's since
    its episode began."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self.true: list[bool] = []
        self.told: dict[int, list[bool]] = {}
        self._worlds: Worlds | None = None

    def begin(self, worlds: Worlds) -> None:
        self._worlds = worlds
        self.told.clear()
        self.reporter.begin(worlds)

    def on_step(self, worlds: Worlds) -> None:
        self.reporter.on_step(worlds)

    def report(self, rollouts: Sequence[Rollout], dialogues: Sequence[Dialogue]) -> list[str]:
        assert self._worlds is not None, "begin() has not been called"
        reports = self.reporter.report(rollouts, dialogues)
        for rollout, dialogue, text in zip(rollouts, dialogues, reports, strict=True):
            true = is_true(text, self._worlds.world(dialogue.world), rollout)
            self.true.append(true)
            self.told.setdefault(dialogue.world, []).append(true)
        return reports
