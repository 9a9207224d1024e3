"""How many true and false questions are drawn about a clip."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from run.clips.questions import _Candidates


@pytest.mark.parametrize(
    ("n", "kinds_true", "kinds_false", "true", "false"),
    [
        (2, 3, 3, 2, 2),
        (3, 4, 4, 3, 3),
        (3, 1, 4, 1, 1),  # as many false ones as true ones
        (3, 0, 4, 0, 1),  # but one where nothing is true
        (3, 4, 0, 3, 0),
    ],
)
def test_as_many_false_questions_as_true_ones(
    n: int, kinds_true: int, kinds_false: int, true: int, false: int
) -> None:
    truth: Any = None
    candidates: Any = _Candidates(truth)
    candidates.true = {f"kind {k}": [f"yes {k}"] for k in range(kinds_true)}
    candidates.false = {f"kind {k}": {"a way": [f"no {k}"]} for k in range(kinds_false)}
    for seed in range(5):
        drawn = list(candidates.draw(n, np.random.default_rng(seed)))
        assert len(set(drawn)) == len(drawn)
        assert [s.split()[0] for s in drawn] == ["yes"] * true + ["no"] * false
