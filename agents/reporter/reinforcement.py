"""Reinforcement of the learned Reporter: it learns what matters to the Planner.

Whole teams play, many episodes together, Planner and Actor frozen; the tokens of the reports learn
by policy gradient from what came of the episode, against the other tries at the same world.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from agents.dialogue import Decision, Dialogue, Rollout
from agents.observation_recorder import ObservationRecorder
from agents.protocols import Actor, Planner, TeamMember
from agents.reporter.facts import is_true
from agents.reporter.learned import LearnedReporter
from agents.reporter.network import ReporterNetwork
from agents.reporter.training import FIRST_SEED, Checkpoint, go, pack, unpack
from agents.team import Episode, Team
from envs.commands import Command
from envs.errors import BadInput
from envs.worlds import Worlds
from models.training.process_group import ProcessGroup
from models.training.schedules import learning_rate_at

RL_FIRST_SEED = FIRST_SEED + 300_000_000
WINDOW = 20  # steps that the watch for gaming compares
FAR = 0.05  # how far two windows' means must be apart
MUTE = 0.9  # share of commands that are none, above which the Planner is of no use


@dataclass(frozen=True)
class ReportSample:
    """A report as it was made: the clip ``[8, 64, 64, 3] uint8``, the command, the tokens, and
    whether it is true; ``matters`` whether it says what examining revealed (None where nothing
    was)."""

    clip: np.ndarray
    command: Command
    text: str
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    true: bool
    matters: bool | None


# Of episodes, what was filmed of them and their reports, a number each.
RewardComponent = Callable[
    [Sequence[Episode], ObservationRecorder, Sequence[Sequence[ReportSample]]], Sequence[float]
]


@dataclass(frozen=True)
class Progress:
    """Where reinforcement stands, told after each step. ``rewards`` are the means of each term,
    ``success`` the true one, ``divergence`` that from the Reporter at the beginning, in nats a
    token, ``length`` in tokens, ``true`` and ``matters`` shares of reports, ``episodes`` a second.
    """

    step: int
    loss: float
    success: float
    rewards: Mapping[str, float]
    divergence: float
    length: float
    true: float
    matters: float
    episodes: float


class ReportRecorder(TeamMember):
    """A learned Reporter whose reports are written down, world by world."""

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

    def report(self, rollouts: Sequence[Rollout], dialogues: Sequence[Dialogue]) -> list[str]:
        assert self._worlds is not None, "begin() has not been called"
        texts = self.reporter.report(rollouts, dialogues)
        for k, (rollout, dialogue) in enumerate(zip(rollouts, dialogues, strict=True)):
            said = self.reporter.said[k]
            revealed = [e.fact for e in rollout.events if e.kind == "examined" and e.fact]
            made = ReportSample(
                self.reporter.clips[k],
                rollout.command,
                said.text,
                said.prompt,
                said.tokens,
                is_true(said.text, self._worlds.world(dialogue.world), rollout),
                revealed[-1] in said.text if revealed else None,
            )
            self.reports[dialogue.world].append(made)
        return texts


class DeduplicatingPlanner(TeamMember):
    """A Planner that is asked once where several dialogues are the same."""

    def __init__(self, planner: Planner) -> None:
        self.planner = planner

    def begin(self, worlds: Worlds) -> None:
        self.planner.begin(worlds)

    def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]:
        first: dict[object, int] = {}
        for k, d in enumerate(dialogues):
            first.setdefault((d.task, d.verbs, d.turns), k)
        decided = self.planner.choose([dialogues[k] for k in first.values()])
        known = dict(zip(first, decided, strict=True))
        return [known[d.task, d.verbs, d.turns] for d in dialogues]


@dataclass
class RewardHackingMonitor:
    """Notices when the detector's reward rises while the truth falls."""

    judged: list[float] = field(default_factory=list)
    true: list[float] = field(default_factory=list)

    def add(self, judged: float, true: float) -> None:
        """Enter a step. Raises BadInput where the detector is being gamed."""
        self.judged.append(judged)
        self.true.append(true)
        if len(self.true) < 2 * WINDOW:
            return
        rise, fall = (
            float(np.mean(row[-WINDOW:]) - np.mean(row[-2 * WINDOW : -WINDOW]))
            for row in (self.judged, self.true)
        )
        if rise > FAR and fall < -FAR:
            raise BadInput(
                f"the detector is being gamed: over {WINDOW} steps its reward rose by {rise:.2f} "
                f"while the truth fell by {-fall:.2f}"
            )


