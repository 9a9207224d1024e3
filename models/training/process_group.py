"""Several processes that train one network, each on its share (``accelerate launch``)."""

from __future__ import annotations

import atexit
from collections.abc import Sequence

import torch
from accelerate import PartialState
from accelerate.utils import gather
from torch import nn

from envs.errors import BadInput


class ProcessGroup:
    """The processes that train together; alone, a process shares with nobody.

    Unlike with DistributedDataParallel the processes may have unequal work: gradients are averaged
    when all say so, and those of who had none are zeros.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        state = PartialState(cpu=device.type == "cpu")
        self.n: int = state.num_processes
        self.rank: int = state.process_index
        if self.n > 1:
            # Threads that still talk to the others when a process ends would abort it.
            atexit.register(state.destroy_process_group)

    def part(self, number: int, what: str) -> int:
        """This process's share of ``number``. Raises BadInput where that cannot be split evenly."""
        if number % self.n:
            raise BadInput(f"{number} {what} cannot be split among {self.n} processes")
        return number // self.n

    def share_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Average the gradients of all processes."""
        if self.n == 1:
            return
        flat = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        told = self.mean(torch.cat([g.reshape(-1) for g in flat]))
        for p, grad in zip(parameters, told.split([p.numel() for p in parameters]), strict=True):
            p.grad = grad.reshape(p.shape)

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """The mean over all processes of a vector that each has."""
        return self._all(values).mean(0)

    def means(self, values: Sequence[float]) -> list[float]:
        """The means over all processes of numbers that each has."""
        found: list[float] = self.mean(torch.tensor(values, dtype=torch.float64)).tolist()
        return found

    def most(self, value: int) -> int:
        """The largest of all processes' numbers."""
        return int(self._all(torch.tensor([value])).max())

    def _all(self, values: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = gather(values.to(self._device)[None])
        return found
