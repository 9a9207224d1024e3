"""The progress bar of every long command; without a terminal, it prints lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import ProgressColumn

QUIET_SECONDS = 10.0  # between two lines where there is no terminal for a bar
Column = Literal["count", "rate", "remaining", "elapsed"]


def short_rate(rate: float) -> str:
    """A rate with as many digits as are worth reading: ``1,234`` or ``0.56``."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2f}"


class ProgressBar:
    """How far a piece of work of ``total`` steps has come. A context manager."""

    def __init__(
        self,
        console: Console,
        description: str,
        total: int,
        unit: str,
        *,
        start: int | None = None,
        columns: Sequence[Column] = ("rate", "remaining"),
        format_rate: Callable[[float], str] = short_rate,
        line_every: int | None = None,
    ) -> None:
        """Make a bar on ``console``.

        Args:
            description: what is being done; ``update`` and ``describe`` replace it.
            total: how many steps there are.
            unit: what a step is, in the plural ("episodes").
            start: how many steps were done before. None takes the number of the first ``update``,
                and prints the first line at once.
            columns: what stands behind description and bar.
            format_rate: writes the steps per second.
            line_every: without a terminal, print a line each so many steps, without description
                and rate, instead of one each ``QUIET_SECONDS``.
        """
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        available: dict[Column, Callable[[], ProgressColumn]] = {
            "count": MofNCompleteColumn,
            "rate": lambda: TextColumn("{task.fields[rate]} " + unit + "/s"),
            "remaining": TimeRemainingColumn,
            "elapsed": TimeElapsedColumn,
        }
        self._console = console
        self._description = description
        self._total = total
        self._unit = unit
        self._format_rate = format_rate
        self._line_every = line_every
        self._start = start
        self._began = time.monotonic()
        self._last_line = 0.0 if start is None else self._began
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            *(available[name]() for name in columns),
            console=console,
        )
        self._task = self._bar.add_task(
            description, total=total, completed=start or 0, rate=format_rate(0.0)
        )

    def __enter__(self) -> ProgressBar:
        self._bar.__enter__()
        return self

    def __exit__(self, *why: Any) -> None:
        self._bar.__exit__(*why)

    def describe(self, description: str) -> None:
        """Say what is being done now."""
        self._description = description
        self._bar.update(self._task, description=description)

    def update(self, description: str, completed: int) -> None:
        """Say what is being done now, and how many steps are ``completed`` in all."""
        self._description = description
        self._start = completed if self._start is None else self._start
        now = time.monotonic()
        rate = self._format_rate((completed - self._start) / max(now - self._began, 1e-9))
        self._bar.update(self._task, description=description, completed=completed, rate=rate)
        if not self._console.is_terminal and self._line_is_due(now, completed):
            self._last_line = now
            line = f"{completed:,} of {self._total:,} {self._unit}"
            if self._line_every is None:
                line = f"{description}, {line}, {rate} {self._unit}/s"
            self._console.print(line, highlight=False)

    def _line_is_due(self, now: float, completed: int) -> bool:
        if self._line_every is not None:
            return completed % self._line_every == 0
        return now - self._last_line > QUIET_SECONDS
