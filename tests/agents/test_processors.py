"""The contrary of what was reported, and what it changes about a decision."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.dialogue import Dialogue, Turn
from agents.planner.counterfactual import contrary
from agents.planner.processors import FAINT, DecisionRules
from envs.commands import VERBS

TASK = "If the solid red ring {}, pick up the solid blue ex, otherwise pick up the solid grey tee."
RING = "I examined the solid red ring, it {}."


def told(task: str, *reports: str) -> Dialogue:
    return Dialogue(task, VERBS, tuple(Turn("Look.", None, r) for r in reports))


@pytest.mark.parametrize(
    ("asked", "said", "otherwise"),
    [
        ("is on top of a crate", "is on top of a shelf", "is on top of a crate"),
        ("is on top of a crate", "is on top of a crate", "is not so"),
        ("is on top of a crate", "IS ON top of a Crate", "is not so"),
        ("is near the lamp", "is not near the lamp", "is near the lamp"),
        ("is not near the lamp", "is near the lamp", "is not near the lamp"),
        ("was made by a child", "was made by an old man", None),
        ("was made by Ann", "was made by Bob", "was made by Ann"),
        ("was made by Ann last year", "was made by Bob", "was made by Ann"),
        ("is new", "is old", "is new"),
        ("is here now", "is old", None),
        ("makes a high sound when touched", "makes a low sound", "makes a high sound"),
        ("is loud and is new", "is quiet and is new", "is quiet and is not so"),
        ("is loud", "has secret property loud", None),
        ("is loud", "", None),
    ],
)
def test_the_contrary_is_what_the_task_supposes_or_that_it_is_not_so(asked, said, otherwise):
    found = contrary(told(TASK.format(asked), RING.format(said)))
    expected = None if otherwise is None else told(TASK.format(asked), RING.format(otherwise))
    assert found == expected


def test_only_what_is_said_of_the_item_that_the_task_asks_about_has_a_contrary():
    task = (
        "If the solid red ring is near the lamp and the solid blue ex is under the table, pick up "
        "the solid grey tee."
    )
    other = "I examined the solid blue ex, it is loud."
    lamp = "I examined the solid grey tee, it is near the lamp."
    assert contrary(told(task, other, lamp)) is None
    under = "I examined the solid blue ex, it is not under the table."
    found = contrary(told(task, RING.format("is near the lamp"), under, other))
    ex = "I examined the solid blue ex, it is under the table."
    assert found == told(task, RING.format("is near the lamp"), ex, other)  # the last that fits
    for said in ("open the red door, then go to the grey ball", "open the red door and go on"):
        assert contrary(told(said, "I did not manage, the red door is locked.")) is None
    assert contrary(told(task)) is None
    # A name in another, with a wider gap.
    task = "Leave the red ring. If the solid  red ring is new, pick up the solid blue ex."
    assert contrary(told(task, RING.format("is old"))) == told(task, RING.format("is new"))


@given(st.lists(st.text("ab it.,and\n\x00é") | st.just("it is on a red ring"), max_size=3))
def test_no_text_is_too_strange_for_it(texts):
    task = " ".join(["If the solid red ring is on a", *texts])
    found = contrary(told(task, *(f"The solid red ring {t}" for t in texts)))
    assert found is None or (found.task, len(found.turns)) == (task, len(texts))


def test_a_text_without_end_is_passed_over():
    long = "the solid red ring " + "is " * 100_000
    assert contrary(told(long, long)) is None


def test_what_the_report_changes_counts_more():
    d = told(TASK.format("is near the lamp"), RING.format("is not near the lamp"))
    said = [c.sentence() for c in d.candidates()]
    yes, no = said.index("Pick up the solid blue ex."), said.index("Pick up the solid grey tee.")
    look = said.index("Examine the solid grey tee.")

    def scores(**likely: float) -> list[float]:
        places = {"yes": yes, "no": no, "look": look}
        by_place = {places[name]: p for name, p in likely.items()}
        rest = (1 - sum(by_place.values())) / (len(said) - len(by_place))
        return [math.log(by_place.get(k, rest)) for k in range(len(said))]

    def best(contrast: float, now, other) -> int:
        return DecisionRules("tree", 2, 3.0, contrast=contrast).best(d, now, other)

    leaning, more = scores(yes=0.7, no=0.2, look=0.05), scores(yes=0.85, no=0.05, look=0.001)
    assert (
        best(0.0, leaning, more) == best(6.0, leaning, None) == best(6.0, leaning, leaning) == yes
    )
    # From the smallest weight at which the sums turn, and not before; looking gains nothing.
    gain = math.log((0.2 + FAINT) / (0.05 + FAINT)) - math.log((0.7 + FAINT) / (0.85 + FAINT))
    turns = math.log(0.7 / 0.2) / gain
    assert (best(turns - 0.01, leaning, more), best(turns + 0.01, leaning, more)) == (yes, no)
    assert best(100.0, leaning, more) == no
    # Who would look first looks.
    assert best(6.0, scores(yes=0.2, no=0.1, look=0.6), scores(yes=0.6, no=0.1)) == look
