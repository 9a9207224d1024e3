"""What in a free sentence is new to a Planner."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.planner.demonstrations import TRAINING, VISIBLE
from agents.planner.trained_on import what_is_new
from envs.errors import BadInput
from envs.tasks import make_worlds


@pytest.mark.parametrize(
    ("planner", "family"),
    [
        *(("parley-135m", f) for f in TRAINING),
        *(("parley-visible", f) for f in (*TRAINING, *VISIBLE)),
    ],
)
def test_nothing_in_training_is_new(planner: str, family: object) -> None:
    worlds = make_worlds(family.task, 1, **family.settings)  # type: ignore[attr-defined]
    for seed in range(6):
        worlds.reset(0, seed)
        assert what_is_new(planner, worlds.tasks[0]) == ""


@pytest.mark.parametrize(
    ("sentence", "new"),
    [
        ("Examine the solid red ring, then pick it up.", "another kind of sentence, with new"),
        ("Bring me the red ring before the blue tee.", "'bring', 'me', 'before'"),
        ("Pick up the red ring.", "another kind of sentence"),
        (
            "If the red ring is ripe, pick up the blue tee, otherwise pick up the grey cross.",
            "the property 'ripe' is a word that it never met",
        ),
        (
            "When the red ring is good, get the blue tee; when that is not so, get the grey ex.",
            "a phrasing that it never met",
        ),
        (
            "If the red ring is in a corner, pick up the blue tee, otherwise pick up the red ex.",
            "for which parley-visible was trained",
        ),
        (
            "Exactly one of the red ex, the red tee, the blue ex, the blue tee, the grey tee and "
            "the grey ex is good. Pick up the good one.",
            "6 items, and searches of training had at most 5",
        ),
    ],
)
def test_what_is_new(sentence: str, new: str) -> None:
    said = what_is_new("parley-135m", sentence)
    assert new in said and said.startswith("the Planner parley-135m was trained on")
    assert "\n" not in said


@pytest.mark.parametrize("planner", ["random", "human", "openai:some-model"])
def test_of_others_nothing_is_known(planner: str) -> None:
    assert what_is_new(planner, "Bring me the red ring before the blue tee.") == ""


def test_a_model_that_was_not_trained_has_its_examples_only() -> None:
    assert "worked examples" in what_is_new("smollm2-135m", "Bring me the solid red ring.")
    assert what_is_new("smollm2-135m", "Pick up the solid red ring.") == ""


def test_a_trained_adapters_folder_is_known_as_such(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "agents/planner/adapters/parley-135m"
    assert "trained on" in what_is_new(str(shipped), "Bring me the solid red ring.")
    with pytest.raises(BadInput):
        what_is_new(str(tmp_path / "nothing"), "Bring me the solid red ring.")
