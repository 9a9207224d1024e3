"""Reporters that state what can be seen of a rollout, and the check whether a report is true."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from minigrid.minigrid_env import MiniGridEnv

from agents.dialogue import Dialogue, Rollout
from agents.grounding import as_report
from agents.messages import NOTHING, Report
from agents.protocols import Reporter, TeamMember
from agents.reporter.irrelevant import irrelevant_truths
from agents.reporter.scripted import outcome, with_attributes
from envs.attributes import BESIDE_WALL, FLOOR, IN_CORNER, MARK, NEXT_TO, Attribute
from envs.conditional import walls_beside
from envs.items import Item
from envs.objects import ItemObject
from envs.room import one_of
from envs.worlds import Worlds


def visible_attributes(world: MiniGridEnv, item: Item) -> list[Attribute]:
    """What can be seen of an item where it lies."""
    attributes: list[Attribute] = []
    for x in range(world.width):
        for y in range(world.height):
            thing = world.grid.get(x, y)
            if isinstance(thing, ItemObject) and item.describes(thing.item):
                sides = walls_beside((x, y), world.width)
                attributes.append(Attribute(BESIDE_WALL, holds=sides > 0))
                attributes.append(Attribute(IN_CORNER, holds=sides == 2))
                if thing.floor:
                    attributes.append(Attribute(FLOOR, thing.floor))
                if thing.mark:
                    attributes.append(Attribute(MARK, thing.mark))
                for dx, dy in ((1, 0), (0, 1), (-1, 0), (0, -1)):
                    other = world.grid.get(x + dx, y + dy)
                    if isinstance(other, ItemObject):
                        attributes.append(Attribute(NEXT_TO, str(other.item)))
    return attributes


def reportable(world: MiniGridEnv, rollout: Rollout) -> list[Attribute]:
    """What can be seen of the item that was commanded; nothing where that was not managed."""
    return visible_attributes(world, rollout.command.item) if rollout.done else []


def describe(rollout: Rollout, attributes: Sequence[Attribute]) -> Report:
    """What was done, and attributes of the item that was commanded, in one sentence."""
    return with_attributes(outcome(rollout), rollout.command.item, attributes)


def is_true(report: Report, world: MiniGridEnv, rollout: Rollout) -> bool:
    """Whether everything that a report says of a rollout that has just ended in ``world`` is true.

    The facts decide. Text that states more than its facts is not known to be true, so the text must
    be that of the Reporters of this module for the same facts, up to how phrases are joined.
    """
    plain = outcome(rollout)
    if report.text == plain.text or report.text in irrelevant_truths(world, rollout):
        return True
    stated = [f for f in report.facts if f not in plain.facts]
    attributes = [f.attribute for f in stated]
    expected = describe(rollout, attributes).text
    opening = f"{plain.text[:-1]}, it "
    return (
        {f.subject for f in stated} == {rollout.command.item}
        and set(attributes) <= set(reportable(world, rollout))
        and report.text.startswith(opening)
        and _joined_by_commas(report.text) == _joined_by_commas(expected)
    )


def _joined_by_commas(text: str) -> str:
    return text.replace(" and ", ", ")


class RandomFactReporter(TeamMember):
    """Says something true about a rollout, whether it matters or not (privileged). Where the item
    that was commanded was reached, three of five reports state up to four attributes of it."""

    tells_facts = True

    def __init__(self) -> None:
        self._worlds: Worlds | None = None

    def begin(self, worlds: Worlds) -> None:
        self._worlds = worlds

    def report(self, rollouts: Sequence[Rollout], dialogues: Sequence[Dialogue]) -> list[Report]:
        return [self._one(r, d) for r, d in zip(rollouts, dialogues, strict=True)]

    def _one(self, rollout: Rollout, dialogue: Dialogue) -> Report:
        assert self._worlds is not None, "begin() has not been called"
        # The last number keeps this apart from what the world is drawn from (zeros change nothing).
        rng = np.random.default_rng((dialogue.seed, dialogue.world, len(dialogue.turns), 3))
        world = self._worlds.world(dialogue.world)
        attributes = reportable(world, rollout)
        kind = rng.random()
        if attributes and kind < 0.6:
            n = int(rng.integers(1, min(4, len(attributes)) + 1))
            return describe(rollout, [attributes[k] for k in rng.permutation(len(attributes))[:n]])
        if kind < 0.8:
            return outcome(rollout)
        return Report(one_of(rng, irrelevant_truths(world, rollout)))


class ThoroughReporter(TeamMember):
    """Says all that can be seen of the item that was commanded (privileged)."""

    tells_facts = True

    def __init__(self) -> None:
        self._worlds: Worlds | None = None

    def begin(self, worlds: Worlds) -> None:
        self._worlds = worlds

    def report(self, rollouts: Sequence[Rollout], dialogues: Sequence[Dialogue]) -> list[Report]:
        assert self._worlds is not None, "begin() has not been called"
        return [
            describe(
                r,
                [a for a in reportable(self._worlds.world(d.world), r) if a.predicate != NEXT_TO],
            )
            for r, d in zip(rollouts, dialogues, strict=True)
        ]


class SilentReporter(TeamMember):
    """Says nothing."""

    def report(self, rollouts: Sequence[Rollout], dialogues: Sequence[Dialogue]) -> list[Report]:
        return [NOTHING] * len(rollouts)


class TruthChecker(TeamMember):
    """Another Reporter, whose reports are checked: ``true`` has the verdicts on all of them,
    ``true_by_world`` those of each world since its episode began."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self.true: list[bool] = []
        self.true_by_world: dict[int, list[bool]] = {}
        self._worlds: Worlds | None = None

    def begin(self, worlds: Worlds) -> None:
        self._worlds = worlds
        self.true_by_world.clear()
        self.reporter.begin(worlds)

    def on_step(self, worlds: Worlds) -> None:
        self.reporter.on_step(worlds)

    def report(self, rollouts: Sequence[Rollout], dialogues: Sequence[Dialogue]) -> list[Report]:
        assert self._worlds is not None, "begin() has not been called"
        reports = [
            as_report(report, rollout.command)
            for report, rollout in zip(
                self.reporter.report(rollouts, dialogues), rollouts, strict=True
            )
        ]
        for rollout, dialogue, report in zip(rollouts, dialogues, reports, strict=True):
            if report.error is not None:
                continue
            true = is_true(report, self._worlds.world(dialogue.world), rollout)
            self.true.append(true)
            self.true_by_world.setdefault(dialogue.world, []).append(true)
        return reports
