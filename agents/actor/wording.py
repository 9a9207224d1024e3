"""Wording: free text read as a command, by the meaning of the words that it is said in.

Words of the grammar count as they are. Any other word or phrase is taken for the nearest word of
the slot in which it stands (verb, texture, colour, shape), by the cosine of a pretrained text
encoder's vectors, if that is near enough: "grab the crimson sphere" is "pick up the red ball".
Nearness is no certainty; benchmarks/wording.py measures how often it is right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from agents.actor.encoders import DEFAULT_ENCODER, ENCODERS, Encoder, unit
from envs.commands import VERBS, Command
from envs.errors import BadInput
from envs.items import ANY_SHAPE, COLOURS, MINIGRID_SHAPES, PLACES, SHAPES, TEXTURES

LONGEST_TEXT = 300  # characters
LONGEST_NAME = 6  # words of an item's name, without article and place


@dataclass(frozen=True)
class Slot:
    """One kind of word of the grammar, with the text that leads an encoder to that kind."""

    name: str
    words: tuple[str, ...]
    lead: str
    glosses: Mapping[str, str] = field(default_factory=dict)

    def spelt(self) -> list[str]:
        """The words as an encoder is shown them."""
        return [self.glosses.get(word, word) for word in self.words]


SLOTS = {
    slot.name: slot
    for slot in (
        Slot("verb", VERBS, "to"),
        Slot("texture", TEXTURES, "a surface with a"),
        Slot("colour", COLOURS, "the colour of"),
        Slot(
            "shape",
            (*SHAPES, *MINIGRID_SHAPES, ANY_SHAPE),
            "the shape of an object, the",
            # The only two words of the grammar that no text uses for what they mean here.
            {"ex": "letter X", "tee": "letter T"},
        ),
    )
}
ITEM_SLOTS = ("texture", "colour", "shape")
# The parts of an item's name, in every order in which one may say them.
ORDERS = (
    ("shape",),
    ("texture", "shape"),
    ("colour", "shape"),
    ("texture", "colour", "shape"),
    ("colour", "texture", "shape"),
)
SLOT_OF = {word: name for name in ITEM_SLOTS for word in SLOTS[name].words}

COURTESY = frozenset(
    ("please", "kindly", "now", "then", "just", "can", "could", "would", "will", "you")
)
DETERMINERS = frozenset(
    ("the", "a", "an", "this", "that", "these", "those", "some", "any", "my", "your")
)
PARTICLES = frozenset(
    (
        "to",
        "up",
        "down",
        "at",
        "over",
        "of",
        "hold",
        "look",
        "towards",
        "toward",
        "into",
        "onto",
        "on",
        "out",
    )
)
QUALIFIERS = frozenset(
    ("dark", "light", "bright", "pale", "deep", "shape", "shaped", "coloured", "colored")
)
BESIDE = re.compile(
    r"\b(?:next to|beside|alongside|near to|near|close to|adjacent to|by the side of)\b"
)
WHERE = tuple(
    (place, re.compile(rf"\s(?:{said})$"))
    for place, said in (
        (PLACES["left"], r"(?:on|to|at) (?:your|the) left(?: side)?(?: of you)?"),
        (PLACES["right"], r"(?:on|to|at) (?:your|the) right(?: side)?(?: of you)?"),
        (PLACES["front"], r"(?:right |straight |directly )?(?:in front|ahead)(?: of you)?"),
        (PLACES["behind"], r"(?:right |directly )?(?:behind you|behind|at your back)"),
    )
)


@dataclass(frozen=True)
class Match:
    """The word of a slot that is nearest to a phrase, its cosine, and how far above the floor
    that is (below 0: not near enough; 1: the very word)."""

    phrase: str
    slot: str
    word: str
    cosine: float
    margin: float


class Wording:
    """Reads commands in words that the grammar does not know."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._anchors: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for slot in SLOTS.values():
            vectors = encoder.encode(slot.lead, slot.spelt())
            # What the words of a slot have in common tells none of them from another.
            middle = vectors.mean(0)
            self._anchors[slot.name] = middle, unit(vectors - middle)

    def nearest(self, slot: str, phrases: Sequence[str]) -> list[Match]:
        """For each phrase the nearest word of a slot, near enough or not."""
        if not phrases:
            return []
        middle, anchors = self._anchors[slot]
        vectors = self.encoder.encode(SLOTS[slot].lead, phrases)
        cosines = unit(vectors - middle) @ anchors.T
        floor = self.encoder.floors[slot]
        best = cosines.argmax(1)
        tops = [float(row[k]) for row, k in zip(cosines, best, strict=True)]
        return [
            Match(p, slot, SLOTS[slot].words[k], top, (top - floor) / (1 - floor))
            for p, k, top in zip(phrases, best, tops, strict=True)
        ]

    def parse(self, text: str) -> Command:
        """The command that is meant by the whole of ``text``.

        Raises BadInput, in one sentence that names the word and the nearest word of the grammar,
        where a word is near to none or the text is built like no command.
        """
        if len(text) > LONGEST_TEXT:
            raise BadInput(
                f"a command has at most {LONGEST_TEXT} characters, not the {len(text)} of "
                f"'{text[:40]}…'"
            )
        with suppress(BadInput):
            return Command.parse(text)
        words = _plain(text)
        beside = BESIDE.search(words)
        if beside:
            first, first_place = _cut_place(words[: beside.start()].strip())
            verb, name = _split(first)
            if name:
                second, second_place = _cut_place(words[beside.end() :].strip())
                self._verb(verb, ("put",))
                item = self._name(name) + first_place
                return Command.parse(f"put {item} next to {self._name(second) + second_place}")
        words, place = _cut_place(words)
        verb, name = _split(words)
        if not name:
            what = "names no item" if verb else "is no command"
            raise BadInput(f"'{text}' {what}; say it like 'pick up the red ball'")
        known = self._verb(verb, VERBS)
        if known == "put":
            raise BadInput(f"'{text}' is no command; put what next to what?")
        return Command.parse(f"{known} {self._name(name)}{place}")

    def _verb(self, said: str, allowed: Sequence[str]) -> str:
        known = _known_verb(said)
        match = Match(said, "verb", known, 1, 1) if known else self.nearest("verb", [said])[0]
        if match.margin < 0:
            raise _too_far(match, self.encoder)
        if match.word not in allowed:
            raise BadInput(
                f"'{said}' is taken for '{match.word}', which takes one item; "
                f"known for two items: '{allowed[0]}'"
            )
        return match.word

    def _name(self, said: str) -> str:
        """An item's name in the words of the grammar: ``striped red ball``."""
        words = [_singular(w) for w in _without_article(said).split()]
        if not words:
            raise BadInput("an item has no name; an item is named like 'striped red cross'")
        if len(words) > LONGEST_NAME or DETERMINERS & set(words):
            raise BadInput(f"'{said}' is no item; an item is named like 'striped red cross'")
        readings = self._readings([w for w in words if w != "and"] or words)
        worst, _, reading = max(
            ((min(0.0, *(m.margin for m in r)), sum(_weight(m) for m in r), r) for r in readings),
            key=lambda scored: scored[:2],
        )
        if worst < 0:
            raise _too_far(min(reading, key=lambda m: m.margin), self.encoder)
        found = {m.slot: m.word for m in reading}
        return " ".join(found[s] for s in ITEM_SLOTS if s in found)

    def _readings(self, words: Sequence[str]) -> Iterator[tuple[Match, ...]]:
        """Every way to cut a name into phrases and to give each phrase a slot."""
        spans = [(i, j) for i, j in combinations(range(len(words) + 1), 2)]
        matches: dict[tuple[str, int, int], Match] = {}
        for slot in ITEM_SLOTS:
            found = self.nearest(slot, [" ".join(words[i:j]) for i, j in spans])
            alone = {m.phrase: m for m in found}
            for (i, j), match in zip(spans, found, strict=True):
                matches[slot, i, j] = _with_known(match, words[i:j], alone)
        for order in ORDERS:
            for cuts in combinations(range(1, len(words)), len(order) - 1):
                edges = (0, *cuts, len(words))
                yield tuple(
                    matches[slot, i, j] for slot, i, j in zip(order, edges, edges[1:], strict=False)
                )


