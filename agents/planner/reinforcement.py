"""Policy gradient in the team's loop: the second stage of the small Planner's training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from agents.dialogue import Decision, Dialogue
from agents.episode import Episode
from agents.planner.demonstrations import (
    FIRST_SEED,
    RolloutCollector,
    TrainingExample,
    training_examples,
)
from agents.planner.imitation import REMEDY
from agents.planner.language import LanguagePlanner
from agents.planner.policy import PlannerPolicy
from agents.protocols import TeamMember
from envs.trajectory import TrajectoryRecorder
from envs.worlds import Worlds
from models.training.checkpoints import pack, unpack
from models.training.gradient_step import gradient_step
from models.training.policy_gradient import (
    categorical_kl,
    leave_one_out_advantages,
    reinforce_loss,
)
from models.training.schedules import cosine_to_zero
from models.training.trainer import Stage, ValidationResult

# A reward for each episode of a group, from the episodes and their trajectories.
Reward = Callable[[Sequence[Episode], TrajectoryRecorder], Sequence[float]]


def success_reward(episodes: Sequence[Episode], recorder: TrajectoryRecorder) -> list[float]:
    """The environment's own reward: 1 for success, 0 otherwise."""
    return [float(bool(e.success)) for e in episodes]


class SamplingPlanner(TeamMember):
    """A language Planner that samples its commands, ``p(c) ~ exp(score(c) / temperature)``."""

    def __init__(self, planner: LanguagePlanner, seed: int, temperature: float = 1.0) -> None:
        self.planner = planner
        self.seed = seed
        self.temperature = temperature

    def begin(self, worlds: Worlds) -> None:
        self.planner.begin(worlds)

    def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]:
        sampled = []
        for dialogue, decision in zip(dialogues, self.planner.choose(dialogues), strict=True):
            if decision.command is None:
                sampled.append(decision)
                continue
            candidates = dialogue.candidates()
            p = self.probabilities([decision.scores[c.sentence()] for c in candidates])
            # Samples of one prompt are the same episode, so the world's number is drawn with too.
            seed = (self.seed, dialogue.seed, dialogue.world, len(dialogue.turns))
            k = np.random.default_rng(seed).choice(len(p), p=p)
            sampled.append(
                replace(decision, utterance=candidates[k].sentence(), command=candidates[k])
            )
        return sampled

    def probabilities(self, scores: Sequence[float]) -> np.ndarray:
        """With which probability ``[n]`` each of ``n`` candidates is said, given their scores."""
        logits = np.array(scores)
        weights = np.exp((logits - logits.max()) / self.temperature)
        normalised: np.ndarray = weights / weights.sum()
        return normalised


@dataclass(frozen=True)
class PlannerReinforcementConfig:
    """Settings of `PlannerReinforcement`."""

    steps: int
    groups: int = 8
    """Episodes in a step."""
    samples_per_prompt: int = 8
    """How often each of them is played."""
    learning_rate: float = 1e-4
    """The highest learning rate."""
    kl: float = 0.05
    """Weight of the KL divergence from the policy as it was when the stage began."""
    temperature: float = 1.0
    """Temperature of sampling."""
    seed: int = 0


