"""The data of captioning: rollouts of random commands, each with one true sentence about it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from agents.actor import make_actor
from agents.dialogue import Dialogue
from agents.messages import Report
from agents.planner.registry import make_planner
from agents.protocols import Reporter
from agents.reporter.facts import RandomFactReporter
from agents.reporter.learned import clip_of
from agents.team import Team
from agents.trajectory import TrajectoryCallback
from envs import make_worlds
from envs.attributes import BESIDE_WALL, FLOOR, IN_CORNER, MARK, NEXT_TO
from envs.commands import Command
from envs.conditional import CONDITIONS
from envs.errors import BadInput
from envs.processes import processes
from envs.worlds import Worlds

FIRST_SEED = 2_500_000_000  # of training's episodes
FIRST_VALIDATION_SEED = 2_400_000_000
TURNS = 4
PATIENCE = (6, 64)  # steps that a command may take: some are not managed
DIED = "a worker died, perhaps for want of memory; try fewer --workers"


@dataclass(frozen=True)
class Caption:
    """A clip ``[8, 64, 64, 3] uint8``, what was commanded, and what is said of it."""

    clip: np.ndarray
    command: Command
    report: Report


class _CaptionRecorder(TrajectoryCallback):
    """Records a caption for each report: the clip of its rollout, the command, the text."""

    def __init__(self) -> None:
        super().__init__()
        self.captions: list[Caption] = []
        self._started: dict[int, int] = {}

    def on_report(self, i: int, dialogue: Dialogue) -> None:
        turn, now = dialogue.turns[-1], self.n_steps(i)
        if turn.command is not None:
            clip = clip_of(self, i, now - self._started.get(i, 0))
            self.captions.append(Caption(clip, turn.command, turn.report))
        self._started[i] = now


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
        """The captions of the rollouts of one episode for each seed.

        Args:
            reporter: Describes the rollouts.
            seeds: The seed of each episode.
            patience: The most low-level steps of a command.

        Raises:
            BadInput: Where an episode broke.
        """
        recorder = _CaptionRecorder()
        team = Team(self._planner, self._actor, reporter, TURNS, patience)
        for episode in team.play(self.worlds, seeds, recorder):
            if episode.error is not None:
                raise BadInput(f"an episode of training broke: {episode.error.splitlines()[-1]}")
        return recorder.captions

    def captions(self, seed: int, step: int, first: int, n: int) -> list[Caption]:
        """What a step of captioning learns from: ``n`` captions of the episodes from seed ``first``
        on."""
        rng = np.random.default_rng([seed, 3, step])
        patience = PATIENCE[int(rng.integers(4) > 0)]
        candidates = self.play(RandomFactReporter(), range(first, first + n), patience)
        return varied(candidates, n, rng)


def captions_ahead(
    practice: CaptionCollector,
    workers: int,
    seed: int,
    steps: range,
    first: Callable[[int], int],
    n: int,
) -> Iterator[list[Caption]]:
    """The captions that each step of captioning learns from.

    Args:
        practice: Plays the episodes where there are no workers.
        workers: Other processes that play what coming steps need; the captions are the same.
        seed: The run's seed.
        steps: The steps to make captions for.
        first: A step's first seed.
        n: Captions in a step.

    Raises:
        BadInput: An episode broke, or a worker died.
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


def varied(captions: Sequence[Caption], n: int, rng: np.random.Generator) -> list[Caption]:
    """``n`` of the captions in an order that ``rng`` draws, alternately about marks, floors, places
    and anything else, so that rare facts are frequent in training."""
    kinds: list[list[Caption]] = [[], [], [], []]
    for k in rng.permutation(len(captions)):
        kinds[_kind(captions[k].report)].append(captions[k])
    turns = zip_longest(*kinds)
    return [c for turn in turns for c in turn if c is not None][:n]


def _kind(report: Report) -> int:
    """0 for a report of a mark, 1 of a floor, 2 of a place, 3 of anything else."""
    predicates = {f.predicate for f in report.facts}
    if MARK in predicates:
        return 0
    if FLOOR in predicates:
        return 1
    placed = any(c.verb == "put" for c in (*report.done, *report.not_managed))
    return 2 if placed or predicates & {BESIDE_WALL, IN_CORNER, NEXT_TO} else 3
