"""The rooms that the engine makes are those of our families."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from envs.batched import Engine, Pool, Rooms
from envs.batched.cells import ID_SHIFT, STATE_SHIFT
from envs.batched.rebuild import rebuild
from envs.batched.rooms import FACTS, item_cell
from envs.batched.sentences import events_of, item_of_cell, items_by_number, sentence
from envs.batched.truth import examined_in_order
from envs.command import CommandTask
from envs.commands import Command
from envs.conditional import ConditionalEnv, VisualConditional
from envs.errors import BadInput
from envs.instruction import Reading
from envs.items import ALL_ITEMS, COLOURS, HELD_OUT_ITEMS, ITEM_SETS, Item
from envs.room import RoomEnv
from envs.search import SecretSearch
from envs.tasks import make_worlds

FAMILIES = ("conditional", "search", "visual-conditional", "command")
SOME = [
    Rooms("conditional", n_items=(3, 10), room_sizes=(6, 9)),
    Rooms("conditional", items="held-out", show_marks=True),
    Rooms("search", n_items=(2, 6), room_sizes=(6, 8), distractors=4, items="all"),
    Rooms("visual-conditional", n_items=(3, 10), room_sizes=(6, 8)),
    Rooms("command", n_items=(3, 5), verbs=("go to", "examine", "pick up")),
]


def _rooms(rooms: Rooms, n: int, seed: int = 0) -> Engine:
    engine = Engine(rooms, n, seed=seed)
    engine.reset()
    return engine


@pytest.mark.parametrize("rooms", SOME, ids=lambda r: r.family)
def test_a_room_is_as_its_family_makes_it(rooms: Rooms) -> None:
    engine = _rooms(rooms, 60)
    for i in range(60):
        world = rebuild(engine, i)
        items = [t.item for t in world.things]
        assert len(items) == len(set(items)) and set(items) <= set(ITEM_SETS[rooms.items])
        assert world.n_items in rooms.n_items and world.width in rooms.room_sizes
        assert len(items) == world.n_items + rooms.distractors
        assert world._needed() <= world.reachable
        assert world.grid.get(*world.agent_pos) is None
        assert all(world.grid.get(*t.cur_pos) is t for t in world.things)  # type: ignore[misc]
        _check_task(world)
        if isinstance(world, ConditionalEnv):
            _check_decider(world)


def _check_task(world: RoomEnv) -> None:
    """The sentence, read as any user's sentence is, says what is right."""
    reading = Reading.of(world.mission)
    if isinstance(world, SecretSearch):
        assert (reading.kind, reading.named) == ("search", world.named)
        good = [t.item for t in world.things if t.fact == "has secret property good"]
        assert good == [world.good] and world.good in world.named
        left = frozenset(world.reachable - {world.good})
        assert world.oracle(left) == Command("pick up", world.good)
    elif isinstance(world, CommandTask):
        command = Command.parse(world.mission)
        assert command == world.command == world.oracle(frozenset())
        assert command.verb in world.task_verbs and command.item in {t.item for t in world.things}
    else:
        assert isinstance(world, ConditionalEnv)
        named = tuple(t.item for t in world.things[:3])
        assert (reading.kind, reading.named) == ("conditional", named)
        assert world.right == reading.named[1 if world.holds else 2]
        assert world.oracle(frozenset()) == Command("examine", world.decider)
        assert world.oracle(frozenset({world.decider})) == Command("pick up", world.right)


def _check_decider(world: ConditionalEnv) -> None:
    """What the sentence asks about the decider is true of it, or is not, as the room says."""
    thing, said = world.things[0], Reading.of(world.mission)
    assert thing.item == world.decider and thing.cur_pos is not None
    if not isinstance(world, VisualConditional):
        assert (thing.fact == "has secret property good") == world.holds
        assert "unknown" not in thing.fact
        marks = {"good": "white", "bad": "orange", "unknown": ""}
        for other in world.things:
            mark = marks[other.fact.split()[-1]] if world.show_marks else ""  # type: ignore[attr-defined]
            assert other.hidden_mark == mark
        return
    sides = sum(v in (1, world.width - 2) for v in thing.cur_pos)
    truth = {
        "wall": sides > 0,
        "corner": sides == 2,
        "floor": thing.floor == said.floor,
        "mark": thing.hidden_mark == "white",
    }[world.condition]
    assert truth == world.holds
    for other in world.things:
        assert other.floor != other.item.colour
        assert bool(other.floor) == (world.condition == "floor")
        assert bool(other.hidden_mark) == (world.condition == "mark")
        if world.condition in ("wall", "corner"):
            sides = sum(v in (1, world.width - 2) for v in other.cur_pos)  # type: ignore[union-attr]
            fits = sides == 2 if world.condition == "corner" else sides > 0
            where = "beside a wall" if world.condition == "wall" else "in a corner"
            assert other.fact == f"is {'' if fits else 'not '}{where}"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_sentences_are_those_of_the_family(family: str) -> None:
    """With the items' and colours' names taken out, both have the same sentences."""
    engine = _rooms(Rooms(family), 300)
    ours = {_without_names(engine.mission(i)) for i in range(300)}
    worlds = make_worlds(family, 1)
    theirs = set()
    for seed in range(80):
        worlds.reset(0, seed)
        theirs.add(_without_names(worlds.tasks[0]))
    assert ours == theirs


