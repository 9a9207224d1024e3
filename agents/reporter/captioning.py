"""Captioning: the learned Reporter learns to see and to speak.

It learns true sentences about what can be seen of a rollout, whatever they are: afterwards it
speaks the truth, but does not know what matters to the Planner.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from agents.reporter.captions import (
    FIRST_SEED,
    FIRST_VALIDATION_SEED,
    PATIENCE,
    Caption,
    CaptionCollector,
    captions_ahead,
)
from agents.reporter.facts import TruthChecker
from agents.reporter.learned import LearnedReporter
from agents.reporter.network import WEIGHTS, ReporterNetwork
from envs.errors import BadInput
from models.training.checkpoints import pack, unpack
from models.training.gradient_step import gradient_step
from models.training.process_group import ProcessGroup
from models.training.schedules import cosine_to_zero
from models.training.trainer import Stage, ValidationResult


@dataclass(frozen=True)
class CaptioningConfig:
    """Settings of `Captioning`."""

    steps: int
    batch: int = 32
    """Captions in a step, shared among the processes."""
    learning_rate: float = 1e-3
    """The highest learning rate."""
    vision_rate: float = 1.0
    """The vision encoder's learning rate, as a multiple of ``learning_rate``."""
    seed: int = 0
    workers: int = 0
    """Processes that play coming steps' episodes."""


class Captioning(Stage):
    """Maximum likelihood of captions, token by token."""

    name = "captioning"

    def __init__(
        self,
        network: ReporterNetwork,
        collector: CaptionCollector,
        config: CaptioningConfig,
        validation: Callable[[], ValidationResult] | None = None,
    ) -> None:
        """
        Args:
            network: The network to train.
            collector: Plays the episodes.
            config: The settings.
            validation: Scores the network, for `Trainer`'s validation.
        """
        self.network = network
        self.collector = collector
        self.config = config
        self.steps = config.steps
        self._validation = validation
        self._captions: Iterator[list[Caption]] | None = None

    def begin(self) -> None:
        config, network = self.config, self.network
        self._processes = ProcessGroup(network.device)
        self._share = self._processes.share(config.batch, "captions a step")
        backbone = {id(p) for p in network.encoder.backbone_parameters()}
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        by_rate = {
            config.vision_rate: [p for p in self._parameters if id(p) in backbone],
            1.0: [
                p for p in self._parameters if id(p) not in backbone or config.vision_rate == 1.0
            ],
        }
        groups = [{"params": some, "rate": rate} for rate, some in by_rate.items() if some]
        self._optimiser = torch.optim.AdamW(
            groups, config.learning_rate, (0.9, 0.98), weight_decay=0.01
        )
        network.train()

    def step(self, k: int) -> Mapping[str, float]:
        if self._captions is None:
            self._captions = captions_ahead(
                self.collector,
                self.config.workers,
                self.config.seed,
                range(k, self.steps),
                self._first_seed,
                self._share,
            )
        loss = gradient_step(
            [self._loss(next(self._captions))],
            self._optimiser,
            self._parameters,
            step=k,
            learning_rate=cosine_to_zero(k, self.steps, self.config.learning_rate),
            processes=self._processes,
        )
        return {"loss": self._processes.means([loss])[0]}

    def _first_seed(self, k: int) -> int:
        """The seed of the first episode of step ``k``."""
        start = FIRST_SEED + (self.config.seed * 1_000_000 + k) * self.config.batch
        return start + self._processes.rank * self._share

    def _loss(self, captions: Sequence[Caption]) -> torch.Tensor:
        """The mean negative log-likelihood of the captions' tokens."""
        network = self.network
        log_probabilities = network.log_likelihood(
            network.encode_clips(np.stack([c.clip for c in captions])),
            [network.prompt(c.command) for c in captions],
            [network.sentence(c.report.text) for c in captions],
        )
        return -torch.cat(log_probabilities).mean()

    def end(self) -> None:
        self.network.eval()

    def close(self) -> None:
        if isinstance(self._captions, Generator):
            self._captions.close()
        self._captions = None

    def validate(self) -> ValidationResult | None:
        return None if self._validation is None else self._validation()

    def state_dict(self) -> dict[str, Any]:
        return dict(pack(self._optimiser, model=self.network.state_dict()))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        unpack(state, self._optimiser, model=self.network.state_dict())


def share_true(network: ReporterNetwork, collector: CaptionCollector, episodes: int) -> float:
    """The share of the network's most likely reports that is true.

    Args:
        network: Reports.
        collector: Plays the episodes, which training never does.
        episodes: How many of them.
    """
    was_training = network.training
    network.eval()
    checker = TruthChecker(LearnedReporter(network))
    n = len(collector.worlds)
    for first in range(0, episodes, n):
        seeds = range(FIRST_VALIDATION_SEED + first, FIRST_VALIDATION_SEED + first + n)
        collector.play(checker, seeds[: episodes - first], PATIENCE[int((first // n) % 4 > 0)])
    network.train(was_training)
    return float(np.mean(checker.true))


def start_from(network: ReporterNetwork, folder: Path) -> None:
    """Load the weights of a Reporter of the same shape, or the vision encoder of any other
    Reporter or success detector.

    Raises BadInput where even the encoder does not fit.
    """
    try:
        tensors = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise BadInput(f"the weights in '{folder}' cannot be read: {error}") from error
    current = network.state_dict()

    def fits(names: Sequence[str]) -> bool:
        return all(n in tensors and tensors[n].shape == current[n].shape for n in names)

    names = list(current)
    if not fits(names):
        names = [n for n in current if n.startswith("encoder.")]
    if not fits(names):
        raise BadInput(f"the vision encoder in '{folder}' has another size")
    network.load_state_dict({**current, **{n: tensors[n].float() for n in names}})
