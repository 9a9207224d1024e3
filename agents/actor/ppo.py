"""PPO: the second stage of the learned Actor's training, by Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn
from torch import nn

from agents.actor.map_memory import OBSERVATION_SIZE
from agents.actor.network import N_ACTIONS, ActorNetwork, ActorTrunk
from agents.actor.rollouts import GAMMA, HORIZON, restore_worlds, worlds_state
from agents.actor.vector_env import MultiTaskVectorEnv
from models.training.checkpoints import group, pack, unpack
from models.training.trainer import Stage


class Rewarder(Protocol):
    """Rewards episodes of a ``MultiTaskVectorEnv`` in the place of their true success."""

    def begin(self, gym_: MultiTaskVectorEnv) -> None:
        """Called when all worlds ``gym_`` have been reset."""

    def step(self, gym_: MultiTaskVectorEnv, over: np.ndarray) -> np.ndarray:
        """Called after each step of the worlds ``gym_``, of which those ``over [n] bool`` have
        ended their episodes. Returns the rewards ``[n] float32``, 0 for episodes that go on."""

    def arrays(self) -> dict[str, np.ndarray]:
        """The state between steps, by name, for checkpoints: views, not copies."""


class CommandSB3VecEnv(VecEnv):
    """A ``MultiTaskVectorEnv`` for Stable-Baselines3.

    The reward is 1 for a command that was carried out and reported as done, or the ``rewarder``'s.
    ``ended``, ``succeeded`` and ``rewarded`` count episodes, successes and rewards since
    ``reset_statistics``.
    """

    def __init__(self, worlds: MultiTaskVectorEnv, rewarder: Rewarder | None = None) -> None:
        self.worlds = worlds
        self.rewarder = rewarder
        self.reset_statistics()
        self._actions = np.zeros(worlds.n, np.int64)
        self._no_infos: list[dict[str, Any]] = [{} for _ in range(worlds.n)]
        super().__init__(
            worlds.n,
            gym.spaces.Box(0, 255, (OBSERVATION_SIZE,), np.uint8),
            gym.spaces.Discrete(N_ACTIONS),
        )

    def reset_statistics(self) -> None:
        """Count from 0 again."""
        self.ended = self.succeeded = 0
        self.rewarded = 0.0

    def reset(self) -> VecEnvObs:
        self.worlds.reset()
        if self.rewarder is not None:
            self.rewarder.begin(self.worlds)
        return self.worlds.observations.copy()

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        over = self.worlds.step(self._actions)
        infos = self._no_infos
        rewards = (self.worlds.success & over).astype(np.float32)
        if self.rewarder is not None:
            rewards = self.rewarder.step(self.worlds, over)
        self.rewarded += float(rewards.sum())
        if over.any():
            self.ended += int(over.sum())
            self.succeeded += int((self.worlds.success & over).sum())
            infos = list(infos)
            for i in np.flatnonzero(over):
                success = float(self.worlds.success[i])
                infos[i] = {
                    # Truncation is not termination: PPO then adds the value of this observation.
                    "terminal_observation": self.worlds.last_observations[i].copy(),
                    "TimeLimit.truncated": bool(self.worlds.truncated[i]),
                    "is_success": bool(success),
                    "episode": {"r": success, "l": int(self.worlds.lengths[i])},
                }
        return self.worlds.observations.copy(), rewards, over, infos

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name, None)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Not supported.

        Args:
            attr_name: The attribute's name.
            value: Its value.
            indices: The worlds.

        Raises:
            NotImplementedError: Always; the worlds have no attributes to set.
        """
        raise NotImplementedError("the worlds have no attributes to set")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kw: Any) -> list[Any]:
        raise NotImplementedError("the worlds have no methods to call")

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: Any = None) -> list[bool]:
        return [False] * len(list(self._get_indices(indices)))


class ActorFeatures(BaseFeaturesExtractor):
    """The Actor's trunk as Stable-Baselines3's features extractor."""

    def __init__(self, space: gym.Space, channels: int, heads: int, width: int) -> None:
        super().__init__(space, width)
        self.trunk = ActorTrunk(channels, heads, width)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.trunk(observations)


@dataclass(frozen=True)
class ActorPPOConfig:
    """Settings of `ActorPPO`."""

    env_steps: int
    """Environment steps of all worlds together."""
    worlds: int
    """Worlds stepped together."""
    learning_rate: float = 1e-4
    batch: int = 2048
    """Observations in a gradient step."""
    epochs: int = 3
    """Passes over each rollout."""
    device: str = "cpu"
    """Where the network learns."""
    first_env_step: int = 0
    """Environment steps of earlier stages, for the curve."""
    seed: int = 0


