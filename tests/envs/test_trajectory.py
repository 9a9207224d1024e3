"""Trajectories: what is drawn from their numbers is what MiniGrid drew at the time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from minigrid.core import constants
from minigrid.core.actions import Actions as A
from minigrid.core.grid import Grid
from minigrid.core.mission import MissionSpace
from minigrid.core.world_object import WorldObj
from minigrid.minigrid_env import MiniGridEnv
from minigrid.utils.rendering import fill_coords, point_in_circle

from envs import TASKS, make_worlds
from envs.batched import pixels
from envs.batched.cameras import Camera, room_camera
from envs.errors import BadInput
from envs.states import NOTHING, state_of
from envs.trajectory import TrajectoryRecorder, clip_steps, evenly
from envs.worlds import Worlds

LEVELS = (
    *(t for t in TASKS if t != "instruction"),
    "BabyAI-GoToLocal-v0",
    "BabyAI-UnlockPickup-v0",
    "BabyAI-KeyInBox-v0",
    "BabyAI-PutNextS5N2Carrying-v0",
    "BabyAI-OpenDoorsOrderN4Debug-v0",
    "BabyAI-MiniBossLevel-v0",
    "MiniGrid-DoorKey-5x5-v0",
    "MiniGrid-LavaCrossingS9N1-v0",
    "MiniGrid-Dynamic-Obstacles-5x5-v0",  # the batched engine does not have it
)
# Often forwards, picking up and toggling, so that doors open, marks show and things are carried.
CHANCES = (0.15, 0.15, 0.34, 0.14, 0.06, 0.14, 0.02)


@pytest.fixture
def tiles_apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict]:
    """A tile cache for MiniGrid's own pictures: tiles that were drawn for us must not come back as
    MiniGrid's."""
    pixels.tiles.cache_clear()
    monkeypatch.setattr(Grid, "tile_cache", {})
    yield {}
    pixels.tiles.cache_clear()


def minigrids_pictures(worlds: Worlds, i: int, tile: int, cache: dict) -> list[np.ndarray]:
    """The whole room and the agent's view, as MiniGrid draws them now."""
    ours, Grid.tile_cache = Grid.tile_cache, cache
    try:
        world = worlds.world(i)
        return [world.get_frame(tile_size=tile), world.get_frame(tile_size=tile, agent_pov=True)]
    finally:
        Grid.tile_cache = ours


@pytest.mark.parametrize("level", LEVELS)
def test_pictures_of_recorded_rollouts_are_minigrids(level: str, tiles_apart: dict) -> None:
    seen = {"door": False, "carried": False}

    @settings(max_examples=4, deadline=None, database=None)
    @given(st.integers(0, 10_000), st.booleans(), st.sampled_from((4, 8, 11)))
    def check(seed: int, batched: bool, tile: int) -> None:
        worlds = make_worlds(level, 3, batched=batched)
        rng = np.random.default_rng(seed)
        for i in range(3):
            worlds.reset(i, seed + i)
        recorder = TrajectoryRecorder(with_grids=True)
        recorder.begin(worlds, range(3))
        drawn = [[minigrids_pictures(worlds, i, tile, tiles_apart)] for i in range(3)]
        actions: list[list[int]] = [[] for _ in range(3)]
        for _ in range(40):
            chosen = rng.choice(7, 3, p=CHANCES)
            active = (rng.random(3) < 0.8) & ~worlds.over
            worlds.step(chosen, active)
            recorder.on_step(worlds)
            for i in map(int, np.flatnonzero(active)):
                drawn[i].append(minigrids_pictures(worlds, i, tile, tiles_apart))
                actions[i].append(int(chosen[i]))
        for i in range(3):
            trajectory = recorder.trajectory(i)
            assert trajectory.actions.tolist() == actions[i]
            steps = list(rng.permutation(len(drawn[i])))
            rooms = trajectory.frames(steps, room_camera(tile))
            views = trajectory.frames(steps, Camera("view", tile))
            for k, room, view in zip(steps, rooms, views, strict=True):
                np.testing.assert_array_equal(room, drawn[i][k][0])
                # A level that begins with something in hand shows it from the first step on.
                if k or "Carrying" not in level:
                    np.testing.assert_array_equal(view, drawn[i][k][1])
            assert trajectory.grids is not None
            seen["door"] |= bool((trajectory.grids[..., 0] == 4).any())
            seen["carried"] |= bool((trajectory.carried != NOTHING).any())

    check()
    assert seen["door"] or "Door" not in level
    assert seen["carried"] or "Carrying" not in level


