"""Questions about clips, and their true answers.

A question is about one event, two events in order, or an episode of a conditional task. Its words
come from ``questions.toml``; its answer comes from the ground truth (`ClipGroundTruth`), never from
pixels.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from envs.attributes import MARK, Attribute
from envs.errors import BadInput, unknown
from envs.items import COLOURS, SHAPES, TEXTURES, Item

QUESTIONS = Path(__file__).with_name("questions.toml")
SPLITS = ("train", "validation", "test")
VERBS = ("go to", "examine", "pick up")
_FIELDS = {
    "order": ("{first}", "{second}"),
    "episode": ("{yes}", "{no}", "{decider}", "{condition}"),
    "question": ("{task}",),
}


@dataclass(frozen=True)
class ItemEvent:
    """An event of an item: a verb of ``VERBS``, and the item."""

    verb: str
    item: Item


@dataclass(frozen=True)
class ConditionalSpec:
    """A conditional task: pick up ``yes`` if the condition holds of the decider, else ``no``."""

    decider: Item
    condition: Attribute
    yes: Item
    no: Item

    @property
    def phrase(self) -> str:
        """The condition in words, such as "is beside a wall"."""
        when = " when examined" if self.condition.predicate == MARK else ""
        return f"{self.condition}{when}"


@dataclass(frozen=True)
class QuestionSpec:
    """The content of a question, before it is put into words: an event, two in order, or a
    conditional task."""

    events: tuple[ItemEvent, ...] = ()
    conditional: ConditionalSpec | None = None

    @property
    def kind(self) -> str:
        """``go to``, ``examine``, ``pick up``, ``order`` or ``episode``."""
        if self.conditional is not None:
            return "episode"
        return "order" if len(self.events) > 1 else self.events[0].verb


@dataclass(frozen=True)
class ClipGroundTruth:
    """What happened in a clip.

    Attributes:
        events: (step, event) of each examination and pick-up after the clip's first frame and not
            after its last.
        faced: The item in front of the agent at the last frame.
        held: The item that it carries at the last frame.
        attributes: What is true of each item.
        last: The step of the last frame.
    """

    events: tuple[tuple[int, ItemEvent], ...]
    faced: Item | None
    held: Item | None
    attributes: Mapping[Item, frozenset[Attribute]]
    last: int

    def step(self, event: ItemEvent) -> int | None:
        """The step of an event that counts at the clip's end; None for one that does not count.

        Picking up an item counts if it is still held, going to an item if the agent faces it.
        Events before the clip began do not count.
        """
        if event.verb == "go to":
            return self.last if self.faced == event.item else None
        steps = [step for step, other in self.events if other == event]
        if not steps or (event.verb == "pick up" and self.held != event.item):
            return None
        return steps[-1]

    def answer(self, spec: QuestionSpec) -> int | None:
        """The step of the event that the question asks about; None where the answer is no.

        The first of two events counts from when it first happened, whatever came of it.
        """
        if spec.conditional is not None:
            task = spec.conditional
            holds = task.condition in self.attributes[task.decider]
            return self.step(ItemEvent("pick up", task.yes if holds else task.no))
        last = self.step(spec.events[-1])
        first = [step for step, event in self.events if event == spec.events[0]]
        if last is None or (len(spec.events) > 1 and not (first and first[0] < last)):
            return None
        return last


class QuestionTemplates:
    """The templates of questions, from a file such as ``questions.toml``.

    Raises:
        BadInput: The file is no such file.
    """

    def __init__(self, file: Path = QUESTIONS) -> None:
        try:
            words = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadInput(f"the questions '{file}' cannot be read: {error}") from error
        self._words: dict[str, Mapping[str, Sequence[str]]] = {}
        verbs = words.pop("deeds", {})
        for verb in VERBS:
            self._add(f"deeds.{verb}", verbs.pop(verb, None), ("{item}",), file)
        for name, fields in _FIELDS.items():
            self._add(name, words.pop(name, None), fields, file)
        left = [*(f"deeds.{n}" for n in verbs), *words]
        if left:
            raise BadInput(f"the questions '{file}' have what is not asked: {', '.join(left)}")

    def _add(self, name: str, lists: Any, fields: Sequence[str], file: Path) -> None:
        for split in SPLITS:
            texts = lists.get(split) if isinstance(lists, dict) else None
            if not isinstance(texts, list) or not texts:
                raise BadInput(f"the questions '{file}' lack a list of {name}, {split}")
            for text in texts:
                try:
                    blank = dict.fromkeys((f[1:-1] for f in fields), "")
                    fits = isinstance(text, str) and all(f in text for f in fields)
                    text.format_map(blank) if fits else None
                except (KeyError, ValueError, IndexError, AttributeError):
                    fits = False
                if not fits:
                    raise BadInput(
                        f"the questions '{file}' have a sentence of {name} that does not use "
                        f"{', '.join(fields)} and nothing else: {str(text)[:80]!r}"
                    )
        self._words[name] = lists

    def texts(self, name: str, split: str) -> Sequence[str]:
        """The templates with a name ("deeds.examine", "order", …) in a split.

        Raises:
            BadInput: There is no such split.
        """
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        return self._words[name][split]

    def put(self, spec: QuestionSpec, split: str, rng: np.random.Generator) -> str:
        """Put a question into words.

        Args:
            spec: The question's content.
            split: The split of the templates, one of ``SPLITS``.
            rng: Draws the templates.
        """

        def draw(name: str) -> str:
            texts = self.texts(name, split)
            return texts[int(rng.integers(len(texts)))]

        if spec.conditional is not None:
            c = spec.conditional
            task = draw("episode").format(decider=c.decider, condition=c.phrase, yes=c.yes, no=c.no)
        else:
            phrases = [draw(f"deeds.{e.verb}").format(item=e.item) for e in spec.events]
            task = (
                phrases[0]
                if len(phrases) == 1
                else draw("order").format(first=phrases[0], second=phrases[1])
            )
        return draw("question").format(task=task)


@cache
def wording() -> QuestionTemplates:
    """The project's own templates."""
    return QuestionTemplates()


def one_word_off(item: Item, rng: np.random.Generator) -> Item:
    """A random item whose name differs in one word."""
    part = ("texture", "colour", "shape")[rng.integers(3)]
    words = {"texture": TEXTURES, "colour": COLOURS, "shape": SHAPES}[part]
    others = [w for w in words if w != getattr(item, part)]
    return replace(item, **{part: others[rng.integers(len(others))]})
