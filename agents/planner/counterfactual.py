"""Counterfactual contexts: a dialogue in which a report says the contrary of what it says.

A small language model leans to one command whatever is reported. What a report changes is smaller
than that, but nearly always points in the right direction. Scored in the counterfactual context,
the commands have the same bias, so the difference of scores shows what the report changes (see
``Contrastive`` in ``processors.py``).

The counterfactual report is input for the language model alone and made of the dialogue's own
words, by aligning the report's clauses with the task's. Nothing is known here of the sentences
that a Reporter may use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import lru_cache

from agents.dialogue import Dialogue
from envs.items import Item, find_items, names_of_items

MIN_OVERLAP = 0.5
"""The least share of a report's words about an item that a clause of the task has in the same
order for the two to be about the same."""
MAX_CLAUSE_WORDS = 40
"""Longer clauses are passed over: aligning takes quadratic time."""
NEGATION = "is not so"
_CLAUSE_END = re.compile(r"[.,;:!?\n]|\band\b|$", re.IGNORECASE)
_WORD = re.compile(r"\S+")


def counterfactual_dialogue(dialogue: Dialogue) -> Dialogue | None:
    """The dialogue with the last report replaced that is about what the task asks of an item;
    None where no report is.

    Where the report differs from what the task supposes ("is on a green floor" where the task has
    "if the solid red ring is on a red floor"), the counterfactual report says what the task
    supposes; where it says the same, that it is not so.
    """
    for k in reversed(range(len(dialogue.turns))):
        turn = dialogue.turns[k]
        if report := counterfactual_report(turn.report.text, dialogue.task):
            turns = (*dialogue.turns[:k], turn.with_text(report), *dialogue.turns[k + 1 :])
            return replace(dialogue, turns=turns)
    return None


@lru_cache(maxsize=4096)
def counterfactual_report(report: str, task: str) -> str | None:
    """The report with the predicate replaced that the task's words overlap most with, the last of
    equals; None where the overlap is less than ``MIN_OVERLAP``."""
    items = find_items(report)
    best, counterfactual = MIN_OVERLAP, None
    for predicate in _predicates(report):
        words = _texts(predicate)
        start, end = predicate[0].start(), predicate[-1].end()
        for clause in _clauses(task):
            alignment = _align(words, clause, task, items)
            if alignment is not None and alignment.overlap >= best:
                best = alignment.overlap
                agrees = _lower(alignment.words) == _lower(words)
                instead = NEGATION if agrees else " ".join(alignment.words)
                counterfactual = report[:start] + instead + report[end:]
    return counterfactual


@dataclass(frozen=True)
class _Alignment:
    """The words of the task in the place of a predicate's, and the share that both have."""

    overlap: float
    words: list[str]


def _align(
    predicate: Sequence[str], clause: Sequence[re.Match[str]], task: str, items: Sequence[Item]
) -> _Alignment | None:
    """A predicate of the report aligned with a clause of the task; None where they do not match,
    or where the clause is about none of the ``items`` of the report."""
    clause_words = _texts(clause)
    matcher = SequenceMatcher(None, _lower(predicate), _lower(clause_words), autojunk=False)
    *blocks, _ = matcher.get_matching_blocks()
    if not blocks:
        return None
    first, last = blocks[0], blocks[-1]
    unmatched = len(predicate) - last.a - last.size
    end = last.b + last.size + unmatched
    # One word may differ at the end, of the clause or of a phrase; more is another sentence.
    if unmatched > 1 or end > len(clause_words):
        return None
    if unmatched and end < len(clause_words) and last.size < 2:
        return None
    named_before = names_of_items(task[: clause[first.b].start()])
    if not named_before or named_before[-1][0] not in items:
        return None
    overlap = sum(block.size for block in blocks) / len(predicate)
    return _Alignment(overlap, [*predicate[: first.a], *clause_words[first.b : end]])


def _clauses(text: str) -> Iterator[list[re.Match[str]]]:
    """The words of each clause, with their places in the text."""
    begin = 0
    for end in _CLAUSE_END.finditer(text):
        words = [*_WORD.finditer(text, begin, end.start())]
        if 0 < len(words) <= MAX_CLAUSE_WORDS:
            yield words
        begin = end.end()


def _predicates(report: str) -> Iterator[list[re.Match[str]]]:
    """The words of each clause behind the last item named in it, or behind "it"."""
    for words in _clauses(report):
        begin = words[0].start()
        names = names_of_items(report[begin : words[-1].end()])
        predicate = [w for w in words if not names or w.start() >= begin + names[-1][1]]
        if predicate and predicate[0].group().lower() == "it":
            predicate = predicate[1:]
        if predicate:
            yield predicate


def _texts(words: Sequence[re.Match[str]]) -> list[str]:
    return [word.group() for word in words]


def _lower(words: Sequence[str]) -> list[str]:
    return [word.lower() for word in words]
