"""Imitation of the expert: the first stage of the learned Actor's training.

DAgger (arXiv 1011.0686): the learner acts, the expert says what it would have done, and the
learner imitates that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from agents.actor.expert import expert_actions
from agents.actor.map_memory import OBSERVATION_SIZE
from agents.actor.network import N_ACTIONS, ActorNetwork
from agents.actor.rollouts import HORIZON, discounted_outcomes, restore_worlds, worlds_state
from agents.actor.vector_env import MultiTaskVectorEnv
from models.training.checkpoints import group, pack, unpack
from models.training.gradient_step import gradient_step
from models.training.schedules import cosine_to_zero
from models.training.trainer import Stage

ROUNDS_KEPT = 4  # rounds of demonstrations in the data set
RANDOM_ACTIONS = 0.05  # share of the learner's actions that are random
VALUE_WEIGHT = 0.5  # of the value head's loss
# Observations [n, OBSERVATION_SIZE] uint8, the expert's actions [n] and outcomes [n] float32.
Demonstrations = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class ActorImitationConfig:
    """Settings of `ActorImitation`."""

    env_steps: int
    """Environment steps of all worlds together."""
    worlds: int
    """Worlds stepped together."""
    learning_rate: float = 2e-3
    """The highest learning rate."""
    batch: int = 2048
    """Observations in a gradient step."""
    epochs: int = 2
    """Gradient steps a round, as passes over its demonstrations."""
    seed: int = 0


class ActorImitation(Stage):
    """DAgger, a round of ``HORIZON`` steps of every world at a time.

    The learner's share of the actions rises from 0 to 1 over the first fifth of the rounds, so
    that it learns to recover from its own mistakes. The value head learns discounted outcomes.
    """

    name = "imitation"

    def __init__(
        self,
        network: ActorNetwork,
        make_worlds: Callable[[], MultiTaskVectorEnv],
        config: ActorImitationConfig,
    ) -> None:
        """
        Args:
            network: The network to train.
            make_worlds: Makes the worlds when the stage begins.
            config: The settings.
        """
        self.network = network
        self.config = config
        self.step_size = HORIZON * config.worlds
        self.steps = max(1, config.env_steps // self.step_size)
        self._make_worlds = make_worlds

    def begin(self) -> None:
        self._worlds = self._make_worlds()
        assert self._worlds.n == self.config.worlds
        self._reset_due = True
        self._demonstrations: list[Demonstrations] = []
        self._parameters = list(self.network.parameters())
        self._optimiser = torch.optim.AdamW(
            self._parameters, self.config.learning_rate, weight_decay=1e-4
        )

    def step(self, k: int) -> Mapping[str, float]:
        config = self.config
        if self._reset_due:
            self._worlds.reset()
            self._reset_due = False
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + k)
        latest, success = self._demonstrate(k, generator)
        self._demonstrations = [*self._demonstrations[-(ROUNDS_KEPT - 1) :], latest]
        data = [torch.cat(parts) for parts in zip(*self._demonstrations, strict=True)]
        loss = 0.0
        for _ in range(max(1, config.epochs * len(latest[0]) // config.batch)):
            rows = torch.randint(len(data[0]), (config.batch,), generator=generator)
            observations, actions, outcomes = (part[rows].to(self._device) for part in data)
            logits, values = self.network(observations)
            imitation = functional.cross_entropy(logits, actions)
            gradient_step(
                [imitation + VALUE_WEIGHT * functional.mse_loss(values, outcomes)],
                self._optimiser,
                self._parameters,
                step=k,
                learning_rate=cosine_to_zero(k, self.steps, config.learning_rate),
            )
            loss = imitation.item()
        steps = (k + 1) * self.step_size
        return {"steps": steps, "loss": loss, "success": success, "reward": 1.0}

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    @torch.no_grad()
    def _demonstrate(self, k: int, generator: torch.Generator) -> tuple[Demonstrations, float]:
        """Play round ``k``; returns the demonstrations and the share of episodes that succeeded."""
        worlds, n = self._worlds, self.config.worlds
        learners_share = min(1.0, 5 * k / self.steps)
        rng = np.random.default_rng([self.config.seed, k])
        observations = np.zeros((HORIZON, n, OBSERVATION_SIZE), np.uint8)
        expert = np.zeros((HORIZON, n), np.int64)
        rewards, ended = np.zeros((HORIZON, n)), np.zeros((HORIZON, n), bool)
        for t in range(HORIZON):
            observations[t] = worlds.observations
            expert[t] = expert_actions(observations[t])
            logits, _ = self.network(torch.from_numpy(observations[t]).to(self._device))
            probabilities = logits.softmax(-1).cpu()
            learner = torch.multinomial(probabilities, 1, generator=generator)[:, 0].numpy()
            is_random = rng.random(n) < RANDOM_ACTIONS
            learner = np.where(is_random, rng.integers(N_ACTIONS, size=n), learner)
            actions = np.where(rng.random(n) < learners_share, learner, expert[t])
            ended[t] = worlds.step(actions)
            rewards[t] = worlds.success & ended[t]
        _, values = self.network(torch.from_numpy(worlds.observations).to(self._device))
        outcomes = discounted_outcomes(rewards, ended, values.cpu().numpy())
        demonstrations = (
            torch.from_numpy(observations.reshape(HORIZON * n, -1)),
            torch.from_numpy(expert.reshape(-1)),
            torch.from_numpy(outcomes.reshape(-1)),
        )
        return demonstrations, float(rewards.sum() / max(1, ended.sum()))

    def state_dict(self) -> dict[str, Any]:
        state = pack(self._optimiser, network=self.network.state_dict())
        for i, demonstrations in enumerate(self._demonstrations):
            state |= {f"demonstrations.{i}.{j}": part for j, part in enumerate(demonstrations)}
        return {**state, **worlds_state(self._worlds)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        unpack(state, self._optimiser, network=self.network.state_dict())
        restore_worlds(self._worlds, state)
        parts = group(state, "demonstrations.")
        self._demonstrations = [
            (parts[f"{i}.0"], parts[f"{i}.1"], parts[f"{i}.2"]) for i in range(len(parts) // 3)
        ]
        self._reset_due = False
