"""Questions about what an agent did, and their true answers.

A question is about one deed, two deeds in order, or an episode of a conditional task. Its words
come from ``questions.toml``; its answer from what happened (`ClipGroundTruth`), never from pixels.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

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
    """Something done to an item, by a verb of ``VERBS``."""

    verb: str
    item: Item


@dataclass(frozen=True)
class ConditionalSpec:
    """What a conditional task asks for: ``yes`` is to be picked up if the condition, a phrase such
    as "is beside a wall", holds of the decider, and ``no`` if it does not."""

    decider: Item
    condition: str
    yes: Item
    no: Item


@dataclass(frozen=True)
class QuestionSpec:
    """What is asked, before it is put into words: one deed, two in order, or branches."""

    deeds: tuple[ItemEvent, ...] = ()
    branches: ConditionalSpec | None = None

    @property
    def kind(self) -> str:
        """``go to``, ``examine``, ``pick up``, ``order`` or ``episode``."""
        if self.branches is not None:
            return "episode"
        return "order" if len(self.deeds) > 1 else self.deeds[0].verb


@dataclass(frozen=True)
class ClipGroundTruth:
    """What truly happened in a clip.

    ``deeds`` are (step, deed) of what was examined or picked up after the clip's first frame and
    not after its last; ``facing`` and ``carried`` what lay before the agent and in its hands at the
    last; ``truths`` the phrases that hold of each item; ``last`` the step of the last frame.
    """

    deeds: tuple[tuple[int, ItemEvent], ...]
    facing: Item | None
    carried: Item | None
    truths: Mapping[Item, frozenset[str]]
    last: int

    def step(self, deed: ItemEvent) -> int | None:
        """When a deed was done, as it counts at the clip's end; None where it was not.

        What was picked up counts if it is still held, going to an item if the agent faces it.
        What was done before the clip began counts as not done.
        """
        if deed.verb == "go to":
            return self.last if self.facing == deed.item else None
        steps = [step for step, done in self.deeds if done == deed]
        if not steps or (deed.verb == "pick up" and self.carried != deed.item):
            return None
        return steps[-1]

    def answer(self, query: QuestionSpec) -> int | None:
        """The step at which what is asked was done; None where the answer is no.

        The first of two deeds counts from when it was first done, whatever became of it.
        """
        if query.branches is not None:
            holds = query.branches.condition in self.truths[query.branches.decider]
            return self.step(
                ItemEvent("pick up", query.branches.yes if holds else query.branches.no)
            )
        last = self.step(query.deeds[-1])
        first = [s for s, d in self.deeds if d == query.deeds[0]]
        if last is None or (len(query.deeds) > 1 and not (first and first[0] < last)):
            return None
        return last


class QuestionTemplates:
    """The words of questions, from a file such as ``questions.toml``.

    Raises BadInput where the file is no such file.
    """

    def __init__(self, file: Path = QUESTIONS) -> None:
        try:
            words = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadInput(f"the questions '{file}' cannot be read: {error}") from error
        self._words: dict[str, Mapping[str, Sequence[str]]] = {}
        deeds = words.pop("deeds", {})
        for verb in VERBS:
            self._add(f"deeds.{verb}", deeds.pop(verb, None), ("{item}",), file)
        for name, fields in _FIELDS.items():
            self._add(name, words.pop(name, None), fields, file)
        left = [*(f"deeds.{n}" for n in deeds), *words]
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
        """The sentences of that name ("deeds.examine", "order", …) in a split."""
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        return self._words[name][split]

    def put(self, query: QuestionSpec, split: str, rng: np.random.Generator) -> str:
        """A query as a question, in words of the split that ``rng`` draws."""

        def draw(name: str) -> str:
            texts = self.texts(name, split)
            return texts[int(rng.integers(len(texts)))]

        if query.branches is not None:
            b = query.branches
            task = draw("episode").format(
                decider=b.decider, condition=b.condition, yes=b.yes, no=b.no
            )
        else:
            deeds = [draw(f"deeds.{d.verb}").format(item=d.item) for d in query.deeds]
            task = (
                deeds[0]
                if len(deeds) == 1
                else draw("order").format(first=deeds[0], second=deeds[1])
            )
        return draw("question").format(task=task)


@cache
def wording() -> QuestionTemplates:
    """The project's own words."""
    return QuestionTemplates()


def one_word_off(item: Item, rng: np.random.Generator) -> Item:
    """An item whose name differs in one word."""
    part = ("texture", "colour", "shape")[rng.integers(3)]
    words = {"texture": TEXTURES, "colour": COLOURS, "shape": SHAPES}[part]
    others = [w for w in words if w != getattr(item, part)]
    return replace(item, **{part: others[rng.integers(len(others))]})
