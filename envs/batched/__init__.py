"""The batched engine: N worlds with MiniGrid's rules and views, stepped together in numba."""

from envs.batched.engine import Engine
from envs.batched.layouts import Pool
from envs.batched.rooms import Rooms

__all__ = ["Engine", "Pool", "Rooms"]
