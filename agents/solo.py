"""The solo baseline: one network from the view and the task sentence to actions, no Planner.

Teams are compared with it: Stable-Baselines3's PPO, from scratch, on the whole task.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn
from torch import nn

from envs.batched import Engine
from envs.batched.sb3 import HIGHEST_CODE, EngineVecEnv
from envs.items import TEXTURES, find_items
from envs.objects import MARKS
from envs.room import RoomEnv
from envs.worlds import VIEW

CODES = VIEW * VIEW * 3
MOST_ITEMS = RoomEnv.max_items
SIZE = CODES + 1 + 3 * MOST_ITEMS  # of an observation
_NO_COLOUR, _NO_TEXTURE = len(COLOR_TO_IDX), len(TEXTURES)


@lru_cache(maxsize=65536)
def task_numbers(task: str) -> np.ndarray:
    """The items that a task names, in their order, as codes ``[3 * 10] uint8``: shape, colour and
    texture of each; shape 0 after the last."""
    codes = np.zeros((MOST_ITEMS, 3), np.uint8)
    for k, item in enumerate(find_items(task)[:MOST_ITEMS]):
        codes[k] = (
            OBJECT_TO_IDX.get(item.shape, 0),
            _NO_COLOUR if item.colour is None else COLOR_TO_IDX[item.colour],
            _NO_TEXTURE if item.texture is None else TEXTURES.index(item.texture),
        )
    return codes.ravel()


class SoloVecEnv(VecEnvWrapper):
    """The engine's worlds as vectors ``[N, SIZE] uint8``: the codes of the view, the direction, and
    the items that the task names."""

    def __init__(self, engine: Engine) -> None:
        space = gym.spaces.Box(0, 255, (SIZE,), np.uint8)
        super().__init__(EngineVecEnv(engine), observation_space=space)
        self.engine = engine
        self._tasks = np.zeros((engine.n, 3 * MOST_ITEMS), np.uint8)

    def reset(self) -> VecEnvObs:
        self.venv.reset()
        self._read(range(self.engine.n))
        return observe(self.engine, self._tasks)

    def step_wait(self) -> VecEnvStepReturn:
        _, rewards, over, infos = self.venv.step_wait()
        ended = np.flatnonzero(over).tolist()
        for i in ended:
            last = infos[i]["terminal_observation"]
            seen = np.concatenate([last["image"].ravel(), [last["direction"]], self._tasks[i]])
            infos[i] = {**infos[i], "terminal_observation": seen.astype(np.uint8)}
        self._read(ended)
        return observe(self.engine, self._tasks), rewards, over, infos

    def _read(self, which: Any) -> None:
        for i in which:
            self._tasks[i] = task_numbers(self.engine.mission(i))


def observe(engine: Engine, tasks: np.ndarray) -> np.ndarray:
    """The observations of all worlds of an engine, ``[N, SIZE] uint8``, with their ``tasks [N, 30]
    uint8``."""
    images = engine.images.reshape(engine.n, -1)
    return np.concatenate([images, engine.directions[:, None].astype(np.uint8), tasks], 1)


class SoloExtractor(BaseFeaturesExtractor):
    """Views and tasks to features.

    The content of each cell is embedded by the same tables as the items of the task, and compared
    with them, so that the network need not learn each item anew.
    """

    def __init__(self, space: gym.Space, width: int = 128, size: int = 24) -> None:
        super().__init__(space, width)
        self.kind = nn.Embedding(HIGHEST_CODE + 1, size)
        self.colour = nn.Embedding(_NO_COLOUR + 1, size)
        self.texture = nn.Embedding(_NO_TEXTURE + 1, size)
        self.mark = nn.Embedding(len(MARKS), size)
        self.floor = nn.Embedding(_NO_COLOUR + 2, size)
        self.direction = nn.Embedding(4, size)
        self.around = nn.Sequential(
            nn.Conv2d(size + MOST_ITEMS, 32, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, 1, 1),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.join = nn.Sequential(nn.Linear(32 * VIEW * VIEW + size, width), nn.ReLU())

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        numbers = observations.long()
        kind, colour, state = numbers[:, :CODES].unflatten(1, (-1, 3)).unbind(-1)
        # The inverse of ``ItemObject.encode``.
        n = len(TEXTURES)
        looks = (
            self.kind(kind),
            self.colour(colour.clamp(max=_NO_COLOUR)),
            self.texture(state % n),
        )
        item = looks[0] + looks[1] + looks[2]
        mark, floor = state // n % len(MARKS), state // (n * len(MARKS))
        cells = item + self.mark(mark) + self.floor(floor.clamp(max=_NO_COLOUR + 1))
        shape, tint, texture = numbers[:, CODES + 1 :].unflatten(1, (-1, 3)).unbind(-1)
        named = self.kind(shape) + self.colour(tint) + self.texture(texture)
        named = named * (shape > 0)[..., None]
        fits = item @ named.transpose(1, 2) / item.shape[-1] ** 0.5
        seen = torch.cat([cells, fits], -1).transpose(1, 2).unflatten(2, (VIEW, VIEW))
        return self.join(torch.cat([self.around(seen), self.direction(numbers[:, CODES])], 1))


def success(model: BaseAlgorithm, engine: Engine) -> np.ndarray:
    """Play one episode in each world of an engine with the most probable actions.

    The engine must have been reset, and must not have autoreset.

    Returns:
        Which worlds succeeded, ``[N] bool``.
    """
    tasks = np.stack([task_numbers(engine.mission(i)) for i in range(engine.n)])
    active = np.ones(engine.n, bool)
    while active.any():
        actions, _ = model.predict(observe(engine, tasks), deterministic=True)
        engine.step(actions, active)
        active &= ~(engine.terminated | engine.truncated)
    return engine.success.copy()
