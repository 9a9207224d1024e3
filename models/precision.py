"""Half precision, where the device computes faster in it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import cache

import torch

TRIALS = 9  # products in each format
HOPELESS = 4.0  # times as long as float32


def half(device: torch.device) -> torch.autocast:
    """Autocast to bfloat16; it does nothing on a CPU that multiplies float32 faster.

    Without instructions for it, bfloat16 is emulated, tens of times slower.
    """
    pays = device.type != "cpu" or faster_on_cpu() == torch.bfloat16
    return torch.autocast(device.type, torch.bfloat16, enabled=pays)


@cache
def faster_on_cpu() -> torch.dtype:
    """The format, float32 or bfloat16, in which this CPU multiplies faster, measured briefly.

    The two take turns and the fastest product of each counts, so that other work on the machine
    slows both alike and does not decide. A format that is hopeless after two products, because it
    is emulated, is not tried further.
    """
    plain, half_precision = _product(torch.float32), _product(torch.bfloat16)
    fastest = [math.inf, math.inf]
    for number in range(TRIALS):
        fastest[0] = min(fastest[0], plain())
        fastest[1] = min(fastest[1], half_precision())
        if number and fastest[1] > HOPELESS * fastest[0]:
            break
    return torch.bfloat16 if fastest[1] < fastest[0] else torch.float32


def _product(dtype: torch.dtype) -> Callable[[], float]:
    """What multiplies two matrices of a format once and returns the seconds that it took."""
    a, b = torch.ones(64, 1024, dtype=dtype), torch.ones(1024, 1024, dtype=dtype)

    def seconds() -> float:
        start = time.perf_counter()
        a @ b
        return time.perf_counter() - start

    return seconds
