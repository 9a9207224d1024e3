"""Half precision, where it is faster."""

from __future__ import annotations

import pytest
import torch

from models import precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["faster", "slower"])
def test_a_cpu_multiplies_in_what_is_faster(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "faster_on_cpu", lambda: dtype)
    with precision.half(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_the_trial_is_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    faster = [0.0, 2.0] * 9 + [0.0, 5.0] + [0.0, 1.0] * 8
    slower = [0.0, 1.0] * 9 + [0.0, 2.0] * 9
    hopeless = [0.0, 1.0] * 9 + [0.0, 40.0] * 2
    times = iter(faster + slower + hopeless)
    monkeypatch.setattr(precision.time, "perf_counter", lambda: next(times))
    found = [precision.faster_on_cpu.__wrapped__() for _ in range(3)]
    assert found == [torch.bfloat16, torch.float32, torch.float32]
    assert list(times) == []
