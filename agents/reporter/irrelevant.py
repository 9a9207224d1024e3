"""A Reporter that adds true but useless things, as a talkative person would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from minigrid.minigrid_env import MiniGridEnv

from agents.dialogue import Dialogue, Rollout
from agents.messages import Report
from agents.protocols import TeamMember
from agents.reporter.scripted import truth
from envs.errors import BadInput
from envs.events import item_of
from envs.worlds import Worlds

DIRECTIONS = ("east", "south", "west", "north")


class IrrelevantReporter(TeamMember):
    """The scripted report, and with probability ``p`` one or two irrelevant truths around it.

    They are about movements and things in view, never about what examining revealed.
    """

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise BadInput(f"probability {p} is not between 0 and 1")
        self.p = p
        self._worlds: Worlds | None = None

    def begin(self, worlds: Worlds) -> None:
        self._worlds = worlds

    def report(self, rollouts: Sequence[Rollout], dialogues: Sequence[Dialogue]) -> list[Report]:
        return [self._one(r, d) for r, d in zip(rollouts, dialogues, strict=True)]

    def _one(self, rollout: Rollout, dialogue: Dialogue) -> Report:
        assert self._worlds is not None, "begin() has not been called"
        # Drawn from the episode's own seed, so that neighbours in the batch change nothing; not
        # with its first numbers, though, from which the world is drawn (zeros change nothing).
        rng = np.random.default_rng((dialogue.seed, len(dialogue.turns), 2))
        report = truth(rollout)
        sentences = [report.text]
        if rng.random() < self.p:
            facts = irrelevant_truths(self._worlds.world(dialogue.world), rollout)
            for k in rng.permutation(len(facts))[: rng.integers(1, 3)]:
                sentences.insert(int(rng.integers(len(sentences) + 1)), facts[k])
        return replace(report, text=" ".join(sentences))


def irrelevant_truths(world: MiniGridEnv, rollout: Rollout) -> list[str]:
    """True sentences about the agent and its view that do not matter to any task."""
    facts = [
        f"I took {rollout.steps} step{'s' if rollout.steps != 1 else ''}.",
        f"I am facing {DIRECTIONS[int(world.agent_dir)]}.",
    ]
    for x in range(world.width):
        for y in range(world.height):
            item = item_of(world.grid.get(x, y))
            if item is not None and world.agent_sees(x, y):
                facts.append(f"I see the {item}.")
    return facts
