"""A batch of worlds stepped together: the interface for the loop, the Actors and the oracles."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from minigrid.minigrid_env import MiniGridEnv

from envs.commands import VERBS, Command, CommandWatch
from envs.events import Event, EventWatch
from envs.places import Places
from envs.states import WorldState, state_of

VIEW = 7  # cells a side of what an agent sees, in our worlds and BabyAI's


class Worlds:
    """N MiniGrid worlds, ours or any other, with one interface.

    Worlds whose episode is over do not step.

    Attributes:
        images: What the agents see, ``[N, view, view, 3] uint8``.
        directions: The agents' directions, ``[N] int64``.
        tasks: The N task sentences.
        events: The N worlds' events of the last step.
        over: Whether each episode is over, ``[N] bool``; so are the next two.
        truncated: Whether it was cut off by the step limit.
        success: Whether it ended in success.
        steps: Steps since the episode began, ``[N] int64``.
        last_actions: The actions of the last step, ``[N] int64``.
        done: Whether the command given to `watch` is done, ``[N] bool``.
    """

    def __init__(self, envs: Sequence[gym.Env]) -> None:
        self.envs = list(envs)
        n = len(self.envs)
        view = self._bare(0).agent_view_size
        self.images = np.zeros((n, view, view, 3), np.uint8)
        self.directions = np.zeros(n, np.int64)
        self.tasks = [""] * n
        self.events: list[tuple[Event, ...]] = [()] * n
        self.over = np.ones(n, bool)
        self.truncated = np.zeros(n, bool)
        self.success = np.zeros(n, bool)
        self.steps = np.zeros(n, np.int64)
        self.last_actions = np.zeros(n, np.int64)
        self.done = np.zeros(n, bool)
        self._places: dict[int, Places] = {}
        self._watches: list[CommandWatch | None] = [None] * n

    def __len__(self) -> int:
        return len(self.envs)

    def world(self, i: int) -> MiniGridEnv:
        """The bare world i: hidden state, for oracles, scoring and pictures only."""
        return self._bare(i)

    def _bare(self, i: int) -> MiniGridEnv:
        bare = self.envs[i].unwrapped
        assert isinstance(bare, MiniGridEnv)
        return bare

    def verbs(self, i: int) -> tuple[str, ...]:
        """The verbs that make sense in world i. This is public: the Planner sees them."""
        return getattr(self._bare(i), "verbs", tuple(v for v in VERBS if v != "examine"))

    def judged(self, i: int) -> bool:
        """Whether world i can tell success from failure (a free instruction cannot)."""
        return getattr(self._bare(i), "judged", True)

    def places(self, i: int) -> Places:
        """Where things were when the episode of world i began: hidden state, for oracles and
        scoring."""
        return self._places[i]

    def watch(self, i: int, command: Command) -> None:
        """Track a command in world i, instead of the previous one: from now on ``done[i]`` says
        whether it is done, until world i is reset."""
        self._watches[i] = CommandWatch(command, self.places(i))
        self.done[i] = False

    def reset(self, i: int, seed: int) -> None:
        """Begin a new episode in world i with this seed."""
        # BabyAI's level generator prints every layout that it rejects.
        with contextlib.redirect_stdout(io.StringIO()):
            obs, _ = self.envs[i].reset(seed=seed)
        self._observe(i, obs)
        self._begin(i)
        self._watches[i] = None
        self.events[i] = ()
        self.over[i] = self.truncated[i] = self.success[i] = self.done[i] = False
        self.steps[i] = 0

    def step(self, actions: np.ndarray, active: np.ndarray) -> None:
        """Step the active worlds.

        Args:
            actions: MiniGrid's actions, ``[N] int``.
            active: Which worlds take their action, ``[N] bool``.

        Raises:
            ValueError: MiniGrid has no such action.
        """
        for i in map(int, np.flatnonzero(active & ~self.over)):
            world = self._bare(i)
            seen = EventWatch(world)
            action = int(actions[i])
            obs, reward, terminated, truncated, info = self.envs[i].step(action)
            self._observe(i, obs)
            self.events[i] = info["events"] if "events" in info else seen.events(world, action)
            self.success[i] = info.get("success", bool(terminated and float(reward) > 0))
            self.truncated[i] = truncated and not terminated
            self.over[i] = terminated or truncated
            self.steps[i] += 1
            self.last_actions[i] = action
            watch = self._watches[i]
            if watch is not None:
                self.done[i] = watch.update(world, self.events[i])

    def states(self, which: Sequence[int], *, with_grids: bool = False) -> list[WorldState]:
        """The current states of some worlds, in arrays that later steps do not change.

        Args:
            which: The worlds' numbers.
            with_grids: Record all cells, not only what the agents see.
        """
        return [state_of(self._bare(i), self.images[i], with_grid=with_grids) for i in which]

    def frame(self, i: int, tile_size: int = 32) -> np.ndarray:
        """World i from above, with what the agent sees highlighted: ``[height, width, 3]
        uint8``."""
        return self.world(i).get_frame(highlight=True, tile_size=tile_size)

    def _begin(self, i: int) -> None:
        self._places[i] = Places(self._bare(i))

    def _observe(self, i: int, obs: dict[str, Any]) -> None:
        self.images[i] = obs["image"]
        self.directions[i] = obs["direction"]
        self.tasks[i] = obs["mission"]
