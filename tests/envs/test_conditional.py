"""Conditional tasks: the facts are true, and both answers are equally common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from minigrid.core.actions import Actions as A
from minigrid.core.world_object import Wall

from agents.actor import make_actor
from envs.commands import VERBS, Command
from envs.conditional import (
    CONDITIONS,
    DEED_VERBS,
    ConditionalEnv,
    SecretConditional,
    VisualConditional,
)
from envs.errors import BadInput
from envs.items import find_items
from envs.objects import MARKS, ItemObject
from envs.phrasings import ORDINALS, PROPERTY_WORDS
from envs.tasks import make_worlds
from tests.envs.test_room import stand_before


def fact_of(env: ConditionalEnv, thing: ItemObject) -> str:
    stand_before(env, thing)
    *_, info = env.step(A.toggle)
    (event,) = info["events"]
    assert event.kind == "examined" and event.item == thing.item
    return event.fact


def walls_beside(env: ConditionalEnv, thing: ItemObject) -> int:
    """Counted on the grid itself."""
    x, y = thing.cur_pos
    near = [(x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)]
    return sum(isinstance(env.grid.get(*cell), Wall) for cell in near)


def seen_code(env: ConditionalEnv, thing: ItemObject) -> int:
    """The state that the grid's encoding shows of a thing."""
    return int(env.grid.encode()[thing.cur_pos][2])


def wall(env: ConditionalEnv, thing: ItemObject) -> str:
    return f"is {'' if walls_beside(env, thing) else 'not '}beside a wall"


def corner(env: ConditionalEnv, thing: ItemObject) -> str:
    return f"is {'' if walls_beside(env, thing) == 2 else 'not '}in a corner"


def floor(env: ConditionalEnv, thing: ItemObject) -> str:
    names = ("plain", "red", "green", "blue", "purple", "yellow", "grey")
    return f"is on a {names[seen_code(env, thing) // 9]} floor"


