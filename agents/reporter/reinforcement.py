"""Reinforcement of the learned Reporter: it learns what matters to the Planner."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from agents.dialogue import Decision, Dialogue, Rollout
from agents.episode import Episode
from agents.messages import Report
from agents.protocols import Actor, Planner, TeamMember
from agents.reporter.captions import FIRST_SEED
from agents.reporter.facts import is_true
from agents.reporter.learned import LearnedReporter
from agents.reporter.network import ReporterNetwork
from agents.team import Team
from agents.trajectory import TrajectoryCallback
from envs.commands import Command
from envs.errors import BadInput
from envs.trajectory import TrajectoryRecorder
from envs.worlds import Worlds
from models.training.checkpoints import pack, unpack
from models.training.gradient_step import gradient_step
from models.training.policy_gradient import (
    clipped_surrogate,
    kl_estimate,
    leave_one_out_advantages,
)
from models.training.process_group import ProcessGroup
from models.training.schedules import cosine_to_zero
from models.training.trainer import Stage, ValidationResult

RL_FIRST_SEED = FIRST_SEED + 300_000_000
# Share of answers that are no commands, above which a Planner is of no use.
UNPARSED_LIMIT = 0.9


@dataclass(frozen=True)
class ReportSample:
    """A sampled report: the clip ``[8, 64, 64, 3] uint8`` that it describes, the command, its text
    and tokens, and whether it is true. ``matters`` is whether it states what examining revealed,
    None where examining revealed nothing."""

    clip: np.ndarray
    command: Command
    text: str
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    true: bool
    matters: bool | None


# A reward for each episode, from the episodes, their trajectories and their reports.
RewardComponent = Callable[
    [Sequence[Episode], TrajectoryRecorder, Sequence[Sequence[ReportSample]]], Sequence[float]
]


class ReportRecorder(TeamMember):
    """A learned Reporter whose reports are recorded, world by world."""

    def __init__(self, reporter: LearnedReporter) -> None:
        self.reporter = reporter
        self.reports: dict[int, list[ReportSample]] = {}
        self._worlds: Worlds | None = None

    def begin(self, worlds: Worlds) -> None:
        self._worlds = worlds
        self.reports = {i: [] for i in range(len(worlds))}
        self.reporter.begin(worlds)

    def on_step(self, worlds: Worlds) -> None:
        self.reporter.on_step(worlds)

    def report(self, rollouts: Sequence[Rollout], dialogues: Sequence[Dialogue]) -> list[Report]:
        assert self._worlds is not None, "begin() has not been called"
        reports = self.reporter.report(rollouts, dialogues)
        for k, (rollout, dialogue) in enumerate(zip(rollouts, dialogues, strict=True)):
            sampled = self.reporter.samples[k]
            revealed = [e.revealed for e in rollout.events if e.kind == "examined" and e.revealed]
            attributes = [f.attribute for f in reports[k].facts]
            sample = ReportSample(
                self.reporter.clips[k],
                rollout.command,
                sampled.text,
                sampled.prompt,
                sampled.tokens,
                is_true(reports[k], self._worlds.world(dialogue.world), rollout),
                revealed[-1] in attributes if revealed else None,
            )
            self.reports[dialogue.world].append(sample)
        return reports


class DeduplicatingPlanner(TeamMember):
    """A Planner that decides once for several equal dialogues."""

    def __init__(self, planner: Planner) -> None:
        self.planner = planner

    def begin(self, worlds: Worlds) -> None:
        self.planner.begin(worlds)

    def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]:
        first: dict[object, int] = {}
        for k, d in enumerate(dialogues):
            first.setdefault((d.task, d.verbs, d.turns), k)
        chosen = self.planner.choose([dialogues[k] for k in first.values()])
        decisions = dict(zip(first, chosen, strict=True))
        return [decisions[d.task, d.verbs, d.turns] for d in dialogues]


@dataclass(frozen=True)
class PolicyUpdateConfig:
    """How a step learns from its reports."""

    kl: float = 0.05
    """Weight of the KL divergence from the reference."""
    clip: float = 0.2
    """How far a token's probability ratio may move from 1."""
    epochs: int = 1
    """How often a step learns from its reports."""
    batch: int = 64
    """Reports in one gradient step."""


@dataclass(frozen=True)
class ReporterReinforcementConfig:
    """Settings of `ReporterReinforcement`."""

    steps: int
    groups: int = 8
    """Worlds in a step, shared among the processes."""
    samples_per_prompt: int = 8
    """How often each of them is played."""
    learning_rate: float = 1e-4
    """The highest learning rate."""
    update: PolicyUpdateConfig = PolicyUpdateConfig()
    temperature: float = 1.0
    """Temperature of sampling."""
    max_turns: int = 8
    patience: int = 64
    """Environment steps that a command may take."""
    freeze_encoder: bool = False
    """Freeze the vision encoder's backbone in this stage."""
    seed: int = 0


