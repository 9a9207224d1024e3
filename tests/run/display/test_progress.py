"""Where there is no terminal, the progress bar prints lines instead."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from run.display import progress
from run.display.progress import ProgressBar, short_rate


class Clock:
    """A clock that is set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


def lines(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return [line for line in console.file.getvalue().splitlines() if " of " in line]


def test_a_stage_prints_its_first_step_and_then_a_line_each_ten_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, console = Clock(monkeypatch), Console(file=io.StringIO(), width=200)
    bar = ProgressBar(console, "training", 3000, "steps")
    # A resumed stage begins at step 1000, which must not count as made in this run.
    for seconds, step in ((1, 1000), (6, 1500), (10, 2200), (16, 2999)):
        clock.now = 1000.0 + seconds
        bar.update("loss 0.5", step)
    assert lines(console) == [
        "loss 0.5, 1,000 of 3,000 steps, 0.00 steps/s",
        "loss 0.5, 2,999 of 3,000 steps, 125 steps/s",
    ]


def test_an_evaluation_that_goes_on_counts_from_where_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, console = Clock(monkeypatch), Console(file=io.StringIO(), width=200)
    bar = ProgressBar(
        console,
        "",
        50,
        "episodes",
        start=20,
        columns=("count", "rate"),
        format_rate="{:.1f}".format,
    )
    bar.describe("cell")
    for seconds, episodes in ((9, 21), (11, 31), (12, 32)):
        clock.now = 1000.0 + seconds
        bar.update("cell", episodes)
    assert lines(console) == ["cell, 31 of 50 episodes, 1.0 episodes/s"]


def test_lines_by_number_have_no_rate() -> None:
    console = Console(file=io.StringIO(), width=200)
    bar = ProgressBar(
        console, "checking", 45, "levels", columns=("count", "elapsed"), line_every=20
    )
    for k in range(1, 46):
        bar.update(f"level {k}", k)
    assert lines(console) == ["20 of 45 levels", "40 of 45 levels"]


def test_in_a_terminal_the_bar_alone_is_shown() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with ProgressBar(console, "training", 4, "steps", columns=("count", "rate")) as bar:
        bar.update("loss 0.5", 2)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "loss 0.5" in text and "2/4" in text and "steps/s" in text and " of 4" not in text


def test_short_rates() -> None:
    assert [short_rate(r) for r in (0.0, 0.123, 9.994, 10.0, 12345.6)] == [
        "0.00",
        "0.12",
        "9.99",
        "10",
        "12,346",
    ]
