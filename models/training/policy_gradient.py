"""Policy gradients: advantages, surrogate objectives and KL divergences.

Sources: PPO's clipped objective (arXiv 1707.06347, equation 7); REINFORCE leave-one-out (arXiv
2402.14740, section 3); the estimator k3 of J. Schulman's note "Approximating KL Divergence" (2020).
"""

from __future__ import annotations

import numpy as np
import torch


def leave_one_out_advantages(rewards: np.ndarray) -> np.ndarray:
    """Each sample's reward less the mean reward of the other samples of its group (RLOO).

    ``A[i, j] = r[i, j] - sum(r[i, k] for k != j) / (samples - 1)``

    Args:
        rewards: ``[groups, samples] float64``, with at least 2 samples of each prompt.

    Returns:
        ``[groups, samples] float64``; a group of equal rewards has advantages of 0.
    """
    samples = rewards.shape[1]
    assert samples >= 2, "a baseline needs at least 2 samples"
    others: np.ndarray = (rewards.sum(1, keepdims=True) - rewards) / (samples - 1)
    return rewards - others


def reinforce_loss(log_probabilities: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
    """REINFORCE's loss, whose negative gradient is the policy gradient: ``-sum(A * log p)``.

    Args:
        log_probabilities: ``[n]`` of the actions that were taken.
        advantages: ``[n]``, constants.
    """
    return -(advantages * log_probabilities).sum()


def clipped_surrogate(
    log_probabilities: torch.Tensor,
    old_log_probabilities: torch.Tensor,
    advantages: torch.Tensor,
    clip: float,
) -> torch.Tensor:
    """PPO's objective for each action, to be maximised.

    ``min(ratio * A, clamp(ratio, 1 - clip, 1 + clip) * A)`` with ``ratio = p / old_p``: moving
    further than ``clip`` in the direction that pays has no gradient; moving back always has.

    Args:
        log_probabilities: ``[n]`` under the policy that learns.
        old_log_probabilities: ``[n]`` under the policy that acted, constants.
        advantages: ``[n]``, constants.

    Returns:
        ``[n]``.
    """
    ratio = (log_probabilities - old_log_probabilities).exp()
    return torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)


def kl_estimate(
    log_probabilities: torch.Tensor, reference_log_probabilities: torch.Tensor
) -> torch.Tensor:
    """An estimate of ``KL(policy || reference)`` from each action that the policy took.

    ``k3 = q / p - 1 - log(q / p)`` with the policy's probability p and the reference's q: its
    mean over the policy's actions is the divergence, and it is never negative.

    Args:
        log_probabilities: ``[n]`` under the policy.
        reference_log_probabilities: ``[n]`` under the reference, constants.

    Returns:
        ``[n]``.
    """
    log_ratio = reference_log_probabilities - log_probabilities
    return log_ratio.exp() - log_ratio - 1


def categorical_kl(
    log_probabilities: torch.Tensor, reference_log_probabilities: torch.Tensor
) -> torch.Tensor:
    """The exact ``KL(policy || reference)`` of categorical distributions, summed over them.

    ``sum(p * (log p - log q))``

    Args:
        log_probabilities: ``[n, k]``, each row of which sums to 1 in probability; entries at which
            the reference is minus infinity are padding.
        reference_log_probabilities: ``[n, k]``, constants.

    Returns:
        A scalar.
    """
    # In padding both are minus infinity, and their difference is not a number.
    real = torch.isfinite(reference_log_probabilities)
    policy = log_probabilities.masked_fill(~real, 0.0)
    reference = reference_log_probabilities.masked_fill(~real, 0.0)
    return (policy.exp() * (policy - reference))[real].sum()
