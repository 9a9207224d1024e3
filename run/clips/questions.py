"""Questions of clips: near misses beside what was done, with their true answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from envs.conditional import PHRASES
from envs.items import COLOURS, Item
from envs.room import one_of
from rewards.success_vqa.clips import QuestionAnswer
from rewards.success_vqa.questions import (
    VERBS,
    ClipGroundTruth,
    ConditionalSpec,
    ItemEvent,
    QuestionSpec,
    QuestionTemplates,
    one_word_off,
)
from run.clips.behaviours import FilmedRollout


@dataclass
class _Offers:
    """What could be asked of a clip: by kind what is true, and by kind and by how it was come upon
    what is not."""

    happened: ClipGroundTruth
    true: dict[str, list[QuestionSpec]] = field(default_factory=dict)
    false: dict[str, dict[str, list[QuestionSpec]]] = field(default_factory=dict)

    def add(self, query: QuestionSpec, how: str) -> None:
        if self.happened.answer(query) is None:
            queries = self.false.setdefault(query.kind, {}).setdefault(how, [])
        else:
            queries = self.true.setdefault(query.kind, [])
        if query not in queries:
            queries.append(query)

    def draw(self, n: int, rng: np.random.Generator) -> Iterator[QuestionSpec]:
        """``n`` true ones and as many false ones, or one false one where nothing is true.

        A kind, then how it was come upon, then a question: what is rare gets its share.
        """
        kinds = list(self.true)
        for k in rng.permutation(len(kinds))[:n]:
            yield one_of(rng, self.true[kinds[k]])
        kinds = list(self.false)
        for k in rng.permutation(len(kinds))[: min(n, max(1, len(self.true)))]:
            near = list(self.false[kinds[k]].values())
            yield one_of(rng, near[int(rng.integers(len(near)))])


def ask(
    reel: FilmedRollout,
    start: int,
    end: int,
    words: QuestionTemplates,
    language: str,
    rng: np.random.Generator,
) -> list[QuestionAnswer]:
    """True and false questions of a clip, up to three of each.

    The false ones are near misses: something else was done to the item, the item is another in one
    word, another item of the room is meant, most likely the one that was to be seen to, or two
    things were done in the other order.
    """
    happened = reel.between(start, end)
    offers = _Offers(happened)
    done = [d for _, d in happened.deeds]
    if happened.facing is not None:
        done.append(ItemEvent("go to", happened.facing))
    done = list(dict.fromkeys(done))
    for deed in done:
        for verb in VERBS:
            offers.add(QuestionSpec((ItemEvent(verb, deed.item),)), "verb")
        for _ in range(2):
            offers.add(QuestionSpec((ItemEvent(deed.verb, one_word_off(deed.item, rng)),)), "word")
        offers.add(QuestionSpec((ItemEvent(deed.verb, one_of(rng, reel.items)),)), "item")
        for former in dict.fromkeys(d for _, d in happened.deeds):
            if former == deed:
                continue
            offers.add(QuestionSpec((former, deed)), "order")
            if deed.verb != "go to":
                offers.add(QuestionSpec((deed, former)), "order")
            offers.add(
                QuestionSpec((former, replace(deed, item=one_word_off(deed.item, rng)))), "word"
            )
            offers.add(
                QuestionSpec((replace(former, item=one_word_off(former.item, rng)), deed)), "word"
            )
            for verb in VERBS[1:]:
                offers.add(QuestionSpec((replace(former, verb=verb), deed)), "verb")
                offers.add(QuestionSpec((former, replace(deed, verb=verb))), "verb")
    wished = reel.phases[-1].command
    offers.add(QuestionSpec((ItemEvent(wished.verb, wished.item),)), "item")
    for verb in VERBS:
        offers.add(QuestionSpec((ItemEvent(verb, one_of(rng, reel.items)),)), "item")
    for decider in dict.fromkeys(d.item for d in done if d.verb == "examine"):
        for _ in range(3):
            branches = _branches(reel, decider, happened.carried, rng)
            if branches is not None:
                offers.add(QuestionSpec(branches=branches), "branch")
    asked = []
    for query in offers.draw(int(rng.integers(2, 4)), rng):
        step = happened.answer(query)
        text = words.put(query, language, rng)
        asked.append(
            QuestionAnswer(text, query.kind, step is not None, -1 if step is None else step)
        )
    return asked


def _branches(
    reel: FilmedRollout, decider: Item, held: Item | None, rng: np.random.Generator
) -> ConditionalSpec | None:
    """A conditional task about what is held, or about two items where nothing is; None where there
    are too few."""
    others = [i for i in reel.items if i not in (decider, held)]
    rng.shuffle(others)
    two = [held, *others][:2] if held else others[:2]
    if len(two) < 2 or held == decider:
        return None
    yes, no = two if rng.random() < 0.5 else two[::-1]
    return ConditionalSpec(decider, _condition(reel, decider, rng), yes, no)


def _condition(reel: FilmedRollout, decider: Item, rng: np.random.Generator) -> str:
    """A condition that may hold of the decider or not."""
    every = [PHRASES[k] for k in ("wall", "corner", "mark")]
    own = [p for p in reel.truths[decider] if "floor" in p]
    every += own
    if own:
        every.append(f"is on a {COLOURS[rng.integers(len(COLOURS))]} floor")
    return one_of(rng, every)
