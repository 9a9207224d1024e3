"""Compilation by numba, cached on disk and never out of date.

numba recompiles a function when its own file changes, but not when a function that it calls from
another file does. So the compiled code lies in a folder named by a digest of all source files.
``NUMBA_CACHE_DIR`` chooses another place.
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
        # numba reads it while it decorates a function; other libraries' caches stay where they are.
        usual = numba.config.CACHE_DIR  # type: ignore[attr-defined]
        setattr(numba.config, "CACHE_DIR", usual or cache_folder())  # noqa: B010
        try:
            return numba.njit(cache=True, **options)(function)
        finally:
            setattr(numba.config, "CACHE_DIR", usual)  # noqa: B010

    return decorate


# ``kernel`` compiles a function that allocates no arrays, without reference counting of its
# arguments, which takes half of a step's time where dozens of arrays are passed between functions.
# Functions that these call inherit that, so a function that allocates arrays must be a ``maker``.
kernel: Any = partial(jit, _nrt=False)
maker: Any = partial(jit, _nrt=True)


@lru_cache(maxsize=1)
def cache_folder() -> str:
    """The folder of the code compiled from this version of the source."""
    house = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for room in ("envs", "agents/actor"):
        for file in sorted((house / room).rglob("*.py")):
            digest.update(file.read_bytes())
    root = Path(os.environ.get("PARLEY_CACHE") or Path.home() / ".cache" / "parley")
    return str(root / "kernels" / digest.hexdigest()[:16])
