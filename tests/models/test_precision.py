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
    plain, faster, slower, hopeless = ([0.0, s] for s in (2.0, 1.0, 3.0, 40.0))
    # A burst of other work slows four of nine turns; the fastest product of each still counts.
    busy = [0.0, 20.0, 0.0, 10.0] * 4 + (plain + faster) * 5
    times = iter((plain + faster) * 9 + (plain + slower) * 9 + (plain + hopeless) * 2 + busy)
    monkeypatch.setattr(precision.time, "perf_counter", lambda: next(times))
    formats = [precision.faster_on_cpu.__wrapped__() for _ in range(4)]
    assert formats == [torch.bfloat16, torch.float32, torch.float32, torch.bfloat16]
    assert list(times) == []
