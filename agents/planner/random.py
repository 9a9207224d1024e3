"""The random Planner: the floor that every other has to be above."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agents.dialogue import Decision, Dialogue
from agents.planner.options import PlannerOptions
from agents.protocols import TeamMember
from envs.errors import BadInput


def no_candidates(dialogue: Dialogue) -> Decision:
    """The decision for a dialogue in which nothing is named that a command could be about."""
    problem = f"the task '{dialogue.task}' names no item that a command could be about"
    return Decision("", None, error=BadInput(problem))


class RandomPlanner(TeamMember):
    """Chooses evenly among the commands that can be made from the items named so far."""

    def __init__(self, options: PlannerOptions | None = None) -> None:
        pass

    def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]:
        return [self._one(d) for d in dialogues]

    def _one(self, dialogue: Dialogue) -> Decision:
        candidates = dialogue.candidates()
        if not candidates:
            return no_candidates(dialogue)
        # Drawn from the episode's own seed, so that neighbours in the batch change nothing; not
        # with its first numbers, though, from which the world is drawn (zeros change nothing).
        rng = np.random.default_rng((dialogue.seed, len(dialogue.turns), 1))
        command = candidates[rng.integers(len(candidates))]
        return Decision(command.sentence(), command)
