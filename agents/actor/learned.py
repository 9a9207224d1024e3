"""The learned Actor: a trained policy over its map memory and the words of the command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from minigrid.core.actions import Actions

from agents.actor import map_memory
from agents.actor.network import ActorNetwork, load_network
from agents.actor.stepping import StepActor
from envs.batched.words import encode_command
from envs.commands import Command
from envs.worlds import Worlds

WEIGHTS = Path(__file__).parent / "weights"


class LearnedActor(StepActor):
    """Takes the network's most probable action, given the Actor's own views and the command.

    Args:
        weights: A folder with ``model.safetensors`` and ``config.json``, or a network.

    Raises:
        BadInput: Where the folder holds no such network.
    """

    def __init__(self, weights: str | Path | ActorNetwork = WEIGHTS) -> None:
        self.network = weights if isinstance(weights, ActorNetwork) else load_network(weights)
        self.network.eval()
        self._memory = map_memory.new_map_memory(0)
        self._workspace = map_memory.new_workspace()

    def begin(self, worlds: Worlds) -> None:
        self._memory = map_memory.new_map_memory(len(worlds))
        map_memory.begin_some(self._memory, np.arange(len(worlds)), worlds.images)

    def start(self, worlds: Worlds, commands: Sequence[Command | None]) -> None:
        for i, command in enumerate(commands):
            if command is not None:
                self._memory.words[i] = encode_command(command)
                self._memory.last[i] = map_memory.NO_ACTION

    def act(self, worlds: Worlds, active: np.ndarray) -> np.ndarray:
        rows = np.flatnonzero(active)
        observations = np.zeros((len(rows), map_memory.OBSERVATION_SIZE), np.uint8)
        view = worlds.images.shape[1]
        map_memory.observe_some(self._memory, rows, self._workspace, view, observations)
        actions = np.full(len(worlds), int(Actions.done))
        actions[rows] = choose(self.network, observations)
        return actions

    def saw(self, worlds: Worlds, actions: np.ndarray, active: np.ndarray) -> None:
        """Enter the active worlds' views into the map memory.

        Args:
            worlds: The worlds, after the step.
            actions: The actions taken, ``[N] int``.
            active: Which worlds took a step, ``[N] bool``.
        """
        rows = np.flatnonzero(active)
        map_memory.step_some(self._memory, rows, actions[rows], worlds.images[rows])


@torch.inference_mode()
def choose(network: ActorNetwork, observations: np.ndarray) -> np.ndarray:
    """The most probable actions ``[N]`` for observations ``[N, OBSERVATION_SIZE] uint8``."""
    device = next(network.parameters()).device
    logits, _ = network(torch.from_numpy(observations).to(device))
    return logits.argmax(-1).cpu().numpy()