def _without_names(text: str) -> str:
    for item in ALL_ITEMS:
        text = text.replace(str(item), "ITEM")
    return " ".join("COLOUR" if w in COLOURS else w for w in text.split())


def _share(counts: Counter[str], n: int, expected: dict[str, float]) -> None:
    """The counts may well come from these chances (a test that fails 1 time in 10,000)."""
    assert set(counts) == set(expected)
    found = [counts[k] for k in expected]
    assert chisquare(found, [n * p for p in expected.values()]).pvalue > 1e-4


def test_chances() -> None:
    n = 4000
    engine = _rooms(Rooms("visual-conditional", n_items=(3, 5), room_sizes=(6, 8)), n, seed=5)
    target = engine.layouts.target
    _share(Counter(map(str, target[:, 3])), n, {"0": 0.5, "1": 0.5})
    _share(Counter(map(str, target[:, 0])), n, dict.fromkeys("0123", 0.25))
    _share(Counter(map(str, target[:, 1])), n, {"3": 0.5, "5": 0.5})
    _share(Counter(map(str, engine.layouts.pose[:, 2])), n, dict.fromkeys("0123", 0.25))

    engine = _rooms(Rooms("command", verbs=("go to", "examine", "pick up"), items="all"), n)
    verbs = Counter(engine.mission(i).split(" the ")[0] for i in range(n))
    _share(verbs, n, dict.fromkeys(("go to", "examine", "pick up"), 1 / 3))
    named = Counter(engine.mission(i).split(" the ")[1] for i in range(n))
    _share(named, n, {str(i): 1 / len(ALL_ITEMS) for i in ALL_ITEMS})

    engine = _rooms(Rooms("conditional"), n)
    facts = Counter(str(FACTS[k]) for k in engine.layouts.facts[:, 1])
    _share(facts, n, {"has secret property good": 0.5, "has secret property bad": 0.5})
    others = Counter(str(FACTS[k]) for k in engine.layouts.facts[:, 4])
    _share(others, n, dict.fromkeys(map(str, FACTS[1:4]), 1 / 3))

    engine = _rooms(Rooms("search", n_items=(3,), distractors=1), n)
    good = Counter(str(int(s).bit_length() - 1) for s in engine.layouts.sets[:, 1, 0])
    _share(good, n, dict.fromkeys("123", 1 / 3))
    last = Counter(str(FACTS[k]) for k in engine.layouts.facts[:, 4])
    _share(last, n, {"has secret property bad": 0.75, "has secret property unknown": 0.25})


@pytest.mark.parametrize("family", ["conditional", "visual-conditional"])
def test_things_lie_where_the_family_lays_them(family: str) -> None:
    """How often each kind of cell is taken, against the Python family (two samples of rooms)."""
    n = 400
    engine = _rooms(Rooms(family, n_items=(6,), room_sizes=(6,)), n, seed=1)
    cells = engine.layouts.cells[:, 1:5, 1:5]
    ours = (cells >> ID_SHIFT > 0).mean(0)
    worlds = make_worlds(family, 1, n_items=6, room_size=6)
    theirs = np.zeros((4, 4))
    for seed in range(n):
        worlds.reset(0, seed)
        for thing in worlds.world(0).things:  # type: ignore[attr-defined]
            x, y = thing.cur_pos
            theirs[y - 1, x - 1] += 1 / n
    # Corners, edges and the middle, each averaged over cells that are alike.
    for place in ([(0, 0), (0, 3), (3, 0), (3, 3)], [(0, 1), (1, 0), (3, 2), (2, 3)], [(1, 1)]):
        here = np.mean([ours[c] for c in place])
        there = np.mean([theirs[c] for c in place])
        assert abs(here - there) < 0.11, (place, here, there)


