"""The whole team through the batched engine: the same episodes, to the last word."""

from __future__ import annotations

import numpy as np
import pytest

from agents.actor import make_actor
from agents.actor.stepping import StepActor
from agents.episode import Episode
from agents.planner.options import PlannerOptions
from agents.planner.registry import make_planner
from agents.reporter import make_reporter
from agents.team import Callback, Team
from envs import make_worlds
from envs.batched.worlds import BatchedWorlds
from envs.worlds import Worlds

LEVELS = (
    *("conditional", "search", "visual-conditional", "command", "babyai-mixed"),
    *("BabyAI-GoToLocal-v0", "BabyAI-PickupLoc-v0", "BabyAI-PutNextLocal-v0"),
    *("BabyAI-UnlockPickup-v0", "BabyAI-OpenTwoDoors-v0", "BabyAI-SynthSeq-v0"),
)


class Wanders(StepActor):
    """Takes any action at all."""

    def begin(self, worlds: Worlds) -> None:
        self.rng = np.random.default_rng(0)

    def act(self, worlds: Worlds, active: np.ndarray) -> np.ndarray:
        return self.rng.choice(7, len(active), p=(0.15, 0.15, 0.35, 0.1, 0.08, 0.15, 0.02))


def play(
    task: str, batched: bool, planner: str, actor: str, n: int = 10, watcher: Callback | None = None
) -> list[Episode]:
    worlds = make_worlds(task, n, batched=batched)
    assert isinstance(worlds, BatchedWorlds) == batched
    team = Team(
        make_planner(planner, PlannerOptions(seed=1)),
        Wanders() if actor == "wanders" else make_actor(actor),
        make_reporter("irrelevant"),
        max_turns=6,
        command_steps=48,
    )
    first = team.play(worlds, range(n), watcher)
    return first + team.play(worlds, range(n, 2 * n), watcher)


@pytest.mark.parametrize("task", LEVELS)
@pytest.mark.parametrize(
    ("planner", "actor"), [("oracle", "scripted"), ("random", "scripted"), ("random", "wanders")]
)
def test_episodes_are_the_same(task: str, planner: str, actor: str) -> None:
    n = 3 if "Synth" in task else 6  # of nine rooms each, which take long to make
    theirs, ours = (play(task, batched, planner, actor, n) for batched in (False, True))
    assert {e.error for e in theirs} == {None}
    assert theirs == ours
    if planner == "oracle":
        assert all(e.success for e in ours)


def test_whoever_looks_on_sees_the_same() -> None:
    class Looks(Callback):
        def __init__(self) -> None:
            self.seen: list[bytes] = []

        def on_step(self, worlds: Worlds) -> None:
            self.seen.append(worlds.frame(0, 8).tobytes())

    plain, batched = Looks(), Looks()
    assert play("conditional", False, "oracle", "scripted", 2, plain) == play(
        "conditional", True, "oracle", "scripted", 2, batched
    )
    assert plain.seen == batched.seen and len(plain.seen) > 20
