"""A plain function as the Reporter: a rollout in, the text of a report out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from agents.dialogue import Dialogue, Rollout
from agents.grounding import ground
from agents.messages import Report
from agents.protocols import TeamMember
from agents.reporter.scripted import truth
from envs.errors import BadInput
from envs.trajectory import TrajectoryRecorder
from envs.worlds import Worlds


@dataclass(frozen=True)
class ObservedRollout(Rollout):
    """A rollout with what is known around it, as a Reporter's function is given it.

    ``command``, ``steps``, ``events``, ``done`` and ``ended`` are those of `Rollout`; ``events``
    and ``done`` are the truth, which a Reporter that only looks may not use.

    Attributes:
        dialogue: The dialogue before this turn, with its task sentence.
        recorder: The recording of the episode so far.
    """

    dialogue: Dialogue
    recorder: TrajectoryRecorder

    @property
    def task(self) -> str:
        """The task sentence."""
        return self.dialogue.task

    @property
    def frames(self) -> np.ndarray:
        """What the agent saw during the command, up to 8 frames spread evenly over its steps, the
        first and the last moment included: ``[<= 8, 56, 56, 3] uint8`` in our worlds."""
        return self.recorder.clip(self.dialogue.world, self.steps)

    @property
    def true_report(self) -> str:
        """What the scripted Reporter would say (privileged)."""
        return truth(self).text


ReporterFunction = Callable[[ObservedRollout], str]


class FunctionReporter(TeamMember):
    """Asks a function for each report, one rollout at a time.

    The text that it returns is all that a language model sees; what it states is read from the text
    (`agents.grounding.ground`). Where the function raises, or returns no text, that episode ends as
    an error with the traceback. An empty text is a report that says nothing.

    Args:
        function: A function of an `ObservedRollout`, or any object that can be called.

    Raises:
        BadInput: The function cannot be called.
    """

    def __init__(self, function: ReporterFunction) -> None:
        if not callable(function):
            raise BadInput(f"{function!r} is no function; a Reporter's takes a rollout")
        self.function = function
        self._recorder = TrajectoryRecorder()

    def begin(self, worlds: Worlds) -> None:
        # Of the worlds beyond the group's episodes, some may never have been reset.
        self._recorder.begin(worlds, map(int, np.flatnonzero(~worlds.over)))

    def on_step(self, worlds: Worlds) -> None:
        self._recorder.on_step(worlds)

    def report(self, rollouts: Sequence[Rollout], dialogues: Sequence[Dialogue]) -> list[Report]:
        """One report for each rollout, in their order."""
        return [self._one(r, d) for r, d in zip(rollouts, dialogues, strict=True)]

    def _one(self, rollout: Rollout, dialogue: Dialogue) -> Report:
        known = {f.name: getattr(rollout, f.name) for f in fields(Rollout)}
        try:
            text = self.function(
                ObservedRollout(**known, dialogue=dialogue, recorder=self._recorder)
            )
            if not isinstance(text, str):
                name = getattr(self.function, "__name__", type(self.function).__name__)
                raise TypeError(f"{name} returned {text!r}, which is no text")
        except Exception as error:
            return Report("", error=error)
        return ground(" ".join(text.split()), rollout.command)
