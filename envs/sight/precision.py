"""Half precision, where it is faster."""

from __future__ import annotations

import time
from functools import cache

import torch


def half(device: torch.device) -> torch.autocast:
    """Autocast to bfloat16, but on a CPU that multiplies float32 faster: there it does nothing.

    Without instructions for it, bfloat16 is emulated, tens of times slower.
    """
    pays = device.type != "cpu" or bfloat16_is_faster()
    return torch.autocast(device.type, torch.bfloat16, enabled=pays)


@cache
def bfloat16_is_faster() -> bool:
    """Whether this CPU multiplies bfloat16 matrices faster than float32, by a short trial."""
    taken = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.ones(64, 1024, dtype=dtype), torch.ones(1024, 1024, dtype=dtype)
        a @ b
        times = []
        for _ in range(9):
            start = time.perf_counter()
            a @ b
            times.append(time.perf_counter() - start)
        taken[dtype] = min(times)
    return taken[torch.bfloat16] < taken[torch.float32]