class ReporterReinforcement(Stage):
    """PPO's clipped policy gradient on the reports' tokens, in the team's loop.

    Each step plays ``groups`` worlds ``samples_per_prompt`` times over; Planner and Actor are
    frozen. A reward is the weighted sum of the components, its baseline the mean of the other
    samples of the group (leave one out). The loss adds the KL divergence from the reference, the
    Reporter as it was when the stage began, estimated at each token.

    A report after which the Planner decided nothing has no part in the reward and is not learned
    from: otherwise what is said last drifts with the luck of the episode.
    """

    name = "reinforcement"

    def __init__(
        self,
        network: ReporterNetwork,
        reference: ReporterNetwork,
        planner: Planner,
        actor: Actor,
        worlds: Worlds,
        components: Mapping[str, tuple[float, RewardComponent]],
        config: ReporterReinforcementConfig,
        validation: Callable[[], ValidationResult] | None = None,
    ) -> None:
        """
        Args:
            network: The network to train.
            reference: A network of the same shape, which receives the weights to stay near to.
            planner: Reads the reports.
            actor: Carries out the commands.
            worlds: This process's share of ``groups * samples_per_prompt`` worlds.
            components: The reward's, by name, with their weights.
            config: The settings.
            validation: Scores the network, for `Trainer`'s validation.
        """
        self.network = network
        self.reference = reference
        self.planner = planner
        self.actor = actor
        self.worlds = worlds
        self.components = components
        self.config = config
        self.steps = config.steps
        self._validation = validation

    def begin(self) -> None:
        config, network = self.config, self.network
        if config.freeze_encoder:
            network.encoder.freeze()
        self.reference.load_state_dict(network.state_dict())
        self._processes = ProcessGroup(network.device)
        self._share = self._processes.share(config.groups, "groups")
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        self._optimiser = torch.optim.AdamW(
            self._parameters, config.learning_rate, (0.9, 0.98), weight_decay=0.0
        )
        network.eval()

    def step(self, k: int) -> Mapping[str, float]:
        """Raises BadInput too where an episode broke, and where hardly any of the Planner's answers
        is a command."""
        began = time.monotonic()
        config = self.config
        episodes, recorder, reports = self._rollouts(k)
        components = {
            name: np.array(component(episodes, recorder, reports), float)
            for name, (_, component) in self.components.items()
        }
        rewards = sum(
            (weight * components[name] for name, (weight, _) in self.components.items()),
            np.zeros(len(episodes)),
        )
        if not np.isfinite(rewards).all():
            raise BadInput(f"a reward is not finite at step {k + 1}")
        advantages = leave_one_out_advantages(
            rewards.reshape(self._share, config.samples_per_prompt)
        )
        samples = [
            (report, float(advantage))
            for episode, of_episode, advantage in zip(
                episodes, reports, advantages.reshape(-1), strict=True
            )
            for report in reports_read(episode, of_episode)
            if advantage  # equal rewards teach nothing
        ]
        loss, divergence = update_policy(
            self.network,
            self.reference,
            samples,
            self._optimiser,
            config.update,
            step=k,
            learning_rate=cosine_to_zero(k, self.steps, config.learning_rate),
            rng=np.random.default_rng([config.seed, 4, k]),
            processes=self._processes,
        )
        flat = [report for of_episode in reports for report in of_episode]
        revealing = [r.matters for r in flat if r.matters is not None]
        metrics = {
            "loss": loss,
            "success": np.mean([float(bool(e.success)) for e in episodes]),
            "divergence": divergence,
            "length": np.mean([len(r.tokens) for r in flat]),
            "true": np.mean([r.true for r in flat]),
            "matters": np.mean(revealing) if revealing else 0.0,
            **{name: values.mean() for name, values in components.items()},
        }
        means = self._processes.means([float(value) for value in metrics.values()])
        n = self._processes.n * len(episodes)
        rate = round(n / (time.monotonic() - began), 3)
        return dict(zip(metrics, means, strict=True)) | {"episodes_per_second": rate}

    def _rollouts(
        self, k: int
    ) -> tuple[list[Episode], TrajectoryRecorder, list[list[ReportSample]]]:
        """This process's episodes of step ``k``, their trajectories and their reports."""
        config = self.config
        start = RL_FIRST_SEED + (config.seed * 100_000 + k) * config.groups
        start += self._processes.rank * self._share
        seeds = [start + g for g in range(self._share) for _ in range(config.samples_per_prompt)]
        sampler = LearnedReporter(self.network, config.temperature, config.seed * 1_000_003 + k)
        reporter, recorder = ReportRecorder(sampler), TrajectoryCallback()
        planner = DeduplicatingPlanner(self.planner)
        team = Team(planner, self.actor, reporter, config.max_turns, config.patience)
        episodes = team.play(self.worlds, seeds, recorder)
        _check(episodes)
        return list(episodes), recorder, [reporter.reports[i] for i in range(len(seeds))]

    def validate(self) -> ValidationResult | None:
        return None if self._validation is None else self._validation()

    def state_dict(self) -> dict[str, Any]:
        model, reference = self.network.state_dict(), self.reference.state_dict()
        return dict(pack(self._optimiser, model=model, reference=reference))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        model, reference = self.network.state_dict(), self.reference.state_dict()
        unpack(state, self._optimiser, model=model, reference=reference)