class ActorPPO(Stage):
    """Fine-tunes the network by PPO (arXiv 1707.06347), a rollout and its update at a time.

    The metrics are those of the rollout, with the loss of the update before it. ``network`` is the
    one that played the last rollout; the last update is in it when the stage has ended.
    """

    name = "ppo"

    def __init__(
        self,
        network: ActorNetwork,
        make_worlds: Callable[[], MultiTaskVectorEnv],
        config: ActorPPOConfig,
        rewarder: Rewarder | None = None,
    ) -> None:
        """
        Args:
            network: The network to train.
            make_worlds: Makes the worlds when the stage begins.
            config: The settings.
            rewarder: Rewards the episodes; None for their true success.
        """
        self.network = network
        self.config = config
        self.rewarder = rewarder
        self.step_size = HORIZON * config.worlds
        self.steps = -(-config.env_steps // self.step_size)
        self._make_worlds = make_worlds

    def begin(self) -> None:
        worlds = self._make_worlds()
        assert worlds.n == self.config.worlds
        self._env = CommandSB3VecEnv(worlds, self.rewarder)
        self.model = make_ppo(self.network, self._env, self.config)
        self._loss = 0.0

    def step(self, k: int) -> Mapping[str, float]:
        self._copy_weights(self.model, self.network)
        # Stable-Baselines3 draws from the global generators.
        seed = self.config.seed * 1_000_003 + self.model.num_timesteps
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        self._env.reset_statistics()
        self.model.learn(self.step_size, reset_num_timesteps=False)
        episodes = max(1, self._env.ended)
        metrics = {
            "steps": self.config.first_env_step + self.model.num_timesteps,
            "loss": self._loss,
            "success": self._env.succeeded / episodes,
            "reward": self._env.rewarded / episodes,
        }
        self._loss = float(self.model.logger.name_to_value["train/policy_gradient_loss"])
        return metrics

    def end(self) -> None:
        self._copy_weights(self.model, self.network)

    @staticmethod
    def _copy_weights(model: PPO, network: ActorNetwork) -> None:
        for theirs, ours in shared_modules(model, network):
            ours.load_state_dict(theirs.state_dict())

    def state_dict(self) -> dict[str, Any]:
        policy = self.model.policy
        state: dict[str, Any] = dict(pack(policy.optimizer, network=policy.state_dict()))
        starts = np.asarray(self.model._last_episode_starts, np.uint8)
        state["episode_starts"] = torch.from_numpy(starts.copy())
        state["env_steps"] = self.model.num_timesteps
        state["loss"] = self._loss
        kept = {} if self.rewarder is None else self.rewarder.arrays()
        state |= {f"rewarder.{n}": torch.from_numpy(a.copy()) for n, a in kept.items()}
        return {**state, **worlds_state(self._env.worlds)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        policy = self.model.policy
        unpack(state, policy.optimizer, network=policy.state_dict())
        restore_worlds(self._env.worlds, state)
        if self.rewarder is not None:
            self.rewarder.begin(self._env.worlds)
            saved = group(state, "rewarder.")
            for name, array in self.rewarder.arrays().items():
                array[:] = saved[name].numpy()
        self.model.num_timesteps = state["env_steps"]
        self.model._last_obs = self._env.worlds.observations.copy()
        self.model._last_episode_starts = state["episode_starts"].numpy().astype(bool)
        self._loss = state["loss"]


def make_ppo(network: ActorNetwork, env: VecEnv, config: ActorPPOConfig) -> PPO:
    """Stable-Baselines3's PPO with the network's weights.

    Args:
        network: Whose weights are copied.
        env: The worlds.
        config: The settings.
    """
    model = PPO(
        ActorCriticPolicy,
        env,
        learning_rate=config.learning_rate,
        n_steps=HORIZON,
        batch_size=min(config.batch, HORIZON * env.num_envs),
        n_epochs=config.epochs,
        gamma=GAMMA,
        ent_coef=0.003,
        target_kl=0.03,
        seed=config.seed,
        device=config.device,
        policy_kwargs={
            "features_extractor_class": ActorFeatures,
            "features_extractor_kwargs": network.settings,
            "net_arch": [],
        },
    )
    for theirs, ours in shared_modules(model, network):
        theirs.load_state_dict(ours.state_dict())
    return model


def shared_modules(model: PPO, network: ActorNetwork) -> list[tuple[nn.Module, nn.Module]]:
    """The modules of PPO's policy, each with that of the network that has the same weights."""
    policy = model.policy
    assert isinstance(policy.features_extractor, ActorFeatures)
    return [
        (policy.features_extractor.trunk, network.trunk),
        (policy.action_net, network.head),
        (policy.value_net, network.value),
    ]
