"""Messages on standard error."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 2.0  # seconds that a start may take without a word


def warn(text: str) -> None:
    """Print a warning, in one line."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


def note(text: str) -> None:
    """Print, in one line, what one should know but need not mend."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def saying(text: str, quiet: bool = False) -> Iterator[None]:
    """Say what takes long, in one line, where what happens within the context takes longer than
    ``PATIENCE``; otherwise nothing.

    Args:
        text: What is done, such as ``loading the Planner parley-135m``.
        quiet: Never say it.
    """
    ended = threading.Event()

    def speak() -> None:
        if not ended.wait(PATIENCE):
            print(f"{text} …", file=sys.stderr, flush=True)

    if quiet:
        yield
        return
    # A daemon: Ctrl-C does not wait for it.
    speaker = threading.Thread(target=speak, daemon=True)
    speaker.start()
    try:
        yield
    finally:
        ended.set()
        speaker.join()
