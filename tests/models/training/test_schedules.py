"""Learning-rate schedules at steps that can be worked out by hand."""

from __future__ import annotations

import pytest

from models.training.schedules import cosine_to_fiftieth, cosine_to_zero


def test_the_cosine_to_zero_warms_up_over_a_tenth() -> None:
    rates = [cosine_to_zero(k, 100, 2.0) for k in range(100)]
    assert rates[0] == pytest.approx(2.0 * 1 / 10)
    assert rates[4] == pytest.approx(2.0 * 5 / 10)
    assert rates[9] == pytest.approx(2.0) == max(rates)  # the end of the warm-up
    assert rates[39] == pytest.approx(2.0 * 0.75)  # a third of the cosine: (1 + cos 60°) / 2
    assert rates[54] == pytest.approx(2.0 * 0.5)  # the middle of the cosine
    assert rates[69] == pytest.approx(2.0 * 0.25)
    assert rates[99] == pytest.approx(0.0, abs=1e-12)


def test_the_cosine_to_a_fiftieth_warms_up_over_a_twentieth() -> None:
    rates = [cosine_to_fiftieth(k, 100, 2.0) for k in range(100)]
    assert rates[0] == pytest.approx(2.0 * 1 / 5)
    assert rates[4] == pytest.approx(2.0) == max(rates)
    assert cosine_to_fiftieth(104, 200, 2.0) == pytest.approx(2.0 * (0.02 + 0.98 * 0.5))
    assert rates[99] == pytest.approx(2.0 * 0.02)


def test_a_single_step_is_the_last() -> None:
    assert cosine_to_zero(0, 1, 3.0) == pytest.approx(0.0)
    assert cosine_to_fiftieth(0, 1, 3.0) == pytest.approx(0.06)
