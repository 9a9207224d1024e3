"""Compilation by numba, kept on disk so that it happens once and is never out of date.

numba compiles a function anew when its own file changes, but not when a function that it calls
from another file does. So the compiled code lies in a folder named by a digest of all source
files. ``NUMBA_CACHE_DIR`` chooses another place.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numba


def jit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: ``numba.njit`` with these options, cached in Parley's own folder."""

    def decorate(function: Callable[..., Any]) -> Any:
        # Read while a function is decorated; other libraries' functions keep their place.
        usual = numba.config.CACHE_DIR  # type: ignore[attr-defined]
        setattr(numba.config, "CACHE_DIR", usual or cache_folder())  # noqa: B010
        try:
            return numba.njit(cache=True, **options)(function)
        finally:
            setattr(numba.config, "CACHE_DIR", usual)  # noqa: B010

    return decorate


# Compiles a function that makes no arrays, without counting references to those it is given:
# that takes half of a step's time where dozens of arrays are handed from function to function.
# What these call inherits that, unless it says otherwise: what makes arrays is a maker.
kernel: Any = partial(jit, _nrt=False)
maker: Any = partial(jit, _nrt=True)


@lru_cache(maxsize=1)
def cache_folder() -> str:
    """The folder of compiled code for this state of the source."""
    house = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for room in ("envs", "agents/actor"):
        for file in sorted((house / room).rglob("*.py")):
            digest.update(file.read_bytes())
    root = Path(os.environ.get("PARLEY_CACHE") or Path.home() / ".cache" / "parley")
    return str(root / "kernels" / digest.hexdigest()[:16])
