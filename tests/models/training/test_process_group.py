"""What two processes share and average, worked out by hand; the other one is a stand-in."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from envs.errors import BadInput
from models.training.process_group import ProcessGroup


class Pair(ProcessGroup):
    """One of two processes; the other's vectors are given in the order in which they are asked
    for."""

    def __init__(self, *others: list[float]) -> None:
        self.n, self.rank = 2, 0
        self._others = list(others)

    def _gather(self, values: torch.Tensor) -> torch.Tensor:
        return torch.stack([values, torch.tensor(self._others.pop(0)).to(values.dtype)])


def test_an_equal_share_or_none() -> None:
    assert Pair().share(8, "groups") == 4
    with pytest.raises(BadInput, match=r"^7 groups cannot be split among 2 processes$"):
        Pair().share(7, "groups")


def test_means_and_the_largest_number() -> None:
    assert Pair([5.0, 9.0]).means([1.0, 3.0]) == [3.0, 6.0]
    assert Pair([5.0]).maximum(3) == 5
    assert Pair([3.0]).maximum(5) == 5


def test_a_gradient_that_one_process_lacks_counts_as_zeros() -> None:
    a, b, c = (nn.Parameter(torch.zeros(())) for _ in range(3))
    a.grad = torch.tensor(2.0)
    # The other process has gradients of a and b, 6 and 8; nobody has one of c.
    Pair([1.0, 1.0, 0.0], [6.0, 8.0]).average_gradients([a, b, c])
    assert a.grad is not None and a.grad.item() == 4.0
    assert b.grad is not None and b.grad.item() == 4.0
    assert c.grad is None
