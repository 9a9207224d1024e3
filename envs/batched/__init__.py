"""The batched engine: N worlds with MiniGrid's rules and views, stepped at once in numba."""

# ruff: noqa: E402, I001 -- the cache's folder is set before any kernel is declared.
from envs.batched.compiled import use_cache

use_cache()

from envs.batched.engine import Engine
from envs.batched.layouts import Pool
from envs.batched.rooms import Rooms

__all__ = ["Engine", "Pool", "Rooms"]
