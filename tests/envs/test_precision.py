"""Half precision, where it is faster."""

from __future__ import annotations

import pytest
import torch

from envs.sight import precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["faster", "slower"])
def test_a_cpu_multiplies_in_what_is_faster(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "faster_on_cpu", lambda: dtype)
    with precision.half(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_the_trial_is_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 2.0] * 9 + [0.0, 1.0] * 9 + [0.0, 1.0] * 9 + [0.0, 2.0] * 9)
    monkeypatch.setattr(precision.time, "perf_counter", lambda: next(times))
    assert precision.faster_on_cpu.__wrapped__() == torch.bfloat16
    assert precision.faster_on_cpu.__wrapped__() == torch.float32
