"""The gradient step against numbers worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

from envs.errors import BadInput
from models.training.gradient_step import gradient_step


def parameter(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values))


def test_gradients_are_clipped_to_a_norm_of_1_over_all_parameters() -> None:
    a, b = parameter(0.0), parameter(0.0)
    optimiser = torch.optim.SGD([a, b])
    loss = gradient_step(
        [3 * a.sum() + 2, 4 * b.sum()], optimiser, [a, b], step=0, learning_rate=1.0
    )
    # A gradient of (3, 4) has the norm 5.
    assert loss == 2.0
    assert (a.item(), b.item()) == pytest.approx((-0.6, -0.8), rel=1e-5)


def test_short_gradients_are_left_as_they_are_and_old_ones_forgotten() -> None:
    a = parameter(0.0)
    optimiser = torch.optim.SGD([a])
    for _ in range(2):
        gradient_step([0.25 * a.sum()], optimiser, [a], step=0, learning_rate=1.0)
    assert a.item() == -0.5


def test_a_group_learns_at_its_own_rate() -> None:
    a, b = parameter(0.0), parameter(0.0)
    optimiser = torch.optim.SGD([{"params": [a], "rate": 0.1}, {"params": [b]}], lr=9.0)
    gradient_step([0.5 * (a + b).sum()], optimiser, [a, b], step=0, learning_rate=2.0)
    assert (a.item(), b.item()) == pytest.approx((-0.1, -1.0))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_changes_nothing(bad: float) -> None:
    a = parameter(1.0)
    optimiser = torch.optim.SGD([a])
    losses = [a.sum(), a.sum() * bad]
    with pytest.raises(BadInput, match=r"^the loss is not finite at step 8; use float32$"):
        gradient_step(losses, optimiser, [a], step=7, learning_rate=1.0, remedy="use float32")
    assert a.item() == 1.0


class Pair:
    """Stands in for two processes, of which the other has a gradient of 8 everywhere."""

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        for p in parameters:
            mine = torch.zeros_like(p) if p.grad is None else p.grad
            p.grad = (mine + 8.0) / 2


def test_gradients_are_averaged_over_processes_before_they_are_clipped() -> None:
    a, b = parameter(0.0), parameter(0.0)
    optimiser = torch.optim.SGD([a, b])
    pair: Any = Pair()
    # (-2, 0) and (8, 8) are (3, 4) on average.
    gradient_step([-2 * a.sum()], optimiser, [a, b], step=0, learning_rate=1.0, processes=pair)
    assert (a.item(), b.item()) == pytest.approx((-0.6, -0.8), rel=1e-5)
    # Without work of one's own there still are the others' gradients.
    gradient_step([], optimiser, [a], step=0, learning_rate=1.0, processes=pair)
    assert a.item() == pytest.approx(-1.6, rel=1e-5)
