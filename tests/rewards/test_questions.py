"""Questions about deeds, and their true answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from envs.attributes import BESIDE_WALL, IN_CORNER, Attribute
from envs.errors import BadInput
from envs.items import Item
from rewards.success_vqa.questions import (
    QUESTIONS,
    SPLITS,
    VERBS,
    ClipGroundTruth,
    ConditionalSpec,
    ItemEvent,
    QuestionSpec,
    QuestionTemplates,
    one_word_off,
    wording,
)

A, B = Item("ring", "red", "solid"), Item("cross", "blue", "striped")
X = Item("tee", "grey", "checkered")


def happened(*events: tuple[int, str, Item], faced: Item | None = None, held: Item | None = None):
    done = tuple((step, ItemEvent(verb, item)) for step, verb, item in events)
    attributes = {A: frozenset(), X: frozenset({Attribute(IN_CORNER)})}
    return ClipGroundTruth(done, faced, held, attributes, 20)


@pytest.mark.parametrize(
    ("what", "query", "step"),
    [
        (happened((3, "examine", A)), QuestionSpec((ItemEvent("examine", A),)), 3),
        (happened((3, "examine", A)), QuestionSpec((ItemEvent("examine", B),)), None),
        (happened((3, "pick up", A), held=A), QuestionSpec((ItemEvent("pick up", A),)), 3),
        (
            happened((3, "pick up", A)),
            QuestionSpec((ItemEvent("pick up", A),)),
            None,
        ),  # put down again
        (
            happened(held=A),
            QuestionSpec((ItemEvent("pick up", A),)),
            None,
        ),  # before the clip began
        (happened(faced=A), QuestionSpec((ItemEvent("go to", A),)), 20),
        (happened(faced=B), QuestionSpec((ItemEvent("go to", A),)), None),
        (
            happened((3, "examine", A), (7, "examine", B)),
            QuestionSpec((ItemEvent("examine", A), ItemEvent("examine", B))),
            7,
        ),
        (
            happened((3, "examine", B), (7, "examine", A)),
            QuestionSpec((ItemEvent("examine", A), ItemEvent("examine", B))),
            None,
        ),
        (
            happened((3, "examine", B), (7, "examine", A), (9, "examine", B)),
            QuestionSpec((ItemEvent("examine", A), ItemEvent("examine", B))),
            9,
        ),
        (
            happened((3, "examine", A), (7, "examine", B), (9, "examine", A)),
            QuestionSpec((ItemEvent("examine", A), ItemEvent("examine", B))),
            7,
        ),
        (
            happened((20, "examine", A), faced=B),
            QuestionSpec((ItemEvent("examine", A), ItemEvent("go to", B))),
            None,
        ),  # both at the last frame, neither before the other
        (
            happened((19, "examine", A), faced=B),
            QuestionSpec((ItemEvent("examine", A), ItemEvent("go to", B))),
            20,
        ),
        (
            happened((4, "pick up", A), held=A),
            QuestionSpec(conditional=ConditionalSpec(X, Attribute(IN_CORNER), A, B)),
            4,
        ),
        (
            happened((4, "pick up", A), held=A),
            QuestionSpec(conditional=ConditionalSpec(X, Attribute(BESIDE_WALL), A, B)),
            None,
        ),
        (
            happened((4, "pick up", A), held=A),
            QuestionSpec(conditional=ConditionalSpec(X, Attribute(BESIDE_WALL), B, A)),
            4,
        ),
    ],
)
def test_answers_worked_by_hand(
    what: ClipGroundTruth, query: QuestionSpec, step: int | None
) -> None:
    assert what.answer(query) == step


def test_the_words_of_the_test_split_are_in_no_other() -> None:
    words = wording()
    for name in (*(f"deeds.{v}" for v in VERBS), "order", "episode", "question"):
        test = set(words.texts(name, "test"))
        assert not test & {*words.texts(name, "train"), *words.texts(name, "validation")}, name


def test_a_question_names_what_it_asks_about() -> None:
    rng = np.random.default_rng(0)
    for split in SPLITS:
        text = wording().put(
            QuestionSpec((ItemEvent("examine", A), ItemEvent("pick up", B))), split, rng
        )
        assert text.index(str(A)) < text.index(str(B))
        text = wording().put(
            QuestionSpec(conditional=ConditionalSpec(X, Attribute(IN_CORNER), A, B)), split, rng
        )
        assert all(str(i) in text for i in (A, B, X)) and "is in a corner" in text


def test_one_word_off_is_one_word_off() -> None:
    rng = np.random.default_rng(0)
    assert {A.likeness(one_word_off(A, rng)) for _ in range(50)} == {2}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[order]", "[orders]", "lack a list of order, train"),
        (
            '"examine the {item}", "look closely',
            '"examine it", "look closely',
            "does not use {item}",
        ),
        ('"pick the {item} up"', '"pick the {item.__class__} up"', "does not use {item}"),
        ("[question]", "[more]\n[question]", "what is not asked: more"),
        ("[order]", "[order", "cannot be read"),
    ],
)
def test_a_file_that_will_not_do_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = QUESTIONS.read_text(encoding="utf-8")
    assert old in text
    file = tmp_path / "mine.toml"
    file.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(BadInput, match=message.replace("{", r"\{")):
        QuestionTemplates(file)
