"""The detector's answers as rewards of the Actor's practice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agents.actor.expert import expert_actions
from agents.actor.network import ActorNetwork
from agents.actor.ppo import ActorPPO, ActorPPOConfig, CommandSB3VecEnv
from agents.actor.task_sources import VISIBLE
from agents.actor.vector_env import MultiTaskVectorEnv
from models.training.checkpoints import TrainingCheckpoint
from rewards.reward import DetectorReward, task_question
from run.reward_functions import DetectorRewarder
from tests.models.training.recorder import train


class Holding:
    """Says yes where something is held: at the last frame, the agent's tile shows more colours."""

    def __init__(self) -> None:
        self.questions: list[str] = []
        self.clips: list[np.ndarray] = []

    def answer(
        self, clips: Sequence[np.ndarray], questions: Sequence[Sequence[str]], batch: int = 64
    ) -> list[np.ndarray]:
        self.questions += [q for texts in questions for q in texts]
        self.clips += clips
        corner = [c[-1, 48:56, 24:32] for c in clips]
        return [np.array([float(len(np.unique(c.reshape(-1, 3), axis=0)) > 6)]) for c in corner]


def test_each_episode_is_judged_once_by_its_own_last_views_and_command() -> None:
    judge = Holding()
    gym_ = MultiTaskVectorEnv([(VISIBLE, 6)], seed=3)
    env = CommandSB3VecEnv(gym_, DetectorRewarder(DetectorReward(judge)))
    observations = env.reset()
    engine = gym_.vector_envs[0].engine
    films = [[engine.frames(8, np.array([i]))[0].copy()] for i in range(6)]
    missions = [engine.mission(i) for i in range(6)]
    ended = 0
    for _ in range(120):
        _, rewards, over, _ = env.step(expert_actions(observations))
        observations = gym_.observations.copy()
        for i in np.flatnonzero(over):
            assert judge.questions[ended] == task_question(missions[i])
            clip = judge.clips[ended]
            assert len(clip) == min(8, gym_.lengths[i] + 1)
            assert all(
                np.array_equal(a, b) for a, b in zip(clip[-2::-1], films[i][::-1], strict=False)
            )
            assert rewards[i] == float(judge.answer([clip], [["?"]])[0][0])
            judge.questions.pop(), judge.clips.pop()
            ended += 1
            films[i], missions[i] = [], engine.mission(int(i))
        for i in range(6):
            films[i].append(engine.frames(8, np.array([i]))[0].copy())
        assert (rewards[~over] == 0).all()
    assert ended > 10


def test_training_resumes_exactly() -> None:
    results = []
    resume: TrainingCheckpoint | None = None
    for _ in range(2):
        network = ActorNetwork()
        stage = ActorPPO(
            network,
            lambda: MultiTaskVectorEnv([(VISIBLE, 4)], seed=1),
            ActorPPOConfig(3 * 4 * 32, 4, batch=64, epochs=1),
            DetectorRewarder(DetectorReward(Holding())),
        )
        recorder = train(stage, resume)
        resume = recorder.checkpoints[0]
        results.append((recorder.metrics[-1], [p.detach().clone() for p in network.parameters()]))
    assert results[0][0] == results[1][0]
    assert all(np.array_equal(a, b) for a, b in zip(results[0][1], results[1][1], strict=True))