def reports_read(episode: Episode, reports: Sequence[ReportSample]) -> Sequence[ReportSample]:
    """The reports after which the Planner decided something.

    That of the last command is not one of them, unless an answer that was no command came after it.
    """
    unread = bool(episode.turns) and episode.turns[-1].command is not None
    return reports[: len(reports) - unread]


def _check(episodes: Sequence[Episode]) -> None:
    """Raise BadInput where an episode broke, or hardly any answer of the Planner is a command."""
    broken = [e.error for e in episodes if e.error is not None]
    if broken:
        raise BadInput(f"an episode of training broke: {broken[0].splitlines()[-1]}")
    turns = sum(len(e.turns) for e in episodes)
    unparsed = sum(e.unparsed for e in episodes)
    if turns and unparsed > UNPARSED_LIMIT * turns:
        raise BadInput(f"{unparsed} of the Planner's {turns} answers were no commands; try another")


def update_policy(
    network: ReporterNetwork,
    reference: ReporterNetwork,
    samples: Sequence[tuple[ReportSample, float]],
    optimiser: torch.optim.Optimizer,
    config: PolicyUpdateConfig,
    *,
    step: int,
    learning_rate: float,
    rng: np.random.Generator,
    processes: ProcessGroup,
) -> tuple[float, float]:
    """Make gradient steps on reports and their advantages.

    Args:
        network: The network to train.
        reference: What the KL divergence is measured from.
        samples: Reports with their advantages; none at all where all groups agree.
        optimiser: Of the network's parameters that learn.
        config: The settings.
        step: The trainer's step, for error messages.
        learning_rate: Of these gradient steps.
        rng: Draws the order of the batches.
        processes: Those that train together, each with its own samples.

    Returns:
        The mean loss and the mean KL estimate, in nats a token.

    Raises:
        BadInput: Where the loss is not finite.
    """
    parameters = [p for g in optimiser.param_groups for p in g["params"]]
    batches = [
        _ReportBatch(network, samples[k : k + config.batch])
        for k in range(0, len(samples), config.batch)
    ]
    with torch.no_grad():
        fixed = [
            (torch.cat(b.log_likelihood(network)), torch.cat(b.log_likelihood(reference)))
            for b in batches
        ]
    losses: list[float] = []
    divergences: list[float] = []

    def loss_of(k: int) -> torch.Tensor:
        by_report = batches[k].log_likelihood(network)
        old, of_reference = fixed[k]
        new = torch.cat(by_report)
        lengths = torch.tensor([len(x) for x in by_report], device=new.device)
        advantages = torch.tensor(batches[k].advantages, device=new.device)
        advantages = advantages.repeat_interleave(lengths)
        divergence = kl_estimate(new, of_reference)
        divergences.append(divergence.detach().mean().item())
        surrogate = clipped_surrogate(new, old, advantages, config.clip)
        return (config.kl * divergence - surrogate).mean()

    for _ in range(config.epochs):
        # Processes with fewer batches than others make steps with the others' gradients alone.
        for k in rng.permutation(processes.maximum(len(batches))):
            loss = gradient_step(
                [loss_of(k)] if k < len(batches) else [],
                optimiser,
                parameters,
                step=step,
                learning_rate=learning_rate,
                processes=processes,
            )
            if k < len(batches):
                losses.append(loss)
    if not losses:
        return 0.0, 0.0
    return float(np.mean(losses)), float(np.mean(divergences))


class _ReportBatch:
    """Reports to learn from together. A frozen vision encoder encodes their clips only once."""

    def __init__(
        self, network: ReporterNetwork, samples: Sequence[tuple[ReportSample, float]]
    ) -> None:
        self.advantages = [advantage for _, advantage in samples]
        self._reports = [report for report, _ in samples]
        self._clips = np.stack([r.clip for r in self._reports])
        self._features: tuple[torch.Tensor, torch.Tensor] | None = None
        if network.encoder.is_frozen:
            with torch.no_grad():
                self._features = network.encode_frames(self._clips)

    def log_likelihood(self, network: ReporterNetwork) -> list[torch.Tensor]:
        """The log-probabilities of each report's tokens."""
        return network.log_likelihood(
            network.resample(*(self._features or network.encode_frames(self._clips))),
            [r.prompt for r in self._reports],
            [r.tokens for r in self._reports],
        )


def success_component(
    episodes: Sequence[Episode],
    recorder: TrajectoryRecorder,
    reports: Sequence[Sequence[ReportSample]],
) -> list[float]:
    """The environment's own reward: 1 for success, 0 otherwise.

    Args:
        episodes: The episodes of a step.
        recorder: Their trajectories, which this component does not need.
        reports: The reports of each episode, which it does not need either.
    """
    return [float(bool(e.success)) for e in episodes]
