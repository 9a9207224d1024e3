"""A reward model that is gamed is noticed, and what stands between it and the check survives."""

from __future__ import annotations

import pytest

from envs.errors import BadInput
from models.training.reward_hacking import MARGIN, WINDOW, RewardHackingMonitor


def test_a_detector_that_is_gamed_is_noticed() -> None:
    honest, gamed = RewardHackingMonitor(), RewardHackingMonitor()
    for step in range(2 * WINDOW):
        late = step >= WINDOW
        honest.add(0.5 + 2 * MARGIN * late, 0.5 + 2 * MARGIN * late)
        if step < 2 * WINDOW - 1:
            gamed.add(0.5 + 2 * MARGIN * late, 0.5 - 2 * MARGIN * late)
    resumed = RewardHackingMonitor()
    resumed.load_state_dict(gamed.state_dict())
    for monitor in (gamed, resumed):
        with pytest.raises(BadInput, match=r"gamed: .* rose by 0.10 while the truth fell by 0.10"):
            monitor.add(0.5 + 2 * MARGIN, 0.5 - 2 * MARGIN)
