"""The result of an episode."""

from __future__ import annotations

import html
from dataclasses import dataclass, field

import numpy as np

from agents.dialogue import Turn, script
from agents.messages import NOTHING, Report

CONTEXT = "context"  # how an episode ended that outgrew the Planner's language model


@dataclass(frozen=True, repr=False)
class Episode:
    """The result of one episode. ``steps`` counts the Actor's low-level steps.

    ``success`` is None where the world has no notion of it (a free instruction) and where the
    episode broke; then ``error`` holds the traceback. ``ended`` says how it ended: ``success``,
    ``failure``, ``max_turns``, ``max_steps`` (the world's own limit), ``context`` (the language
    model has no room for the dialogue, which is a failure), ``judged by nobody`` or ``error``.
    ``opening`` is as in `Dialogue`. ``frames`` is what the agent saw, where that was asked for: at
    most 8 moments from the first to the last, ``[<= 8, height, width, 3] uint8``.
    """

    seed: int
    task: str
    turns: tuple[Turn, ...]
    success: bool | None
    steps: int
    ended: str
    unparsed: int
    error: str | None = None
    opening: Report = NOTHING
    frames: np.ndarray | None = field(default=None, compare=False)

    def transcript(self) -> str:
        """The episode as text: the task, the commands, the reports, and how it ended. Of an error
        only the last line is given."""
        lines = [f"{who}: {text}" for who, text in script(self.task, self.opening, self.turns)]
        ended = {
            "max_turns": "no commands left",
            "max_steps": "no steps left",
            CONTEXT: "no room left for the dialogue in the language model's context",
        }
        how = ended.get(self.ended, self.ended)
        counts = f"{_count(len(self.turns), 'command')}, {_count(self.steps, 'step')}"
        if self.unparsed:
            counts += f", {self.unparsed} of the commands not understood"
        lines.append(f"Ended: {how} ({counts})")
        if self.error is not None:
            lines.append(f"Error: {self.error.strip().splitlines()[-1]}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.transcript()

    def __repr__(self) -> str:
        counts = f"{_count(len(self.turns), 'command')}, {_count(self.steps, 'step')}"
        return f"<Episode seed {self.seed}: {self.ended}, {counts}, {self.task!r}>"

    def _repr_html_(self) -> str:
        # Reports and utterances may come from any model.
        return f"<pre>{html.escape(self.transcript())}</pre>"


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
