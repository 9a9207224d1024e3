"""Attributes state what they hold in the worlds' own phrases."""

from __future__ import annotations

import pytest

from envs.attributes import (
    BESIDE_WALL,
    FLOOR,
    HALF,
    IN_MIDDLE,
    LOCKED,
    MARK,
    NEXT_TO,
    SECRET_PROPERTY,
    Attribute,
)


@pytest.mark.parametrize(
    ("attribute", "phrase"),
    [
        (Attribute(SECRET_PROPERTY, "good"), "has secret property good"),
        (Attribute(SECRET_PROPERTY, "good", holds=False), "does not have secret property good"),
        (Attribute(FLOOR, "blue"), "is on a blue floor"),
        (Attribute(MARK, "white"), "shows a white mark"),
        (Attribute(MARK, "orange"), "shows an orange mark"),
        (Attribute(BESIDE_WALL, holds=False), "is not beside a wall"),
        (Attribute(HALF, "upper"), "is in the upper half of the room"),
        (Attribute(IN_MIDDLE, holds=False), "is not in the middle of the room"),
        (Attribute(NEXT_TO, "solid red ring"), "is next to the solid red ring"),
        (Attribute(LOCKED), "is locked"),
        (Attribute("made of", "glass"), "is made of glass"),
    ],
)
def test_the_phrase_of_an_attribute(attribute: Attribute, phrase: str) -> None:
    assert str(attribute) == phrase
