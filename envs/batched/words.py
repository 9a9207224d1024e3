"""A command's words as numbers, which the Actor reads."""

from __future__ import annotations

import numpy as np

from envs.commands import VERBS, Command
from envs.items import ANY_SHAPE, COLOURS, MINIGRID_SHAPES, SHAPES, TEXTURES, Item

SHAPE_WORDS = (*SHAPES, *MINIGRID_SHAPES, ANY_SHAPE)
PLACES = ("left", "right", "front", "behind")
ITEM_WORDS = (TEXTURES, COLOURS, SHAPE_WORDS, PLACES)
WORDS_AN_ITEM = len(ITEM_WORDS)
WORDS_A_COMMAND = 1 + 2 * WORDS_AN_ITEM


def encode_command(command: Command) -> np.ndarray:
    """A command's words ``[9] uint8``: the verb, then texture, colour, shape and place of its item
    and of its target, 0 for a missing word."""
    items = (command.item, command.target)
    return np.array([VERBS.index(command.verb), *(n for i in items for n in _words(i))], np.uint8)


def _words(item: Item | None) -> tuple[int, ...]:
    if item is None:
        return (0,) * WORDS_AN_ITEM
    names = (item.texture, item.colour, item.shape, getattr(item, "place", None))
    return tuple(
        0 if name is None else 1 + words.index(name)
        for name, words in zip(names, ITEM_WORDS, strict=True)
    )


def decode_command(words: np.ndarray) -> Command:
    """The command that ``encode_command`` encoded as these numbers."""
    items = []
    for k in (1, 1 + WORDS_AN_ITEM):
        texture, colour, shape, place = (
            names[n - 1] if n else None
            for n, names in zip(map(int, words[k : k + 4]), ITEM_WORDS, strict=True)
        )
        extra = {"place": place} if place else {}
        items.append(Item(shape, colour, texture, **extra) if shape else None)
    assert items[0] is not None
    return Command(VERBS[words[0]], items[0], items[1])
