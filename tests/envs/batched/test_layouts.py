"""Pools of layouts: drawn, joined, written and read; what cannot be used is told in a sentence."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from minigrid.minigrid_env import MiniGridEnv

from envs.batched import Engine, Pool
from envs.batched.cells import EMPTY, WALL_CELL, pack
from envs.batched.layouts import FIELDS, VERSION, layout_of, reset_quietly
from envs.batched.rules import N_RULES, RED_BLUE_DOORS, UNLOCK
from envs.batched.sameness import Walker
from envs.batched.words import decode_command
from envs.commands import CommandWatch
from envs.errors import BadInput
from envs.events import EventWatch
from envs.items import Item
from envs.places import Places
from envs.tasks import make_worlds

FUZZ = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def pool() -> Pool:
    """Layouts of several rules and sizes, with boxes, doors, things carried and commands."""
    levels = (
        "BabyAI-PutNextS5N2Carrying-v0",
        "MiniGrid-RedBlueDoors-6x6-v0",
        "MiniGrid-ObstructedMaze-1Dlhb-v0",
        "MiniGrid-MemoryS11-v0",
        "BabyAI-OpenDoorLoc-v0",
        "search",
        "command",
    )
    return Pool.join([Pool.draw(level, 2, seed=3) for level in levels])


@pytest.fixture(scope="module")
def stored(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("pools") / "some.npz"
    pool.save(file)
    return file.read_bytes()


def _same(a: Pool, b: Pool) -> bool:
    return (a.missions, a.levels) == (b.missions, b.levels) and all(
        x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(a.arrays, b.arrays, strict=True)
    )


def _one_sentence(error: pytest.ExceptionInfo[BadInput]) -> str:
    said = " ".join(str(error.value).split())
    assert 10 < len(said) < 400 and "Traceback" not in said
    return said


def _play(pool: Pool, steps: int = 40) -> None:
    """Some steps in all layouts: whatever a file holds, the engine must get along with it."""
    engine = Engine(pool, 2 * len(pool), view=5, seed=1)
    engine.reset()
    rng = np.random.default_rng(0)
    for _ in range(steps):
        engine.step(rng.integers(0, 7, 2 * len(pool)))
    for i in range(len(engine)):
        x, y, direction = engine.state.pose[i]
        height, width = engine.cells(i).shape
        assert 0 <= x < width and 0 <= y < height and 0 <= direction < 4
        pad = engine.state.cells[i].copy()
        pad[4:-4, 4:-4] = WALL_CELL
        assert (pad == WALL_CELL).all(), "something was written beyond the layout"


def test_drawn_layouts_do_not_depend_on_how_many_are_drawn() -> None:
    many, one = (
        Pool.draw("BabyAI-GoToLocal-v0", 4, seed=10),
        Pool.draw("BabyAI-GoToLocal-v0", 1, 12),
    )
    assert many.missions[2] == one.missions[0]
    assert (many.arrays.cells[2] == one.arrays.cells[0]).all()
    told: list[int] = []
    Pool.draw("search", 3, on_progress=told.append, n_items=5)
    assert told == [1, 2, 3]


def test_a_pool_is_read_as_it_was_written(pool: Pool, tmp_path: Path) -> None:
    file = tmp_path / "pool"  # any name
    pool.save(file)
    assert _same(Pool.load(file), pool)
    assert [p.name for p in tmp_path.iterdir()] == ["pool"]
    _play(Pool.load(file))


@pytest.mark.parametrize(
    ("level", "n", "seed", "options", "said"),
    [
        ("BabyAI-GoToLocl-v0", 1, 0, {}, "did you mean 'BabyAI-GoToLocal-v0'?"),
        ("CartPole-v1", 1, 0, {}, "it is no MiniGrid world"),
        ("MiniGrid-Dynamic-Obstacles-8x8-v0", 1, 0, {}, "DynamicObstaclesEnv.step"),
        ("MiniGrid-Empty-5x5-v0", 0, 0, {}, "number of layouts"),
        ("MiniGrid-Empty-5x5-v0", 1, -1, {}, "seed must be"),
        ("MiniGrid-Empty-5x5-v0", 1, "x", {}, "seed must be a whole number"),
        ("search", 1, 0, {"n_item": 4}, "did you mean 'n_items'?"),
        ("search", 1, 0, {"n_items": 40}, "not 40"),
    ],
)
def test_levels_that_cannot_be_drawn(
    level: str, n: Any, seed: Any, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput) as caught:
        Pool.draw(level, n, seed, **options)
    assert said in _one_sentence(caught)


def test_an_object_that_the_engine_does_not_have() -> None:
    from minigrid.core.world_object import Ball

    class Balloon(Ball):
        pass

    world = make_worlds("MiniGrid-Empty-5x5-v0", 1).world(0)
    world.reset(seed=0)
    world.grid.set(2, 2, Balloon())
    with pytest.raises(BadInput, match=r"has a Balloon, an object that the engine does not have"):
        layout_of(world, "MiniGrid-Empty-5x5-v0")


def test_a_level_with_rules_of_its_own() -> None:
    class Windy(MiniGridEnv):
        def step(self, action: Any) -> Any:
            return super().step(6)

    from envs.batched.layouts import check_rules

    with pytest.raises(BadInput, match=r"level 'windy' has a rule .* Windy\.step"):
        check_rules(Windy.__new__(Windy), "windy")


def test_conditionals_with_other_deeds_are_refused() -> None:
    with pytest.raises(BadInput, match="other deeds than 'pick up'"):
        Pool.draw("conditional", 1, seed=0, deeds=("go to",))


def test_more_things_than_the_engine_has_numbers() -> None:
    from minigrid.core.world_object import Ball

    world = make_worlds("MiniGrid-Empty-16x16-v0", 1).world(0)
    world.reset(seed=0)
    for k in range(64):
        world.grid.set(1 + k % 14, 2 + k // 14, Ball())
    with pytest.raises(BadInput, match="more than 63 things"):
        layout_of(world, "MiniGrid-Empty-16x16-v0")


def test_joined_pools_keep_their_places_and_chances() -> None:
    small = Pool.draw("BabyAI-PutNextLocalS5N3-v0", 3)
    large = Pool.draw("BabyAI-PutNextS7N4Carrying-v0", 1)
    joined = Pool.join([small, large], weights=[1, 3])
    assert np.allclose(np.diff(joined.arrays.weight, prepend=0), [1 / 12] * 3 + [3 / 4])
    height, width = joined.arrays.cells.shape[1:]
    assert (height, width) == large.arrays.cells.shape[1:]
    for pool, k in ((small, 1), (large, 3)):
        here = joined.arrays.places[k]
        own = pool.arrays.places[k if pool is small else 0]
        w = pool.arrays.cells.shape[2]
        assert [(p // width, p % width) for p in here if p >= 0] == [
            (p // w, p % w) for p in own if p >= 0
        ]
    engine = Engine(joined, 2000, seed=1)
    engine.reset()
    assert abs((engine.state.layout == 3).mean() - 3 / 4) < 0.04
    assert np.allclose(np.diff(Pool.join([small, large]).arrays.weight, prepend=0), 1 / 4)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([1], "1 weights for 2 pools"),
        ([1, -1], "above 0, not -1"),
        ([0, 0], "above 0, not 0"),
        ([1, float("nan")], "not nan"),
        ([1, float("inf")], "not inf"),
        ([1, "x"], "not 'x'"),
    ],
)
def test_weights_that_are_none(weights: Any, said: str) -> None:
    pool = Pool.draw("MiniGrid-Empty-5x5-v0", 1)
    with pytest.raises(BadInput) as caught:
        Pool.join([pool, pool], weights)
    assert said in _one_sentence(caught)


def test_no_pools() -> None:
    with pytest.raises(BadInput, match="no pools to join"):
        Pool.join([])


@pytest.mark.parametrize(
    "level",
    [
        "BabyAI-GoToObj-v0",
        "BabyAI-PickupLoc-v0",
        "BabyAI-OpenDoorLoc-v0",
        "BabyAI-PutNextLocalS5N3-v0",
        "BabyAI-UnlockLocalDist-v0",
    ],
)
def test_missions_as_commands(level: str) -> None:
    """Judged as CommandWatch does, which knows the words only, not BabyAI's objects."""
    worlds = make_worlds(level, 1)
    env, world = worlds.envs[0], worlds.world(0)
    rng = np.random.default_rng(0)
    successes = 0
    for seed in range(25):
        reset_quietly(env, seed, level)
        pool = layout_of(world, level).as_commands()
        command = decode_command(pool.arrays.command[0])
        watch = CommandWatch(command, Places(world))
        engine = Engine(pool, 1, autoreset=False)
        engine.reset()
        walker = Walker(rng, world)
        for _ in range(100):
            action = 6 if watch.done and rng.random() < 0.5 else walker()
            eyes = EventWatch(world)
            env.step(action)
            engine.step(np.array([action]))
            events = eyes.events(world, action)
            done = watch.update(world, events)
            picked = [e.item for e in events if e.kind == "picked up"]
            may = command.verb in ("pick up", "put")
            wrong = bool(picked) and not (may and _may_pick_up(command.item, world, watch))
            over = wrong or action == 6
            assert (engine.terminated[0], engine.success[0]) == (over, over and done and not wrong)
            if over:
                successes += int(engine.success[0])
                break
    # A locked door's key may not be picked up on the way, so that command cannot be carried out.
    assert (successes > 0) == (level != "BabyAI-UnlockLocalDist-v0")


