"""Where numba keeps the compiled kernels, so that they are compiled once and never out of date."""

from __future__ import annotations

import hashlib
import os
from functools import partial
from pathlib import Path
from typing import Any

import numba

# Compiles a function that makes no arrays, without counting references to those it is given:
# that takes half of a step's time where dozens of arrays are handed from function to function.
# What these call inherits that, unless it says otherwise: what makes arrays is a maker.
kernel: Any = partial(numba.njit, cache=True, _nrt=False)
maker: Any = partial(numba.njit, cache=True, _nrt=True)


def use_cache() -> None:
    """Keep compiled kernels in a folder of their own for each state of the source.

    numba compiles a function anew when its own file changes, but not when a function that it
    calls from another file does. So the folder's name is a digest of all source files. Set
    ``NUMBA_CACHE_DIR`` to choose another place.
    """
    if os.environ.get("NUMBA_CACHE_DIR"):
        return
    house = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for room in ("envs", "agents/actor"):
        for file in sorted((house / room).rglob("*.py")):
            digest.update(file.read_bytes())
    root = Path(os.environ.get("PARLEY_CACHE") or Path.home() / ".cache" / "parley")
    setattr(numba.config, "CACHE_DIR", str(root / "kernels" / digest.hexdigest()[:16]))  # noqa: B010
