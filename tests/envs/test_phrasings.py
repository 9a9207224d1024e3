"""Phrasings and property words: each names the items, and the splits share nothing."""

from __future__ import annotations

import re
from difflib import get_close_matches
from itertools import combinations

import pytest

from envs.conditional import PHRASES, SecretConditional, VisualConditional
from envs.items import WORDS, Item, find_items
from envs.phrasings import (
    CONDITIONAL,
    CONDITIONAL_PHRASINGS,
    PROPERTIES,
    PROPERTY_WORDS,
    SEARCH,
    SEARCH_PHRASINGS,
)
from envs.room import join
from envs.search import SecretSearch, search_sentence

ITEMS = tuple(map(Item.parse, ("solid red ring", "striped grey square", "checkered blue ex")))
CONDITIONS = (
    *(f"is {word}" for three in PROPERTY_WORDS.values() for word in three),
    "is on a red floor",
    *PHRASES.values(),
)
ALL_WORDS = [word for three in PROPERTY_WORDS.values() for word in three]


@pytest.mark.parametrize("name", CONDITIONAL_PHRASINGS)
def test_a_conditional_names_its_three_items_and_no_other(name: str) -> None:
    decider, yes, no = ITEMS
    for condition in CONDITIONS:
        text = CONDITIONAL_PHRASINGS[name].format(
            decider=decider, condition=condition, yes=yes, no=no
        )
        assert len(find_items(text)) == 3 and set(find_items(text)) == set(ITEMS)
        said = condition if condition in text else condition.removeprefix("is ")
        assert text.count(said) == 1 and text[0].isupper() and text[-1] == "."
        assert not set("{}") & set(text)


@pytest.mark.parametrize("name", SEARCH_PHRASINGS)
@pytest.mark.parametrize("n", [2, 3])
def test_a_search_names_its_items_in_their_order(name: str, n: int) -> None:
    for word in PROPERTY_WORDS:
        text = search_sentence(ITEMS[:n], word, name)
        assert find_items(text) == ITEMS[:n]
        assert f"{word}" in text and text[0].isupper() and text[-1] == "."
        other = join(ITEMS[:n], "or")
        assert (other in text) == (name == "whichever")


def test_the_sentences_of_training_are_these() -> None:
    """As they are written out, since models are trained on them to the letter."""
    a, b, c = ITEMS
    words = {"decider": a, "condition": "is good", "yes": b, "no": c}
    told = [text.format(**words) for text in CONDITIONAL["train"].values()]
    assert told == [
        "If the solid red ring is good, pick up the striped grey square, otherwise pick up the "
        "checkered blue ex.",
        "Normally pick up the checkered blue ex, but the striped grey square if the solid red ring "
        "is good.",
    ]
    three = "the solid red ring, the striped grey square and the checkered blue ex"
    assert [search_sentence(ITEMS, "good", name) for name in SEARCH["train"]] == [
        f"Exactly one of {three} is good. Pick up the good one.",
        f"Find out which of {three} is good, and pick it up.",
    ]
    assert search_sentence(ITEMS, "ripe", "others") == (
        f"T{three[1:]}: one of them is ripe and the others are not. I want the ripe one."
    )


def test_no_two_property_words_are_the_same_and_none_is_an_items() -> None:
    assert len(ALL_WORDS) == len(set(ALL_WORDS)) == 39
    assert not set(ALL_WORDS) & {*WORDS, *" ".join(WORDS).split()}
    assert all(word.isalpha() and word.islower() for word in ALL_WORDS)
    # Nor is one so near to an item's that a user's sentence would be refused for a slip.
    assert not [w for w in ALL_WORDS if get_close_matches(w, WORDS, 1, 0.75)]


@pytest.mark.parametrize("family", [CONDITIONAL, SEARCH])
def test_the_splits_share_nothing(family: dict[str, dict[str, str]]) -> None:
    assert list(family)[:3] == list(PROPERTIES) == ["train", "validation", "test"]
    assert list(family)[3:] == ["misspelled", "languages", "stories"]
    for a, b in combinations(family.values(), 2):
        assert not set(a) & set(b) and not set(a.values()) & set(b.values())
    for few, others in combinations(PROPERTIES.values(), 2):
        assert not {w for t in few for w in t} & {w for t in others for w in t}


@pytest.mark.parametrize("name", CONDITIONAL_PHRASINGS)
def test_the_right_item_is_what_each_phrasing_says(name: str) -> None:
    """The items' order in the sentence tells the branches, and the facts which one is right."""
    places = {
        "plain": (0, 1, 2),
        "normally": (2, 1, 0),
        "look": (0, 1, 2),
        "instead": (1, 2, 0),
        "whether": (0, 1, 2),
        "only if": (1, 0, 2),
        "provided": (0, 1, 2),
        "when": (0, 1, 2),
        "want": (1, 0, 2),
        "depends": (0, 1, 2),
        "check": (0, 1, 2),
        "unless": (1, 2, 0),
        "hasty": (0, 1, 2),
        "phonetic": (0, 1, 2),
        "German": (0, 1, 2),
        "French": (0, 1, 2),
        "Spanish": (1, 2, 0),
        "museum": (0, 1, 2),
        "grandmother": (1, 2, 0),
    }[name]
    worlds = (
        SecretConditional(phrasings=(name,), words=tuple(PROPERTY_WORDS)),
        VisualConditional(phrasings=(name,)),
    )
    for env in worlds:
        for seed in range(30):
            obs, _ = env.reset(seed=seed)
            found = find_items(obs["mission"])
            decider, yes, no = (found[k] for k in places)
            assert (decider, yes, no) == tuple(t.item for t in env.things[:3])
            assert env.decider == decider and env.right == (yes if env.holds else no)


@pytest.mark.parametrize("env_class", [SecretConditional, VisualConditional, SecretSearch])
def test_where_several_are_given_each_comes_up(env_class: type) -> None:
    known = SEARCH_PHRASINGS if env_class is SecretSearch else CONDITIONAL_PHRASINGS
    patterns = {name: re.sub(r"\\{\w+\\}", "(.+)", re.escape(text)) for name, text in known.items()}
    env = env_class(phrasings=tuple(known))
    seen = set()
    for seed in range(200):
        obs, _ = env.reset(seed=seed)
        (name,) = (n for n, p in patterns.items() if re.fullmatch(p, obs["mission"]))
        seen.add(name)
    assert seen == set(known)
