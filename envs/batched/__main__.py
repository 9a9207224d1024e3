"""``python -m envs.batched`` compiles the engine, once for each state of its source.

Whoever uses the engine compiles it too, at its first step; this does it beforehand.
"""

from __future__ import annotations

import numpy as np

from envs.tasks import make_worlds


def main() -> None:
    # A step before all that only makes layouts: what is compiled first decides how.
    worlds = make_worlds("playground", 1, batched=True)
    worlds.reset(0, 1)
    worlds.step(np.zeros(1, int), np.ones(1, bool))


if __name__ == "__main__":
    main()
