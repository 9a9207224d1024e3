"""Search tasks: exactly one named item is good."""

from __future__ import annotations

import pytest
from minigrid.core.actions import Actions as A

from envs.errors import BadInput
from envs.items import find_items
from envs.phrasings import PROPERTY_WORDS, SEARCH_PHRASINGS
from envs.search import SecretSearch
from tests.envs.test_room import stand_before


@pytest.mark.parametrize(("n_items", "distractors"), [(2, 0), (4, 0), (4, 6), (10, 0)])
def test_exactly_one_is_good_and_it_is_named(n_items: int, distractors: int) -> None:
    env = SecretSearch(n_items=n_items, distractors=distractors, room_size=9)
    places = set()
    for seed in range(40):
        obs, _ = env.reset(seed=seed)
        named = find_items(obs["mission"])
        assert len(named) == n_items and len(env.things) == n_items + distractors
        facts = {}
        for thing in env.things:
            stand_before(env, thing)
            *_, info = env.step(A.toggle)
            facts[thing.item] = info["events"][0].fact.removeprefix("has secret property ")
        good = [i for i, prop in facts.items() if prop == "good"]
        assert good == [env.good] and env.good in named
        places.add(named.index(env.good))
    # The good one is not always the first named.
    assert len(places) > n_items / 2


def test_room_for_distractors() -> None:
    with pytest.raises(BadInput, match="distractors must be between 0 and 6, not 7"):
        SecretSearch(n_items=4, distractors=7)
    with pytest.raises(BadInput, match="distractors must be between 0 and 6, not -1"):
        SecretSearch(n_items=4, distractors=-1)


def test_the_oracle_uses_only_what_has_been_examined() -> None:
    env = SecretSearch(n_items=4)
    for seed in range(30):
        env.reset(seed=seed)
        others = [i for i in env.named if i != env.good]
        assert env.oracle(frozenset()).verb == "examine"
        assert env.oracle(frozenset(others[:2])).verb == "examine"
        for known in (others, [env.good], env.named):
            assert str(env.oracle(frozenset(known))) == f"pick up the {env.good}"


def test_by_default_nothing_is_drawn_but_the_task() -> None:
    """What was measured before there were other phrasings stays what it was."""
    three = "the solid yellow tee, the striped purple circle, the checkered blue tee"
    env = SecretSearch()
    assert env.reset(seed=0)[0]["mission"] == (
        f"Exactly one of {three} and the striped grey triangle is good. Pick up the good one."
    )
    assert [t.fact.split()[-1] for t in env.things] == ["good", "unknown", "bad", "bad"]
    alone = SecretSearch(phrasings=["whichever"], words="hot", show_marks=True)
    assert alone.reset(seed=0)[0]["mission"] == (
        f"Pick up whichever of {three} or the striped grey triangle is hot."
    )
    assert [t.fact.split()[-1] for t in alone.things] == ["hot", "warm", "cold", "cold"]
    assert [t.hidden_mark for t in alone.things] == ["white", "", "orange", "orange"]
    assert [t.cur_pos for t in alone.things] == [t.cur_pos for t in env.things]


def test_other_words_and_phrasings() -> None:
    env = SecretSearch(phrasings=tuple(SEARCH_PHRASINGS), words=tuple(PROPERTY_WORDS))
    seen = set()
    for seed in range(100):
        obs, _ = env.reset(seed=seed)
        facts = {t.item: t.fact.removeprefix("has secret property ") for t in env.things}
        word = facts[env.good]
        seen.add(word)
        assert find_items(obs["mission"]) == env.named and word in obs["mission"]
        assert word in PROPERTY_WORDS
        assert {facts[i] for i in env.named if i != env.good} <= set(PROPERTY_WORDS[word][1:])
    assert seen == set(PROPERTY_WORDS)


def test_unknown_words_and_phrasings_are_told() -> None:
    with pytest.raises(BadInput, match="unknown phrasing 'plane'; did you mean 'plain'"):
        SecretSearch(phrasings=["plane"])
    with pytest.raises(BadInput, match="unknown phrasing 'unless'"):
        SecretSearch(phrasings="unless")
    with pytest.raises(BadInput, match="unknown property word 'luky'; did you mean 'lucky'"):
        SecretSearch(words=["luky"])
