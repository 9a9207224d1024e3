"""The contrary: a dialogue as it would be, had a report said the opposite of what it says.

A small language model leans to one deed or another whatever is reported; what a report changes is
smaller than that, but nearly always in the right direction. The contrary shows it: scored beside
the dialogue itself, it has the same leanings. It is made of the dialogue's own words alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from functools import lru_cache

from agents.dialogue import Dialogue
from envs.items import Item, find_items, names_of_items

_BREAK = re.compile(r"[.,;:!?\n]|\band\b|$", re.IGNORECASE)
_WORD = re.compile(r"\S+")
NOT_SO = "is not so"
ALIKE = 0.5  # of what a report says of an item, this share stands in the task in the same order
LONGEST = 40  # words of a clause that is compared


def contrary(dialogue: Dialogue) -> Dialogue | None:
    """The dialogue with the contrary of the last report that says of an item what the task asks of
    it; None where no report does.

    Where the report says something else than the task supposes ("is on a green floor" where the
    task has "if the solid red ring is on a red floor"), the contrary is what the task supposes;
    where it says the same, that it is not so.
    """
    for k in reversed(range(len(dialogue.turns))):
        turn = dialogue.turns[k]
        if said := _contrary(turn.report, dialogue.task):
            turns = (*dialogue.turns[:k], replace(turn, report=said), *dialogue.turns[k + 1 :])
            return replace(dialogue, turns=turns)
    return None


@lru_cache(maxsize=4096)
def _contrary(report: str, task: str) -> str | None:
    about = find_items(report)
    best, found = ALIKE, None
    for predicate in _predicates(report):
        said = _texts(predicate)
        start, end = predicate[0].start(), predicate[-1].end()
        for clause in _clauses(task):
            supposed = _supposed(said, clause, task, about)
            if supposed is not None and supposed[0] >= best:
                best, instead = supposed
                same = _lower(instead) == _lower(said)
                found = report[:start] + (NOT_SO if same else " ".join(instead)) + report[end:]
    return found


def _clauses(text: str) -> Iterator[list[re.Match[str]]]:
    """The words of each clause, with their places in the text."""
    begin = 0
    for end in _BREAK.finditer(text):
        words = [*_WORD.finditer(text, begin, end.start())]
        if 0 < len(words) <= LONGEST:
            yield words
        begin = end.end()


def _predicates(report: str) -> Iterator[list[re.Match[str]]]:
    """What is said of an item, behind its name or behind "it", clause by clause."""
    for words in _clauses(report):
        begin = words[0].start()
        names = names_of_items(report[begin : words[-1].end()])
        rest = [w for w in words if not names or w.start() >= begin + names[-1][1]]
        rest = rest[1:] if rest and rest[0].group().lower() == "it" else rest
        if rest:
            yield rest


def _supposed(
    said: Sequence[str], clause: Sequence[re.Match[str]], task: str, about: Sequence[Item]
) -> tuple[float, list[str]] | None:
    """What a clause of the task has in place of what is said, and the share of words that both
    have; None where it is about nothing of the kind, or about another item."""
    asked = _texts(clause)
    matcher = SequenceMatcher(None, _lower(said), _lower(asked), autojunk=False)
    *blocks, _ = matcher.get_matching_blocks()
    if not blocks:
        return None
    first, last = blocks[0], blocks[-1]
    rest = len(said) - last.a - last.size
    end = last.b + last.size + rest
    # One word may differ at the end, of the clause or of a phrase; more is another sentence.
    if rest > 1 or end > len(asked) or (rest and end < len(asked) and last.size < 2):
        return None
    before = names_of_items(task[: clause[first.b].start()])
    if not before or before[-1][0] not in about:
        return None
    return sum(b.size for b in blocks) / len(said), [*said[: first.a], *asked[first.b : end]]


def _texts(words: Sequence[re.Match[str]]) -> list[str]:
    return [w.group() for w in words]


def _lower(words: Sequence[str]) -> list[str]:
    return [w.lower() for w in words]
