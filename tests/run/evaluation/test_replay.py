"""Episodes that are played again, and which of their steps are shown."""

from __future__ import annotations

import numpy as np
import pytest

from agents.actor import make_actor
from agents.planner.registry import make_planner
from agents.reporter import make_reporter
from agents.team import Callback, Team
from envs import make_worlds
from envs.worlds import Worlds
from run.evaluation.replay import replay, shown_steps
from run.storage.records import EpisodeRecord, TurnRecord


@pytest.mark.parametrize(
    ("n_steps", "turns", "steps"),
    [
        (0, (), (0,)),
        (4, (0, 2), (0, 1, 2, 3, 4)),
        # Six moments: every second, beside those at which turns begin and the last.
        (5, (0, 3), (0, 2, 3, 4, 5)),
        (9, (0, 1), (0, 1, 2, 4, 6, 8, 9)),
        (10, (0,), (0, 3, 6, 9, 10)),
    ],
)
def test_of_long_episodes_some_steps_are_shown(
    n_steps: int, turns: tuple[int, ...], steps: tuple[int, ...]
) -> None:
    assert shown_steps(n_steps, turns, most=5) == steps


class Rooms(Callback):
    """MiniGrid's own pictures of the room, and at which of them each turn began."""

    def __init__(self) -> None:
        self.frames: list[np.ndarray] = []
        self.turns: list[int] = []

    def on_begin(self, worlds: Worlds, dialogues: object) -> None:
        self.frames.append(worlds.frame(0, 14))

    def on_decision(self, i: int, dialogue: object, decision: object) -> None:
        self.turns.append(len(self.frames) - 1)

    def on_step(self, worlds: Worlds) -> None:
        self.frames.append(worlds.frame(0, 14))


def test_a_replayed_episode_is_the_one_that_was_played() -> None:
    actor, reporter = make_actor("scripted"), make_reporter("scripted")
    rooms = Rooms()
    team = Team(make_planner("oracle"), actor, reporter)
    (episode,) = team.play(make_worlds("conditional", 1), [5], rooms)
    record = EpisodeRecord(
        episode=0,
        seed=5,
        task=episode.task,
        turns=tuple(TurnRecord(t.utterance, str(t.command), t.report) for t in episode.turns),
        success=episode.success,
        ended=episode.ended,
        steps=episode.steps,
        unparsed=0,
        error=None,
        seconds=0.0,
    )
    (again,) = replay([record], make_worlds("conditional", 1), actor, reporter, 20, 64)
    assert again.same and again.turns == tuple(rooms.turns) and len(rooms.turns) > 1
    np.testing.assert_array_equal(again.frames(), np.stack(rooms.frames))
