"""Attributes: what is true of an item, as data, and the phrase that states it."""

from __future__ import annotations

from dataclasses import dataclass

from envs.items import with_article

SECRET_PROPERTY, FLOOR, MARK = "secret property", "floor", "mark"
BESIDE_WALL, IN_CORNER = "beside a wall", "in a corner"
HALF, IN_MIDDLE = "half of the room", "in the middle of the room"
NEXT_TO, LOCKED, OPEN, CARRIED = "next to", "locked", "open", "carried"

# Affirmed and denied, with the value in braces; all other predicates follow "is".
_PHRASES = {
    SECRET_PROPERTY: ("has secret property {}", "does not have secret property {}"),
    FLOOR: ("is on a {} floor", "is not on a {} floor"),
    MARK: ("shows {} mark", "does not show {} mark"),
    HALF: ("is in the {} half of the room", "is not in the {} half of the room"),
    NEXT_TO: ("is next to the {}", "is not next to the {}"),
}


@dataclass(frozen=True)
class Attribute:
    """A predicate of an item, with a value for predicates that take one, and whether it holds.

    The constants of this module are the predicates that our worlds and Reporters use:
    ``Attribute(FLOOR, "blue")``, ``Attribute(BESIDE_WALL, holds=False)``. Any other word or phrase
    that can follow "is" may be a predicate too.
    """

    predicate: str
    value: str = ""
    holds: bool = True

    def __str__(self) -> str:
        """The phrase that follows "it": ``is on a blue floor``, ``is not beside a wall``."""
        if self.predicate in _PHRASES:
            value = with_article(self.value) if self.predicate == MARK else self.value
            return _PHRASES[self.predicate][not self.holds].format(value)
        return " ".join(
            w for w in ("is" if self.holds else "is not", self.predicate, self.value) if w
        )