def test_both_kinds_of_worlds_record_the_same() -> None:
    """Room sizes differ, so that the batch has room to spare around the smaller worlds."""
    recorders = []
    for batched in (False, True):
        worlds = make_worlds("BabyAI-MiniBossLevel-v0", 2, batched=batched)
        recorder = TrajectoryRecorder(with_grids=True)
        for i in range(2):
            worlds.reset(i, 40 + i)
        recorder.begin(worlds, [0, 1])
        rng = np.random.default_rng(0)
        for _ in range(60):
            worlds.step(rng.choice(7, 2, p=CHANCES), ~worlds.over)
            recorder.on_step(worlds)
        recorders.append(recorder)
    for i in range(2):
        ours, theirs = (r.trajectory(i) for r in recorders)
        for name in ("views", "grids", "poses", "carried", "actions"):
            mine, other = getattr(ours, name), getattr(theirs, name)
            assert mine.dtype == other.dtype, name
            np.testing.assert_array_equal(mine, other, name)
        assert ours.events == theirs.events and any(ours.events)


def walk(with_grids: bool = False) -> tuple[Worlds, TrajectoryRecorder]:
    """World 0 turns four times, world 1 twice and then rests."""
    worlds = make_worlds("search", 2)
    for i in range(2):
        worlds.reset(i, i)
    recorder = TrajectoryRecorder(with_grids)
    recorder.begin(worlds, [0, 1])
    for k in range(4):
        worlds.step(np.array([A.left, A.right]), np.array([True, k < 2]))
        recorder.on_step(worlds)
    return worlds, recorder


def test_a_world_that_rests_records_nothing() -> None:
    worlds, recorder = walk()
    assert recorder.n_worlds == 2
    assert [recorder.n_steps(i) for i in range(2)] == [4, 2] == worlds.steps.tolist()
    first, second = (recorder.trajectory(i) for i in range(2))
    assert len(first) == 5 and first.n_steps == 4 and len(second) == 3
    facing = int(first.poses[0, 2])
    assert first.poses[:, 2].tolist() == [(facing - k) % 4 for k in range(5)]
    assert second.actions.tolist() == [A.right, A.right]
    # Later steps must not change what is recorded.
    assert np.array_equal(first.views[-1], worlds.images[0])
    assert np.array_equal(first.views[0], first.views[4])
    assert not np.array_equal(first.views[0], first.views[1])


def test_a_recording_can_begin_within_an_episode() -> None:
    worlds, recorder = walk()
    recorder.begin(worlds, [1])
    recorder.on_step(worlds)  # world 1 has not moved since
    assert recorder.n_worlds == 1 and recorder.n_steps(1) == 0
    worlds.step(np.array([A.left, A.left]), np.array([False, True]))
    recorder.on_step(worlds)
    assert recorder.trajectory(1).actions.tolist() == [A.left]


def test_whole_rooms_need_the_grid() -> None:
    _, recorder = walk()
    assert recorder.trajectory(0).grids is None
    assert recorder.frames(0, [0, 4]).shape == (2, 56, 56, 3)
    with pytest.raises(BadInput, match=r"camera 'above' needs .* with_grids"):
        recorder.frames(0, [0], room_camera(8))
    _, recorder = walk(with_grids=True)
    height, width = recorder.trajectory(0).grids.shape[1:3]  # type: ignore[union-attr]
    assert recorder.frames(0, [1], room_camera(4)).shape == (1, 4 * height, 4 * width, 3)


