"""The Actor's memory: a map that it draws from its own views and movements.

Nothing here looks at the world. The agent knows the actions that it chose and what it sees; it
knows that ``forward`` moved it when the cell ahead looked free. So each view can be written into
a map around the place where the episode began, and read again, turned the way the agent faces.
"""

from __future__ import annotations

import numpy as np
from minigrid.core.actions import Actions

from agents.actor.route import DOOR, EMPTY, FLOOR, GOAL, STEPS, UNSEEN, Pose

SIZE = 64  # cells a side; larger worlds wrap around and overwrite the farthest part
_STEPS = np.array(STEPS)


class MapMemory:
    """The maps of N agents: ``codes [N, 64, 64, 3] uint8`` in MiniGrid's encoding, 0 unseen.

    ``carried [N, 3] uint8`` is what each agent sees itself carry.
    """

    def __init__(self, n: int) -> None:
        self.codes = np.zeros((n, SIZE, SIZE, 3), np.uint8)
        self.carried = np.zeros((n, 3), np.uint8)
        self.position = np.zeros((n, 2), np.int64)
        self.direction = np.zeros(n, np.int64)

    def reset(self, i: np.ndarray, views: np.ndarray) -> None:
        """Forget everything of agents ``i [K] int``, then look: ``views [K, v, v, 3]``."""
        self.codes[i] = 0
        self.position[i] = SIZE // 2
        self.direction[i] = 0
        self._look(i, views)

    def step(self, i: np.ndarray, actions: np.ndarray, views: np.ndarray) -> None:
        """Agents ``i`` took ``actions [K]`` and now see ``views [K, v, v, 3]``."""
        heading = self.direction[i]
        ahead = (self.position[i] + _STEPS[heading]) % SIZE
        code = self.codes[i, ahead[:, 0], ahead[:, 1]]
        free = np.isin(code[:, 0], (EMPTY, FLOOR, GOAL)) | (
            (code[:, 0] == DOOR) & (code[:, 2] == 0)
        )
        moved = (actions == Actions.forward) & free
        self.position[i] = np.where(moved[:, None], ahead, self.position[i])
        turn = (actions == Actions.right).astype(int) - (actions == Actions.left)
        self.direction[i] = (heading + turn) % 4
        self._look(i, views)

    def crop(self, i: np.ndarray, size: int) -> np.ndarray:
        """The map around agents ``i``, each facing up: ``[K, size, size, 3] uint8``."""
        half = size // 2
        cells = self._cells(i, np.arange(-half, half + 1), np.arange(half, -half - 1, -1))
        return self.codes[i[:, None, None], cells[..., 0], cells[..., 1]]

    def seen(self, i: int) -> tuple[np.ndarray, Pose]:
        """All that agent i has seen, with one unseen cell around it, and where it stands in it."""
        x, y = np.nonzero(self.codes[i, :, :, 0])
        low, high = (x.min() - 1, y.min() - 1), (x.max() + 2, y.max() + 2)
        grid = self.codes[i, max(low[0], 0) : high[0], max(low[1], 0) : high[1]]
        px, py = self.position[i]
        return grid, Pose(
            int(px - max(low[0], 0)), int(py - max(low[1], 0)), int(self.direction[i])
        )

    def _cells(self, i: np.ndarray, right: np.ndarray, forward: np.ndarray) -> np.ndarray:
        """Map cells ``[K, len(right), len(forward), 2]`` at these distances from agents i."""
        ahead = _STEPS[self.direction[i]][:, None, None]
        aside = _STEPS[(self.direction[i] + 1) % 4][:, None, None]
        return (
            self.position[i][:, None, None]
            + ahead * forward[None, None, :, None]
            + aside * right[None, :, None, None]
        ) % SIZE

    def _look(self, i: np.ndarray, views: np.ndarray) -> None:
        size = views.shape[1]
        half = size // 2
        cells = self._cells(i, np.arange(-half, half + 1), np.arange(size - 1, -1, -1))
        self.carried[i] = views[:, half, size - 1]
        seen = views[..., 0] != UNSEEN
        seen[:, half, size - 1] = False  # there the view shows what the agent carries
        who = np.broadcast_to(i[:, None, None], seen.shape)[seen]
        x, y = cells[..., 0][seen], cells[..., 1][seen]
        self.codes[who, x, y] = views[seen]
        here = (i, self.position[i, 0], self.position[i, 1])
        self.codes[here] = np.where(
            self.codes[here][:, :1] == UNSEEN, np.array([EMPTY, 0, 0], np.uint8), self.codes[here]
        )
