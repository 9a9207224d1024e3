"""Ctrl-C at any time is one line."""

from __future__ import annotations

import signal
import time

import pytest

from tests.run.command import start

# The console script's entry, in which everything is imported.
ENTRY = "import sys; print('begun', flush=True); from run.__main__ import main; sys.exit(main())"


@pytest.mark.parametrize("delay", [0.1, 0.4, 1.0])
def test_a_start_is_stopped_in_one_line(delay: float, tmp_path: object) -> None:
    process = start(
        *("episode", "--planner", "smollm2-135m", "--episodes", "9", "--runs-dir", str(tmp_path)),
        code=ENTRY,
    )
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    rows = [row for row in err.splitlines() if row and not row.startswith("loading ")]
    assert len(rows) == 1 and rows[0].startswith("stopped"), err
