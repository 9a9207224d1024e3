"""The exception for input that the user has to correct."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable, Sequence
from typing import Any, SupportsIndex


class BadInput(ValueError):
    """Input that cannot be used.

    The message is one sentence for the user: the value, what was allowed and the nearest valid
    value. The command line prints it and exits with code 2.
    """


class ContextOverflow(BadInput):
    """A dialogue that a language model has no room for. It ends its episode as a failure."""


def reason_of(error: BaseException) -> str:
    """The first line of an exception's message, or its kind where it has none."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__


def unknown(what: str, name: str, names: Iterable[str]) -> BadInput:
    """The error for an unknown name: ``unknown planner 'smolm2'; did you mean 'smollm2-135m'?``

    Args:
        what: What is named, such as "planner".
        name: The unknown name.
        names: All valid names.
    """
    names = sorted(names)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names)}"
    return BadInput(f"unknown {what} '{name}'; {hint}")


def whole_number(what: str, value: Any, low: int, high: int | None = None) -> int:
    """Check that a value is a whole number in a range, and return it as an int.

    Args:
        what: What the number is, for the message.
        value: The value.
        low: The smallest allowed number.
        high: The largest allowed number; None for no limit.

    Raises:
        BadInput: The value is no whole number, or out of range.
    """
    allowed = f"at least {low}" if high is None else f"between {low} and {high}"
    # bool is an int to Python, but never meant as one.
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise BadInput(f"{what} must be a whole number {allowed}, not {value!r}")
    number = operator.index(value)
    if number < low or (high is not None and number > high):
        raise BadInput(f"{what} must be {allowed}, not {number}")
    return number


def yes_or_no(what: str, value: Any) -> bool:
    """Check that a value is True or False, and return it.

    Raises:
        BadInput: It is neither.
    """
    if not isinstance(value, bool):
        raise BadInput(f"{what} must be True or False, not {value!r}")
    return value


def some_of(what: str, given: Any, allowed: Sequence[str]) -> tuple[str, ...]:
    """Check that words are among the allowed ones.

    Args:
        what: What the words are, for the message.
        given: One word, or several.
        allowed: The allowed words.

    Returns:
        The given words, in the order of ``allowed``.

    Raises:
        BadInput: A word is not allowed (the message names the nearest allowed one), or none is
            given.
    """
    words = (
        [given] if isinstance(given, str) else list(given) if isinstance(given, Iterable) else []
    )
    for word in words:
        if word not in allowed:
            raise unknown(what, str(word), allowed)
    if not words:
        raise BadInput(f"{what}: {given!r} chooses none of {', '.join(allowed)}")
    return tuple(w for w in allowed if w in words)
