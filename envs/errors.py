"""The one kind of error that is the user's to mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BadInput(ValueError):
    """Input that cannot be used. Its text is one sentence for the user: the value, what was
    allowed, the nearest right one. The command line prints it and exits with 2."""


def unknown(what: str, name: str, known: Iterable[str]) -> BadInput:
    """``unknown planner 'smolm2'; did you mean 'smollm2-135m'?``"""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
    return BadInput(f"unknown {what} '{name}'; {hint}")
