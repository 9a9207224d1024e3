"""The batched engine's pixels against MiniGrid's own, pixel for pixel."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from minigrid.core.grid import Grid
from minigrid.minigrid_env import MiniGridEnv
from minigrid.wrappers import RGBImgPartialObsWrapper

from envs.batched import Engine, Pool, Rooms, pixels
from envs.batched.layouts import layout_of
from envs.errors import BadInput
from envs.tasks import make_worlds

LEVELS = (
    "MiniGrid-DoorKey-8x8-v0",
    "MiniGrid-LavaCrossingS9N2-v0",
    "MiniGrid-FourRooms-v0",
    "MiniGrid-Fetch-8x8-N3-v0",
    "MiniGrid-ObstructedMaze-2Dlhb-v0",
    "BabyAI-GoToLocal-v0",
    "BabyAI-PutNextS5N2Carrying-v0",
    "BabyAI-BossLevel-v0",
    "Parley/VisualConditional-v0",
    "Parley/SecretSearch-v0",
)
# Often forwards, picking up and toggling, so that doors open and marks show.
CHANCES = (0.15, 0.15, 0.4, 0.1, 0.05, 0.15, 0)
Draw = Callable[[Callable[..., np.ndarray]], np.ndarray]


@pytest.fixture
def minigrid_draws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Draw]:
    """Calls a drawing method of MiniGrid's with a tile cache of its own: tiles that were drawn
    for the engine must not come back as MiniGrid's."""
    theirs: dict = {}
    pixels.tiles.cache_clear()
    monkeypatch.setattr(Grid, "tile_cache", {})

    def draw(method: Callable[..., np.ndarray], **settings: object) -> np.ndarray:
        with monkeypatch.context() as patch:
            patch.setattr(Grid, "tile_cache", theirs)
            return method(**settings)

    yield draw
    pixels.tiles.cache_clear()


def _played(level: str, steps: int, view: int = 7) -> Iterator[tuple[MiniGridEnv, Engine]]:
    """MiniGrid's world and an engine's, after each of some random steps in both."""
    env = make_worlds(level, 1).envs[0]
    world = env.unwrapped
    assert isinstance(world, MiniGridEnv)
    world.agent_view_size = view
    rng = np.random.default_rng(0)
    over, engine = True, None
    for t in range(steps):
        if over or engine is None:
            env.reset(seed=t)
            engine = Engine(layout_of(world, level), 1, view=view, autoreset=False)
            engine.reset()
            over = False
        else:
            action = int(rng.choice(7, p=CHANCES))
            engine.step(np.array([action]))
            _, _, terminated, truncated, _ = env.step(action)
            over = terminated or truncated
        yield world, engine


@pytest.mark.parametrize("level", LEVELS)
def test_frames_and_pictures_are_minigrids(level: str, minigrid_draws: Draw) -> None:
    for world, engine in _played(level, steps=60):
        np.testing.assert_array_equal(
            engine.frames()[0], minigrid_draws(world.get_pov_render, tile_size=8)
        )
        np.testing.assert_array_equal(
            engine.pictures(0, tile_size=8)[0], minigrid_draws(world.get_frame, tile_size=8)
        )


@pytest.mark.parametrize("tile_size", (32, 5))
@pytest.mark.parametrize("level", ("MiniGrid-DoorKey-5x5-v0", "Parley/VisualConditional-v0"))
def test_other_sizes(level: str, tile_size: int, minigrid_draws: Draw) -> None:
    for world, engine in _played(level, steps=6, view=5):
        np.testing.assert_array_equal(
            engine.frames(tile_size)[0],
            minigrid_draws(world.get_pov_render, tile_size=tile_size),
        )
        np.testing.assert_array_equal(
            engine.pictures(0, tile_size)[0],
            minigrid_draws(world.get_frame, tile_size=tile_size),
        )


def test_first_frame_is_the_wrappers() -> None:
    level = "BabyAI-PutNextS5N2Carrying-v0"  # its first image shows what is carried on the floor
    env = RGBImgPartialObsWrapper(make_worlds(level, 1).envs[0])
    seen, _ = env.reset(seed=3)
    engine = Engine(layout_of(env.unwrapped, level), 1)
    engine.reset()
    np.testing.assert_array_equal(engine.frames()[0], seen["image"])


def test_frames_of_some_worlds() -> None:
    engine = Engine(Rooms("command", room_sizes=(6, 9)), 20, seed=1)
    engine.reset()
    everyone = engine.frames(tile_size=8).copy()
    assert everyone.shape == (20, 56, 56, 3) and len(np.unique(everyone, axis=0)) == 20
    which = np.array([7, 3, 7])
    np.testing.assert_array_equal(engine.frames(which=which), everyone[which])
    out = np.zeros((3, 56, 56, 3), np.uint8)
    assert engine.frames(which=which, out=out) is out
    np.testing.assert_array_equal(out, everyone[which])
    pixels.draw_views(engine.images[:3], 8, out)
    np.testing.assert_array_equal(out, everyone[:3])
    all_worlds = engine.pictures(tile_size=4)
    assert all_worlds.shape == (20, 36, 36, 3)
    np.testing.assert_array_equal(engine.pictures(which, tile_size=4), all_worlds[which])


def test_frames_are_overwritten_by_the_next_call_only() -> None:
    engine = Engine(Pool.draw("MiniGrid-Empty-5x5-v0", 4, seed=0), 2)
    engine.reset()
    first = engine.frames()
    before = first.copy()
    engine.step(np.array([0, 1]))
    np.testing.assert_array_equal(first, before)
    assert engine.frames() is first and not np.array_equal(first, before)


@pytest.mark.parametrize(
    "settings",
    (
        {"tile_size": 0},
        {"tile_size": 8.0},
        {"which": np.array([2])},
        {"out": np.zeros((2, 56, 56), np.uint8)},
        {"out": np.zeros((2, 56, 56, 3))},
        {"out": np.zeros((2, 56, 56, 6), np.uint8)[..., ::2]},
    ),
)
def test_bad_input(settings: dict) -> None:
    engine = Engine(Pool.draw("MiniGrid-Empty-5x5-v0", 1, seed=0), 2)
    engine.reset()
    with pytest.raises(BadInput):
        engine.frames(**settings)
