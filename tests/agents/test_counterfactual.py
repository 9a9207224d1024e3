"""Counterfactual contexts: what the report becomes, by worked alignments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.dialogue import Dialogue, Turn
from agents.grounding import ground
from agents.planner.counterfactual import counterfactual_dialogue, counterfactual_report
from envs.commands import VERBS

TASK = "If the solid red ring {}, pick up the solid blue ex, otherwise pick up the solid grey tee."
RING = "I examined the solid red ring, it {}."


def dialogue(task: str, *reports: str) -> Dialogue:
    return Dialogue(task, VERBS, tuple(Turn("Look.", None, ground(r)) for r in reports))


@pytest.mark.parametrize(
    ("task", "report", "counterfactual"),
    [
        ("is on top of a crate", "is on top of a shelf", "is on top of a crate"),
        ("is on top of a crate", "is on top of a crate", "is not so"),
        ("is on top of a crate", "IS ON top of a Crate", "is not so"),
        ("is near the lamp", "is not near the lamp", "is near the lamp"),
        ("is not near the lamp", "is near the lamp", "is not near the lamp"),
        ("was made by a child", "was made by an old man", None),
        ("is on top of the table", "is on top of a crate", None),
        ("was made by Ann", "was made by Bob", "was made by Ann"),
        ("was made by Ann last year", "was made by Bob", "was made by Ann"),
        # Two words before the one that differs are enough for a phrase.
        ("is near Ann today", "is near Bob", "is near Ann"),
        ("is new", "is old", "is new"),
        ("is here now", "is old", None),
        ("makes a high sound when touched", "makes a low sound", "makes a high sound"),
        ("is loud and is new", "is quiet and is new", "is quiet and is not so"),
        ("is loud", "has secret property loud", None),
        ("is loud", "", None),
    ],
)
def test_the_counterfactual_is_what_the_task_supposes_or_its_negation(task, report, counterfactual):
    expected = counterfactual and dialogue(TASK.format(task), RING.format(counterfactual))
    assert counterfactual_dialogue(dialogue(TASK.format(task), RING.format(report))) == expected


@pytest.mark.parametrize(
    ("task", "report", "counterfactual"),
    [
        # 3 of 5 words in the same order, 2 of 4, and 2 of 5.
        ("is very cold now", "is very dim or now", "is very cold now"),
        ("is cold now", "is dim or now", "is cold now"),
        ("is cold now", "is dim or wet now", None),
    ],
)
def test_half_of_the_words_must_be_the_same(task, report, counterfactual):
    expected = counterfactual and RING.format(counterfactual)
    assert counterfactual_report(RING.format(report), TASK.format(task)) == expected


def test_the_greatest_overlap_is_taken_and_the_last_of_equals():
    def replaced(*predicates: str) -> str | None:
        report = " ".join(RING.format(p) for p in predicates)
        return counterfactual_report(report, TASK.format("is near the lamp"))

    one, two = "is near the wall", "is near the bench"  # 3 of 4 words
    middle = "is by the lamp"  # 3 of 4 as well
    assert replaced(one, two) == f"{RING.format(one)} {RING.format('is near the lamp')}"
    assert replaced(two, one) == f"{RING.format(two)} {RING.format('is near the lamp')}"
    for less in ("is or by a lamp", "is by a lamp"):  # 2 of 5, and 2 of 4
        assert replaced(one, less) == f"{RING.format('is near the lamp')} {RING.format(less)}"
    assert replaced(one, middle) == f"{RING.format(one)} {RING.format('is near the lamp')}"


def test_a_clause_of_more_than_40_words_is_passed_over():
    def replaced(n: int) -> str | None:
        words = " ".join(f"w{k}" for k in range(n - 5))  # beside "If the solid red ring"
        return counterfactual_report(RING.format(words), TASK.format(words))

    assert replaced(40) == RING.format("is not so")
    assert replaced(41) is None


def test_only_a_report_about_an_item_of_the_task_has_a_counterfactual():
    task = (
        "If the solid red ring is near the lamp and the solid blue ex is under the table, pick up "
        "the solid grey tee."
    )
    other = "I examined the solid blue ex, it is loud."
    lamp = "I examined the solid grey tee, it is near the lamp."
    assert counterfactual_dialogue(dialogue(task, other, lamp)) is None
    under = "I examined the solid blue ex, it is not under the table."
    found = counterfactual_dialogue(dialogue(task, RING.format("is near the lamp"), under, other))
    ex = "I examined the solid blue ex, it is under the table."
    # The last report that has one.
    assert found == dialogue(task, RING.format("is near the lamp"), ex, other)
    for task in ("open the red door, then go to the grey ball", "open the red door and go on"):
        report = "I did not manage, the red door is locked."
        assert counterfactual_dialogue(dialogue(task, report)) is None
    assert counterfactual_dialogue(dialogue(task)) is None
    # A name within another, with a wider gap.
    task = "Leave the red ring. If the solid  red ring is new, pick up the solid blue ex."
    expected = dialogue(task, RING.format("is new"))
    assert counterfactual_dialogue(dialogue(task, RING.format("is old"))) == expected


@given(st.lists(st.text("ab it.,and\n\x00é") | st.just("it is on a red ring"), max_size=3))
def test_any_text_is_accepted(texts):
    task = " ".join(["If the solid red ring is on a", *texts])
    found = counterfactual_dialogue(dialogue(task, *(f"The solid red ring {t}" for t in texts)))
    assert found is None or (found.task, len(found.turns)) == (task, len(texts))


def test_an_endless_text_is_passed_over():
    long = "the solid red ring " + "is " * 100_000
    assert counterfactual_dialogue(dialogue(long, long)) is None
