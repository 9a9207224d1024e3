"""The trajectory recorder as a callback of the team's loop."""

from __future__ import annotations

from collections.abc import Sequence

from agents.dialogue import Dialogue
from agents.team import Callback
from envs.trajectory import TrajectoryRecorder
from envs.worlds import Worlds


class TrajectoryCallback(TrajectoryRecorder, Callback):
    """Records every episode of a group; episode i is world i."""

    def on_begin(self, worlds: Worlds, dialogues: Sequence[Dialogue]) -> None:
        self.begin(worlds, [d.world for d in dialogues])
