"""Training of the learned Reporter: first it learns to see and to speak, by captioning.

It is told true sentences about what can be seen of a rollout, whatever they are, so that it speaks
the truth afterwards but does not know what matters to the Planner. Every step draws from its own
seed, so that training goes on after a checkpoint exactly as it would have gone on without one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from agents.actor import make_actor
from agents.dialogue import Dialogue
from agents.observation_recorder import ObservationRecorder
from agents.planner.registry import make_planner
from agents.protocols import Reporter
from agents.reporter.facts import RandomFactReporter, TruthChecker
from agents.reporter.learned import LearnedReporter, clip_of
from agents.reporter.network import WEIGHTS, ReporterNetwork
from agents.team import Team
from envs import make_worlds
from envs.commands import Command
from envs.conditional import CONDITIONS
from envs.errors import BadInput
from envs.processes import processes
from envs.worlds import Worlds
from models.training.process_group import ProcessGroup
from models.training.schedules import learning_rate_at

FIRST_SEED = 2_500_000_000  # of training's episodes
FIRST_VALIDATION_SEED = 2_400_000_000
TURNS = 4
PATIENCE = (6, 64)  # steps that a command may take: some are not managed
DIED = "a worker died, perhaps for want of memory; try fewer --workers"


@dataclass(frozen=True)
class Progress:
    """Where training stands, told after each step; ``loss`` is the mean of the tokens'."""

    step: int
    loss: float


@dataclass
class Checkpoint:
    """All that training needs to go on: tensors by name, and how many steps it has made."""

    step: int
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Caption:
    """A clip ``[8, 64, 64, 3] uint8``, what was commanded, and what is said of it."""

    clip: np.ndarray
    command: Command
    report: str


class _Notes(ObservationRecorder):
    """Takes down clips and what was said of them."""

    def __init__(self) -> None:
        super().__init__()
        self.captions: list[Caption] = []
        self._started: dict[int, int] = {}

    def on_report(self, i: int, dialogue: Dialogue) -> None:
        turn, last = dialogue.turns[-1], len(self.views[i]) - 1
        if turn.command is not None:
            clip = clip_of(self, i, last - self._started.get(i, 0))
            self.captions.append(Caption(clip, turn.command, turn.report))
        self._started[i] = last


class CaptionCollector:
    """Episodes of visual tasks in which commands are given at random. ``n`` is the most at once.

    A third of the worlds have marks and a third floors: elsewhere both are so seldom that their
    colours are confused.
    """

    def __init__(self, n: int, actor: str = "scripted", items: str = "train") -> None:
        self.made_of = (n, actor, items)
        kinds = (CONDITIONS, ("mark",), ("floor",))
        envs = [
            env
            for k in range(n)
            for env in make_worlds(
                "visual-conditional", 1, items=items, conditions=kinds[k % len(kinds)]
            ).envs
        ]
        self.worlds = Worlds(envs)
        self._planner = make_planner("random")
        self._actor = make_actor(actor)

    def play(self, reporter: Reporter, seeds: Sequence[int], patience: int) -> list[Caption]:
        """What was said of the rollouts of one episode for each seed.

        Raises BadInput where an episode broke.
        """
        notes = _Notes()
        team = Team(self._planner, self._actor, reporter, TURNS, patience)
        for episode in team.play(self.worlds, seeds, notes):
            if episode.error is not None:
                raise BadInput(f"an episode of training broke: {episode.error.splitlines()[-1]}")
        return notes.captions

    def captions(self, seed: int, step: int, first: int, n: int) -> list[Caption]:
        """What a step of captioning learns from: ``n`` captions of the episodes from seed ``first``
        on."""
        rng = np.random.default_rng([seed, 3, step])
        patience = PATIENCE[int(rng.integers(4) > 0)]
        told = self.play(RandomFactReporter(), range(first, first + n), patience)
        return varied(told, n, rng)


def captions_ahead(
    practice: CaptionCollector,
    workers: int,
    seed: int,
    steps: range,
    first: Callable[[int], int],
    n: int,
) -> Iterator[list[Caption]]:
    """What each step of captioning learns from; ``first`` gives a step's first seed.

    ``workers`` other processes play what coming steps need, or, where there are none, this process
    each step's; either way it is the same. Raises BadInput where an episode broke or a worker died.
    """
    if not workers:
        for step in steps:
            yield practice.captions(seed, step, first(step), n)
        return
    with ProcessPoolExecutor(workers, processes(__name__), _open, practice.made_of) as pool:
        coming: deque[Future[list[Caption]]] = deque()
        try:
            for step in steps:
                coming.append(pool.submit(_captions, seed, step, first(step), n))
                if len(coming) > 2 * workers:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()
        except BrokenProcessPool as error:
            raise BadInput(DIED) from error


_practice: CaptionCollector | None = None  # a worker's own


def _open(n: int, actor: str, items: str) -> None:
    global _practice
    _practice = CaptionCollector(n, actor, items)


def _captions(seed: int, step: int, first: int, n: int) -> list[Caption]:
    assert _practice is not None
    return _practice.captions(seed, step, first, n)


