"""Compositions: every outcome is as likely, and only the right way there succeeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import product

import pytest
from minigrid.core.actions import Actions as A

from envs import make_worlds
from envs.commands import Command
from envs.composition import KINDS, SecretComposition
from envs.errors import BadInput
from envs.items import Item, find_items
from tests.envs.play import play_oracle
from tests.envs.test_room import stand_before


def reset(kind: str, seed: int, **settings: int) -> SecretComposition:
    env = SecretComposition(kinds=(kind,), **settings)
    env.reset(seed=seed)
    return env


def act(env: SecretComposition, action: A, item: Item) -> tuple[float, bool]:
    thing = next(t for t in env.things if t.item == item)
    stand_before(env, thing)
    _, reward, terminated, _, info = env.step(action)
    assert info["success"] == (reward == 1)
    return float(reward), terminated


def good(env: SecretComposition, item: Item) -> bool:
    (fact,) = [t.fact for t in env.things if t.item == item]
    assert fact in ("has secret property good", "has secret property bad")
    return fact.endswith("good")


def picked_after(
    env: SecretComposition, seed: int
) -> Iterator[tuple[tuple[Item, ...], tuple[float, bool]]]:
    """All ways to look up to three times, and what picking up the right item brings then."""
    for seen in (s for n in range(4) for s in product((*env.deciders, env.right), repeat=n)):
        env.reset(seed=seed)
        for item in seen:
            assert act(env, A.toggle, item) == (0, False)
        yield seen, act(env, A.pickup, env.right)


def answer(env: SecretComposition) -> Item:
    """What the sentence says is right, read by its order of names."""
    text, found = env.mission, find_items(env.mission)
    if env.kind == "not":
        x, a, b = found
        assert text == f"If the {x} is not good, pick up the {a}, otherwise pick up the {b}."
        return b if good(env, x) else a
    if env.kind == "two":
        x, a, y, b, c = found
        assert text == (
            f"If the {x} is good, pick up the {a}, otherwise, if the {y} is good, pick up the {b},"
            f" otherwise pick up the {c}."
        )
        return a if good(env, x) else b if good(env, y) else c
    x, y, a, b = found
    assert text == (
        f"If the {x} is good {env.kind} the {y} is good, pick up the {a}, otherwise pick up the"
        f" {b}."
    )
    both = good(env, x), good(env, y)
    return a if (all(both) if env.kind == "and" else any(both)) else b


@pytest.mark.parametrize("kind", ["and", "or", "not", "two"])
def test_the_right_item_is_what_the_sentence_says(kind: str) -> None:
    for seed in range(40):
        env = reset(kind, seed)
        right = answer(env)
        assert env.kind == kind and env.right == right
        assert act(env, A.pickup, right) == (1, True)
        env.reset(seed=seed)
        wrong = next(i for i in (t.item for t in env.things) if i != right)
        assert act(env, A.pickup, wrong) == (0, True)


@pytest.mark.parametrize(
    ("kind", "shares"),
    [
        ("and", {(1, 1): 1 / 2, (1, 0): 1 / 6, (0, 1): 1 / 6, (0, 0): 1 / 6}),
        ("or", {(1, 1): 1 / 6, (1, 0): 1 / 6, (0, 1): 1 / 6, (0, 0): 1 / 2}),
        ("not", {(1,): 1 / 2, (0,): 1 / 2}),
        ("two", {(1, 1): 1 / 6, (1, 0): 1 / 6, (0, 1): 1 / 3, (0, 0): 1 / 3}),
    ],
)
def test_what_the_deciders_are(kind: str, shares: dict[tuple[int, ...], float]) -> None:
    env = SecretComposition(kinds=kind)
    n = 600
    ways: Counter[tuple[int, ...]] = Counter()
    right: Counter[Item | int] = Counter()
    for seed in range(n):
        env.reset(seed=seed)
        ways[tuple(int(good(env, i)) for i in env.deciders)] += 1
        right[env.named.index(env.right)] += 1
    assert set(ways) == set(shares)
    for way, share in shares.items():
        assert abs(ways[way] / n - share) < 4 * (share * (1 - share) / n) ** 0.5, way
    for count in right.values():
        share = 1 / len(right)
        assert abs(count / n - share) < 4 * (share * (1 - share) / n) ** 0.5
    assert len(right) == (3 if kind == "two" else 2)


def test_in_an_order_only_that_order_succeeds() -> None:
    lengths = Counter()
    for seed in range(30):
        env = reset("order", seed)
        todo = env.deciders
        lengths[len(todo)] += 1
        found = find_items(env.mission)
        if len(todo) == 1:
            assert found == (env.right, *todo)
            assert env.mission == f"Before you pick up the {env.right}, examine the {todo[0]}."
        else:
            assert found == (*todo, env.right)
            assert env.mission == (
                f"Examine the {todo[0]}, then examine the {todo[1]}, then pick up the {env.right}."
            )
        for seen, found in picked_after(env, seed):
            firsts = [i for i in dict.fromkeys(seen) if i in todo]
            assert found == (firsts == [*todo], True)
        env.reset(seed=seed)
        for item in todo:
            act(env, A.toggle, item)
        assert act(env, A.pickup, todo[0]) == (0, True)
    assert set(lengths) == {1, 2}


def test_after_a_look_in_either_order_the_pick_succeeds() -> None:
    lengths = Counter()
    for seed in range(30):
        env = reset("after", seed)
        todo = env.deciders
        lengths[len(todo)] += 1
        assert find_items(env.mission) == (env.right, *todo)
        first = " and the ".join(map(str, todo))
        assert env.mission == f"Pick up the {env.right} after you have examined the {first}."
        for seen, found in picked_after(env, seed):
            assert found == ({*todo} <= {*seen}, True)
    assert set(lengths) == {1, 2}


def test_what_was_examined_before_a_reset_does_not_count() -> None:
    env = reset("order", 0)
    for item in env.deciders:
        act(env, A.toggle, item)
    env.reset(seed=0)
    assert act(env, A.pickup, env.right) == (0, True)


@pytest.mark.parametrize("kind", [*KINDS, "after"])
def test_the_oracle_examines_only_what_it_still_needs(kind: str) -> None:
    for seed in range(40):
        env = reset(kind, seed)
        x, y = (*env.deciders, None)[:2]
        assert env.oracle(frozenset()) == Command("examine", x)
        pick = Command("pick up", env.right)
        settled = y is None or (
            kind not in ("order", "after") and {"and": not good(env, x)}.get(kind, good(env, x))
        )
        after = env.oracle(frozenset({x}))
        assert after == (pick if settled else Command("examine", y))
        assert env.oracle(frozenset(env.deciders)) == pick


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n_items", "room_size"), [(5, 6), (10, 6), (6, 12)])
def test_the_oracle_and_the_scripted_actor_always_succeed(
    kind: str, n_items: int, room_size: int
) -> None:
    settings = {"n_items": n_items, "room_size": room_size, "items": "all"}
    worlds = make_worlds("composition", 1, kinds=kind, **settings)
    for seed in range(25):
        play_oracle(worlds, seed)
        assert worlds.success[0], (seed, worlds.tasks[0])


def test_all_kinds_come_up_and_others_are_not_known() -> None:
    env = SecretComposition()
    seen = set()
    for seed in range(60):
        env.reset(seed=seed)
        seen.add(env.kind)
        assert set(find_items(env.mission)) == set(env.named) <= env.reachable
        assert len(env.things) == 6
    assert seen == set(KINDS)
    with pytest.raises(BadInput, match="unknown kind 'nand'; did you mean 'and'"):
        SecretComposition(kinds=("nand",))
    with pytest.raises(BadInput, match="n_items must be between 5 and 10, not 4"):
        SecretComposition(n_items=4)


def test_others_than_the_deciders_are_anything() -> None:
    env = SecretComposition(kinds=("and",))
    told = set()
    for seed in range(30):
        env.reset(seed=seed)
        told |= {t.fact.split()[-1] for t in env.things[2:]}
    assert told == {"good", "bad", "unknown"}
