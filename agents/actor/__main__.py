"""``python -m agents.actor`` compiles what the learned Actor and its training run in numba.

Done once for each state of the source, on top of ``python -m envs.batched``; otherwise the first
step of an Actor does it.
"""

from __future__ import annotations

import numpy as np

from agents.actor import map_memory
from agents.actor.expert import expert_actions
from agents.actor.task_sources import SMALL
from agents.actor.vector_env import CommandVectorEnv


def main() -> None:
    env = CommandVectorEnv(SMALL, 1, seed=0)
    env.reset()
    env.step(expert_actions(env.observations))
    row, memory, workspace = np.arange(1), env.memory, env.workspace
    images, view = env.engine.images, env.engine.view
    map_memory.begin_some(memory, row, images)
    map_memory.step_some(memory, row, np.zeros(1, np.int64), images)
    map_memory.observe_some(memory, row, workspace, view, env.observations)


if __name__ == "__main__":
    main()
