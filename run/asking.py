"""Questions of clips: near misses beside what was done, with their true answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from envs.conditional import PHRASES
from envs.items import COLOURS, Item
from envs.room import one_of
from rewards.success_vqa.clips import Asked
from rewards.success_vqa.questions import VERBS, Branches, Deed, Query, Wording, one_word_off
from run.behaviours import Reel


def ask(
    reel: Reel, start: int, end: int, words: Wording, language: str, rng: np.random.Generator
) -> list[Asked]:
    """True and false questions of a clip, as many of each, or one false one where nothing was done.

    The false ones are near misses: of a true one a word or the order is changed, or another item
    of the room is asked about, most likely the one that was to be seen to.
    """
    happened = reel.between(start, end)
    yes: list[Query] = []
    no: list[Query] = []

    def offer(query: Query) -> None:
        there = no if happened.answer(query) is None else yes
        if query not in there:
            there.append(query)

    done = [d for _, d in happened.deeds]
    if happened.facing is not None:
        done.append(Deed("go to", happened.facing))
    for deed in dict.fromkeys(done):
        offer(Query((deed,)))
        offer(Query((Deed(VERBS[rng.integers(3)], deed.item),)))
        for _ in range(2):
            offer(Query((Deed(deed.verb, one_word_off(deed.item, rng)),)))
        other = reel.items[rng.integers(len(reel.items))]
        offer(Query((Deed(deed.verb, other),)))
        for former in dict.fromkeys(d for _, d in happened.deeds):
            if former != deed:
                offer(Query((former, deed)))
                offer(Query((deed, former))) if deed.verb != "go to" else None
                offer(Query((former, replace(deed, item=one_word_off(deed.item, rng)))))
                offer(Query((replace(former, item=one_word_off(former.item, rng)), deed)))
    wished = reel.phases[-1].command
    offer(Query((Deed(wished.verb, wished.item),)))
    for _ in range(2):
        offer(Query((Deed(VERBS[rng.integers(3)], reel.items[rng.integers(len(reel.items))]),)))
    for decider in dict.fromkeys(d.item for _, d in happened.deeds if d.verb == "examine"):
        held = happened.carried
        for _ in range(2):
            others = [i for i in reel.items if i not in (decider, held)]
            if not others or held == decider:
                break
            a = held or others[0]
            left = [i for i in others if i != a]
            if not left:
                break
            b = left[rng.integers(len(left))]
            offer(
                Query(branches=Branches(decider, _condition(reel, decider, rng), *_mix(a, b, rng)))
            )
    groups: dict[str, dict[bool, list[Query]]] = {}
    for answer, queries in ((True, yes), (False, no)):
        for query in queries:
            groups.setdefault(query.kind, {}).setdefault(answer, []).append(query)
    if not yes:
        chosen = [one_of(rng, no)] if no and rng.random() < 0.7 else []
    else:
        # A kind, then a question of it of each answer: rare kinds get their share.
        kinds = [k for k, g in groups.items() if True in g]
        rng.shuffle(kinds)
        chosen = []
        for kind in kinds[: int(rng.integers(1, 3))]:
            chosen.append(one_of(rng, groups[kind][True]))
            chosen.append(one_of(rng, groups[kind].get(False) or no))
    asked = []
    for query in chosen:
        step = happened.answer(query)
        text = words.put(query, language, rng)
        asked.append(Asked(text, query.kind, step is not None, -1 if step is None else step))
    return asked


def _mix(a: Item, b: Item, rng: np.random.Generator) -> tuple[Item, Item]:
    return (a, b) if rng.random() < 0.5 else (b, a)


def _condition(reel: Reel, decider: Item, rng: np.random.Generator) -> str:
    """A condition that may hold of the decider or not."""
    every = [PHRASES[k] for k in ("wall", "corner", "mark")]
    own = [p for p in reel.truths[decider] if "floor" in p]
    every += own
    if own:
        every.append(f"is on a {COLOURS[rng.integers(len(COLOURS))]} floor")
    return every[rng.integers(len(every))]
