"""A batch of worlds stepped together: what the loop, the Actors and the cheats hold on to."""

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
    """N MiniGrid worlds, ours or any other, behind one face.

    Attributes, all for the N worlds: ``images [N, view, view, 3] uint8``, ``directions [N]``,
    ``tasks`` (the task sentences), ``events`` (of the last step), ``over``, ``truncated``
    and ``success`` ``[N] bool``, ``steps [N]``, ``last_actions [N]`` (of the last step), and ``done
    [N] bool``: whether the command that was given to ``watch`` is done. Worlds that are over do
    not step.
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
        """The bare world i: hidden state, for cheats, scoring and pictures only."""
        return self._bare(i)

    def _bare(self, i: int) -> MiniGridEnv:
        bare = self.envs[i].unwrapped
        assert isinstance(bare, MiniGridEnv)
        return bare

    def verbs(self, i: int) -> tuple[str, ...]:
        """The verbs that make sense in world i; public knowledge, told to the Planner."""
        return getattr(self._bare(i), "verbs", tuple(v for v in VERBS if v != "examine"))

    def judged(self, i: int) -> bool:
        """Whether world i can tell success from failure (a free instruction cannot)."""
        return getattr(self._bare(i), "judged", True)

    def places(self, i: int) -> Places:
        """What lay where when world i's episode began: hidden state, for cheats and scoring."""
        return self._places[i]

    def watch(self, i: int, command: Command) -> None:
        """From now on ``done[i]`` says whether this command is done in world i, in place of the
        one before; until world i is reset."""
        self._watches[i] = CommandWatch(command, self.places(i))
        self.done[i] = False

    def reset(self, i: int, seed: int) -> None:
        """Begin world i anew with its own seed."""
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
        """Step the active worlds. ``actions [N] int`` (MiniGrid's), ``active [N] bool``.

        Raises ValueError for an action that MiniGrid does not have.
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
        """The worlds ``which`` as they are now, in arrays that later steps leave alone.

        ``with_grids`` says whether all cells are recorded, or only what the agents see.
        """
        return [state_of(self._bare(i), self.images[i], with_grid=with_grids) for i in which]

    def frame(self, i: int, tile_size: int = 32) -> np.ndarray:
        """World i from above, what the agent sees highlighted: ``[height, width, 3] uint8``."""
        return self.world(i).get_frame(highlight=True, tile_size=tile_size)

    def _begin(self, i: int) -> None:
        self._places[i] = Places(self._bare(i))

    def _observe(self, i: int, obs: dict[str, Any]) -> None:
        self.images[i] = obs["image"]
        self.directions[i] = obs["direction"]
        self.tasks[i] = obs["mission"]