def _may_pick_up(item: Item, world: MiniGridEnv, watch: CommandWatch) -> bool:
    return watch._is(item, world, world.carrying)


def test_missions_that_are_no_command() -> None:
    with pytest.raises(BadInput, match="no mission of this pool is a single command"):
        Pool.draw("MiniGrid-Empty-5x5-v0", 2).as_commands()
    mixed = Pool.join([Pool.draw("MiniGrid-Empty-5x5-v0", 3), Pool.draw("BabyAI-GoToObj-v0", 2)])
    kept = mixed.as_commands()
    assert len(kept) == 2 and kept.arrays.weight[-1] == 1


# Files.


def _load(data: bytes, tmp_path: Path) -> Pool:
    file = tmp_path / "pool.npz"
    file.write_bytes(data)
    return Pool.load(file)


@FUZZ
@given(where=st.floats(0, 1, exclude_max=True))
def test_a_file_that_was_cut_short(stored: bytes, tmp_path: Path, where: float) -> None:
    with pytest.raises(BadInput) as caught:
        _load(stored[: int(where * len(stored))], tmp_path)
    assert "pool.npz" in _one_sentence(caught)


@FUZZ
@given(data=st.binary(max_size=300))
def test_a_file_of_anything(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BadInput) as caught:
        _load(data, tmp_path)
    assert "pool.npz" in _one_sentence(caught)


