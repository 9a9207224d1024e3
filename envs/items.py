"""Items: the things in a world, by texture, colour and shape, and their words.

An item's name is its words in that order: ``striped red cross``, or MiniGrid's own
``blue box``, which has no texture. A name may leave words out, and then describes every
item that has the words it does give. A place may follow, as in BabyAI: ``red ball on your left``.
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
ANY_SHAPE = "object"  # BabyAI's word for a thing of whatever shape
# Seen from where the agent stood, and looked, when the episode began.
PLACES = {
    "left": "on your left",
    "right": "on your right",
    "front": "in front of you",
    "behind": "behind you",
}

WORDS = TEXTURES + COLOURS + SHAPES + MINIGRID_SHAPES + (ANY_SHAPE,)
_GAP = r"[^\S\n]+"
# Matched against lower-case text: ignoring case instead would take letters such as a long s for
# ours. A name never goes on over the end of a line, where another's words begin.
_NAME = re.compile(
    rf"\b(?:({'|'.join(TEXTURES)}){_GAP})?(?:({'|'.join(COLOURS)}){_GAP})?"
    rf"({'|'.join(SHAPES + MINIGRID_SHAPES + (ANY_SHAPE,))})\b"
    rf"(?:{_GAP}({'|'.join(PLACES.values()).replace(' ', _GAP)})\b)?"
)
_PLACE_OF = {phrase: place for place, phrase in PLACES.items()}
_PLACE_WORDS = tuple(dict.fromkeys(" ".join(PLACES.values()).split()))


@dataclass(frozen=True, order=True)
class Item:
    """A thing's looks, or, where texture or colour is None, a description of things.

    ``place`` is where those things lay when the episode began: a word of ``PLACES``, or None.
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
        """Whether every word of this item's name holds of the looks of ``other``."""
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
        """The item of which ``text`` is the whole name, with or without an article.

        Raises BadInput, in one sentence with the nearest right word, if it is none.
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
    """The item of the four parts of a name; a part that is left out is empty or None."""
    where = _PLACE_OF[" ".join(place.split())] if place else None
    return Item(shape, colour or None, texture or None, where)


def with_article(words: str) -> str:
    """Words of items with "a" or "an" before them."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def unknown_word(word: str) -> str:
    """One sentence that says that ``word`` is no item word, with the nearest that is."""
    near = difflib.get_close_matches(word, (*WORDS, *_PLACE_WORDS), n=1)
    hint = f"; did you mean '{near[0]}'?" if near else f"; known words: {', '.join(WORDS)}"
    return f"unknown item word '{word}'{hint}"


def find_items(text: str) -> tuple[Item, ...]:
    """The items named in a text, each once, in the order in which they are first named.

    Our own shapes count only with a texture or colour before them, since ``square`` and
    ``ring`` are also ordinary words.
    """
    return tuple(dict.fromkeys(item for item, _ in names_of_items(text)))


def names_of_items(text: str) -> list[tuple[Item, int]]:
    """Every item named in a text, as often as it is named, with the place where the name ends."""
    return [
        (item, end)
        for item, _, end in item_spans(text.lower())
        if item.texture or item.colour or item.shape not in SHAPES
    ]


def item_spans(text: str) -> list[tuple[Item, int, int]]:
    """Every item named in a lower-case text, with where its name begins and ends there. Shapes of
    ours that stand alone are among them ("the ring"), which may be ordinary words."""
    return [(_named(*m.groups()), m.start(), m.end()) for m in _NAME.finditer(text)]


ALL_ITEMS = tuple(Item(s, c, t) for t, c, s in product(TEXTURES, COLOURS, SHAPES))


def _is_held_out(item: Item) -> bool:
    # A diagonal through the three word lists: every word, and nearly every pair of words, is
    # still seen in training; only the combination is new.
    assert item.texture is not None and item.colour is not None
    return (
        TEXTURES.index(item.texture) + COLOURS.index(item.colour) + SHAPES.index(item.shape)
    ) % 5 == 1


HELD_OUT_ITEMS = tuple(i for i in ALL_ITEMS if _is_held_out(i))
TRAIN_ITEMS = tuple(i for i in ALL_ITEMS if not _is_held_out(i))
ITEM_SETS = {"train": TRAIN_ITEMS, "held-out": HELD_OUT_ITEMS, "all": ALL_ITEMS}
