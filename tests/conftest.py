"""What holds for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

# As in run.__main__: what is read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch


@pytest.fixture(autouse=True)
def _own_number_of_threads() -> Iterator[None]:
    """What a command sets for its process must not slow down the tests after it: tests run side by
    side, and two threads each on two cores wait for each other."""
    before = torch.get_num_threads()
    yield
    if torch.get_num_threads() != before:
        torch.set_num_threads(before)