@FUZZ
@given(
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1)
)
def test_a_file_with_wrong_bytes(
    stored: bytes, tmp_path: Path, changes: list[tuple[float, int]]
) -> None:
    data = bytearray(stored)
    for where, byte in changes:
        data[int(where * len(data))] = byte
    try:
        found = _load(bytes(data), tmp_path)
    except BadInput as error:
        assert "pool.npz" in str(error)
    else:
        _play(found, 5)


def _write(tmp_path: Path, pool: Pool, head: Any = None, **arrays: Any) -> Path:
    """A pool file with some arrays changed, None for left out."""
    file = tmp_path / "changed.npz"
    known = {"version": VERSION, "missions": pool.missions, "levels": pool.levels}
    text = json.dumps(known if head is None else head)
    out = {"head": np.frombuffer(text.encode(), np.uint8), **pool.arrays._asdict(), **arrays}
    np.savez(file, **{k: v for k, v in out.items() if v is not None})
    return file


@settings(FUZZ, max_examples=150)
@given(data=st.data())
def test_a_file_with_numbers_out_of_range(pool: Pool, tmp_path: Path, data: st.DataObject) -> None:
    """Numbers that no layout has are refused; what is not refused can be played."""
    name = data.draw(st.sampled_from(sorted(FIELDS)))
    values = getattr(pool.arrays, name).copy()
    where = data.draw(st.integers(0, values.size - 1))
    if values.dtype == bool:
        number: Any = data.draw(st.booleans())
    elif values.dtype.kind == "f":
        number = data.draw(st.floats(width=64))
    else:
        info = np.iinfo(values.dtype)
        near = st.integers(max(info.min, -3), 70)
        number = data.draw(near | st.integers(int(info.min), int(info.max)))
    values.flat[where] = number
    try:
        found = Pool.load(_write(tmp_path, pool, **{name: values}))
    except BadInput as error:
        assert "changed.npz" in str(error)
    else:
        _play(found, 10)


