"""Items: their names, and the held-out list."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.errors import BadInput
from envs.items import (
    ALL_ITEMS,
    ANY_SHAPE,
    COLOURS,
    HELD_OUT_ITEMS,
    MINIGRID_SHAPES,
    PLACES,
    SHAPES,
    TEXTURES,
    TRAIN_ITEMS,
    Item,
    find_items,
)

items = st.builds(
    Item,
    st.sampled_from([*SHAPES, *MINIGRID_SHAPES, ANY_SHAPE]),
    st.sampled_from([None, *COLOURS]),
    st.sampled_from([None, *TEXTURES]),
    st.sampled_from([None, *PLACES]),
)


def test_there_are_all_combinations_once() -> None:
    assert len(TEXTURES) >= 3 and len(COLOURS) >= 6 and len(SHAPES) >= 8
    names = {f"{t} {c} {s}" for t in TEXTURES for c in COLOURS for s in SHAPES}
    assert len(ALL_ITEMS) == 144 and {str(i) for i in ALL_ITEMS} == names


def test_held_out_is_a_fifth_and_disjoint_from_training() -> None:
    assert len(HELD_OUT_ITEMS) == 29
    assert not set(HELD_OUT_ITEMS) & set(TRAIN_ITEMS)
    assert set(HELD_OUT_ITEMS) | set(TRAIN_ITEMS) == set(ALL_ITEMS)


def test_every_word_and_nearly_every_pair_of_words_is_in_training() -> None:
    def words(i: Item) -> tuple[str, str, str]:
        assert i.texture is not None and i.colour is not None
        return i.texture, i.colour, i.shape

    assert {w for i in TRAIN_ITEMS for w in words(i)} == {*TEXTURES, *COLOURS, *SHAPES}
    pairs = {p for i in ALL_ITEMS for p in combinations(words(i), 2)}
    trained = {p for i in TRAIN_ITEMS for p in combinations(words(i), 2)}
    assert len(trained) / len(pairs) >= 0.95


def test_held_out_is_spread_over_the_words() -> None:
    # A list that took whole rows away would test another kind of generalisation.
    for word in (*TEXTURES, *COLOURS, *SHAPES):
        share = [word in str(i).split() for i in HELD_OUT_ITEMS]
        expected = [word in str(i).split() for i in ALL_ITEMS]
        assert 0.5 < (sum(share) / 29) / (sum(expected) / 144) < 1.5, word


@given(items)
def test_name_and_item_are_one_to_one(item: Item) -> None:
    assert Item.parse(str(item)) == item
    assert Item.parse(f"  The   {str(item).upper().replace(' ', '  ')} ") == item
    assert item.describes(item)


@given(
    st.text(max_size=40) | st.lists(st.sampled_from(["the", "a", "red", "Solid", "cross", "\n"]))
)
def test_any_text_is_an_item_or_bad_input(text: str | list[str]) -> None:
    text = text if isinstance(text, str) else " ".join(text)
    try:
        item = Item.parse(text)
    except BadInput as error:
        assert "\n" not in str(error).replace(text, "")
    else:
        assert str(item) in " ".join(text.lower().split())


@given(st.text(alphabet="redsolidcrossS\u017f\u0130\u212aquare \n.", max_size=60))
def test_finding_items_takes_any_text(text: str) -> None:
    for item in find_items(text):
        assert Item.parse(str(item)) == item


@given(st.lists(items.filter(lambda i: i.texture or i.colour), unique=True, max_size=6))
def test_finds_all_items_in_order(named: list[Item]) -> None:
    assert find_items("; the ".join(map(str, named))) == tuple(named)


def test_what_counts_as_naming_an_item() -> None:
    assert find_items("In the square ring, tee off; a red door.") == (Item("door", "red"),)
    assert find_items("the Striped RED cross, a striped red cross") == (
        Item("cross", "red", "striped"),
    )
    assert find_items("put the ball on your  left next to a red box in front of you.") == (
        Item("ball", place="left"),
        Item("box", "red", place="front"),
    )
    assert find_items("the ball in front of your door, the ball on your\nleft") == (
        Item("ball"),
        Item("door"),
    )
    # No name goes on over a line's end, nor over a full stop, nor out of a longer word.
    assert find_items("it is solid\nred circle") == (Item("circle", "red"),)
    assert find_items("it is solid. red circles, tired circle") == ()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("stripd red cross", "'striped'"),
        ("red crss", "'cross'"),
        ("solid rad ring", "'red'"),
        ("red ball on your lefft", "'left'"),
    ],
)
def test_a_slip_is_told_with_the_nearest_word(name: str, hint: str) -> None:
    with pytest.raises(BadInput, match=f"did you mean {hint}"):
        Item.parse(name)


@pytest.mark.parametrize(
    ("name", "other", "fits"),
    [
        ("red cross", "striped red cross", True),
        ("striped red cross", "red cross", False),
        ("striped red cross", "solid red cross", False),
        ("object", "blue box", True),
        ("red object", "blue box", False),
        ("red ring", "red cross", False),
        ("red ring behind you", "red ring on your left", True),  # looks only
    ],
)
def test_describes(name: str, other: str, fits: bool) -> None:
    assert Item.parse(name).describes(Item.parse(other)) is fits
