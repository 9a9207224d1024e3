"""The engine itself: the same whatever the order of work; what it cannot use it tells."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.batched import Engine, Pool, Rooms
from envs.batched.layouts import reset_quietly
from envs.errors import BadInput
from envs.tasks import make_worlds

PAGE = Path(__file__).parents[3] / "docs" / "engine.md"
THREADS = numba.config.NUMBA_NUM_THREADS
SEEN = ("images", "directions", "rewards", "terminated", "truncated", "success", "steps")


@pytest.fixture(scope="module")
def pool() -> Pool:
    levels = ("BabyAI-GoToLocal-v0", "MiniGrid-RedBlueDoors-6x6-v0", "MiniGrid-LavaGapS5-v0")
    return Pool.join([Pool.draw(level, 4) for level in levels])


SOURCES = ["pool", "rooms"]


def _source(name: str, pool: Pool) -> Pool | Rooms:
    return pool if name == "pool" else Rooms("search", n_items=(2, 4), max_steps=25)


def _trace(engine: Engine, actions: np.ndarray) -> list[np.ndarray]:
    """All that is seen of the steps ``actions [T, N]``."""
    found = []
    for row in actions:
        engine.step(row)
        found += [getattr(engine, name).copy() for name in SEEN]
        over = engine.terminated | engine.truncated
        found += [engine.state.event_kinds.copy(), engine.last_images[over]]
    return found


def _equal(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def _made(source: Pool | Rooms, n: int, **options: Any) -> Engine:
    engine = Engine(source, n, **{"seed": 7, **options})
    engine.reset()
    return engine


@pytest.mark.parametrize("name", SOURCES)
def test_the_same_with_any_number_of_threads(name: str, pool: Pool) -> None:
    if THREADS < 2:
        pytest.skip("one core only")
    actions = np.random.default_rng(0).integers(0, 7, (60, 33))
    source = _source(name, pool)
    alone = _trace(_made(source, 33), actions)
    assert _equal(alone, _trace(_made(source, 33, threads=THREADS), actions))


@pytest.mark.parametrize("name", SOURCES)
def test_the_same_seed_gives_the_same(name: str, pool: Pool) -> None:
    actions = np.random.default_rng(1).integers(0, 7, (40, 8))
    source = _source(name, pool)
    engine = _made(source, 8)
    first = _trace(engine, actions)
    engine.reset(seed=7)
    assert _equal(first, _trace(engine, actions))
    engine.reset(seed=8)
    assert not _equal(first, _trace(engine, actions))


@settings(max_examples=20, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", SOURCES)
def test_worlds_do_not_touch_each_other(name: str, pool: Pool, data: st.DataObject) -> None:
    """All at once, or some now and the others later: each world's course is its own."""
    n, steps = 6, 40
    seed = data.draw(st.integers(0, 1000))
    rng = np.random.default_rng(seed)
    actions = rng.integers(0, 7, (steps, n))
    source = _source(name, pool)
    together, apart = _made(source, n, seed=seed), _made(source, n, seed=seed)
    taken = np.zeros(n, int)
    seen = [[images.copy()] for images in apart.images]
    while (taken < steps).any():
        active = (rng.random(n) < 0.5) & (taken < steps)
        before = apart.images[~active].copy(), apart.state.cells[~active].copy()
        apart.step(actions[np.minimum(taken, steps - 1), np.arange(n)], active)
        assert (apart.images[~active] == before[0]).all()
        assert (apart.state.cells[~active] == before[1]).all()
        taken += active
        for i in np.flatnonzero(active):
            seen[i].append(apart.images[i].copy())
    for t in range(steps):
        assert all((together.images[i] == seen[i][t]).all() for i in range(n))
        together.step(actions[t])


@pytest.mark.parametrize("name", SOURCES)
def test_autoreset_is_a_reset_by_hand(name: str, pool: Pool) -> None:
    n = 16
    source = _source(name, pool)
    by_itself, by_hand = _made(source, n), _made(source, n, autoreset=False)
    rng = np.random.default_rng(2)
    ends = 0
    for _ in range(400):
        actions = rng.integers(0, 7, n)
        by_itself.step(actions)
        by_hand.step(actions)
        over = by_hand.terminated | by_hand.truncated
        for array in ("rewards", "terminated", "truncated", "success"):
            assert (getattr(by_itself, array) == getattr(by_hand, array)).all()
        assert (by_itself.last_images[over] == by_hand.images[over]).all()
        assert (by_itself.last_directions[over] == by_hand.directions[over]).all()
        assert (by_itself.last_steps[over] == by_hand.steps[over]).all()
        ended = np.flatnonzero(over)
        ends += len(ended)
        if len(ended):
            by_hand.reset(which=ended)
        assert (by_itself.images == by_hand.images).all()
        assert (by_itself.steps == by_hand.steps).all()
        assert [by_itself.mission(i) for i in range(n)] == [by_hand.mission(i) for i in range(n)]
    assert ends > 30


