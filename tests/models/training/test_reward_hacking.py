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


def gamed(*windows: tuple[float, float]) -> bool:
    """Whether 20 steps at each of these learned rewards and true successes are gaming."""
    monitor = RewardHackingMonitor()
    try:
        for judged, true in windows:
            for _ in range(20):
                monitor.add(judged, true)
    except BadInput:
        return True
    return False


def test_both_windows_of_20_steps_must_be_apart_in_opposite_directions_by_5_percent() -> None:
    assert gamed((0.50, 0.50), (0.56, 0.44))
    assert not gamed((0.50, 0.50), (0.54, 0.44))  # the reward hardly rises
    assert not gamed((0.50, 0.50), (0.56, 0.46))  # the truth hardly falls
    assert not gamed((0.50, 0.50), (0.56, 0.50)) and not gamed((0.50, 0.50), (0.50, 0.44))
    # Only neighbouring windows are compared: 8 points in two windows are slow enough.
    assert not gamed((0.50, 0.50), (0.54, 0.46), (0.58, 0.42))


def test_fewer_than_40_steps_are_never_gaming() -> None:
    monitor = RewardHackingMonitor()
    for step in range(39):
        monitor.add(float(step >= 20), float(step < 20))
    with pytest.raises(BadInput):
        monitor.add(1.0, 0.0)
