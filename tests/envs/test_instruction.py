"""The user's own sentence: what is understood, what lies in the room, how it is judged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from minigrid.core.actions import Actions as A

from envs import make_worlds
from envs.errors import BadInput
from envs.instruction import Instruction, Reading
from envs.items import HELD_OUT_ITEMS, TEXTURES, Item, find_items
from tests.envs.play import play_oracle
from tests.envs.test_conditional import walls_beside
from tests.envs.test_room import stand_before

JUDGED = {
    "If the solid red circle is good, pick up the striped blue tee, otherwise pick up the grey "
    "ring.": "conditional",
    "if a red circle is BAD pick up blue tee. Otherwise, pick up a grey ring!": "conditional",
    "If the red tee is in a corner, pick up the red ring, else pick up the blue ex.": "conditional",
    "If the red tee is beside a wall, pick up the red ring, otherwise pick up the blue ex.": (
        "conditional"
    ),
    "If the red tee shows a white mark when examined, then pick up the red ring, otherwise pick "
    "up the blue ex.": "conditional",
    "If the red tee is on a red floor, pick up the red ring, otherwise pick up the blue ex.": (
        "conditional"
    ),
    "Exactly one of the red ring, the blue tee and the grey ex is good. Pick up the good one.": (
        "search"
    ),
    "exactly one of the red circle or the blue tee is good; pick up the good one": "search",
    "Pick up a striped red cross": "command",
    "EXAMINE THE SOLID RING.": "command",
    "go to the yellow diamond": "command",
    "Put the red circle next to the blue tee.": "command",
    "pick up the red object": "command",
}
PLAYED = (
    "Bring me the red ring or the blue tee.",
    "Do not touch the red ring.",
    "If the red ring is pretty, pick up the blue tee, otherwise pick up the grey ex.",
    "open the red ring",
    "put the red ring next to the red ring",
    "pick up the red ring and then the blue tee",
    "Lay the red ring beside a wall.",
)


@pytest.mark.parametrize("sentence", JUDGED)
@pytest.mark.parametrize("room_size", [6, 10])
def test_a_sentence_of_a_familys_grammar_is_judged(sentence: str, room_size: int) -> None:
    worlds = make_worlds("instruction", 1, instruction=sentence, n_items=5, room_size=room_size)
    world = worlds.world(0)
    assert isinstance(world, Instruction) and world.reading.kind == JUDGED[sentence]
    assert worlds.judged(0)
    for seed in range(15):
        play_oracle(worlds, seed)
        assert worlds.success[0] and worlds.tasks[0] == sentence
        assert len(world.things) == 5


@pytest.mark.parametrize("sentence", [s for s, k in JUDGED.items() if k != "command"])
def test_a_wrong_pick_fails(sentence: str) -> None:
    env = Instruction(sentence, n_items=6, room_size=8)
    for seed in range(10):
        env.reset(seed=seed)
        wrong = next(t for t in env.things if t.item != env.right)
        stand_before(env, wrong)
        _, reward, terminated, _, info = env.step(A.pickup)
        assert terminated and reward == 0 and info["success"] is False


@pytest.mark.parametrize("sentence", PLAYED)
def test_any_other_sentence_can_be_played_but_not_judged(sentence: str) -> None:
    worlds = make_worlds("instruction", 1, instruction=sentence)
    assert not worlds.judged(0)
    env = worlds.world(0)
    assert isinstance(env, Instruction)
    for k in range(len(env.things)):
        env.reset(seed=2)
        stand_before(env, env.things[k])
        _, reward, terminated, _, info = env.step(A.pickup)
        assert terminated and reward == 0 and info["success"] is False
    with pytest.raises(BadInput, match="the oracle does not know"):
        env.oracle(frozenset())


def test_missing_words_are_drawn_and_no_distractor_goes_by_the_name() -> None:
    env = Instruction("Pick up the red cross.", n_items=10)
    drawn = set()
    for seed in range(60):
        env.reset(seed=seed)
        fits = [t.item for t in env.things if env.reading.named[0].describes(t.item)]
        assert len(fits) == 1 and len(set(t.item for t in env.things)) == 10
        drawn.add(fits[0].texture)
    assert drawn == set(TEXTURES) - {
        i.texture for i in HELD_OUT_ITEMS if env.reading.named[0].describes(i)
    }


def test_two_names_of_one_item_and_of_two() -> None:
    env = Instruction("pick up the red ring, I mean the solid red ring", n_items=4)
    env.reset(seed=0)
    assert env.named[0] == env.named[1]
    env = Instruction("pick up the striped circle, not the red circle", n_items=4)
    for seed in range(20):
        env.reset(seed=seed)
        assert env.named[0] != env.named[1]
    env = Instruction("put the red circle next to the solid red circle")
    env.reset(seed=0)
    assert env.named[0] != env.named[1] and env.named[0].texture != "solid"


def test_items_of_ones_own_may_be_held_out_ones() -> None:
    held_out = HELD_OUT_ITEMS[0]
    env = Instruction(f"examine the {held_out}", items="train")
    env.reset(seed=0)
    assert env.things[0].item == held_out
    assert not {t.item for t in env.things[1:]} & set(HELD_OUT_ITEMS)


def test_the_condition_is_true_of_the_room() -> None:
    env = Instruction(
        "If the red tee is beside a wall, pick up the red ex, else pick up the grey ex"
    )
    held = set()
    for seed in range(20):
        env.reset(seed=seed)
        assert (walls_beside(env, env.things[0]) > 0) == env.holds
        held.add(env.holds)
    assert held == {True, False}
    env = Instruction("If the red tee is unknown, pick up the red ex, else pick up the grey ex")
    for seed in range(20):
        env.reset(seed=seed)
        assert env.things[0].fact.endswith("unknown") == env.holds


def test_go_to_is_done_when_the_agent_says_so() -> None:
    env = Instruction("go to the red tee")
    env.reset(seed=0)
    stand_before(env, env.things[0])
    assert not env.step(A.toggle)[2]
    _, reward, terminated, _, info = env.step(A.done)
    assert terminated and info["success"] and reward == 1
    env.reset(seed=0)
    stand_before(env, env.things[1])
    # An Actor says done after each command; only a wrong pick may end the user's task.
    assert not env.step(A.done)[2]


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        ("", "names no item"),
        ("Make me happy.", "names no item .* like 'striped red cross'"),
        ("pick up the crss", "did you mean 'cross'"),
        ("pick up the circle", "names no item"),
        ("pick up the stripd red cross", "'stripd' in the instruction; did you mean 'striped'"),
        ("If the gray ring is good, pick up the red ex, otherwise pick up the red tee", "'grey'"),
        ("If the ring is good, pick up the red ex, otherwise pick up the red tee", "'ring' alone"),
        ("pick up the red ball", "there is no red ball"),
        ("pick up the red \u017fquare", "names no item"),
        (
            "fetch "
            + ", ".join(f"{c} {s}" for c in ("red", "blue") for s in ("tee", "ex", "ring"))
            + ", grey ring, grey ex, grey tee, grey cross, grey circle",
            "names 11 items; a room holds at most 10",
        ),
    ],
)
def test_what_cannot_be_played_is_told(sentence: str, told: str) -> None:
    with pytest.raises(BadInput, match=told) as error:
        Instruction(sentence)
    assert "\n" not in str(error.value)


def test_more_items_than_asked_for_make_a_fuller_room() -> None:
    names = " and ".join(f"the {c} tee" for c in ("red", "blue", "grey", "green", "yellow"))
    env = Instruction(f"Look at {names}.", n_items=1, room_size=6)
    env.reset(seed=0)
    assert len(env.things) == 5
    names += " and " + " and ".join(f"the {c} ring" for c in ("red", "blue", "grey", "green"))
    env = Instruction(f"Look at {names}.", room_size=6)
    for seed in range(20):
        env.reset(seed=seed)
        assert len(env.named) == 9 and env.reachable >= set(env.named)
    names += " and the red ex"
    with pytest.raises(BadInput, match=r"names 10 items; .* room_size must be at least 7"):
        Instruction(f"Look at {names}.", room_size=6)
    env = Instruction(f"Look at {names}.", room_size=7)
    for seed in range(20):
        env.reset(seed=seed)
        assert env.reachable >= set(env.named)
    with pytest.raises(BadInput, match="n_items must be between 1 and 10"):
        Instruction(n_items=0)


@given(
    st.text(max_size=50)
    | st.lists(
        st.sampled_from(
            [
                "if",
                "the",
                "red",
                "blue",
                "tee",
                "ring",
                "is good",
                "pick up",
                "otherwise",
                "next to",
            ]
        ),
        max_size=14,
    ).map(" ".join)
)
def test_any_sentence_is_played_or_bad_input(sentence: str) -> None:
    try:
        env = Instruction(sentence)
    except BadInput:
        return
    obs, _ = env.reset(seed=0)
    lying = [t.item for t in env.things]
    for named in find_items(obs["mission"]):
        assert any(named.describes(i) for i in lying)
    assert Reading.of(sentence) == env.reading


def test_places_are_played_but_not_judged() -> None:
    env = Instruction(instruction="Pick up the red cross on your left.")
    assert not env.judged
    env.reset(seed=0)
    assert any(t.item.shape == "cross" and t.item.colour == "red" for t in env.things)
    # Two places of one name are one name here.
    twice = Reading.of("put the red cross on your left next to the red cross behind you")
    assert twice.kind == "" and twice.named == (Item("cross", "red"),)
