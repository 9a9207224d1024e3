"""Practice: many command tasks at once, for training and for measuring the Actor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, product

import gymnasium as gym
import numpy as np

from agents.actor.network import ActorEyes
from agents.parts import Actor
from envs.command import CommandTask
from envs.worlds import Worlds


@dataclass(frozen=True)
class Ground:
    """What kind of rooms and commands to practise on."""

    items: str = "train"
    n_items: tuple[int, ...] = (3, 4, 5, 6, 8)
    room_sizes: tuple[int, ...] = (6, 8, 8, 10)
    verbs: tuple[str, ...] = ("go to", "examine", "pick up")
    max_steps: int = 64

    def worlds(self, n: int) -> Worlds:
        """``n`` worlds that share out the sizes and numbers of items."""
        kinds = cycle(product(self.room_sizes, self.n_items))
        return Worlds(
            [
                gym.make(
                    "Parley/Command-v0",
                    items=self.items,
                    n_items=n_items,
                    room_size=room_size,
                    verbs=self.verbs,
                    max_steps=self.max_steps,
                    disable_env_checker=True,
                )
                for _, (room_size, n_items) in zip(range(n), kinds, strict=False)
            ]
        )


class Practice:
    """N command tasks stepped together; one that ends begins anew with the next seed."""

    def __init__(self, ground: Ground, n: int, seed: int) -> None:
        self.worlds = ground.worlds(n)
        self.eyes = ActorEyes(n)
        self.everyone = np.arange(n)
        self._next_seed = seed

    def __len__(self) -> int:
        return len(self.worlds)

    def task(self, i: int) -> CommandTask:
        """The bare task i: the command and the truth of whether it is done."""
        task = self.worlds.world(i)
        assert isinstance(task, CommandTask)
        return task

    def reset(self, who: Sequence[int] | np.ndarray) -> None:
        """Begin the tasks ``who [K]`` anew."""
        for i in who:
            self.worlds.reset(int(i), self._next_seed)
            self._next_seed += 1
            self.eyes.command(int(i), self.task(int(i)).command)
        who = np.asarray(who)
        self.eyes.reset(who, self.worlds.images[who])

    def observe(self) -> np.ndarray:
        """``[N, OBSERVATION_SIZE] uint8``"""
        return self.eyes.observe(self.everyone)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Take ``actions [N]``; gives success, over and truncated, each ``[N] bool``.

        The tasks that are over still show their last state: see it with ``observe``, then
        ``reset`` them.
        """
        self.worlds.step(actions, np.ones(len(self), bool))
        self.eyes.step(self.everyone, actions, self.worlds.images)
        worlds = self.worlds
        return worlds.success.copy(), worlds.over.copy(), worlds.truncated.copy()


@dataclass(frozen=True)
class Score:
    """Of ``n`` commands: how many were carried out within the step budget, how many ended with
    ``done`` said when it was true, and the mean number of steps of those carried out."""

    n: int
    carried_out: int
    said_done: int
    mean_steps: float


def measure(actor: Actor, ground: Ground, n: int, seed: int, batch: int = 64) -> Score:
    """Give the Actor ``n`` commands, episode i seeded ``seed + i``, and count."""
    worlds = ground.worlds(batch)
    carried_out, said, steps = 0, 0, []
    for first in range(0, n, batch):
        size = min(batch, n - first)
        for i in range(len(worlds)):
            worlds.reset(i, seed + first + i)
        actor.begin(worlds)
        tasks = [worlds.world(i) for i in range(size)]
        commands = [t.command for t in tasks if isinstance(t, CommandTask)]
        padded = [*commands, *[None] * (len(worlds) - size)]
        for rollout in actor.execute(worlds, padded, ground.max_steps):
            if rollout is not None and rollout.done:
                carried_out += 1
                said += rollout.ended in ("done", "episode")
                steps.append(rollout.steps)
    return Score(n, carried_out, said, float(np.mean(steps)) if steps else float("nan"))