def reinforce(
    network: ReporterNetwork,
    reference: ReporterNetwork,
    planner: Planner,
    actor: Actor,
    worlds: Worlds,
    terms: Mapping[str, tuple[float, RewardComponent]],
    *,
    steps: int,
    groups: int = 8,
    members: int = 8,
    learning_rate: float = 1e-4,
    kl: float = 0.05,
    clip: float = 0.2,
    epochs: int = 1,
    batch: int = 64,
    temperature: float = 1.0,
    max_turns: int = 8,
    patience: int = 64,
    seed: int = 0,
    on_progress: Callable[[Progress], None] = lambda p: None,
    save: Callable[[Callable[[], Checkpoint]], None] = lambda make: None,
    resume: Checkpoint | None = None,
    watch: RewardHackingMonitor | None = None,
) -> None:
    """Policy gradient on the reports' tokens, clipped (arXiv 1707.06347), in the loop of the team.

    Each step plays ``groups`` worlds ``members`` times over, shared among processes if there are
    several, each with ``worlds`` for its share; a member's advantage is its reward,
    the sum of the ``terms`` by their weights, less the mean of its group's others. ``kl`` weighs
    the divergence from ``reference``, the Reporter as it was at the beginning, estimated at each
    token. A report after which nobody decided has no part in the reward, and teaches nothing: else
    what is said last drifts to whatever luck has praised. A term "truth" is left out of what the
    ``watch`` takes for judged.

    Raises BadInput where reward or loss is not finite (before the step is made; what was saved is
    still there), where the Planner's commands are none, and where the watch says so.
    """
    crew = ProcessGroup(network.device)
    own = crew.part(groups, "groups")
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, learning_rate, (0.9, 0.98), weight_decay=0.0)
    first = 0
    if resume is not None:
        first = resume.step
        unpack(resume, network, optimiser, parameters)
    network.eval()
    for step in range(first, steps):
        began = time.monotonic()
        start = RL_FIRST_SEED + (seed * 100_000 + step) * groups + crew.rank * own
        seeds = [start + g for g in range(own) for _ in range(members)]
        drawn = LearnedReporter(network, temperature, seed * 1_000_003 + step)
        recorder, film = ReportRecorder(drawn), ObservationRecorder()
        team = Team(DeduplicatingPlanner(planner), actor, recorder, max_turns, patience)
        episodes = team.play(worlds, seeds, film)
        reports = [recorder.reports[i] for i in range(len(seeds))]
        _check(episodes)
        each = {n: np.array(f(episodes, film, reports), float) for n, (_, f) in terms.items()}
        total = sum((w * each[n] for n, (w, _) in terms.items()), np.zeros(len(seeds)))
        if not np.isfinite(total).all():
            raise BadInput(f"a reward is not finite at step {step + 1}")
        table = total.reshape(own, members)
        others = (table.sum(1, keepdims=True) - table) / (members - 1)
        advantages = (table - others).reshape(-1)
        pairs = [
            (r, float(a))
            for episode, its, a in zip(episodes, reports, advantages, strict=True)
            for r in read(episode, its)
            if a
        ]
        rate = learning_rate_at(step, steps, learning_rate)
        for group in optimiser.param_groups:
            group["lr"] = rate
        rng = np.random.default_rng([seed, 4, step])
        loss, divergence = learn(
            network, reference, pairs, optimiser, parameters, rng, crew, kl, clip, epochs, batch
        )
        every = [r for its in reports for r in its]
        told = [r.matters for r in every if r.matters is not None]
        success = [float(bool(e.success)) for e in episodes]
        seen: list[Any] = [loss, np.mean(success), divergence]
        seen.append(np.mean([len(r.tokens) for r in every]))
        seen.append(np.mean([r.true for r in every]))
        seen.append(np.mean(told) if told else 0.0)
        loss, won, divergence, length, true, matters, *rewards = crew.means(
            [float(x) for x in (*seen, *(v.mean() for v in each.values()))]
        )
        progress = Progress(
            step + 1,
            loss,
            won,
            dict(zip(each, rewards, strict=True)),
            divergence,
            length,
            true,
            matters,
            crew.n * len(seeds) / (time.monotonic() - began),
        )
        on_progress(progress)
        save(partial(pack, step + 1, network, optimiser, parameters))
        judged = [progress.rewards[n] for n in terms if n != "truth"]
        if watch is not None and judged:
            watch.add(float(np.mean(judged)), progress.success)


