"""Training of the learned Actor: a warm start from the teacher, then PPO.

The warm start is DAgger (arXiv 1011.0686): the student acts, the teacher says what it would have
done, the student imitates. PPO is Stable-Baselines3's, on the same tasks, rewarded by their truth.
Every round draws its random numbers from its own seed, so that training goes on after a
checkpoint exactly as it would have gone on without one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

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

from agents.actor.expert import expert_actions
from agents.actor.map_memory import OBSERVATION_SIZE
from agents.actor.network import N_ACTIONS, ActorNetwork, ActorTrunk
from agents.actor.vector_env import MultiTaskVectorEnv
from envs.errors import BadInput
from models.training.schedules import learning_rate_at

GAMMA = 0.99
HORIZON = 32
KEPT = 4  # rounds of demonstrations that are learned from together


@dataclass(frozen=True)
class Progress:
    """Where training stands, told after each round. ``success`` is the truth of the episodes that
    ended in it, ``reward`` what they were rewarded with."""

    stage: str
    steps: int
    loss: float
    success: float
    reward: float = 1.0


@dataclass
class Checkpoint:
    """All that a stage of training needs to go on: tensors by name, and plain numbers."""

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)


Save = Callable[[Callable[[], Checkpoint]], None]


def _nothing(_: Any) -> None:
    """For callers that want to be told nothing."""


def pack_state(
    network: torch.nn.Module, optimiser: torch.optim.Optimizer, gym_: MultiTaskVectorEnv
) -> Checkpoint:
    """Weights, the optimiser's memory and the worlds with all that goes on in them."""
    tensors = {f"network.{k}": v.detach().clone() for k, v in network.state_dict().items()}
    for k, memory in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{k}.{n}": v.clone() for n, v in memory.items()}
    for name, array in gym_.arrays().items():
        tensors[f"gym.{name}"] = torch.from_numpy(_bytes(array).copy())
    return Checkpoint(tensors)