def test_each_world_of_many_is_minigrids() -> None:
    """World i of many, with layouts and resets of its own, against MiniGrid's own world."""
    level, n = "BabyAI-PickupDist-v0", 12
    pool = Pool.draw(level, n, seed=50)
    engine = _made(pool, n, autoreset=False)
    worlds = make_worlds(level, n)
    for i, env in enumerate(worlds.envs):
        obs = reset_quietly(env, 50 + int(engine.state.layout[i]), level)
        assert obs["mission"] == engine.mission(i) and (obs["image"] == engine.images[i]).all()
    rng = np.random.default_rng(3)
    for _ in range(60):
        actions = rng.choice([0, 1, 2, 2, 2, 3, 4], n)
        engine.step(actions)
        for i, env in enumerate(worlds.envs):
            obs, reward, terminated, truncated, _ = env.step(int(actions[i]))
            assert (obs["image"] == engine.images[i]).all()
            assert (reward, terminated) == (engine.rewards[i], engine.terminated[i])
            assert truncated == engine.truncated[i]
            assert (worlds.world(i).grid.encode() == engine.grid(i)).all()
    assert len(set(engine.state.layout.tolist())) > 4


@pytest.mark.parametrize(
    ("n", "options", "said"),
    [
        (0, {}, "number of worlds"),
        (10**9, {}, "number of worlds must be between 1 and 1000000"),
        (-3, {}, "not -3"),
        (2.5, {}, "number of worlds must be a whole number"),
        (True, {}, "number of worlds"),
        ("4", {}, "not '4'"),
        (1, {"view": 1}, "between 3 and 31, not 1"),
        (1, {"view": 8}, "view size must be odd, not 8"),
        (1, {"view": 33}, "between 3 and 31, not 33"),
        (1, {"view": 7.0}, "view size must be a whole number"),
        (1, {"seed": -1}, "seed"),
        (1, {"threads": 0}, "threads"),
        (1, {"threads": 10_000}, "threads"),
    ],
)
def test_numbers_out_of_range(n: Any, options: dict[str, Any], said: str, pool: Pool) -> None:
    with pytest.raises(BadInput) as caught:
        Engine(pool, n, **options)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("actions", "said"),
    [
        (np.zeros(3, int), r"must have the shape \(4,\), not \(3,\)"),
        (np.zeros((4, 1), int), r"not \(4, 1\)"),
        (2, r"not \(\)"),
        ([[1], [1, 2], [3], [4]], r"must have the shape \(4,\)"),
        (np.zeros(4), "whole numbers, not float64"),
        (np.zeros(4, bool), "whole numbers, not bool"),
        (["left"] * 4, "whole numbers, not <U4"),
        ([None] * 4, "whole numbers, not object"),
        ([0, 1, 7, 2], "action 7 is not between 0 and 6"),
        ([0, -1, 3, 2], "action -1 is not between 0 and 6"),
        (np.full(4, 2**64 - 1, np.uint64), "action 18446744073709551615"),
    ],
)
def test_actions_that_are_none(actions: Any, said: str, pool: Pool) -> None:
    engine = _made(pool, 4)
    before = [a.copy() for a in engine.state]
    with pytest.raises(BadInput, match=said):
        engine.step(actions)
    assert all(np.array_equal(a, b) for a, b in zip(engine.state, before, strict=True))
    engine.step(np.array([0, 1, 2, 3], np.uint8))


@pytest.mark.parametrize("active", [np.ones(3, bool), np.ones(4), [1, 0, 1, 0], True])
def test_active_that_is_none(active: Any, pool: Pool) -> None:
    with pytest.raises(BadInput, match="active must be 4 truth values"):
        _made(pool, 4).step(np.zeros(4, int), active)


@pytest.mark.parametrize("which", [[4], [-1], [0, 99]])
def test_worlds_that_are_not_there(which: list[int], pool: Pool) -> None:
    with pytest.raises(BadInput, match="there are worlds 0 to 3"):
        _made(pool, 4).reset(which=np.array(which))


def test_a_reset_of_none_changes_nothing(pool: Pool) -> None:
    engine = _made(pool, 4)
    before = [a.copy() for a in engine.state]
    engine.reset(which=np.array([], int))
    assert all(np.array_equal(a, b) for a, b in zip(engine.state, before, strict=True))


def test_the_page_runs_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    text = PAGE.read_text()
    (code, printed) = re.findall(r"```(?:python|text)\n(.*?)```", text, re.S)[:2]
    exec(compile(code, str(PAGE), "exec"), {})
    assert capsys.readouterr().out == printed
