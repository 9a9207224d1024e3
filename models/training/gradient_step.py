"""One step of gradient descent, the same for everything that learns here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from envs.errors import BadInput
from models.training.process_group import ProcessGroup

MAX_NORM = 1.0


def gradient_step(
    losses: Iterable[torch.Tensor],
    optimiser: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
    *,
    step: int,
    learning_rate: float,
    processes: ProcessGroup | None = None,
    remedy: str = "try a lower learning rate",
) -> float:
    """Make one optimiser step down the gradient of a sum of losses, and return that sum.

    Gradients are averaged over the processes, then clipped to a norm of ``MAX_NORM``. A parameter
    group learns at ``learning_rate`` times its ``"rate"``, where it has one.

    Args:
        losses: Scalars, each differentiated before the next is computed, so that the memory of one
            suffices; none at all makes a step with the other processes' gradients alone.
        parameters: All that the optimiser changes.
        step: The step's number from 0, for the error message.
        processes: Those that train together; None for this one alone.
        remedy: What the error message advises.

    Raises:
        BadInput: Where a loss is not finite; nothing has then changed.
    """
    total = 0.0
    optimiser.zero_grad()
    for loss in losses:
        if not bool(torch.isfinite(loss)):
            raise BadInput(f"the loss is not finite at step {step + 1}; {remedy}")
        loss.backward()
        total += loss.item()
    for group in optimiser.param_groups:
        group["lr"] = group.get("rate", 1.0) * learning_rate
    if processes is not None:
        processes.average_gradients(parameters)
    nn.utils.clip_grad_norm_(parameters, MAX_NORM)
    optimiser.step()
    return total