def mark(env: ConditionalEnv, thing: ItemObject) -> str:
    shown = MARKS[seen_code(env, thing) // 3 % 3]
    return {"white": "shows a white mark", "orange": "shows an orange mark"}[shown]


CHECKS: dict[str, Callable[[ConditionalEnv, ItemObject], str]] = {
    "wall": wall,
    "corner": corner,
    "floor": floor,
    "mark": mark,
}


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("room_size", [6, 9])
def test_what_examining_tells_is_what_can_be_seen(condition: str, room_size: int) -> None:
    env = VisualConditional(conditions=(condition,), n_items=4, room_size=room_size)
    for seed in range(40):
        env.reset(seed=seed)
        for thing in env.things:
            assert fact_of(env, thing) == CHECKS[condition](env, thing)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_sentence_and_the_right_item_agree_with_what_can_be_seen(condition: str) -> None:
    env = VisualConditional(conditions=(condition,), n_items=5)
    for seed in range(60):
        obs, _ = env.reset(seed=seed)
        decider, yes, no = find_items(obs["mission"])
        thing = next(t for t in env.things if t.item == decider)
        stand_before(env, thing)
        env.step(A.toggle)
        seen = CHECKS[condition](env, thing)
        holds = obs["mission"].startswith(f"If the {decider} {seen}")
        assert env.right == (yes if holds else no), (obs["mission"], seen)


@pytest.mark.parametrize("condition", [*CONDITIONS, "secret"])
def test_both_answers_are_about_equally_common(condition: str) -> None:
    env: ConditionalEnv = (
        SecretConditional(n_items=3)
        if condition == "secret"
        else VisualConditional(conditions=(condition,), n_items=3)
    )
    held = 0
    for seed in range(300):
        env.reset(seed=seed)
        held += env.holds
    assert 115 < held < 185  # four standard deviations


def test_where_things_lie_does_not_give_the_secret_away() -> None:
    # The place in the grid of the decider, of the good branch, of a distractor: all alike.
    env = SecretConditional(n_items=3, room_size=6)
    near_wall = {True: [0, 0], False: [0, 0]}
    for seed in range(400):
        env.reset(seed=seed)
        counts = near_wall[env.holds]
        counts[0] += walls_beside(env, env.things[0]) > 0
        counts[1] += 1
    shares = [a / n for a, n in near_wall.values()]
    assert abs(shares[0] - shares[1]) < 0.17


def test_secrets_are_told_by_examining_and_shown_only_when_asked() -> None:
    for show in (False, True):
        env = SecretConditional(n_items=6, show_marks=show)
        told = set()
        for seed in range(30):
            env.reset(seed=seed)
            assert all(seen_code(env, t) < 3 for t in env.things), "marked before it is examined"
            for thing in env.things:
                prop = fact_of(env, thing).removeprefix("has secret property ")
                told.add(prop)
                shown = MARKS[seen_code(env, thing) // 3]
                expected = {"good": "white", "bad": "orange", "unknown": ""}[prop]
                assert shown == (expected if show else "")
        assert told == {"good", "bad", "unknown"}


def test_the_decider_is_never_unknown_and_decides() -> None:
    env = SecretConditional(n_items=4)
    for seed in range(60):
        obs, _ = env.reset(seed=seed)
        decider, yes, no = find_items(obs["mission"])
        thing = next(t for t in env.things if t.item == decider)
        fact = fact_of(env, thing)
        assert fact in ("has secret property good", "has secret property bad")
        assert env.right == (yes if fact.endswith("good") else no)


@pytest.mark.parametrize(
    ("condition", "size", "there", "elsewhere", "holds"),
    [
        ("half", 8, "in the upper half", "in the lower half", lambda x, y: y in (1, 2, 3)),
        ("middle", 6, "in the middle", "not in the middle", lambda x, y: {x, y} <= {2, 3}),
        ("middle", 7, "in the middle", "not in the middle", lambda x, y: {x, y} <= {3}),
        ("middle", 8, "in the middle", "not in the middle", lambda x, y: {x, y} <= {3, 4}),
    ],
)
def test_half_and_middle_are_said_as_the_place_is_and_come_up_only_where_they_are_chosen(
    condition: str, size: int, there: str, elsewhere: str, holds: Callable[[int, int], bool]
) -> None:
    assert condition not in CONDITIONS
    env = VisualConditional(conditions=(condition,), n_items=6, room_size=size)
    told = set()
    for seed in range(30):
        obs, _ = env.reset(seed=seed)
        decider, yes, no = find_items(obs["mission"])
        assert f"If the {decider} is {there} of the room, pick up" in obs["mission"]
        for thing in env.things:
            is_there = holds(*thing.cur_pos)
            assert thing.fact == f"is {there if is_there else elsewhere} of the room"
            if thing.item == decider:
                assert env.right == (yes if is_there else no)
                told.add(is_there)
    assert told == {True, False}


def test_all_conditions_come_up() -> None:
    env = VisualConditional()
    seen = set()
    for seed in range(40):
        env.reset(seed=seed)
        seen.add(env.condition)
    assert seen == set(CONDITIONS)


def test_by_default_nothing_is_drawn_but_the_task() -> None:
    """What was measured before there were other phrasings stays what it was."""
    env = SecretConditional()
    obs, _ = env.reset(seed=0)
    assert obs["mission"] == (
        "If the solid yellow tee is good, pick up the striped purple circle, otherwise pick up "
        "the checkered blue tee."
    )
    assert [t.fact.split()[-1] for t in env.things] == ["good", "good", "unknown", "bad"]
    alone = SecretConditional(phrasings="normally", words=["safe"])
    obs, _ = alone.reset(seed=0)
    assert obs["mission"] == (
        "Normally pick up the checkered blue tee, but the striped purple circle if the solid "
        "yellow tee is safe."
    )
    assert [t.fact.split()[-1] for t in alone.things] == ["safe", "safe", "unclear", "dangerous"]
    assert [t.cur_pos for t in alone.things] == [t.cur_pos for t in env.things]
    visual = VisualConditional()
    assert visual.reset(seed=0)[0]["mission"] == (
        "If the solid yellow ex shows a white mark when examined, pick up the solid grey cross, "
        "otherwise pick up the solid red ex."
    )


@pytest.mark.parametrize("asked", [("first",), ("second",), ("third",), ORDINALS])
def test_any_of_the_three_words_can_be_asked_about(asked: tuple[str, ...]) -> None:
    env = SecretConditional(n_items=3, asked=asked, words=("safe", "wug"))
    n = 600
    told: Counter[tuple[str, str]] = Counter()
    for seed in range(n):
        obs, _ = env.reset(seed=seed)
        fact = fact_of(env, env.things[0]).split()[-1]
        (three,) = [t for t in PROPERTY_WORDS.values() if fact in t]
        (word,) = [w for w in three if f" is {w}," in obs["mission"]]
        told[ORDINALS[three.index(word)], ORDINALS[three.index(fact)]] += 1
        assert env.holds == (word == fact)
    for a in asked:
        others = ("second",) if asked == ("first",) else [o for o in ORDINALS if o != a]
        chances = {a: 1 / 2, **{o: 1 / 2 / len(others) for o in others}}
        assert {o for b, o in told if b == a} == set(chances)
        for o, chance in chances.items():
            share = chance / len(asked)
            assert abs(told[a, o] / n - share) < 4 * (share * (1 - share) / n) ** 0.5, (a, o)


def test_marks_go_by_the_place_among_the_three_words() -> None:
    env = SecretConditional(n_items=6, show_marks=True, words=("hot", "ripe"), asked=ORDINALS)
    shown = set()
    for seed in range(20):
        env.reset(seed=seed)
        for thing in env.things:
            word = fact_of(env, thing).split()[-1]
            shown.add((word, MARKS[seen_code(env, thing) // 3]))
    marks = ("white", "orange", "")
    assert shown == {
        (word, mark)
        for first in ("hot", "ripe")
        for word, mark in zip(PROPERTY_WORDS[first], marks, strict=True)
    }


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"phrasings": ("plane",)}, "unknown phrasing 'plane'; did you mean 'plain'"),
        ({"phrasings": ()}, "phrasing: .* chooses none of plain, normally"),
        ({"words": ("goood",)}, "unknown property word 'goood'; did you mean 'good'"),
        ({"words": "bad"}, "unknown property word 'bad'; "),
        ({"asked": ["frist"]}, "unknown asked word 'frist'; did you mean 'first'"),
    ],
)
def test_unknown_words_and_phrasings_are_told(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        SecretConditional(**wrong)


def test_deeds_say_what_is_to_be_done_and_nothing_else_succeeds() -> None:
    """The oracle's deed succeeds, the other branch's fails, whatever the two are."""
    env = SecretConditional(deeds=DEED_VERBS, phrasings=("plain", "normally"), n_items=6)
    assert env.verbs == VERBS
    verbs: Counter[str] = Counter()
    for seed in range(80):
        obs, _ = env.reset(seed=seed)
        decider = env.things[0].item
        right, wrong = (watch.command for watch in env.watches)
        verbs[right.verb] += 1
        named = {i for c in (right, wrong) for i in (c.item, c.target) if i}
        assert {*find_items(obs["mission"])} == named | {decider}
        first, second = (str(c) for c in ((right, wrong) if env.holds else (wrong, right)))
        if obs["mission"].startswith("If"):
            assert f", {first}, otherwise {second}." in obs["mission"]
        else:
            assert obs["mission"].startswith(f"Normally {second}, but {first} if the {decider} is")
        assert env.oracle(frozenset()) == Command("examine", decider)
        assert env.oracle(frozenset({decider})) == right
    assert set(verbs) == {"pick up", "go to", "put", "examine"} and min(verbs.values()) > 9

    worlds = make_worlds("conditional", 1, deeds=DEED_VERBS, n_items=6)
    actor = make_actor("scripted")
    for seed in range(40):
        for which in (0, 1):
            worlds.reset(0, seed)
            world = worlds.world(0)
            command = world.watches[which].command
            (rollout,) = actor.execute(worlds, [command], 200)
            assert worlds.over[0] and (rollout.done or which), (seed, command)
            assert worlds.success[0] == (which == 0), (seed, command)


def test_deeds_need_a_phrasing_of_their_own_and_room_for_what_they_name() -> None:
    with pytest.raises(BadInput, match="unknown phrasing of deeds 'when'"):
        SecretConditional(deeds=("go to",), phrasings=("when",))
    with pytest.raises(BadInput, match="unknown deed 'open'"):
        SecretConditional(deeds=("open",))
    with pytest.raises(BadInput, match="n_items"):
        SecretConditional(deeds=("put",), n_items=4)


def test_the_middle_row_of_an_odd_room_is_not_in_its_upper_half() -> None:
    world = VisualConditional(conditions=("half",), room_size=7)
    world.reset(seed=0)
    assert [world._fits((1, y)) for y in range(1, 6)] == [True, True, False, False, False]
    world = VisualConditional(conditions=("half",), room_size=8)
    world.reset(seed=0)
    assert [world._fits((1, y)) for y in range(1, 7)] == [True, True, True, False, False, False]


def test_no_floor_has_the_colour_of_its_item() -> None:
    world = VisualConditional(conditions=("floor",), n_items=8)
    for seed in range(40):
        world.reset(seed=seed)
        assert all(t.floor and t.floor != t.item.colour for t in world.things)