@pytest.mark.parametrize(
    ("name", "index", "number"),
    [
        ("pose", (0, 0), 99),
        ("pose", (0, 1), -1),
        ("pose", (0, 2), 4),
        ("cells", (0, 1, 1), pack(EMPTY, 0, number=64)),
        ("cells", (0, 1, 1), pack(31, 0)),
        ("cells", (0, 1, 1), pack(6, 7)),
        ("carried", 0, pack(6, 0)),  # without a number
        ("carried", 0, pack(4, 0, number=1)),  # a door
        ("inside", (0, 3), 0),
        ("places", (0, 5), 10**6),
        ("places", (0, 5), -2),
        ("max_steps", 0, 0),
        ("rule", 0, N_RULES),
        ("parts", (0, 0, 0), 5),
        ("facts", (0, 0), 200),
        ("command", (0, 0), 5),
        ("command", (0, 2), 7),
        ("weight", 0, -0.5),
        ("weight", -1, float("inf")),
        ("weight", 3, float("nan")),
    ],
)
def test_numbers_that_no_layout_has(
    pool: Pool, tmp_path: Path, name: str, index: Any, number: Any
) -> None:
    values = getattr(pool.arrays, name).copy()
    values[index] = number
    with pytest.raises(BadInput, match="numbers that no layout has"):
        Pool.load(_write(tmp_path, pool, **{name: values}))


@pytest.mark.parametrize(("rule", "k"), [(UNLOCK, 0), (RED_BLUE_DOORS, 3)])
def test_doors_beyond_the_layout(tmp_path: Path, rule: int, k: int) -> None:
    pool = Pool.draw("MiniGrid-RedBlueDoors-6x6-v0", 1)  # 12 wide, 6 high
    rules, target = pool.arrays.rule.copy(), pool.arrays.target.copy()
    rules[0], target[0, k] = rule, 12 if k == 0 else 6
    with pytest.raises(BadInput, match="numbers that no layout has"):
        Pool.load(_write(tmp_path, pool, rule=rules, target=target))


def test_files_of_other_kinds(pool: Pool, tmp_path: Path) -> None:
    good = {"version": VERSION, "missions": pool.missions, "levels": pool.levels}
    cases: list[tuple[Path, str]] = []
    for k, (head, said) in enumerate(
        [
            ({**good, "version": 99}, "is of version 99, this is 1; draw it anew"),
            ([1, 2], "of version None"),
            ({"version": VERSION}, "no pool file"),
            ({**good, "missions": []}, "holds no layouts"),
            ({**good, "missions": 3}, "no pool file"),
            ({**good, "missions": pool.missions[:3]}, "'cells' is uint32"),
            ({**good, "levels": []}, "names 0 levels"),
        ]
    ):
        cases.append((_write(tmp_path, pool, head).rename(tmp_path / f"head{k}"), said))
    for k, (arrays, said) in enumerate(
        [
            ({"pose": None}, "pose"),
            ({"pose": pool.arrays.pose.astype(np.int64)}, "'pose' is int64"),
            ({"pose": pool.arrays.pose[:, :2]}, "'pose' is int32"),
            ({"cells": pool.arrays.cells.astype(">u4")}, "'cells' is >u4"),
            ({"cells": pool.arrays.cells[0]}, "holds no layouts"),
            ({"cells": np.zeros((len(pool), 0, 0), np.uint32)}, "no layout has"),
        ]
    ):
        cases.append((_write(tmp_path, pool, **arrays).rename(tmp_path / f"arrays{k}"), said))
    np.save(tmp_path / "plain.npy", np.zeros(3))
    cases += [
        (tmp_path / "plain.npy", "plain.npy"),
        (tmp_path / "nowhere.npz", "there is no pool file"),
        (tmp_path, "no pool file"),
    ]
    for file, said in cases:
        with pytest.raises(BadInput) as caught:
            Pool.load(file)
        assert said in _one_sentence(caught), file


def test_arrays_in_another_order_are_read(pool: Pool, tmp_path: Path) -> None:
    file = _write(tmp_path, pool, cells=np.asfortranarray(pool.arrays.cells))
    found = Pool.load(file)
    assert _same(found, pool) and found.arrays.cells.flags.c_contiguous


def test_nothing_pickled_is_read(pool: Pool, tmp_path: Path) -> None:
    out = io.BytesIO()
    np.savez(out, head=np.array([{"version": VERSION}], object), **pool.arrays._asdict())
    with pytest.raises(BadInput, match="no pool file"):
        _load(out.getvalue(), tmp_path)


def test_a_pool_that_cannot_be_written(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot write pool file"):
        pool.save(tmp_path / "no" / "such" / "folder.npz")
    (tmp_path / "kept.npz").mkdir()
    (tmp_path / "kept.npz" / "inside").write_text("x")
    with pytest.raises(BadInput, match="cannot write pool file"):
        pool.save(tmp_path / "kept.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["kept.npz"]


def test_layout_i_has_the_seed_first_plus_i() -> None:
    pool = Pool.draw("search", 3, seed=7)
    worlds = make_worlds("search", 1)
    for i in range(3):
        worlds.reset(0, 7 + i)
        assert pool.missions[i] == worlds.tasks[0]
