"""The learning rate over the course of training."""

from __future__ import annotations

import math


def learning_rate_at(step: int, steps: int, peak: float) -> float:
    """Up over the first tenth of the steps, then down to nothing along a cosine."""
    share = (step + 1) / steps
    if share < 0.1:
        return peak * share / 0.1
    return peak * 0.5 * (1 + math.cos(math.pi * (share - 0.1) / 0.9))
