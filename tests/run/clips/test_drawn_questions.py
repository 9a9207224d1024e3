"""How many true and false questions are drawn about a clip."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from envs.commands import Command
from envs.items import Item
from rewards.success_vqa.questions import ClipGroundTruth
from run.clips.questions import _Candidates, _draw_conditional, draw_questions

A, B = Item("ring", "red", "solid"), Item("cross", "blue", "striped")
X = Item("tee", "grey", "checkered")


@pytest.mark.parametrize(
    ("n", "kinds_true", "kinds_false", "true", "false"),
    [
        (2, 3, 3, 2, 2),
        (3, 4, 4, 3, 3),
        (3, 1, 4, 1, 1),  # as many false ones as true ones
        (3, 0, 4, 0, 1),  # but one where nothing is true
        (3, 4, 0, 3, 0),
    ],
)
def test_as_many_false_questions_as_true_ones(
    n: int, kinds_true: int, kinds_false: int, true: int, false: int
) -> None:
    truth: Any = None
    candidates: Any = _Candidates(truth)
    candidates.true = {f"kind {k}": [f"yes {k}"] for k in range(kinds_true)}
    candidates.false = {f"kind {k}": {"a way": [f"no {k}"]} for k in range(kinds_false)}
    for seed in range(5):
        drawn = list(candidates.draw(n, np.random.default_rng(seed)))
        assert len(set(drawn)) == len(drawn)
        assert [s.split()[0] for s in drawn] == ["yes"] * true + ["no"] * false


def given_rollout() -> Any:
    return SimpleNamespace(
        items=[A, B, X],
        attributes={item: frozenset() for item in (A, B, X)},
        phases=[SimpleNamespace(command=Command("examine", A))],
        between=lambda start, end: ClipGroundTruth((), None, None, {}, end),
    )


def test_two_or_three_questions_of_each_answer_are_asked_for_equally_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbers: Counter[int] = Counter()

    def draw(candidates: _Candidates, n: int, rng: np.random.Generator) -> list[Any]:
        numbers[n] += 1
        return []

    monkeypatch.setattr(_Candidates, "draw", draw)
    words: Any = None
    rng = np.random.default_rng(0)
    for _ in range(400):
        assert draw_questions(given_rollout(), 0, 9, words, "train", rng) == []
    assert numbers.keys() == {2, 3} and abs(numbers[2] - 200) < 40


def test_the_item_in_hand_is_either_branch_of_a_conditional_equally_often() -> None:
    rng = np.random.default_rng(0)
    branches: Counter[tuple[Item, Item]] = Counter()
    for _ in range(400):
        conditional = _draw_conditional(given_rollout(), X, A, rng)
        assert conditional is not None and conditional.decider == X
        branches[conditional.yes, conditional.no] += 1
    assert branches.keys() == {(A, B), (B, A)} and abs(branches[A, B] - 200) < 40
