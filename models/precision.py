"""Half precision, where the device computes faster in it."""

from __future__ import annotations

import math
import time
from functools import cache

import torch


def half(device: torch.device) -> torch.autocast:
    """Autocast to bfloat16; it does nothing on a CPU that multiplies float32 faster.

    Without instructions for it, bfloat16 is emulated, tens of times slower.
    """
    pays = device.type != "cpu" or faster_on_cpu() == torch.bfloat16
    return torch.autocast(device.type, torch.bfloat16, enabled=pays)


@cache
def faster_on_cpu() -> torch.dtype:
    """The format, float32 or bfloat16, in which this CPU multiplies faster, measured briefly."""
    plain = _fastest(torch.float32)
    return torch.bfloat16 if _fastest(torch.bfloat16, hopeless=4 * plain) < plain else torch.float32


def _fastest(dtype: torch.dtype, hopeless: float = math.inf) -> float:
    """Seconds of the fastest of nine matrix products; of two, if both take longer than
    ``hopeless``."""
    a, b = torch.ones(64, 1024, dtype=dtype), torch.ones(1024, 1024, dtype=dtype)
    times: list[float] = []
    while len(times) < 2 or (len(times) < 9 and min(times) < hopeless):
        start = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - start)
    return min(times)
