# Of the distribution parley-rl: run/shadowing.py looks for this line.
"""The worlds: items, commands and their truth, task families, and batches of worlds.

Importing this package registers its environments with gymnasium.
"""

from __future__ import annotations

import gymnasium as gym

from envs.babyai import BabyAIMixedLocal
from envs.command import CommandTask
from envs.commands import Command
from envs.composition import SecretComposition
from envs.conditional import SecretConditional, VisualConditional
from envs.events import Event
from envs.instruction import Instruction
from envs.items import Item
from envs.making import TASKS
from envs.playground import Playground
from envs.search import SecretSearch
from envs.tasks import make_worlds
from envs.worlds import Worlds

__all__ = ["TASKS", "Command", "Event", "Item", "Worlds", "make_worlds"]

for _name, _env in {
    "SecretConditional": SecretConditional,
    "SecretSearch": SecretSearch,
    "VisualConditional": VisualConditional,
    "SecretComposition": SecretComposition,
    "Command": CommandTask,
    "Instruction": Instruction,
    "Playground": Playground,
    "BabyAIMixedLocal": BabyAIMixedLocal,
}.items():
    gym.register(f"Parley/{_name}-v0", entry_point=f"{_env.__module__}:{_env.__name__}")
