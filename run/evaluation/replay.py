"""Episodes that were played before, played again from their lines to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agents.dialogue import Decision, Dialogue
from agents.protocols import Actor, Reporter, TeamMember
from agents.team import Team
from agents.trajectory import TrajectoryCallback
from envs.commands import Command
from envs.errors import BadInput
from envs.trajectory import Trajectory
from envs.worlds import Worlds
from run.storage.records import EpisodeRecord, TurnRecord

MOST_FRAMES = 120  # of an episode; of longer ones every second, third, ... step is shown


class PlaybackPlanner(TeamMember):
    """A Planner that says again what it said in recorded episodes.

    Its decision is an error where the dialogue goes on for longer than it did.
    """

    def __init__(self, records: Sequence[EpisodeRecord]) -> None:
        self._turns = [record.turns for record in records]

    def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]:
        return [self._one(self._turns[d.world], d) for d in dialogues]

    @staticmethod
    def _one(turns: Sequence[TurnRecord], dialogue: Dialogue) -> Decision:
        if len(dialogue.turns) >= len(turns):
            error = BadInput("the episode went on where it had ended")
            return Decision("", None, error=error)
        turn = turns[len(dialogue.turns)]
        command = None if turn.command is None else Command.parse(turn.command)
        return Decision(turn.utterance, command)


class _TurnRecorder(TrajectoryCallback):
    """Records whole rooms, and after how many steps each turn began."""

    def __init__(self) -> None:
        super().__init__(with_grids=True)
        self.turns: dict[int, list[int]] = {}

    def on_decision(self, i: int, dialogue: Dialogue, decision: Decision) -> None:
        self.turns.setdefault(i, []).append(self.n_steps(i))


@dataclass(frozen=True)
class ReplayedEpisode:
    """An episode that was played again.

    Attributes:
        trajectory: what happened.
        steps: after how many steps there is a picture, ascending; 0 is the start.
        turns: the number of the picture with which each turn begins.
        same: whether it came out as it is recorded.
    """

    trajectory: Trajectory
    steps: tuple[int, ...]
    turns: tuple[int, ...]
    same: bool

    def frames(self, tile_size: int = 14) -> np.ndarray:
        """The pictures of the whole room, ``[len(steps), height * tile_size, width * tile_size, 3]
        uint8``."""
        # numba is loaded only where something is drawn.
        from envs.batched.cameras import room_camera

        return self.trajectory.frames(self.steps, room_camera(tile_size))


def shown_steps(n_steps: int, turns: Sequence[int], most: int = MOST_FRAMES) -> tuple[int, ...]:
    """The steps of which an episode's player has pictures.

    All of them where there are at most ``most``, the start included; otherwise every second, third,
    ... step, beside the first step of each turn and the last step.

    Args:
        n_steps: The number of steps of the episode.
        turns: The steps at which turns begin.
        most: The number of pictures above which steps are left out.
    """
    every = -(-(n_steps + 1) // most)
    return tuple(sorted({*range(0, n_steps + 1, every), *turns, n_steps}))


def replay(
    records: Sequence[EpisodeRecord],
    worlds: Worlds,
    actor: Actor,
    reporter: Reporter,
    max_turns: int,
    command_steps: int,
) -> list[ReplayedEpisode]:
    """Play episodes of one kind again: the Planner says what it said then.

    Args:
        records: what their lines of ``episodes.jsonl`` hold.
        worlds: as many worlds of their kind.
        actor: who acted.
        reporter: who reported.
        max_turns: as in `Team`.
        command_steps: as in `Team`.
    """
    recorder = _TurnRecorder()
    team = Team(PlaybackPlanner(records), actor, reporter, max_turns, command_steps)
    episodes = team.play(worlds, [record.seed for record in records], recorder)
    replayed = []
    for i, (record, episode) in enumerate(zip(records, episodes, strict=True)):
        same = episode.error is None and episode.success == record.success
        turns = recorder.turns.get(i, [])
        steps = shown_steps(recorder.n_steps(i), turns)
        pictures = tuple(steps.index(t) for t in turns)
        replayed.append(ReplayedEpisode(recorder.trajectory(i), steps, pictures, same))
    return replayed
