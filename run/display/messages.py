"""Messages on standard error."""

from __future__ import annotations

import sys


def warn(text: str) -> None:
    """Print a warning, in one line."""
    print(f"warning: {text}", file=sys.stderr, flush=True)
