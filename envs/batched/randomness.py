"""Random numbers for each world, so that no result depends on how work is divided.

SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): a world's generator is one 64-bit number.
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(inline="always")
def _mix(z):
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@numba.njit(inline="always")
def draw(state):
    """The generator's next state and a number from [0, 1)."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    return state, (_mix(state) >> np.uint64(11)) * 2.0**-53


@numba.njit(inline="always")
def draw_below(state, n):
    """The generator's next state and a whole number from 0 to ``n - 1``."""
    state, chance = draw(state)
    return state, int(chance * n)


def generators(seed: int, n: int) -> np.ndarray:
    """The initial states ``[n] uint64`` of the generators of n worlds."""
    return np.random.default_rng(seed).integers(0, 2**64, n, np.uint64)
