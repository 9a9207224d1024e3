"""Training of the learned Actor: a warm start from the teacher, then PPO.

The warm start is DAgger (arXiv 1011.0686): the student acts, the teacher says what it would have
done, the student imitates. PPO is Stable-Baselines3's, on the same tasks, rewarded by their truth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn
from torch.nn import functional

from agents.actor.network import N_ACTIONS, OBSERVATION_SIZE, ActorNetwork, ActorTrunk
from agents.actor.practice import Ground, Practice
from agents.actor.teacher import teach

GAMMA = 0.97


@dataclass(frozen=True)
class Progress:
    """Where training stands, told after each round."""

    stage: str
    steps: int
    loss: float
    success: float


def warm_start(
    network: ActorNetwork,
    ground: Ground,
    *,
    steps: int,
    n_worlds: int,
    seed: int,
    learning_rate: float = 1e-3,
    epochs: int = 2,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> None:
    """Imitate the teacher for ``steps`` environment steps, in place.

    The student's share of the actions rises from 0 to 1 over the first fifth, so that it learns
    to come back from its own mistakes. The value head learns the discounted outcome.
    """
    practice = Practice(ground, n_worlds, seed)
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(network.parameters(), learning_rate, weight_decay=1e-4)
    horizon = 128
    rounds = max(1, steps // (horizon * n_worlds))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, learning_rate, total_steps=rounds, pct_start=0.1
    )
    practice.reset(practice.everyone)
    kept: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    for k in range(rounds):
        student = min(1.0, 5 * k / rounds)
        fresh, success = _demonstrate(network, practice, horizon, student, rng, generator)
        kept = [*kept[-7:], fresh]
        data = tuple(torch.cat(parts) for parts in zip(*kept, strict=True))
        loss = 0.0
        for _ in range(epochs * len(fresh[0]) // 512):
            batch = torch.randint(len(data[0]), (512,), generator=generator)
            logits, values = network(data[0][batch])
            imitation = functional.cross_entropy(logits, data[1][batch])
            outcome = functional.mse_loss(values, data[2][batch])
            optimiser.zero_grad()
            (imitation + 0.5 * outcome).backward()
            torch.nn.utils.clip_grad_norm_(list(network.parameters()), 1.0)
            optimiser.step()
            loss = imitation.item()
        schedule.step()
        on_progress(Progress("imitation", (k + 1) * horizon * n_worlds, loss, success))


@torch.no_grad()
def _demonstrate(
    network: ActorNetwork,
    practice: Practice,
    horizon: int,
    student: float,
    rng: np.random.Generator,
    generator: torch.Generator,
) -> tuple[tuple[torch.Tensor, torch.Tensor, torch.Tensor], float]:
    """``horizon`` steps of every task: observations, the teacher's actions, outcomes; and the
    share of episodes that succeeded. With probability ``student`` the student's action is taken."""
    n = len(practice)
    seen = np.zeros((horizon, n, OBSERVATION_SIZE), np.uint8)
    taught = np.zeros((horizon, n), np.int64)
    reward, ended = np.zeros((horizon, n)), np.zeros((horizon, n), bool)
    for t in range(horizon):
        seen[t] = practice.observe()
        for i in range(n):
            task = practice.task(i)
            taught[t, i] = teach(practice.eyes.memory, i, task.command, task.watch.done)
        probabilities = network(torch.from_numpy(seen[t]))[0].softmax(-1)
        own = torch.multinomial(probabilities, 1, generator=generator)[:, 0].numpy()
        own = np.where(rng.random(n) < 0.05, rng.integers(N_ACTIONS, size=n), own)
        actions = np.where(rng.random(n) < student, own, taught[t])
        reward[t], ended[t], _ = practice.step(actions)
        if ended[t].any():
            practice.reset(np.flatnonzero(ended[t]))
    # What lies beyond the horizon is as good as the network believes.
    outcome = network(torch.from_numpy(practice.observe()))[1].numpy()
    outcomes = np.zeros((horizon, n), np.float32)
    for t in reversed(range(horizon)):
        outcome = np.where(ended[t], reward[t], GAMMA * outcome)
        outcomes[t] = outcome
    data = (
        torch.from_numpy(seen.reshape(horizon * n, -1)),
        torch.from_numpy(taught.reshape(-1)),
        torch.from_numpy(outcomes.reshape(-1)),
    )
    return data, float(reward.sum() / max(1, ended.sum()))


