"""Decision rules: which of the scored candidates is said.

Mostly the likeliest. The rules here see the dialogue and the scores, and nothing of the model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from agents.dialogue import Dialogue
from envs.commands import Command
from models.language.candidate_scorer import ScoringRule

NEVER = 1.1  # as a probability
FAINT = 0.02  # less probability than about this much is not told apart by the contrast


@dataclass(frozen=True)
class DecisionRules:
    """The rules by which a command is chosen: see the options of the same names in
    `PlannerOptions` (``penalty`` is ``repeat_penalty``). ``look`` and ``contrast`` are of scores
    that are log-probabilities among the candidates (``scoring`` is ``tree``)."""

    scoring: ScoringRule
    repeats: int
    penalty: float
    look: float = NEVER
    contrast: float = 0.0

    @property
    def contrasts(self) -> bool:
        """Whether contraries are of any use."""
        return self.scoring == "tree" and self.contrast > 0

    def best(
        self, dialogue: Dialogue, scores: Sequence[float], contrary: Sequence[float] | None = None
    ) -> int:
        """Which candidate to say, by its place. ``contrary`` are the scores that the candidates
        have in the dialogue's contrary, None where there is none."""
        candidates = dialogue.candidates()
        stuck = dialogue.stuck(self.repeats)
        allowed = [k for k, c in enumerate(candidates) if c != stuck] or [0]
        if self.scoring == "tree" and self.look <= 1:
            examining = [k for k, c in enumerate(candidates) if c.verb == "examine"]
            if sum(math.exp(scores[k]) for k in examining) >= self.look:
                known = dialogue.reported()
                new = [k for k in examining if candidates[k].item not in known]
                allowed = [k for k in allowed if k in new] or allowed
        if contrary is not None:
            scores = self._contrasted(candidates, scores, contrary)
        losses = self._losses(dialogue, candidates)
        return max(allowed, key=lambda k: scores[k] - losses[k])

    def _losses(self, dialogue: Dialogue, candidates: Sequence[Command]) -> list[float]:
        """What each candidate loses of its score: what was said for nothing again and again, and
        what was just picked up, is said less readily."""
        alike = dialogue.alike()
        if held := dialogue.picked_up():
            alike[held] += 1
        times = [alike.get(c, 0) - self.repeats + 1 if self.repeats else 0 for c in candidates]
        return [self.penalty * n if n > 0 else 0.0 for n in times]

    def _contrasted(
        self, candidates: Sequence[Command], scores: Sequence[float], contrary: Sequence[float]
    ) -> list[float]:
        """The scores with what the report changes counted ``contrast`` times more. Where it is
        time to examine something, nothing is known yet that could be weighed."""
        likeliest = max(range(len(scores)), key=lambda k: scores[k])
        if candidates[likeliest].verb == "examine":
            return [*scores]
        return [
            s
            if c.verb == "examine"
            else s + self.contrast * math.log((math.exp(s) + FAINT) / (math.exp(o) + FAINT))
            for c, s, o in zip(candidates, scores, contrary, strict=True)
        ]