def caption(
    network: ReporterNetwork,
    practice: CaptionCollector,
    *,
    steps: int,
    batch: int = 32,
    learning_rate: float = 1e-3,
    vision_rate: float = 1.0,
    seed: int = 0,
    workers: int = 0,
    on_progress: Callable[[Progress], None] = lambda p: None,
    save: Callable[[Callable[[], Checkpoint]], None] = lambda make: None,
    resume: Checkpoint | None = None,
) -> None:
    """Learn from ``batch`` captions a step, of which each of several processes makes its share.
    The vision encoder learns ``vision_rate`` times as fast as all else. ``workers`` are processes
    that play ahead. Raises BadInput where the loss is not finite."""
    crew = ProcessGroup(network.device)
    own = crew.part(batch, "captions a step")
    looking = {id(p) for p in network.encoder.looking()}
    parameters = [p for p in network.parameters() if p.requires_grad]
    rates = {
        vision_rate: [p for p in parameters if id(p) in looking],
        1.0: [p for p in parameters if id(p) not in looking or vision_rate == 1.0],
    }
    groups = [{"params": its, "rate": rate} for rate, its in rates.items() if its]
    optimiser = torch.optim.AdamW(groups, learning_rate, (0.9, 0.98), weight_decay=0.01)

    def start(step: int) -> int:
        return FIRST_SEED + (seed * 1_000_000 + step) * batch + crew.rank * own

    def losses(which: range) -> Iterator[torch.Tensor]:
        for some in captions_ahead(practice, workers, seed, which, start, own):
            media = network.see(np.stack([c.clip for c in some]))
            logs = network.log_likelihood(
                media,
                [network.prompt(c.command) for c in some],
                [network.sentence(c.report) for c in some],
            )
            yield -torch.cat(logs).mean()

    network.train()
    descend(
        network,
        losses,
        optimiser,
        parameters,
        crew,
        steps=steps,
        learning_rate=learning_rate,
        on_progress=on_progress,
        save=save,
        resume=resume,
    )
    network.eval()


def descend(
    module: nn.Module,
    losses: Callable[[range], Iterator[torch.Tensor]],
    optimiser: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
    crew: ProcessGroup,
    *,
    steps: int,
    learning_rate: float,
    on_progress: Callable[[Progress], None],
    save: Callable[[Callable[[], Checkpoint]], None],
    resume: Checkpoint | None,
) -> None:
    """Make ``steps`` steps of training, or those that are left after ``resume``, of which
    ``losses`` gives each one's loss when the one before is made. A group of the optimiser learns
    ``rate`` times as fast as ``learning_rate`` says, where it has one. Raises BadInput where a loss
    is not finite."""
    first = 0
    if resume is not None:
        first = resume.step
        unpack(resume, module, optimiser, parameters)
    for step, loss in enumerate(losses(range(first, steps)), first):
        if not torch.isfinite(loss):
            raise BadInput(f"the loss is not finite at step {step + 1}; try a lower learning rate")
        for group in optimiser.param_groups:
            group["lr"] = group.get("rate", 1.0) * learning_rate_at(step, steps, learning_rate)
        optimiser.zero_grad()
        loss.backward()
        go(optimiser, parameters, crew)
        on_progress(Progress(step + 1, *crew.means([loss.item()])))
        save(partial(pack, step + 1, module, optimiser, parameters))


def go(
    optimiser: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], crew: ProcessGroup
) -> None:
    """Make a step, with the gradients of all processes."""
    crew.share_gradients(parameters)
    nn.utils.clip_grad_norm_(parameters, 1.0)
    optimiser.step()


def varied(told: Sequence[Caption], n: int, rng: np.random.Generator) -> list[Caption]:
    """``n`` of the captions, in turn of marks, of floors, of where things lie, and of all else, so
    that what is seldom seen is often told."""
    kinds: list[list[Caption]] = [[], [], [], []]
    for k in rng.permutation(len(told)):
        words = ((" mark",), (" floor",), ("beside", "corner", "next to"), ("",))
        report = told[k].report
        kinds[next(i for i, w in enumerate(words) if any(x in report for x in w))].append(told[k])
    turns = zip_longest(*kinds)
    return [c for turn in turns for c in turn if c is not None][:n]


def share_true(network: ReporterNetwork, practice: CaptionCollector, episodes: int) -> float:
    """How many of its likeliest reports are true, on episodes that training never plays."""
    was = network.training
    network.eval()
    checked = TruthChecker(LearnedReporter(network))
    n = len(practice.worlds)
    for first in range(0, episodes, n):
        seeds = range(FIRST_VALIDATION_SEED + first, FIRST_VALIDATION_SEED + first + n)
        practice.play(checked, seeds[: episodes - first], PATIENCE[int((first // n) % 4 > 0)])
    network.train(was)
    return float(np.mean(checked.true))


def start_from(network: ReporterNetwork, folder: Path) -> None:
    """Take the weights of a Reporter that is built alike, or the vision encoder of any other and
    of a success detector. Raises BadInput where that does not fit."""
    try:
        tensors = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise BadInput(f"the weights in '{folder}' cannot be read: {error}") from error
    mine = network.state_dict()

    def fits(names: Sequence[str]) -> bool:
        return all(n in tensors and tensors[n].shape == mine[n].shape for n in names)

    taken = list(mine) if fits(list(mine)) else [n for n in mine if n.startswith("encoder.")]
    if not fits(taken):
        raise BadInput(f"the vision encoder in '{folder}' has another size")
    network.load_state_dict({**mine, **{n: tensors[n].float() for n in taken}})


def pack(
    step: int,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
) -> Checkpoint:
    """All that training needs to go on after ``step`` steps."""
    tensors = {f"model.{n}": t.detach().clone() for n, t in network.state_dict().items()}
    for k, p in enumerate(parameters):
        for name, value in optimiser.state[p].items():
            tensors[f"optimiser.{k}.{name}"] = torch.as_tensor(value).detach().clone()
    return Checkpoint(step, tensors)


def unpack(
    saved: Checkpoint,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
) -> None:
    """Take up what `pack` has put away."""
    model: dict[str, Any] = {}
    memory: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in saved.tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "model":
            model[rest] = tensor
        elif kind == "optimiser":
            k, _, what = rest.partition(".")
            memory.setdefault(int(k), {})[what] = tensor
    network.load_state_dict(model)
    for number, its in memory.items():
        optimiser.state[parameters[number]] = its
