"""Many command tasks at once, for training and for measuring the Actor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from agents.actor import map_memory as sense
from agents.actor.map_memory import OBSERVATION_SIZE, new_scratch, new_senses
from envs.batched import Engine, Pool, Rooms
from envs.batched.rules import COMMAND, COMMAND_ALONE
from envs.worlds import VIEW


@numba.njit(cache=True)
def _after_step(
    senses, scratch, actions, images, last_images, words, layout, over, out, last_out, low, high
):
    """Actors ``low`` to ``high`` see what came of ``actions``. Where an episode is over, the next
    begins, and ``last_out`` gets what they went by at its end, where there was one to see."""
    view = images.shape[1]
    for w in range(low, high):
        if over[w]:
            if actions[w] >= 0:
                sense.step_one(senses, w, actions[w], last_images[w])
                sense.observe_one(senses, w, scratch, view, last_out[w])
            senses.words[w] = words[layout[w]]
            sense.begin_one(senses, w, images[w])
        else:
            sense.step_one(senses, w, actions[w], images[w])
        sense.observe_one(senses, w, scratch, view, out[w])


@numba.njit(parallel=True, cache=True)
def _after_step_parallel(
    senses, rooms, actions, images, last_images, words, layout, over, out, last_out, threads
):
    """``_after_step`` for all Actors, shared out among threads."""
    n = len(actions)
    for t in numba.prange(threads):
        _after_step(
            senses,
            sense.scratch_of(rooms, t),
            actions,
            images,
            last_images,
            words,
            layout,
            over,
            out,
            last_out,
            n * t // threads,
            n * (t + 1) // threads,
        )


class CommandVectorEnv:
    """N command tasks of one source, with the senses of N Actors; ended ones begin anew.

    ``observations [N, OBSERVATION_SIZE] uint8`` is what the Actors go by now, and
    ``last_observations`` what those went by whose episode ended in the last step; both are
    overwritten by each step. ``engine`` holds the truth. Results do not depend on ``threads``.
    """

    def __init__(
        self,
        source: Pool | Rooms,
        n: int,
        seed: int,
        observations: np.ndarray | None = None,
        last_observations: np.ndarray | None = None,
        threads: int = 1,
    ) -> None:
        self.engine = Engine(source, n, seed=seed, view=VIEW, threads=threads)
        self.threads = min(threads, n)
        self.senses = new_senses(n)
        self.scratch = new_scratch()
        self._rooms = new_scratch(self.threads)
        empty = np.zeros((2, n, OBSERVATION_SIZE), np.uint8)
        self.observations = empty[0] if observations is None else observations
        self.last_observations = empty[1] if last_observations is None else last_observations

    def __len__(self) -> int:
        return self.engine.n

    def reset(self) -> None:
        """Begin all tasks anew."""
        self.engine.reset()
        self.look_anew()

    def look_anew(self) -> None:
        """All Actors forget what they knew and see the first view of their episodes."""
        self._observe(np.full(len(self), -1), np.ones(len(self), bool))

    def step(self, actions: np.ndarray) -> np.ndarray:
        """Take ``actions [N] int64``; gives which episodes ended, ``[N] bool``."""
        self.engine.step(actions)
        over = self.engine.terminated | self.engine.truncated
        self._observe(actions, over)
        return over

    def follow(self, actions: np.ndarray, going: np.ndarray) -> None:
        """The Actors of the worlds that are ``going [N] bool`` see what came of ``actions``, which
        the engine has taken without beginning anything anew."""
        for w in map(int, np.flatnonzero(going)):
            sense.step_one(self.senses, w, actions[w], self.engine.images[w])
            sense.observe_one(self.senses, w, self.scratch, VIEW, self.observations[w])

    def _observe(self, actions: np.ndarray, over: np.ndarray) -> None:
        state = self.engine.state
        seen = (
            actions,
            state.images,
            state.last_images,
            self.engine.layouts.command,
            state.layout,
            over,
            self.observations,
            self.last_observations,
        )
        if self.threads == 1:
            _after_step(self.senses, self.scratch, *seen, 0, len(self))
        else:
            numba.set_num_threads(self.threads)
            _after_step_parallel(self.senses, self._rooms, *seen, self.threads)


class MultiTaskVectorEnv:
    """Several grounds practised on at once, as one batch of N command tasks.

    ``success``, ``truncated`` and ``lengths`` are of the episodes that ended in the last step.
    """

    def __init__(
        self, sources: Sequence[tuple[Pool | Rooms, int]], seed: int, threads: int = 1
    ) -> None:
        self.n = sum(n for _, n in sources)
        self.observations = np.zeros((self.n, OBSERVATION_SIZE), np.uint8)
        self.last_observations = np.zeros_like(self.observations)
        self.grounds: list[CommandVectorEnv] = []
        self.slices: list[slice] = []
        first = 0
        for k, (source, n) in enumerate(sources):
            rows = slice(first, first + n)
            self.grounds.append(
                CommandVectorEnv(
                    source,
                    n,
                    seed + k,
                    self.observations[rows],
                    self.last_observations[rows],
                    threads,
                )
            )
            self.slices.append(rows)
            first += n
        self.success = np.zeros(self.n, bool)
        self.truncated = np.zeros(self.n, bool)
        self.lengths = np.zeros(self.n, np.int64)

    def reset(self) -> None:
        """Begin all tasks anew."""
        for ground in self.grounds:
            ground.reset()

    def step(self, actions: np.ndarray) -> np.ndarray:
        """Take ``actions [N] int64``; gives which episodes ended, ``[N] bool``."""
        over = np.zeros(self.n, bool)
        for ground, rows in zip(self.grounds, self.slices, strict=True):
            over[rows] = ground.step(actions[rows])
            engine = ground.engine
            self.success[rows] = engine.success
            self.truncated[rows] = engine.truncated & ~engine.terminated
            self.lengths[rows] = engine.last_steps
        return over

    def arrays(self) -> dict[str, np.ndarray]:
        """All that changes from step to step, by name, for checkpoints; views, not copies."""
        found: dict[str, np.ndarray] = {"observations": self.observations}
        for k, ground in enumerate(self.grounds):
            parts: dict[str, Any] = {"state": ground.engine.state, "senses": ground.senses}
            if isinstance(ground.engine.source, Rooms):
                parts["layouts"] = ground.engine.layouts
            for part, arrays in parts.items():
                found |= {f"{k}.{part}.{name}": a for name, a in arrays._asdict().items()}
        return found


@dataclass(frozen=True)
class CommandScore:
    """Of ``n`` commands: how many were carried out within the episode's steps, how many ended
    with ``done`` said within 3 steps of the command being done and not before (None where the
    episode ends by itself), and the mean number of steps of those carried out."""

    n: int
    carried_out: int
    said_done: int | None
    mean_steps: float


def measure(
    policy: Callable[[np.ndarray], np.ndarray], source: Pool | Rooms, n: int, seed: int
) -> CommandScore:
    """Give a policy ``n`` commands, each in an episode of its own, and count.

    ``policy`` takes observations ``[N, OBSERVATION_SIZE] uint8`` and gives actions ``[N]``. The
    layouts of a pool are taken in turn from the first, so a pool of ``n`` is used up exactly.
    """
    practice = CommandVectorEnv(source, n, seed)
    engine = practice.engine
    practice.reset()
    if isinstance(source, Pool):
        engine.place(np.arange(n) % len(source))
        practice.look_anew()
    asks = np.isin(engine.layouts.rule[engine.state.layout], (COMMAND, COMMAND_ALONE))
    engine.autoreset = False
    going = np.ones(n, bool)
    carried_out = np.zeros(n, bool)
    done_since = np.full(n, -1)
    on_time = np.zeros(n, bool)
    steps = np.zeros(n)
    while going.any():
        actions = np.asarray(policy(practice.observations), np.int64)
        engine.step(actions, going)
        practice.follow(actions, going)
        done = engine.state.command_done.astype(bool) & going
        done_since[done & (done_since < 0)] = engine.steps[done & (done_since < 0)]
        done_since[~done & going] = -1
        ended = going & (engine.terminated | engine.truncated)
        carried_out |= ended & engine.success
        steps[ended] = engine.steps[ended]
        # The step that says so comes after the step that did it.
        on_time |= ended & engine.success & (engine.steps - done_since <= 3)
        going &= ~ended
    return CommandScore(
        n,
        int(carried_out.sum()),
        int(on_time.sum()) if asks.all() else None,
        float(steps[carried_out].mean()) if carried_out.any() else float("nan"),
    )
