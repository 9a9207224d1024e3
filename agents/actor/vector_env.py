"""Vector environments of commands, for training the Actor and for measuring it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from agents.actor import map_memory
from agents.actor.map_memory import OBSERVATION_SIZE, new_map_memory, new_workspace
from envs.batched import Engine, Pool, Rooms
from envs.batched.compiled import jit
from envs.batched.rules import COMMAND, COMMAND_ALONE
from envs.worlds import VIEW


@jit()
def _after_step(
    memory, workspace, actions, images, last_images, words, layout, over, out, last_out, low, high
):
    """Update the map memories of worlds ``low`` to ``high - 1`` after a step.

    Where an episode is over, the next begins, and ``last_out`` gets the observation at the end of
    the last one. A negative action begins an episode without such an end.
    """
    view = images.shape[1]
    for w in range(low, high):
        if over[w]:
            if actions[w] >= 0:
                map_memory.step_one(memory, w, actions[w], last_images[w])
                map_memory.observe_one(memory, w, workspace, view, last_out[w])
            memory.words[w] = words[layout[w]]
            map_memory.begin_one(memory, w, images[w])
        else:
            map_memory.step_one(memory, w, actions[w], images[w])
        map_memory.observe_one(memory, w, workspace, view, out[w])


@jit(parallel=True)
def _after_step_parallel(
    memory, workspaces, actions, images, last_images, words, layout, over, out, last_out, threads
):
    """``_after_step`` for all worlds, divided among threads."""
    n = len(actions)
    for t in numba.prange(threads):
        _after_step(
            memory,
            map_memory.workspace_of(workspaces, t),
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
    """N commands from one task source, each with its Actor's map memory.

    An episode that ends begins anew in the same step. ``engine`` holds the worlds. Both arrays of
    observations are overwritten by each step: ``observations [N, OBSERVATION_SIZE] uint8`` has the
    current ones, ``last_observations`` (same shape) the last ones of the episodes that ended in
    the last step.

    Args:
        source: Where the worlds and their commands come from.
        n: The number of worlds.
        seed: Seeds the engine's random generators.
        observations: The array to write observations to; None makes one.
        last_observations: The array to write last observations to; None makes one.
        threads: The number of threads. Results do not depend on it.
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
        self.memory = new_map_memory(n)
        self.workspace = new_workspace()
        self._workspaces = new_workspace(self.threads)
        empty = np.zeros((2, n, OBSERVATION_SIZE), np.uint8)
        self.observations = empty[0] if observations is None else observations
        self.last_observations = empty[1] if last_observations is None else last_observations

    def __len__(self) -> int:
        return self.engine.n

    def reset(self) -> None:
        """Begin a new episode in every world."""
        self.engine.reset()
        self.reset_memory()

    def reset_memory(self) -> None:
        """Clear all map memories and enter the first view of each episode."""
        self._observe(np.full(len(self), -1), np.ones(len(self), bool))

    def step(self, actions: np.ndarray) -> np.ndarray:
        """Step all worlds.

        Args:
            actions: MiniGrid's actions, ``[N] int64``.

        Returns:
            Which episodes ended, ``[N] bool``.
        """
        self.engine.step(actions)
        over = self.engine.terminated | self.engine.truncated
        self._observe(actions, over)
        return over

    def observe(self, actions: np.ndarray, active: np.ndarray) -> None:
        """Update the map memories and observations of the ``active [N] bool`` worlds after the
        engine, without ``autoreset``, has taken ``actions [N] int64``."""
        for w in map(int, np.flatnonzero(active)):
            map_memory.step_one(self.memory, w, actions[w], self.engine.images[w])
            map_memory.observe_one(self.memory, w, self.workspace, VIEW, self.observations[w])

    def _observe(self, actions: np.ndarray, over: np.ndarray) -> None:
        state = self.engine.state
        arguments = (
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
            _after_step(self.memory, self.workspace, *arguments, 0, len(self))
        else:
            numba.set_num_threads(self.threads)
            _after_step_parallel(self.memory, self._workspaces, *arguments, self.threads)


class MultiTaskVectorEnv:
    """Vector environments of several task sources, stepped as one batch of N worlds.

    Each of ``vector_envs`` owns the rows of the batch in ``slices``. ``observations`` and
    ``last_observations`` are as in ``CommandVectorEnv``. ``success [N] bool``, ``truncated [N]
    bool`` (by the step limit alone) and ``lengths [N] int64`` (in steps) hold for the episodes
    that ended in the last step.

    Args:
        sources: The task sources, each with its number of worlds.
        seed: Source k gets the seed ``seed + k``.
        threads: The number of threads. Results do not depend on it.
    """

    def __init__(
        self, sources: Sequence[tuple[Pool | Rooms, int]], seed: int, threads: int = 1
    ) -> None:
        self.n = sum(n for _, n in sources)
        self.observations = np.zeros((self.n, OBSERVATION_SIZE), np.uint8)
        self.last_observations = np.zeros_like(self.observations)
        self.vector_envs: list[CommandVectorEnv] = []
        self.slices: list[slice] = []
        first = 0
        for k, (source, n) in enumerate(sources):
            rows = slice(first, first + n)
            self.vector_envs.append(
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
        """Begin a new episode in every world."""
        for env in self.vector_envs:
            env.reset()

    def step(self, actions: np.ndarray) -> np.ndarray:
        """Step all worlds.

        Args:
            actions: MiniGrid's actions, ``[N] int64``.

        Returns:
            Which episodes ended, ``[N] bool``.
        """
        over = np.zeros(self.n, bool)
        for env, rows in zip(self.vector_envs, self.slices, strict=True):
            over[rows] = env.step(actions[rows])
            engine = env.engine
            self.success[rows] = engine.success
            self.truncated[rows] = engine.truncated & ~engine.terminated
            self.lengths[rows] = engine.last_steps
        return over

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays that change from step to step, by name, for checkpoints: views, not copies."""
        named: dict[str, np.ndarray] = {"observations": self.observations}
        for k, env in enumerate(self.vector_envs):
            # The names are part of the checkpoints on disk.
            parts: dict[str, Any] = {"state": env.engine.state, "senses": env.memory}
            if isinstance(env.engine.source, Rooms):
                parts["layouts"] = env.engine.layouts
            for part, arrays in parts.items():
                named |= {f"{k}.{part}.{name}": a for name, a in arrays._asdict().items()}
        return named


@dataclass(frozen=True)
class CommandScore:
    """How a policy did on ``n`` commands.

    Attributes:
        n: The number of commands.
        carried_out: How many were carried out within the episode's steps.
        said_done: How many were carried out and ended by ``done`` at most 3 steps after the
            command was fulfilled; None where episodes end without ``done``.
        mean_steps: The mean number of steps of those carried out, NaN where there are none.
    """

    n: int
    carried_out: int
    done_on_time: int | None
    mean_steps: float


def measure(
    policy: Callable[[np.ndarray], np.ndarray], source: Pool | Rooms, n: int, seed: int
) -> CommandScore:
    """Score a policy on ``n`` commands, each in an episode of its own.

    Args:
        policy: Maps observations ``[N, OBSERVATION_SIZE] uint8`` to actions ``[N]``.
        source: The commands. Layouts of a pool are taken in turn from the first, so a pool of
            ``n`` gives each of them once.
        n: The number of commands.
        seed: Seeds the engine's random generators.
    """
    env = CommandVectorEnv(source, n, seed)
    engine = env.engine
    env.reset()
    if isinstance(source, Pool):
        engine.place(np.arange(n) % len(source))
        env.reset_memory()
    needs_done = np.isin(engine.layouts.rule[engine.state.layout], (COMMAND, COMMAND_ALONE))
    engine.autoreset = False
    active = np.ones(n, bool)
    carried_out = np.zeros(n, bool)
    done_since = np.full(n, -1)
    on_time = np.zeros(n, bool)
    steps = np.zeros(n)
    while active.any():
        actions = np.asarray(policy(env.observations), np.int64)
        engine.step(actions, active)
        env.observe(actions, active)
        done = engine.state.command_done.astype(bool) & active
        done_since[done & (done_since < 0)] = engine.steps[done & (done_since < 0)]
        done_since[~done & active] = -1
        ended = active & (engine.terminated | engine.truncated)
        carried_out |= ended & engine.success
        steps[ended] = engine.steps[ended]
        # The step that says so comes after the step that did it.
        on_time |= ended & engine.success & (engine.steps - done_since <= 3)
        active &= ~ended
    return CommandScore(
        n,
        int(carried_out.sum()),
        int(on_time.sum()) if needs_done.all() else None,
        float(steps[carried_out].mean()) if carried_out.any() else float("nan"),
    )