def unpack_state(
    saved: Checkpoint,
    network: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    gym_: MultiTaskVectorEnv,
) -> None:
    """The way back from ``pack_state``. Raises BadInput where the parts are not of one kind."""
    groups: dict[str, dict[str, torch.Tensor]] = {"network": {}, "optimiser": {}, "gym": {}}
    for name, tensor in saved.tensors.items():
        group, _, rest = name.partition(".")
        groups.setdefault(group, {})[rest] = tensor
    try:
        network.load_state_dict(groups["network"])
        memory: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in groups["optimiser"].items():
            k, _, part = name.partition(".")
            memory.setdefault(int(k), {})[part] = tensor
        optimiser.load_state_dict({**optimiser.state_dict(), "state": memory})
        for name, array in gym_.arrays().items():
            _bytes(array)[:] = groups["gym"][name].numpy()
    except (RuntimeError, KeyError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise BadInput(f"the checkpoint is of another network or other worlds: {why}") from error


def _bytes(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(np.uint8)


def warm_start(
    network: ActorNetwork,
    gym_: MultiTaskVectorEnv,
    *,
    steps: int,
    seed: int,
    learning_rate: float = 2e-3,
    batch: int = 2048,
    epochs: int = 2,
    on_progress: Callable[[Progress], None] = _nothing,
    save: Save = _nothing,
    resume: Checkpoint | None = None,
) -> None:
    """Imitate the teacher for ``steps`` environment steps, in place.

    The student's share of the actions rises from 0 to 1 over the first fifth, so that it learns
    to come back from its own mistakes. The value head learns the discounted outcome.
    """
    device = next(network.parameters()).device
    optimiser = torch.optim.AdamW(network.parameters(), learning_rate, weight_decay=1e-4)
    rounds = max(1, steps // (HORIZON * gym_.n))
    kept: list[tuple[torch.Tensor, ...]] = []
    first = 0
    if resume is None:
        gym_.reset()
    else:
        unpack_state(resume, network, optimiser, gym_)
        first = resume.numbers["round"]
        for k in range(min(first, KEPT)):
            kept.append(tuple(resume.tensors[f"kept.{k}.{j}"] for j in range(3)))
    for k in range(first, rounds):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate_at(k, rounds, learning_rate)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + k)
        student = min(1.0, 5 * k / rounds)
        fresh, success = _demonstrate(network, gym_, student, seed, k, generator)
        kept = [*kept[-(KEPT - 1) :], fresh]
        data = tuple(torch.cat(parts) for parts in zip(*kept, strict=True))
        loss = 0.0
        for _ in range(max(1, epochs * len(fresh[0]) // batch)):
            rows = torch.randint(len(data[0]), (batch,), generator=generator)
            seen, lessons, outcomes = (part[rows].to(device) for part in data)
            logits, values = network(seen)
            imitation = functional.cross_entropy(logits, lessons)
            outcome = functional.mse_loss(values, outcomes)
            optimiser.zero_grad()
            (imitation + 0.5 * outcome).backward()
            torch.nn.utils.clip_grad_norm_(list(network.parameters()), 1.0)
            optimiser.step()
            loss = imitation.item()
        on_progress(Progress("imitation", (k + 1) * HORIZON * gym_.n, loss, success))

        def checkpoint(k: int = k, kept: list[tuple[torch.Tensor, ...]] = kept) -> Checkpoint:
            saved = pack_state(network, optimiser, gym_)
            saved.numbers["round"] = k + 1
            for i, demonstrations in enumerate(kept):
                for j, tensor in enumerate(demonstrations):
                    saved.tensors[f"kept.{i}.{j}"] = tensor
            return saved

        save(checkpoint)


@torch.no_grad()
def _demonstrate(
    network: ActorNetwork,
    gym_: MultiTaskVectorEnv,
    student: float,
    seed: int,
    round_: int,
    generator: torch.Generator,
) -> tuple[tuple[torch.Tensor, torch.Tensor, torch.Tensor], float]:
    """``HORIZON`` steps of every task: observations, the teacher's actions, outcomes; and the
    share of episodes that succeeded. With probability ``student`` the student's action is taken."""
    device = next(network.parameters()).device
    rng = np.random.default_rng([seed, round_])
    n = gym_.n
    seen = np.zeros((HORIZON, n, OBSERVATION_SIZE), np.uint8)
    lessons = np.zeros((HORIZON, n), np.int64)
    reward, ended = np.zeros((HORIZON, n)), np.zeros((HORIZON, n), bool)
    for t in range(HORIZON):
        seen[t] = gym_.observations
        lessons[t] = expert_actions(seen[t])
        probabilities = network(torch.from_numpy(seen[t]).to(device))[0].softmax(-1).cpu()
        own = torch.multinomial(probabilities, 1, generator=generator)[:, 0].numpy()
        own = np.where(rng.random(n) < 0.05, rng.integers(N_ACTIONS, size=n), own)
        actions = np.where(rng.random(n) < student, own, lessons[t])
        ended[t] = gym_.step(actions)
        reward[t] = gym_.success & ended[t]
    # What lies beyond the horizon is as good as the network believes.
    outcome = network(torch.from_numpy(gym_.observations).to(device))[1].cpu().numpy()
    outcomes = np.zeros((HORIZON, n), np.float32)
    for t in reversed(range(HORIZON)):
        outcome = np.where(ended[t], reward[t], GAMMA * outcome)
        outcomes[t] = outcome
    data = (
        torch.from_numpy(seen.reshape(HORIZON * n, -1)),
        torch.from_numpy(lessons.reshape(-1)),
        torch.from_numpy(outcomes.reshape(-1)),
    )
    return data, float(reward.sum() / max(1, ended.sum()))


class Rewarder(Protocol):
    """Rewards episodes of a ``MultiTaskVectorEnv`` by other than their truth."""

    def begin(self, gym_: MultiTaskVectorEnv) -> None:
        """All tasks have begun anew."""

    def step(self, gym_: MultiTaskVectorEnv, over: np.ndarray) -> np.ndarray:
        """Called after each step, with which episodes ``over [N] bool`` ended in it; gives the
        rewards ``[N] float32``, 0 for those that go on."""

    def arrays(self) -> dict[str, np.ndarray]:
        """All that it keeps from step to step, by name, for checkpoints; views, not copies."""


class CommandSB3VecEnv(VecEnv):
    """A ``MultiTaskVectorEnv`` as Stable-Baselines3 wants it. Reward 1 for a command done and said
    so, or what the ``rewarder`` gives."""

    def __init__(self, gym_: MultiTaskVectorEnv, rewarder: Rewarder | None = None) -> None:
        self.gym = gym_
        self.rewarder = rewarder
        self.rewarded = 0.0  # since whoever looks has set it to 0
        self._actions = np.zeros(gym_.n, np.int64)
        self.ended = self.succeeded = 0  # episodes, since whoever looks has set them to 0
        self._quiet: list[dict[str, Any]] = [{} for _ in range(gym_.n)]
        super().__init__(
            gym_.n,
            gym.spaces.Box(0, 255, (OBSERVATION_SIZE,), np.uint8),
            gym.spaces.Discrete(N_ACTIONS),
        )

    def reset(self) -> VecEnvObs:
        self.gym.reset()
        if self.rewarder is not None:
            self.rewarder.begin(self.gym)
        return self.gym.observations.copy()

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        over = self.gym.step(self._actions)
        infos = self._quiet
        rewards = (self.gym.success & over).astype(np.float32)
        if self.rewarder is not None:
            rewards = self.rewarder.step(self.gym, over)
        self.rewarded += float(rewards.sum())
        if over.any():
            self.ended += int(over.sum())
            self.succeeded += int((self.gym.success & over).sum())
            infos = list(infos)
            for i in np.flatnonzero(over):
                success = float(self.gym.success[i])
                infos[i] = {
                    # Truncation is no termination: PPO takes the value of this observation then.
                    "terminal_observation": self.gym.last_observations[i].copy(),
                    "TimeLimit.truncated": bool(self.gym.truncated[i]),
                    "is_success": bool(success),
                    "episode": {"r": success, "l": int(self.gym.lengths[i])},
                }
        return self.gym.observations.copy(), rewards, over, infos

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


class ActorFeatures(BaseFeaturesExtractor):
    """The Actor's trunk as Stable-Baselines3's features extractor."""

    def __init__(self, space: gym.Space, channels: int, heads: int, width: int) -> None:
        super().__init__(space, width)
        self.trunk = ActorTrunk(channels, heads, width)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.trunk(observations)


class RolloutCallback(BaseCallback):
    """Seeds each of PPO's rollouts, offers a checkpoint before it and tells of it afterwards."""

    def __init__(
        self,
        env: CommandSB3VecEnv,
        seed: int,
        loss: float,
        tell: Callable[[Progress], None],
        offer: Callable[[], None],
    ) -> None:
        super().__init__()
        self._env = env
        self._seed = seed
        self.loss = loss
        self._tell = tell
        self._offer = offer

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        # Stable-Baselines3 draws from the global generators.
        torch.manual_seed(self._seed * 1_000_003 + self.num_timesteps)
        np.random.seed((self._seed * 1_000_003 + self.num_timesteps) % 2**32)  # noqa: NPY002
        found = self.model.logger.name_to_value.get("train/policy_gradient_loss")
        self.loss = self.loss if found is None else float(found)
        self._offer()
        self._env.ended = self._env.succeeded = 0
        self._env.rewarded = 0.0

    def _on_rollout_end(self) -> None:
        ended = max(1, self._env.ended)
        success, reward = self._env.succeeded / ended, self._env.rewarded / ended
        self._tell(Progress("ppo", self.num_timesteps, self.loss, success, reward))


def reinforce(
    network: ActorNetwork,
    gym_: MultiTaskVectorEnv,
    *,
    steps: int,
    seed: int,
    learning_rate: float = 1e-4,
    batch: int = 2048,
    epochs: int = 3,
    rewarder: Rewarder | None = None,
    device: str = "cpu",
    on_progress: Callable[[Progress], None] = _nothing,
    save: Save = _nothing,
    resume: Checkpoint | None = None,
    tensorboard: str | None = None,
) -> None:
    """Fine-tune the network with PPO for ``steps`` environment steps, in place, on the truth or on
    what a ``rewarder`` gives."""
    env = CommandSB3VecEnv(gym_, rewarder)
    model = PPO(
        ActorCriticPolicy,
        env,
        learning_rate=learning_rate,
        n_steps=HORIZON,
        batch_size=min(batch, HORIZON * gym_.n),
        n_epochs=epochs,
        gamma=GAMMA,
        ent_coef=0.003,
        target_kl=0.03,
        seed=seed,
        device=device,
        tensorboard_log=tensorboard,
        policy_kwargs={
            "features_extractor_class": ActorFeatures,
            "features_extractor_kwargs": network.settings,
            "net_arch": [],
        },
    )
    policy = model.policy
    assert isinstance(policy.features_extractor, ActorFeatures)
    pairs: Sequence[tuple[torch.nn.Module, torch.nn.Module]] = (
        (policy.features_extractor.trunk, network.trunk),
        (policy.action_net, network.head),
        (policy.value_net, network.value),
    )
    for theirs, ours in pairs:
        theirs.load_state_dict(ours.state_dict())
    if resume is not None:
        unpack_state(resume, policy, policy.optimizer, gym_)
        model.num_timesteps = resume.numbers["steps"]
        if rewarder is not None:
            rewarder.begin(gym_)
            for name, array in rewarder.arrays().items():
                array[:] = resume.tensors[f"rewarder.{name}"].numpy()
        model._last_obs = gym_.observations.copy()
        model._last_episode_starts = resume.tensors["episode_starts"].numpy().astype(bool)

    def take_over() -> None:
        for theirs, ours in pairs:
            ours.load_state_dict(theirs.state_dict())

    def tell(progress: Progress) -> None:
        take_over()
        on_progress(progress)

    def checkpoint() -> Checkpoint:
        saved = pack_state(policy, policy.optimizer, gym_)
        saved.numbers["steps"] = model.num_timesteps
        saved.tensors["loss"] = torch.tensor(watch.loss, dtype=torch.float64)
        starts = np.asarray(model._last_episode_starts, np.uint8)
        saved.tensors["episode_starts"] = torch.from_numpy(starts)
        kept = {} if rewarder is None else rewarder.arrays()
        saved.tensors |= {f"rewarder.{n}": torch.from_numpy(a.copy()) for n, a in kept.items()}
        return saved

    loss = 0.0 if resume is None else float(resume.tensors["loss"])
    watch = RolloutCallback(env, seed, loss, tell, lambda: save(checkpoint))
    model.learn(
        steps - model.num_timesteps,
        callback=watch,
        reset_num_timesteps=resume is None,
    )
    take_over()
