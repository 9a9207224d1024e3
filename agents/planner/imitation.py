"""Imitation of the expert: the first stage of the small Planner's training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch.nn import functional

from agents.planner.demonstrations import (
    FIRST_SEED,
    ExpertPlanner,
    RolloutCollector,
    TrainingExample,
    relabelled_as_boxes,
    training_examples,
    with_prior_knowledge,
)
from agents.planner.policy import PlannerPolicy
from envs.room import coin
from models.training.checkpoints import pack, unpack
from models.training.gradient_step import gradient_step
from models.training.schedules import cosine_to_zero
from models.training.trainer import Stage, ValidationResult

Objective = Literal["choices", "tokens"]
REMEDY = "try a lower learning rate or --dtype float32"


@dataclass(frozen=True)
class PlannerImitationConfig:
    """Settings of `PlannerImitation`."""

    steps: int
    batch: int = 16
    """Dialogues in a step."""
    learning_rate: float = 5e-4
    """The highest learning rate."""
    objective: Objective = "choices"
    """choices: likelihood at decision points; tokens: of every token of the commands."""
    random_embeddings: float = 0.0
    """The largest share of a dialogue's words that get random embeddings
    (`TrainingExample.with_random_embeddings`)."""
    relabelling: float = 0.0
    """How probable it is that items are relabelled as boxes and balls (`relabelled_as_boxes`)."""
    noise_injection: float = 0.0
    """How probable a wrong command of the expert is (`ExpertPlanner`)."""
    seed: int = 0


class PlannerImitation(Stage):
    """Behaviour cloning: the policy learns the commands of the expert, which plays."""

    name = "imitation"

    def __init__(
        self,
        policy: PlannerPolicy,
        collector: RolloutCollector,
        config: PlannerImitationConfig,
        validation: Callable[[], ValidationResult] | None = None,
    ) -> None:
        """
        Args:
            policy: The policy to train.
            collector: Plays the expert's episodes.
            config: The settings.
            validation: Scores the policy, for `Trainer`'s validation.
        """
        self.policy = policy
        self.collector = collector
        self.config = config
        self.steps = config.steps
        self._validation = validation
        self._expert = ExpertPlanner(config.noise_injection)

    def begin(self) -> None:
        self._parameters = list(self.policy.parameters().values())
        self._optimiser = torch.optim.AdamW(
            self._parameters, self.config.learning_rate, weight_decay=0.0
        )

    def step(self, k: int) -> Mapping[str, float]:
        config = self.config
        loss = gradient_step(
            imitation_losses(self.policy, self._demonstrations(k), config.objective),
            self._optimiser,
            self._parameters,
            step=k,
            learning_rate=cosine_to_zero(k, self.steps, config.learning_rate),
            remedy=REMEDY,
        )
        # The expert always succeeds, and nothing has moved away from a reference yet.
        return {"loss": loss, "success": 1.0, "reward": 1.0, "divergence": 0.0}

    def _demonstrations(self, k: int) -> list[TrainingExample]:
        """The expert's dialogues of step ``k``, augmented."""
        config = self.config
        examples: list[TrainingExample] = []
        rng = np.random.default_rng([config.seed, 1, k])
        start = FIRST_SEED + (config.seed * 100_000 + k) * config.batch
        for number, n in enumerate(self.collector.draw(config.batch, rng)):
            if not n:
                continue
            _, recorder = self.collector.play(self._expert, number, range(start, start + n))
            start += n
            for decisions in map(self._expert.without_noise, recorder.decided.values()):
                if not decisions:
                    continue
                if rng.random() < config.relabelling:
                    decisions = relabelled_as_boxes(decisions, rng)
                    decisions = with_prior_knowledge(decisions) if coin(rng) else decisions
                examples += training_examples(decisions, self.policy.request)
        return [x.with_random_embeddings(config.random_embeddings, rng) for x in examples]

    def end(self) -> None:
        self.policy.sync()

    def validate(self) -> ValidationResult | None:
        return None if self._validation is None else self._validation()

    def state_dict(self) -> dict[str, Any]:
        return dict(pack(self._optimiser, adapter=self.policy.parameters()))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        unpack(state, self._optimiser, adapter=self.policy.parameters())


def imitation_losses(
    policy: PlannerPolicy, examples: Sequence[TrainingExample], objective: Objective
) -> Iterator[torch.Tensor]:
    """The mean negative log-likelihood of what the examples choose, batch by batch.

    Args:
        policy: The policy that learns.
        examples: The demonstrations of one step.
        objective: ``choices`` counts decision points, ``tokens`` all tokens of the commands.

    Returns:
        A scalar for each batch; their sum is the mean over all examples.
    """
    count = sum(
        len(x.decision_points if objective == "choices" else x.command_tokens) for x in examples
    )
    for batch in policy.batches(examples):
        yield _negative_log_likelihood(policy, batch, objective) / count


def _negative_log_likelihood(
    policy: PlannerPolicy, examples: Sequence[TrainingExample], objective: Objective
) -> torch.Tensor:
    """Summed over decision points or tokens."""
    if objective == "choices":
        log_probabilities, taken, _ = policy.decisions(examples)
        return functional.nll_loss(log_probabilities, taken, reduction="sum")
    logits = policy.logits(examples, [[p for p, _ in x.command_tokens] for x in examples])
    tokens = torch.tensor([t for x in examples for _, t in x.command_tokens], device=logits.device)
    return functional.cross_entropy(logits, tokens, reduction="sum")
