"""The engine as a Stable-Baselines3 ``VecEnv``."""

from __future__ import annotations

from typing import Any, NoReturn

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from envs.batched.engine import N_ACTIONS, Engine
from envs.errors import BadInput

HIGHEST_CODE = 63


class EngineVecEnv(VecEnv):
    """The engine's worlds for Stable-Baselines3.

    An observation is a dict of ``image [N, view, view, 3] uint8`` and ``direction [N] int64``, or,
    with ``directions=False``, the images alone. They are copies, since Stable-Baselines3 puts an
    observation into its buffer only after the next step. The space of the images ends at 63, since
    they are codes: Stable-Baselines3 would feed pixels to a convolutional network.

    Where an episode ended, the world's info has ``terminal_observation``, a view that is valid
    until the next step, ``TimeLimit.truncated``, ``is_success`` and ``episode``; all other infos
    are the same empty dicts at every step.

    Args:
        engine: The engine.
        directions: Whether observations have the direction.

    Raises:
        BadInput: The engine has no autoreset.
    """

    def __init__(self, engine: Engine, *, directions: bool = True) -> None:
        if not engine.autoreset:
            raise BadInput("a vector of worlds needs an engine with autoreset=True")
        self.engine = engine
        self.directions = directions
        self._actions = np.zeros(engine.n, np.int64)
        self._quiet: list[dict[str, Any]] = [{} for _ in range(engine.n)]
        space: gym.Space = gym.spaces.Box(0, HIGHEST_CODE, (engine.view, engine.view, 3), np.uint8)
        if directions:
            space = gym.spaces.Dict({"image": space, "direction": gym.spaces.Discrete(4)})
        super().__init__(engine.n, space, gym.spaces.Discrete(N_ACTIONS))

    def reset(self) -> VecEnvObs:
        self.engine.reset(self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        return self._observe()

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        engine = self.engine
        engine.step(self._actions)
        over = engine.terminated | engine.truncated
        infos = self._quiet
        if over.any():
            infos = infos.copy()
            for i in np.flatnonzero(over).tolist():
                infos[i] = self._last(i)
        return self._observe(), engine.rewards.astype(np.float32), over, infos

    def _observe(self) -> VecEnvObs:
        images = self.engine.images.copy()
        if not self.directions:
            return images
        return {"image": images, "direction": self.engine.directions.copy()}

    def _last(self, i: int) -> dict[str, Any]:
        engine = self.engine
        image = engine.last_images[i]
        return {
            "terminal_observation": {"image": image, "direction": engine.last_directions[i]}
            if self.directions
            else image,
            # Truncation is not termination: PPO then adds the value of the last observation.
            "TimeLimit.truncated": bool(engine.truncated[i] and not engine.terminated[i]),
            "is_success": bool(engine.success[i]),
            # The engine rewards only the end of an episode.
            "episode": {"r": float(engine.rewards[i]), "l": int(engine.last_steps[i])},
        }

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of this object, once for each world in ``indices``."""
        value = None if attr_name == "render_mode" else getattr(self, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> NoReturn:
        """Not supported.

        Args:
            attr_name: The attribute's name.
            value: Its value.
            indices: The worlds.

        Raises:
            NotImplementedError: Always; the worlds have no attributes of their own.
        """
        raise NotImplementedError("the engine's worlds have no attributes of their own to set")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kw: Any) -> NoReturn:
        """Not supported: raises NotImplementedError, since the worlds have no methods of their
        own."""
        raise NotImplementedError("the engine's worlds have no methods of their own to call")

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: Any = None) -> list[bool]:
        return [False for _ in self._get_indices(indices)]
