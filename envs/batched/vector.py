"""The engine as a ``gymnasium.vector.VectorEnv``."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.batched.engine import N_ACTIONS, Engine
from envs.batched.pixels import TILE_SIZES, draw_views
from envs.errors import BadInput, whole_number
from envs.room import TaskSpace

Observation = dict[str, Any]


class EngineVectorEnv(VectorEnv):
    """The engine's worlds with MiniGrid's observations, as a gymnasium vector environment.

    An observation holds ``image [N, view, view, 3] uint8``, ``direction [N] int64`` and, with
    ``missions``, ``mission``, a tuple of N sentences. A new episode begins in the step in which one
    ends (``AutoresetMode.SAME_STEP``); ``infos`` then has ``final_obs`` and ``final_info``, the
    latter with ``success [N] bool``.

    Args:
        engine: The engine.
        missions: Whether observations have the mission.
        copy: Copy all arrays. Otherwise they are the engine's own, which the next step overwrites;
            ``final_obs`` always are.
        rgb: Pixels a side of a tile if ``image`` is to be a picture, as MiniGrid's
            RGBImgPartialObsWrapper draws it; None for codes.

    Raises:
        BadInput: The engine has no autoreset.
    """

    def __init__(
        self, engine: Engine, *, missions: bool = True, copy: bool = True, rgb: int | None = None
    ) -> None:
        if not engine.autoreset:
            raise BadInput("a vector of worlds needs an engine with autoreset=True")
        self.engine = engine
        self.num_envs = n = engine.n
        self.copy = copy
        self.rgb = None if rgb is None else whole_number("rgb", rgb, *TILE_SIZES)
        side = engine.view * (rgb or 1)
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        spaces: dict[str, gym.Space] = {
            "image": gym.spaces.Box(0, 255, (side, side, 3), np.uint8),
            "direction": gym.spaces.Discrete(4),
        }
        batched: dict[str, gym.Space] = {k: batch_space(s, n) for k, s in spaces.items()}
        if missions:
            spaces["mission"] = TaskSpace()
            batched["mission"] = gym.spaces.Tuple((spaces["mission"],) * n)
        self.single_observation_space = gym.spaces.Dict(spaces)
        self.observation_space = gym.spaces.Dict(batched)
        self.single_action_space = gym.spaces.Discrete(N_ACTIONS)
        self.action_space = batch_space(self.single_action_space, n)
        self._missions: tuple[str, ...] | None = ("",) * n if missions else None
        self._begun = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin new episodes in all worlds, or where ``options["reset_mask"] [N] bool`` is true.

        Args:
            seed: Seeds the random generators of all worlds; None leaves them as they are.
            options: May hold ``reset_mask``.

        Raises:
            BadInput: The mask has the wrong shape or type, or is nowhere true.
        """
        super().reset(seed=seed)
        which = np.arange(self.num_envs)
        if options is not None and "reset_mask" in options:
            mask = np.asarray(options["reset_mask"])
            if mask.shape != (self.num_envs,) or mask.dtype != bool or not mask.any():
                raise BadInput(f"reset_mask must be {self.num_envs} truth values, one of them true")
            which = np.flatnonzero(mask)
        self.engine.reset(seed, which)
        self._begun = True
        self._update_missions(which)
        return self._observe(), {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        if not self._begun:
            raise gym.error.ResetNeeded("step() before reset()")
        engine = self.engine
        engine.step(actions)
        over = engine.terminated | engine.truncated
        infos = self._end(over) if over.any() else {}
        result = (engine.rewards, engine.terminated, engine.truncated)
        rewards, terminated, truncated = (a.copy() for a in result) if self.copy else result
        return self._observe(), rewards, terminated, truncated, infos

    def _observe(self) -> Observation:
        images, directions = self.engine.images, self.engine.directions
        if self.rgb is not None:
            images = self.engine.frames(self.rgb)
        if self.copy:
            images, directions = images.copy(), directions.copy()
        seen: Observation = {"image": images, "direction": directions}
        if self._missions is not None:
            seen["mission"] = self._missions
        return seen

    def _end(self, over: np.ndarray) -> dict[str, Any]:
        """The infos of the worlds whose episodes have just ended, with the next ones already
        begun."""
        engine, which = self.engine, np.flatnonzero(over)
        last = np.full(self.num_envs, None, object)
        if self.rgb is None:
            images: Any = [engine.last_images[i] for i in which]
        else:
            side = self.rgb * engine.view
            images = np.empty((len(which), side, side, 3), np.uint8)
            draw_views(engine.last_images[which], self.rgb, images)
        for image, i in zip(images, which.tolist(), strict=True):
            last[i] = {"image": image, "direction": int(engine.last_directions[i])}
            if self._missions is not None:
                last[i]["mission"] = self._missions[i]
        self._update_missions(which)
        return {
            "final_obs": last,
            "_final_obs": over,
            "final_info": {"success": engine.success.copy(), "_success": over.copy()},
            "_final_info": over.copy(),
        }

    def _update_missions(self, which: np.ndarray) -> None:
        if self._missions is None:
            return
        missions = list(self._missions)
        for i in which.tolist():
            missions[i] = self.engine.mission(i)
        self._missions = tuple(missions)
