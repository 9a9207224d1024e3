"""The batched engine: N worlds with MiniGrid's rules and views, stepped at once in numba."""

# ruff: noqa: E402 -- the cache's folder is set before any kernel is declared.
import os

from envs.batched.compiled import use_cache

use_cache()
# As in agents/__init__.py: threads that spin while they wait take the cores from those that
# work. Read when OpenMP starts, with the first kernel of several threads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from envs.batched.engine import Engine
from envs.batched.layouts import Pool
from envs.batched.rooms import Rooms

__all__ = ["Engine", "Pool", "Rooms"]
