"""Sequences of tokens."""

from __future__ import annotations

from collections.abc import Sequence

Tokens = tuple[int, ...]


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """The length of the longest common prefix of two token sequences."""
    if a[: len(b)] == b:  # the usual case, and a quick comparison
        return len(b)
    for k, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return k
    return min(len(a), len(b))
