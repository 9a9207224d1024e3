"""Processes that train one network together, each on its share (``accelerate launch``)."""

from __future__ import annotations

import atexit
from collections.abc import Sequence

import torch
from accelerate import PartialState
from accelerate.utils import gather
from torch import nn

from envs.errors import BadInput


class ProcessGroup:
    """The processes that train together; ``n`` of them, of which this one is number ``rank``.

    Unlike with DistributedDataParallel the processes may have unequal work: gradients are averaged
    when all of them ask for it, and a gradient that only some of them lack counts as zeros.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        state = PartialState(cpu=device.type == "cpu")
        self.n: int = state.num_processes
        self.rank: int = state.process_index
        if self.n > 1:
            # Threads that still wait for other processes when this one ends would abort it.
            atexit.register(state.destroy_process_group)

    def share(self, number: int, unit: str) -> int:
        """This process's equal share of ``number`` things, which the error calls ``unit``.

        Raises BadInput where the number is not a multiple of the processes.
        """
        if number % self.n:
            raise BadInput(f"{number} {unit} cannot be split among {self.n} processes")
        return number // self.n

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each gradient by its mean over all processes.

        A parameter that has a gradient in no process keeps none, so that optimisers skip it.
        """
        if self.n == 1:
            return
        shares = self.mean(torch.tensor([float(p.grad is not None) for p in parameters])).tolist()
        used = [p for p, share in zip(parameters, shares, strict=True) if share]
        if not used:
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in used]
        mean = self.mean(torch.cat([g.reshape(-1) for g in gradients]))
        for p, gradient in zip(used, mean.split([p.numel() for p in used]), strict=True):
            p.grad = gradient.reshape(p.shape)

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """The mean over all processes of a vector ``[n]`` that each of them has."""
        return self._gather(values).mean(0)

    def means(self, values: Sequence[float]) -> list[float]:
        """The means over all processes of numbers that each of them has."""
        means: list[float] = self.mean(torch.tensor(values, dtype=torch.float64)).tolist()
        return means

    def maximum(self, value: int) -> int:
        """The largest of all processes' numbers."""
        return int(self._gather(torch.tensor([value])).max())

    def _gather(self, values: torch.Tensor) -> torch.Tensor:
        """``[processes, n]`` from each process's ``[n]``."""
        gathered: torch.Tensor = gather(values.to(self._device)[None])
        return gathered