def test_recording_by_hand_begins_anew() -> None:
    worlds, recorder = walk()
    state = state_of(worlds.world(1))
    recorder.start(1, state)
    recorder.add(1, state, int(A.done))
    assert recorder.n_steps(1) == 1 and recorder.n_steps(0) == 4
    assert recorder.trajectory(1).events == ((),)


@pytest.mark.parametrize(
    ("start", "end", "steps"),
    [
        (0, 7, tuple(range(8))),
        (0, 8, (0, 1, 2, 3, 5, 6, 7, 8)),
        (0, 14, (0, 2, 4, 6, 8, 10, 12, 14)),
        (2, 23, (2, 5, 8, 11, 14, 17, 20, 23)),
        (3, 5, (3, 4, 5)),
        (4, 4, (4,)),
    ],
)
def test_frames_are_spread_evenly_first_and_last_included(
    start: int, end: int, steps: tuple[int, ...]
) -> None:
    assert evenly(start, end) == steps


@pytest.mark.parametrize(
    ("n_steps", "last", "n", "steps"),
    [
        (0, None, 8, (0,)),
        (3, None, 8, (0, 1, 2, 3)),
        (14, None, 8, (0, 2, 4, 6, 8, 10, 12, 14)),
        # The last 3 steps are 10 to 12; what came before them is the moment after step 9.
        (12, 3, 8, (9, 10, 11, 12)),
        (20, 14, 8, (6, 8, 10, 12, 14, 16, 18, 20)),
        (12, 12, 4, (0, 4, 8, 12)),
        (12, 0, 8, (12,)),
        # Where fewer steps are recorded the clip begins with the start.
        (2, 9, 8, (0, 1, 2)),
    ],
)
def test_a_clip_shows_the_last_steps_and_the_moment_before_them(
    n_steps: int, last: int | None, n: int, steps: tuple[int, ...]
) -> None:
    assert clip_steps(n_steps, last, n) == steps


def test_a_recorders_clip_is_of_those_steps() -> None:
    _, recorder = walk()
    for last, steps in ((None, (0, 1, 2, 3, 4)), (2, (2, 3, 4)), (1, (3, 4))):
        np.testing.assert_array_equal(recorder.clip(0, last), recorder.frames(0, steps))
    np.testing.assert_array_equal(recorder.clip(1, 1), recorder.frames(1, (1, 2)))
    np.testing.assert_array_equal(recorder.clip(0, n=3), recorder.frames(0, (0, 2, 4)))


class _Star(WorldObj):
    """A user's own kind of thing, of a colour of its own."""

    def __init__(self) -> None:
        super().__init__("star", "teal")

    def render(self, img: np.ndarray) -> None:
        fill_coords(img, point_in_circle(0.5, 0.5, 0.3), (0, 128, 128))


class _StarWorld(MiniGridEnv):
    def __init__(self) -> None:
        super().__init__(MissionSpace(lambda: "reach the star"), grid_size=6, max_steps=20)

    def _gen_grid(self, width: int, height: int) -> None:
        self.grid = Grid(width, height)
        self.grid.wall_rect(0, 0, width, height)
        self.put_obj(_Star(), 3, 3)
        self.agent_pos, self.agent_dir, self.mission = (1, 1), 0, "reach the star"


def test_a_users_own_kinds_and_colours_are_drawn_as_its_world_draws_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(constants.OBJECT_TO_IDX, "star", len(constants.OBJECT_TO_IDX))
    monkeypatch.setitem(constants.COLORS, "teal", np.array([0, 128, 128]))
    monkeypatch.setitem(constants.COLOR_TO_IDX, "teal", len(constants.COLOR_TO_IDX))
    worlds = Worlds([_StarWorld()])
    worlds.reset(0, 0)
    recorder = TrajectoryRecorder(with_grids=True)
    recorder.begin(worlds, [0])
    expected = [worlds.frame(0, 16)]
    for action in (2, 1, 2):
        worlds.step(np.array([action]), np.array([True]))
        recorder.on_step(worlds)
        expected.append(worlds.frame(0, 16))
    assert (expected[0][..., 1] > expected[0][..., 0].astype(int) + 50).any()
    assert np.array_equal(recorder.frames(0, range(4), room_camera(16)), np.stack(expected))
