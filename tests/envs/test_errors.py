"""What cannot be used is told in one sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from envs.errors import BadInput, some_of, unknown, whole_number, yes_or_no


def test_the_nearest_or_all() -> None:
    assert str(unknown("planner", "smolm2", ["oracle", "smollm2-135m"])) == (
        "unknown planner 'smolm2'; did you mean 'smollm2-135m'?"
    )
    assert str(unknown("planner", "zz", ["b", "a"])) == "unknown planner 'zz'; known: a, b"


@pytest.mark.parametrize("value", [3, 10, np.int64(7)])
def test_whole_numbers(value: Any) -> None:
    number = whole_number("n", value, 3, 10)
    assert number == value and type(number) is int


@pytest.mark.parametrize("value", [2, 11, -1, 7.0, 7.5, "7", None, True, float("nan"), [7]])
def test_what_is_no_such_number(value: Any) -> None:
    with pytest.raises(BadInput, match="between 3 and 10, not"):
        whole_number("n", value, 3, 10)


def test_yes_or_no() -> None:
    assert yes_or_no("x", True) is True
    for value in (1, "yes", None):
        with pytest.raises(BadInput, match="x must be True or False"):
            yes_or_no("x", value)


def test_some_of() -> None:
    known = ("wall", "corner", "floor")
    assert some_of("condition", ["floor", "wall", "floor"], known) == ("wall", "floor")
    assert some_of("condition", "floor", known) == ("floor",)
    with pytest.raises(BadInput, match="did you mean 'corner'"):
        some_of("condition", ["wall", "korner"], known)
    for nothing in ((), 3, None):
        with pytest.raises(BadInput, match="chooses none of wall, corner, floor"):
            some_of("condition", nothing, known)