def read(episode: Episode, reports: Sequence[ReportSample]) -> Sequence[ReportSample]:
    """Those of an episode's reports that the Planner read: all but that of its last command, unless
    something that was no command came after it."""
    unread = bool(episode.turns) and episode.turns[-1].command is not None
    return reports[: len(reports) - unread]


def _check(episodes: Sequence[Episode]) -> None:
    """Raise BadInput where an episode broke, or the Planner says nothing that is a command."""
    broken = [e.error for e in episodes if e.error is not None]
    if broken:
        raise BadInput(f"an episode of training broke: {broken[0].splitlines()[-1]}")
    turns = sum(len(e.turns) for e in episodes)
    unparsed = sum(e.unparsed for e in episodes)
    if turns and unparsed > MUTE * turns:
        raise BadInput(f"{unparsed} of the Planner's {turns} answers were no commands; try another")


def learn(
    network: ReporterNetwork,
    reference: ReporterNetwork,
    pairs: Sequence[tuple[ReportSample, float]],
    optimiser: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
    rng: np.random.Generator,
    crew: ProcessGroup,
    kl: float,
    clip: float,
    epochs: int,
    batch: int,
) -> tuple[float, float]:
    """Learn from reports and their advantages; the mean loss and divergence a token."""
    parts = [_Part(network, pairs[k : k + batch]) for k in range(0, len(pairs), batch)]
    with torch.no_grad():
        before = [(part.logs(network), part.logs(reference)) for part in parts]
    losses, divergences = [], []
    n = crew.most(len(parts))
    for _ in range(epochs):
        for k in rng.permutation(n):
            optimiser.zero_grad()
            if k >= len(parts):  # others have more
                go(optimiser, parameters, crew)
                continue
            part, (old, fixed) = parts[k], before[k]
            logs = part.logs(network)
            lengths = [len(x) for x in logs]
            new, old_, fixed_ = (torch.cat(x) for x in (logs, old, fixed))
            told = torch.tensor(part.advantages, device=new.device)
            advantage = told.repeat_interleave(torch.tensor(lengths, device=new.device))
            ratio = (new - old_).exp()
            gain = torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
            apart = fixed_ - new
            divergence = apart.exp() - apart - 1  # never negative (Schulman's third estimator)
            loss = (kl * divergence - gain).mean()
            if not torch.isfinite(loss):
                raise BadInput("the loss is not finite; try a lower learning rate")
            loss.backward()
            go(optimiser, parameters, crew)
            losses.append(loss.item())
            divergences.append(divergence.detach().mean().item())
    if not losses:  # all groups agreed
        return 0.0, 0.0
    return float(np.mean(losses)), float(np.mean(divergences))


class _Part:
    """Some reports to learn from. Where the vision encoder rests, each clip is looked at once."""

    def __init__(
        self, network: ReporterNetwork, pairs: Sequence[tuple[ReportSample, float]]
    ) -> None:
        self.advantages = [a for _, a in pairs]
        self._reports = [r for r, _ in pairs]
        self._clips = np.stack([r.clip for r in self._reports])
        self._seen: tuple[torch.Tensor, torch.Tensor] | None = None
        if network.encoder.rests:
            with torch.no_grad():
                self._seen = network.look(self._clips)

    def logs(self, network: ReporterNetwork) -> list[torch.Tensor]:
        """The log-probabilities of each report's tokens."""
        return network.log_likelihood(
            network.sum_up(*(self._seen or network.look(self._clips))),
            [r.prompt for r in self._reports],
            [r.tokens for r in self._reports],
        )


def truth(
    episodes: Sequence[Episode],
    film: ObservationRecorder,
    reports: Sequence[Sequence[ReportSample]],
) -> list[float]:
    """The reward that is true: 1 for success."""
    return [float(bool(e.success)) for e in episodes]