class PracticeVecEnv(VecEnv):
    """Practice as Stable-Baselines3 wants it. Reward 1 for a command done and said so."""

    def __init__(self, practice: Practice) -> None:
        self.practice = practice
        self._actions = np.zeros(len(practice), np.int64)
        super().__init__(
            len(practice),
            gym.spaces.Box(0, 255, (OBSERVATION_SIZE,), np.uint8),
            gym.spaces.Discrete(N_ACTIONS),
        )

    def reset(self) -> VecEnvObs:
        self.practice.reset(self.practice.everyone)
        return self.practice.observe()

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        success, over, truncated = self.practice.step(self._actions)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        seen = self.practice.observe()
        for i in np.flatnonzero(over):
            # Truncation is no termination: PPO takes the value of the last observation then.
            infos[i] = {
                "terminal_observation": seen[i],
                "TimeLimit.truncated": bool(truncated[i]),
                "is_success": bool(success[i]),
                "episode": {"r": float(success[i]), "l": int(self.practice.worlds.steps[i])},
            }
        if over.any():
            self.practice.reset(np.flatnonzero(over))
            seen = self.practice.observe()
        return seen, success.astype(np.float32), over, infos

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name, None)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise NotImplementedError("practice worlds have no attributes of their own to set")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kw: Any) -> list[Any]:
        raise NotImplementedError("practice worlds have no methods of their own to call")

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: Any = None) -> list[bool]:
        return [False] * len(list(self._get_indices(indices)))


class TrunkExtractor(BaseFeaturesExtractor):
    """The Actor's trunk as Stable-Baselines3's features extractor."""

    def __init__(self, space: gym.Space, channels: int, width: int) -> None:
        super().__init__(space, width)
        self.trunk = ActorTrunk(channels, width)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.trunk(observations)


class Watch(BaseCallback):
    """Tells of progress after each of PPO's rollouts."""

    def __init__(self, tell: Callable[[Progress], None]) -> None:
        super().__init__()
        self._tell = tell

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        recent = [e["r"] for e in self.model.ep_info_buffer or ()]
        loss = float(self.model.logger.name_to_value.get("train/policy_gradient_loss", 0.0))
        success = float(np.mean(recent)) if recent else 0.0
        self._tell(Progress("ppo", self.num_timesteps, loss, success))


def reinforce(
    network: ActorNetwork,
    ground: Ground,
    *,
    steps: int,
    n_worlds: int,
    seed: int,
    learning_rate: float = 1e-4,
    on_progress: Callable[[Progress], None] = lambda _: None,
    tensorboard: str | None = None,
) -> None:
    """Fine-tune the network with PPO for ``steps`` environment steps, in place."""
    model = PPO(
        ActorCriticPolicy,
        PracticeVecEnv(Practice(ground, n_worlds, seed)),
        learning_rate=learning_rate,
        n_steps=64,
        batch_size=512,
        n_epochs=3,
        gamma=GAMMA,
        ent_coef=0.003,
        target_kl=0.03,
        seed=seed,
        device="cpu",
        tensorboard_log=tensorboard,
        policy_kwargs={
            "features_extractor_class": TrunkExtractor,
            "features_extractor_kwargs": network.settings,
            "net_arch": [],
        },
    )
    policy = model.policy
    assert isinstance(policy.features_extractor, TrunkExtractor)
    pairs: Sequence[tuple[torch.nn.Module, torch.nn.Module]] = (
        (policy.features_extractor.trunk, network.trunk),
        (policy.action_net, network.head),
        (policy.value_net, network.value),
    )
    for theirs, ours in pairs:
        theirs.load_state_dict(ours.state_dict())

    def take_over() -> None:
        for theirs, ours in pairs:
            ours.load_state_dict(theirs.state_dict())

    def tell(progress: Progress) -> None:
        take_over()
        on_progress(progress)

    model.learn(steps, callback=Watch(tell))
    take_over()
