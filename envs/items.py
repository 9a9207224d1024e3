"""Items: the things in a world, by texture, colour and shape, and the words for them.

An item's name is its words in that order: ``striped red cross``, or MiniGrid's own ``blue box``,
which has no texture. A name may leave words out, and then describes every item that matches the
words it has. A place may follow, as in BabyAI: ``red ball on your left``.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from itertools import product

from envs.errors import BadInput

TEXTURES = ("solid", "striped", "checkered")
COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "ex", "tee", "ring")
MINIGRID_SHAPES = ("key", "ball", "box", "door")
ANY_SHAPE = "object"  # BabyAI's word for a thing of any shape
# Relative to the agent's pose when the episode began.
PLACES = {
    "left": "on your left",
    "right": "on your right",
    "front": "in front of you",
    "behind": "behind you",
}

WORDS = TEXTURES + COLOURS + SHAPES + MINIGRID_SHAPES + (ANY_SHAPE,)
_GAP = r"[^\S\n]+"
# Matched against lower-case text: with IGNORECASE other letters, such as a long s, would match.
# A name never continues on the next line, which may be of another speaker.
_NAME = re.compile(
    rf"\b(?:({'|'.join(TEXTURES)}){_GAP})?(?:({'|'.join(COLOURS)}){_GAP})?"
    rf"({'|'.join(SHAPES + MINIGRID_SHAPES + (ANY_SHAPE,))})\b"
    rf"(?:{_GAP}({'|'.join(PLACES.values()).replace(' ', _GAP)})\b)?"
)
_PLACE_OF = {phrase: place for place, phrase in PLACES.items()}
_PLACE_WORDS = tuple(dict.fromkeys(" ".join(PLACES.values()).split()))


@dataclass(frozen=True, order=True)
class Item:
    """The appearance of a thing, or, where texture or colour is None, a description of things.

    ``place`` is where those things were when the episode began: a word of ``PLACES``, or None.

    Raises:
        BadInput: A word is unknown.
    """

    shape: str
    colour: str | None = None
    texture: str | None = None
    place: str | None = None

    def __post_init__(self) -> None:
        for word, allowed in (
            (self.shape, SHAPES + MINIGRID_SHAPES + (ANY_SHAPE,)),
            (self.colour, (None, *COLOURS)),
            (self.texture, (None, *TEXTURES)),
            (self.place, (None, *PLACES)),
        ):
            if word not in allowed:
                raise BadInput(unknown_word(str(word)))

    def __str__(self) -> str:
        place = None if self.place is None else PLACES[self.place]
        return " ".join(w for w in (self.texture, self.colour, self.shape, place) if w)

    def describes(self, other: Item) -> bool:
        """Whether every word of this item's name is true of the appearance of ``other``."""
        return (
            self.shape in (other.shape, ANY_SHAPE)
            and self.colour in (None, other.colour)
            and self.texture in (None, other.texture)
        )

    def likeness(self, other: Item) -> int:
        """How many of texture, colour and shape are the same."""
        mine = (self.texture, self.colour, self.shape)
        return sum(
            a == b for a, b in zip(mine, (other.texture, other.colour, other.shape), strict=True)
        )

    @classmethod
    def parse(cls, text: str) -> Item:
        """Parse the name of one item, with or without an article. ``text`` must contain nothing
        else.

        Raises:
            BadInput: It is no item; the message is one sentence with the nearest valid word.
        """
        name = re.sub(r"^(the|an?)\s+", "", " ".join(text.lower().split()))
        match = _NAME.fullmatch(name)
        if match is None:
            for word in name.split():
                if word not in (*WORDS, *_PLACE_WORDS):
                    raise BadInput(unknown_word(word))
            raise BadInput(f"'{text}' is no item; an item is named like 'striped red cross'")
        return _named(*match.groups())


def _named(texture: str, colour: str, shape: str, place: str) -> Item:
    """The item with the four parts of a name; a missing part is empty or None."""
    where = _PLACE_OF[" ".join(place.split())] if place else None
    return Item(shape, colour or None, texture or None, where)


def with_article(words: str) -> str:
    """Words with "a" or "an" before them."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def unknown_word(word: str) -> str:
    """An error message for an unknown item word, with the nearest valid one."""
    near = difflib.get_close_matches(word, (*WORDS, *_PLACE_WORDS), n=1)
    hint = f"; did you mean '{near[0]}'?" if near else f"; known words: {', '.join(WORDS)}"
    return f"unknown item word '{word}'{hint}"


def find_items(text: str) -> tuple[Item, ...]:
    """The items named in a text, each once, in the order of their first mention.

    Our own shapes count only after a texture or a colour, since ``square`` and ``ring`` are also
    ordinary words.
    """
    return tuple(dict.fromkeys(item for item, _ in names_of_items(text)))


def names_of_items(text: str) -> list[tuple[Item, int]]:
    """All mentions of items in a text, each with the position where the name ends."""
    return [
        (item, end)
        for item, _, end in item_spans(text.lower())
        if item.texture or item.colour or item.shape not in SHAPES
    ]


def item_spans(text: str) -> list[tuple[Item, int, int]]:
    """All mentions of items in a lower-case text, each with the start and end of the name.

    They include our shapes without texture and colour ("the ring"), which may be ordinary words.
    """
    return [(_named(*m.groups()), m.start(), m.end()) for m in _NAME.finditer(text)]


ALL_ITEMS = tuple(Item(s, c, t) for t, c, s in product(TEXTURES, COLOURS, SHAPES))


def _is_held_out(item: Item) -> bool:
    # A diagonal through the three word lists: every word, and nearly every pair of words, still
    # occurs in training; only the combination is new.
    assert item.texture is not None and item.colour is not None
    return (
        TEXTURES.index(item.texture) + COLOURS.index(item.colour) + SHAPES.index(item.shape)
    ) % 5 == 1


HELD_OUT_ITEMS = tuple(i for i in ALL_ITEMS if _is_held_out(i))
TRAIN_ITEMS = tuple(i for i in ALL_ITEMS if not _is_held_out(i))
ITEM_SETS = {"train": TRAIN_ITEMS, "held-out": HELD_OUT_ITEMS, "all": ALL_ITEMS}
