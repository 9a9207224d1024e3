"""Which moments the Reporters are shown: those of the rollout, its start and its end included."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from agents.actor import make_actor
from agents.dialogue import Dialogue
from agents.planner.registry import make_planner
from agents.reporter import make_reporter, vision_language
from agents.reporter.captions import _CaptionRecorder
from agents.reporter.learned import LearnedReporter
from agents.team import Callback, Team
from agents.trajectory import TrajectoryCallback
from envs import make_worlds
from envs.worlds import Worlds
from run.display.state import CallbackList
from tests.tiny_vision import small

SEEDS = (3, 8)


class Views(Callback):
    """Draws with MiniGrid what the agents see, and notes at which steps each command began and
    ended."""

    def __init__(self) -> None:
        self.views: list[list[np.ndarray]] = []
        self.rollouts: list[tuple[int, int, int]] = []

    def on_begin(self, worlds: Worlds, dialogues: Sequence[Dialogue]) -> None:
        self.views = [[self.look(worlds, i)] for i in range(len(dialogues))]

    def on_step(self, worlds: Worlds) -> None:
        for i, views in enumerate(self.views):
            if worlds.steps[i] == len(views):
                views.append(self.look(worlds, i))

    def on_report(self, i: int, dialogue: Dialogue) -> None:
        start = max((end for k, _, end in self.rollouts if k == i), default=0)
        self.rollouts.append((i, start, len(self.views[i]) - 1))

    def look(self, worlds: Worlds, i: int) -> np.ndarray:
        return worlds.world(i).get_frame(tile_size=8, agent_pov=True)

    def clips(self) -> list[np.ndarray]:
        """The clip of each rollout: all moments of short ones, of others eight."""
        clips = []
        for i, start, end in self.rollouts:
            n = end - start
            steps = range(start, end + 1) if n < 8 else [start + round(k * n / 7) for k in range(8)]
            clips.append(np.stack([self.views[i][k] for k in steps]))
        return clips


def play(reporter: Any, *callbacks: Callback) -> Views:
    """Two episodes of three random commands each."""
    views = Views()
    team = Team(make_planner("random"), make_actor("scripted"), reporter, 3, 16)
    worlds = make_worlds("search", 3)  # one more than there are episodes
    episodes = team.play(worlds, SEEDS, CallbackList([views, *callbacks]))
    assert [e.error for e in episodes] == [None, None]
    lengths = {end - start for _, start, end in views.rollouts}
    assert min(lengths) < 8 < max(lengths) and len(views.rollouts) > 3
    return views


def same(prepared: np.ndarray, frames: np.ndarray) -> bool:
    """Whether a clip as a network is shown it has these frames at its end, and none before."""
    n = len(frames)
    shown, others = prepared[8 - n :, :56, :56], prepared[: 8 - n]
    return np.array_equal(shown, frames) and not others.any()


def test_the_learned_reporter_is_shown_its_rollout() -> None:
    shown: list[np.ndarray] = []

    def report(clips: np.ndarray, *_: Any) -> list[Any]:
        shown.extend(clips)
        return [SimpleNamespace(text="I did.")] * len(clips)

    network: Any = SimpleNamespace(report=report)
    expected = play(LearnedReporter(network)).clips()
    assert len(shown) == len(expected)
    assert all(map(same, shown, expected))


def test_a_vision_language_model_is_shown_its_rollout(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[np.ndarray] = []
    inputs_of = vision_language.inputs_of

    def spy(model: Any, processor: Any, messages: Any, clips: Sequence[np.ndarray]) -> Any:
        shown.extend(clips)
        return inputs_of(model, processor, messages, clips)

    monkeypatch.setattr(vision_language, "inputs_of", spy)
    expected = play(vision_language.VisionLanguageReporter(*small())).clips()
    assert len(shown) == len(expected)
    assert all(map(np.array_equal, shown, expected))


def test_captions_are_of_their_rollouts() -> None:
    captions = _CaptionRecorder()
    expected = play(make_reporter("scripted"), captions).clips()
    assert len(captions.captions) == len(expected)
    assert all(same(c.clip, frames) for c, frames in zip(captions.captions, expected, strict=True))


def test_the_callback_records_whole_episodes() -> None:
    trajectories = TrajectoryCallback()
    views = play(make_reporter("scripted"), trajectories)
    assert trajectories.n_worlds == 2
    for i, expected in enumerate(views.views):
        assert trajectories.n_steps(i) == len(expected) - 1
        steps = range(len(expected))
        np.testing.assert_array_equal(trajectories.frames(i, steps), np.stack(expected))
        clip = trajectories.clip(i)
        assert len(clip) == 8
        np.testing.assert_array_equal(clip[0], expected[0])
        np.testing.assert_array_equal(clip[-1], expected[-1])