def _with_known(match: Match, words: Sequence[str], alone: Mapping[str, Match]) -> Match:
    """A match, mended for the words of the grammar in its phrase: they count as they are."""
    known = {w for w in words if w in SLOT_OF}
    if not known:
        # A phrase has to say more than its words, or "crimson sphere" might be just a ball.
        idle = len(words) > 1 and any(alone[w].cosine >= match.cosine for w in words)
        return replace(match, margin=-1) if idle else match
    word = known.pop()
    if known or SLOT_OF[word] != match.slot:
        return replace(match, margin=-1)
    # "navy blue" and "dark blue" are blue; "banana blue" is not, though near it.
    rest = [w for w in words if w != word and w not in QUALIFIERS]
    agree = all(alone[w].word == word and alone[w].margin >= 0 for w in rest)
    return replace(match, word=word, cosine=1, margin=1) if agree else replace(match, margin=-1)


def _weight(match: Match) -> float:
    # By its words, so that a reading gains nothing by being cut into more phrases or fewer.
    return match.margin * len(match.phrase.split())


def _too_far(match: Match, encoder: Encoder) -> BadInput:
    if match.phrase in SLOT_OF:
        return BadInput(f"'{match.phrase}' is a {SLOT_OF[match.phrase]} and no {match.slot}")
    floor = encoder.floors[match.slot]
    why = f" (cosine {match.cosine:.2f}, needs {floor:.2f})" if match.cosine < floor else ""
    return BadInput(
        f"unknown {match.slot} '{match.phrase}'; the nearest is '{match.word}', which is not near "
        f"enough{why}"
    )


