"""Learning-rate schedules: linear warm-up, then a cosine."""

from __future__ import annotations

import math


def cosine_to_zero(step: int, steps: int, peak: float) -> float:
    """A linear warm-up over the first 10 % of the steps, then half a cosine down to 0.

    Args:
        step: The step, from 0.
        steps: The number of steps.
        peak: The highest learning rate.
    """
    return _warmup_cosine(step, steps, peak, warmup=0.1, last=0.0)


def cosine_to_fiftieth(step: int, steps: int, peak: float) -> float:
    """As `cosine_to_zero`, but with a warm-up over 5 % of the steps, and down to ``0.02 * peak``.

    Args:
        step: The step, from 0.
        steps: The number of steps.
        peak: The highest learning rate.
    """
    return _warmup_cosine(step, steps, peak, warmup=0.05, last=0.02)


def _warmup_cosine(step: int, steps: int, peak: float, *, warmup: float, last: float) -> float:
    """``warmup`` is a share of the steps, ``last`` the last step's rate as a share of ``peak``."""
    progress = (step + 1) / steps
    if progress < warmup:
        return peak * progress / warmup
    angle = math.pi * (progress - warmup) / (1 - warmup)
    return peak * (last + (1 - last) * 0.5 * (1 + math.cos(angle)))
