"""The one kind of error that is the user's to mend."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable, Sequence
from typing import Any, SupportsIndex


class BadInput(ValueError):
    """Input that cannot be used. Its text is one sentence for the user: the value, what was
    allowed, the nearest right one. The command line prints it and exits with 2."""


def unknown(what: str, name: str, known: Iterable[str]) -> BadInput:
    """``unknown planner 'smolm2'; did you mean 'smollm2-135m'?``"""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
    return BadInput(f"unknown {what} '{name}'; {hint}")


def whole_number(what: str, value: Any, low: int, high: int | None = None) -> int:
    """The value, if it is a whole number between ``low`` and ``high``; else raises BadInput."""
    allowed = f"at least {low}" if high is None else f"between {low} and {high}"
    # bool is an int to Python, but never meant as one.
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise BadInput(f"{what} must be a whole number {allowed}, not {value!r}")
    number = operator.index(value)
    if number < low or (high is not None and number > high):
        raise BadInput(f"{what} must be {allowed}, not {number}")
    return number


def yes_or_no(what: str, value: Any) -> bool:
    """The value, if it is True or False; else raises BadInput."""
    if not isinstance(value, bool):
        raise BadInput(f"{what} must be True or False, not {value!r}")
    return value


def some_of(what: str, given: Any, known: Sequence[str]) -> tuple[str, ...]:
    """The words of ``given`` (one word or several), in the order of ``known``.

    Raises BadInput, naming the nearest right word, if one is not known or none is given.
    """
    words = (
        [given] if isinstance(given, str) else list(given) if isinstance(given, Iterable) else []
    )
    for word in words:
        if word not in known:
            raise unknown(what, str(word), known)
    if not words:
        raise BadInput(f"{what}: {given!r} chooses none of {', '.join(known)}")
    return tuple(w for w in known if w in words)