def _cut_place(said: str) -> tuple[str, str]:
    """A text without the place at its end, and that place in the words of the grammar."""
    for phrase, pattern in WHERE:
        if found := pattern.search(said):
            return said[: found.start()], f" {phrase}"
    return said, ""


def _plain(text: str) -> str:
    """Lower-case words without marks and courtesies, a space between two."""
    words = re.findall(r"[\w'-]+", text.lower())
    while words and words[0] in COURTESY:
        words.pop(0)
    while words and words[-1] in COURTESY - {"you"}:
        words.pop()
    return " ".join(words)


def _split(said: str) -> tuple[str, str]:
    """The words of the verb and those of the item's name, either perhaps empty."""
    words = said.split()
    if not words:
        return "", ""
    articles = [i for i, w in enumerate(words) if w in DETERMINERS and i > 0]
    # "take a look at the box": the first article stands inside the verb.
    inner = [i for i in articles[:-1] if PARTICLES & set(words[i + 2 : i + 3])]
    if articles:
        start = next(i for i in articles if i not in inner)
    else:
        start = 1
        while start < len(words) and words[start] in PARTICLES:
            start += 1
    verb, name = words[:start], words[start:]
    if len(name) > 1 and name[-1] in ("up", "down", "out"):  # "pick the red ball up"
        verb.append(name.pop())
    return " ".join(verb), _without_article(" ".join(name))


def _without_article(said: str) -> str:
    words = said.split()
    while words and words[0] in DETERMINERS:
        words.pop(0)
    return " ".join(words)


def _known_verb(said: str) -> str | None:
    """The verb of the grammar with which a phrase begins, if only particles follow."""
    words = said.split()
    for verb in VERBS:
        n = len(verb.split())
        if words[:n] == verb.split() and set(words[n:]) <= PARTICLES:
            return verb
    return None


def _singular(word: str) -> str:
    return next((w for end in ("s", "es") if (w := word.removesuffix(end)) in SLOT_OF), word)


def make_wording(name: str = DEFAULT_ENCODER) -> Wording:
    """The Wording with the text encoder of this name.

    Raises BadInput for an unknown name and where its weights cannot be had.
    """
    return Wording(ENCODERS[name]())