class PlannerReinforcement(Stage):
    """REINFORCE with a leave-one-out baseline over the scored candidates.

    Each step plays every episode ``samples_per_prompt`` times. The loss adds the exact KL
    divergence from the reference policy at every decision point that is learned from.
    """

    name = "reinforcement"

    def __init__(
        self,
        policy: PlannerPolicy,
        collector: RolloutCollector,
        config: PlannerReinforcementConfig,
        reward: Reward = success_reward,
        validation: Callable[[], ValidationResult] | None = None,
    ) -> None:
        """
        Args:
            policy: The policy to train.
            collector: Plays the episodes.
            config: The settings.
            reward: Of the episodes.
            validation: Scores the policy, for `Trainer`'s validation.
        """
        self.policy = policy
        self.collector = collector
        self.config = config
        self.reward = reward
        self.steps = config.steps
        self._validation = validation

    def begin(self) -> None:
        self._parameters = self.policy.parameters()
        self._reference = {name: p.detach().clone() for name, p in self._parameters.items()}
        self._optimiser = torch.optim.AdamW(
            list(self._parameters.values()), self.config.learning_rate, weight_decay=0.0
        )

    def step(self, k: int) -> Mapping[str, float]:
        config = self.config
        self.policy.sync()
        examples, rewards, successes = self._rollouts(k)
        divergences: list[float] = []
        loss = gradient_step(
            self._losses(examples, len(rewards), divergences),
            self._optimiser,
            list(self._parameters.values()),
            step=k,
            learning_rate=cosine_to_zero(k, self.steps, config.learning_rate),
            remedy=REMEDY,
        )
        return {
            "loss": loss,
            "success": float(np.mean(successes)),
            "divergence": sum(divergences) / max(1, sum(len(x.decision_points) for x in examples)),
            "reward": float(np.mean(rewards)),
        }

    def _rollouts(self, k: int) -> tuple[list[TrainingExample], list[float], list[float]]:
        """Examples weighted by their advantages, and the rewards and successes of all episodes."""
        config = self.config
        rng = np.random.default_rng([config.seed, 2, k])
        start = FIRST_SEED + 500_000_000 + (config.seed * 100_000 + k) * config.groups
        examples: list[TrainingExample] = []
        rewards: list[float] = []
        successes: list[float] = []
        for number, n in enumerate(self.collector.draw(config.groups, rng)):
            if not n:
                continue
            seeds = [start + i for i in range(n) for _ in range(config.samples_per_prompt)]
            start += n
            planner = SamplingPlanner(
                self.policy.planner, config.seed * 1_000_003 + k, config.temperature
            )
            episodes, recorder = self.collector.play(planner, number, seeds)
            rewarded = np.array(self.reward(episodes, recorder), float)
            rewards += rewarded.tolist()
            successes += success_reward(episodes, recorder)
            advantages = leave_one_out_advantages(rewarded.reshape(n, config.samples_per_prompt))
            for i, advantage in enumerate(advantages.reshape(-1)):
                if advantage:  # equal rewards teach nothing
                    examples += training_examples(
                        recorder.decided[i], self.policy.request, advantage
                    )
        return examples, rewards, successes

    def _losses(
        self, examples: Sequence[TrainingExample], episodes: int, divergences: list[float]
    ) -> Iterator[torch.Tensor]:
        """The loss of each batch as a share of the ``episodes``; enters the batches' divergences,
        summed over decision points."""
        for batch, reference in self._with_reference(examples):
            log_probabilities, taken, owners = self.policy.decisions(batch)
            advantages = torch.tensor([x.weight for x in batch], device=taken.device)[owners]
            chosen = log_probabilities.gather(1, taken[:, None])[:, 0]
            divergence = categorical_kl(log_probabilities, reference)
            divergences.append(float(divergence.detach()))
            loss = self.config.kl * divergence + reinforce_loss(chosen, advantages)
            yield loss / episodes

    def _with_reference(
        self, examples: Sequence[TrainingExample]
    ) -> list[tuple[list[TrainingExample], torch.Tensor]]:
        """Batches, and the reference policy's log-probabilities at their decision points."""
        current = {n: p.detach().clone() for n, p in self._parameters.items()}
        with torch.no_grad():
            for name, p in self._parameters.items():
                p.copy_(self._reference[name])
            batches = [(b, self.policy.decisions(b)[0]) for b in self.policy.batches(examples)]
            for name, p in self._parameters.items():
                p.copy_(current[name])
        return batches

    def end(self) -> None:
        self.policy.sync()

    def validate(self) -> ValidationResult | None:
        return None if self._validation is None else self._validation()

    def state_dict(self) -> dict[str, Any]:
        adapter = self.policy.parameters()
        return dict(pack(self._optimiser, adapter=adapter, reference=self._reference))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        unpack(state, self._optimiser, adapter=self.policy.parameters(), reference=self._reference)