def test_a_rebuilt_room_is_as_it_is_now() -> None:
    """Also in mid-episode: the carried thing, the floor under it, marks, steps, what is done."""
    engine = _rooms(Rooms("visual-conditional", conditions=("floor",)), 40)
    rng = np.random.default_rng(0)
    worlds = [rebuild(engine, i) for i in range(40)]
    engine.autoreset = False
    going = np.ones(40, bool)
    for _ in range(60):
        actions = rng.choice([0, 1, 2, 2, 3, 5], 40)
        engine.step(actions, going)
        for i in np.flatnonzero(going).tolist():
            _, _, terminated, truncated, info = worlds[i].step(int(actions[i]))
            assert info["events"] == events_of(engine.state, engine.layouts, i)
            now = rebuild(engine, i)
            assert (now.grid.encode() == worlds[i].grid.encode()).all()
            assert now.step_count == worlds[i].step_count
            assert (now.carrying is None) == (worlds[i].carrying is None)
            assert now.reachable == worlds[i].reachable
            if now.carrying is not None:
                assert now.carrying.item == worlds[i].carrying.item
                assert now.carrying.floor is None
            going[i] = not (terminated or truncated)
    assert going.sum() < 30


def test_a_pool_is_not_rebuilt() -> None:
    engine = Engine(Pool.draw("search", 1), 1)
    engine.reset()
    with pytest.raises(BadInput, match="only rooms that the engine makes"):
        rebuild(engine, 0)


@pytest.mark.parametrize("item", [*HELD_OUT_ITEMS, Item("square", "grey", "checkered")])
def test_items_and_cells(item: Item) -> None:
    for state in (0, 3, 6, 9, 54, 60):  # marks and floors change nothing
        assert item_of_cell(item_cell(item) + (state << STATE_SHIFT)) == item


def test_what_is_no_item() -> None:
    cells = Pool.draw("MiniGrid-DoorKey-5x5-v0", 1).arrays.cells[0]
    found = {str(item_of_cell(c)) for c in cells.ravel()}
    assert found == {"None", "yellow door", "yellow key"}
    assert sorted(map(str, items_by_number(cells).values())) == ["yellow door", "yellow key"]


def test_a_sentence_does_not_change_while_it_is_played() -> None:
    engine = _rooms(Rooms("search"), 20)
    before = [engine.mission(i) for i in range(20)]
    engine.autoreset = False
    for action in (5, 3, 2, 4):
        engine.step(np.full(20, action))
    assert [engine.mission(i) for i in range(20)] == before
    assert before[0] == sentence(engine.rooms.family, engine.layouts, 0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"family": "serch"}, "did you mean 'search'?"),
        ({"family": ""}, "unknown family"),
        ({"items": "new"}, "unknown item set"),
        ({"n_items": (2,)}, "between 3 and 10, not 2"),
        ({"n_items": (11,)}, "not 11"),
        ({"n_items": ()}, "n_items"),
        ({"room_sizes": (5,)}, "between 6 and 16, not 5"),
        ({"room_sizes": (8.5,)}, "whole number"),
        ({"verbs": ("opne",)}, "verb"),
        ({"conditions": ("walls",)}, "did you mean 'wall'?"),
        ({"distractors": -1}, "distractors"),
        ({"show_marks": 1}, "True or False"),
        ({"max_steps": 0}, "max_steps"),
    ],
)
def test_settings_that_no_family_takes(settings: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        Rooms(**{"family": "conditional", **settings})  # type: ignore[arg-type]
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_an_order_that_was_broken_stays_broken() -> None:
    """0 before the first item, 1 after it, 2 after both, 3 once the second came first."""
    cells = {k: np.uint32(9 | k << ID_SHIFT) for k in (1, 2, 3)}
    first, then = np.uint64(1 << 1), np.uint64(1 << 2)
    cases = (((1, 2), 2), ((2,), 3), ((2, 1), 3), ((1, 3, 2, 1), 2), ((3, 2, 1, 2), 3))
    for order, progress in cases:
        seen = 0
        for k in order:
            seen = examined_in_order(seen, first, then, cells[k])
        assert seen == progress, order
