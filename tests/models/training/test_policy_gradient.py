"""Policy gradients against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from models.training.policy_gradient import (
    categorical_kl,
    clipped_surrogate,
    kl_estimate,
    leave_one_out_advantages,
    reinforce_loss,
)


def test_an_advantage_is_against_the_mean_of_the_other_samples() -> None:
    # 1 - (0 + 2) / 2, 0 - (1 + 2) / 2, 2 - (1 + 0) / 2; and a group in which all are equal.
    rewards = np.array([[1.0, 0.0, 2.0], [0.5, 0.5, 0.5]])
    expected = [[0.0, -1.5, 1.5], [0.0, 0.0, 0.0]]
    assert leave_one_out_advantages(rewards).tolist() == expected


@pytest.mark.parametrize(
    ("ratio", "advantage", "objective", "gradient"),
    [
        (1.1, 2.0, 2.2, 2.2),  # inside the clip: ratio * A
        (1.5, 2.0, 2.4, 0.0),  # further than pays: clipped to 1.2 * A
        (0.5, 2.0, 1.0, 1.0),  # a good action became rarer: not clipped
        (0.9, -2.0, -1.8, -1.8),
        (0.5, -2.0, -1.6, 0.0),  # clipped to 0.8 * A
        (1.5, -2.0, -3.0, -3.0),  # a bad action became more frequent: not clipped
    ],
)
def test_the_surrogate_is_clipped_where_it_pays_to_move_further(
    ratio: float, advantage: float, objective: float, gradient: float
) -> None:
    old = torch.tensor([math.log(0.2)])
    new = torch.tensor([math.log(0.2 * ratio)], requires_grad=True)
    value = clipped_surrogate(new, old, torch.tensor([advantage]), 0.2)
    assert value.item() == pytest.approx(objective)
    value.sum().backward()
    # d(ratio * A) / d(log p) = ratio * A
    assert new.grad is not None and new.grad.item() == pytest.approx(gradient)


def test_the_estimate_of_the_divergence() -> None:
    """q / p = 2: 2 - 1 - log 2; q / p = 1/4: 1/4 - 1 + log 4; nothing where both are equal."""
    policy = torch.tensor([0.2, 0.4, 0.3]).log()
    reference = torch.tensor([0.4, 0.1, 0.3]).log()
    expected = [1 - math.log(2), -0.75 + math.log(4), 0.0]
    assert kl_estimate(policy, reference).tolist() == pytest.approx(expected, abs=1e-6)


def test_the_estimates_mean_over_the_policys_actions_is_the_exact_divergence() -> None:
    policy, reference = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.2, 0.6])
    mean = (policy * kl_estimate(policy.log(), reference.log())).sum().item()
    exact = categorical_kl(policy.log()[None], reference.log()[None]).item()
    by_hand = 0.5 * math.log(2.5) + 0.3 * math.log(1.5) + 0.2 * math.log(1 / 3)
    assert exact == pytest.approx(by_hand) and mean == pytest.approx(by_hand, rel=1e-5)


def test_the_exact_divergence_is_summed_over_rows_without_padding() -> None:
    none = -math.inf
    policy = torch.tensor([[math.log(0.75), math.log(0.25), none], [math.log(0.5)] * 2 + [none]])
    reference = torch.tensor([[math.log(0.5), math.log(0.5), none], [math.log(0.5)] * 2 + [none]])
    policy.requires_grad_()
    divergence = categorical_kl(policy, reference)
    assert divergence.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    divergence.backward()
    assert policy.grad is not None and torch.isfinite(policy.grad).all()
    assert policy.grad[:, 2].tolist() == [0, 0]
    # It is not symmetric: the policy's probabilities weigh it.
    other = categorical_kl(reference[:1], policy.detach()[:1]).item()
    assert other == pytest.approx(0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25))


def test_reinforce_makes_what_paid_likelier() -> None:
    log_probabilities = torch.tensor([-0.5, -2.0], requires_grad=True)
    loss = reinforce_loss(log_probabilities, torch.tensor([2.0, -1.0]))
    assert loss.item() == pytest.approx(-(2.0 * -0.5 + -1.0 * -2.0))
    loss.backward()
    assert log_probabilities.grad is not None
    assert log_probabilities.grad.tolist() == [-2.0, 1.0]
