"""``python -m envs.batched`` compiles the engine, once for each version of its source.

Otherwise the engine is compiled at its first step.
"""

from __future__ import annotations

import numpy as np

from envs.tasks import make_worlds


def main() -> None:
    # A step comes before anything that only makes layouts: how a shared function is compiled
    # depends on which caller is compiled first.
    worlds = make_worlds("playground", 1, batched=True)
    worlds.reset(0, 1)
    worlds.step(np.zeros(1, int), np.ones(1, bool))


if __name__ == "__main__":
    main()
