"""What imitation and PPO share: the horizon, the discount, and the worlds in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from agents.actor.vector_env import MultiTaskVectorEnv
from envs.errors import BadInput
from models.training.checkpoints import group

GAMMA = 0.99
HORIZON = 32  # steps of each world in a rollout
_PREFIX = "worlds."


def discounted_outcomes(
    rewards: np.ndarray, ended: np.ndarray, bootstrap: np.ndarray, gamma: float = GAMMA
) -> np.ndarray:
    """The discounted reward at the end of each step's episode.

    Args:
        rewards: ``[steps, n] float64``, which count only where an episode ends.
        ended: ``[steps, n] bool`` whether the episode ended with this step.
        bootstrap: ``[n]`` estimated outcomes from after the last step on.
        gamma: The discount.

    Returns:
        ``[steps, n] float32``.
    """
    outcomes = np.zeros(rewards.shape, np.float32)
    outcome = bootstrap
    for t in reversed(range(len(rewards))):
        outcome = np.where(ended[t], rewards[t], gamma * outcome)
        outcomes[t] = outcome
    return outcomes


def worlds_state(worlds: MultiTaskVectorEnv) -> dict[str, torch.Tensor]:
    """Copies of the worlds' whole state, as bytes."""
    return {
        f"{_PREFIX}{name}": torch.from_numpy(_bytes(array).copy())
        for name, array in worlds.arrays().items()
    }


def restore_worlds(worlds: MultiTaskVectorEnv, state: Mapping[str, Any]) -> None:
    """Restore what `worlds_state` returned. Raises BadInput where it is of other worlds."""
    saved = group(state, _PREFIX)
    arrays = worlds.arrays()
    if {n: a.nbytes for n, a in arrays.items()} != {n: t.numel() for n, t in saved.items()}:
        raise BadInput("the checkpoint is of other worlds")
    for name, array in arrays.items():
        _bytes(array)[:] = saved[name].numpy()


def _bytes(array: np.ndarray) -> np.ndarray:
    """The array's memory ``[bytes] uint8``."""
    return array.reshape(-1).view(np.uint8)
