"""Episodes that were played before, played again from their lines, with pictures of each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from agents.dialogue import Decision, Dialogue
from agents.protocols import Actor, Reporter, TeamMember
from agents.team import Callback, Team
from envs.commands import Command
from envs.errors import BadInput
from envs.worlds import Worlds
from run.storage.records import EpisodeRecord, TurnRecord

MOST_FRAMES = 120  # of an episode; of longer ones every second, third … step is shown


class PlaybackPlanner(TeamMember):
    """A Planner that says what was said before. Where the dialogue is longer than it was, it
    raises BadInput."""

    def __init__(self, records: Sequence[EpisodeRecord]) -> None:
        self._turns = [record.turns for record in records]

    def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]:
        return [self._one(self._turns[d.world], d) for d in dialogues]

    @staticmethod
    def _one(turns: Sequence[TurnRecord], dialogue: Dialogue) -> Decision:
        if len(dialogue.turns) >= len(turns):
            problem = BadInput("the episode went on where it had ended")
            return Decision("", None, error=problem)
        turn = turns[len(dialogue.turns)]
        command = None if turn.command is None else Command.parse(turn.command)
        return Decision(turn.said, command)


@dataclass
class RoomRecorder(Callback):
    """Pictures of whole rooms, step by step, and at which of them each turn began."""

    tile: int = 14
    frames: dict[int, list[np.ndarray]] = field(default_factory=dict)
    turns: dict[int, list[int]] = field(default_factory=dict)

    def on_begin(self, worlds: Worlds, dialogues: Sequence[Dialogue]) -> None:
        self.frames = {d.world: [worlds.frame(d.world, self.tile)] for d in dialogues}
        self.turns = {d.world: [] for d in dialogues}

    def on_decision(self, i: int, dialogue: Dialogue, decision: Decision) -> None:
        self.turns[i].append(len(self.frames[i]) - 1)

    def on_step(self, worlds: Worlds) -> None:
        for i, frames in self.frames.items():
            if worlds.steps[i] >= len(frames):
                frames.append(worlds.frame(i, self.tile))


@dataclass(frozen=True)
class ReplayedEpisode:
    """An episode again: ``frames``, at which of them each turn began, and whether it came out as
    its line has it."""

    frames: list[np.ndarray]
    turns: list[int]
    same: bool


def replay(
    records: Sequence[EpisodeRecord],
    worlds: Worlds,
    actor: Actor,
    reporter: Reporter,
    max_turns: int,
    command_steps: int,
) -> list[ReplayedEpisode]:
    """Play episodes of one kind again, in worlds made for so many, saying what was said."""
    reel = RoomRecorder()
    team = Team(PlaybackPlanner(records), actor, reporter, max_turns, command_steps)
    episodes = team.play(worlds, [record.seed for record in records], reel)
    found = []
    for i, (record, episode) in enumerate(zip(records, episodes, strict=True)):
        same = episode.error is None and episode.success == record.success
        every = -(-len(reel.frames[i]) // MOST_FRAMES)
        last = len(reel.frames[i]) - 1
        kept = sorted({*range(0, last + 1, every), *reel.turns[i], last})
        turns = [kept.index(t) for t in reel.turns[i]]
        found.append(ReplayedEpisode([reel.frames[i][k] for k in kept], turns, same))
    return found
