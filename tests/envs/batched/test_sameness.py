"""The engine is MiniGrid: the short version of ``python -m run check-engine``."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from minigrid.core.actions import Actions
from minigrid.core.world_object import Ball, Box, Key
from minigrid.envs.babyai.core.verifier import (
    AndInstr,
    BeforeInstr,
    GoToInstr,
    Instr,
    ObjDesc,
    PickupInstr,
)

from envs.batched import sameness
from envs.batched.cells import pack_object
from envs.batched.engine import Engine
from envs.batched.layouts import layout_of
from envs.batched.sameness import ROOMS, VARIANTS, compare, compare_rooms
from envs.errors import BadInput
from envs.making import TASKS
from envs.tasks import make_worlds

OURS = tuple(i for i in gym.registry if i.startswith("Parley/"))
# One of each rule and of each kind of object and instruction.
OTHERS = (
    "MiniGrid-BlockedUnlockPickup-v0",
    "MiniGrid-DistShift1-v0",
    "MiniGrid-DoorKey-5x5-v0",
    "MiniGrid-Empty-Random-5x5-v0",
    "MiniGrid-Fetch-5x5-N2-v0",
    "MiniGrid-FourRooms-v0",
    "MiniGrid-GoToDoor-5x5-v0",
    "MiniGrid-GoToObject-6x6-N2-v0",
    "MiniGrid-KeyCorridorS3R1-v0",
    "MiniGrid-LavaCrossingS9N1-v0",
    "MiniGrid-LockedRoom-v0",
    "MiniGrid-MemoryS11-v0",
    "MiniGrid-MultiRoom-N2-S4-v0",
    "MiniGrid-ObstructedMaze-1Dlhb-v0",
    "MiniGrid-PutNear-6x6-N2-v0",
    "MiniGrid-RedBlueDoors-6x6-v0",
    "MiniGrid-Unlock-v0",
    "BabyAI-ActionObjDoor-v0",
    "BabyAI-GoToLocalS5N2-v0",
    "BabyAI-MiniBossLevel-v0",
    "BabyAI-OpenDoorsOrderN2Debug-v0",
    "BabyAI-PickupDistDebug-v0",
    "BabyAI-PickupLoc-v0",
    "BabyAI-PutNextS5N2Carrying-v0",
    "BabyAI-UnlockToUnlock-v0",
)


@pytest.mark.parametrize("level", (*OURS, *OTHERS))
def test_a_level_is_the_same(level: str) -> None:
    found = compare(level, 200)
    assert found.difference is None
    assert found.steps == 200 and found.episodes >= 1


@pytest.mark.parametrize(("level", "settings"), VARIANTS)
def test_our_levels_with_settings_are_the_same(level: str, settings: dict[str, Any]) -> None:
    assert compare(level, 150, seed=1, **settings).difference is None


@pytest.mark.parametrize("name", ROOMS)
def test_the_engines_own_rooms_are_the_same_in_minigrid(name: str) -> None:
    found = compare_rooms(ROOMS[name], 300)
    assert found.difference is None
    assert found.episodes > 2 and found.events["examined"] > 0


@pytest.mark.parametrize("view", [3, 5, 9, 15])
def test_with_other_views(view: int) -> None:
    for level in ("BabyAI-UnlockLocalDist-v0", "MiniGrid-MultiRoom-N4-S5-v0"):
        assert compare(level, 100, view=view).difference is None
    assert compare_rooms(ROOMS["Rooms search"], 100, view=view).difference is None


def test_what_matters_happens() -> None:
    """A comparison in which nothing gets done would prove little."""
    doors = compare("MiniGrid-BlockedUnlockPickup-v0", 1500)
    assert set(doors.events) >= {"picked up", "dropped", "found locked", "unlocked", "opened"}
    local = compare("BabyAI-PutNextLocalS5N3-v0", 1500)
    assert local.successes >= 3 and local.difference is None
    assert compare("Parley/SecretConditional-v0", 2000).successes >= 3
    lava = compare("MiniGrid-LavaGapS5-v0", 600)
    assert lava.successes >= 3 and lava.failures >= 3


class _Wrong(Engine):
    """An engine with one array that is off by a little after the tenth step."""

    array = ""

    def step(self, *args: Any) -> None:
        super().step(*args)
        if self.steps[0] == 10:
            values = getattr(self.state, self.array)
            values.flat[0] = not values.flat[0] if values.dtype == bool else values.flat[0] + 1
            self.state.event_cells[0, 0] = pack_object(Key("red"), 1)


@pytest.mark.parametrize(
    ("array", "name"),
    [
        ("images", "image at (0, 0)"),
        ("directions", "direction"),
        ("rewards", "reward"),
        ("terminated", "terminated"),
        ("truncated", "truncated"),
        ("success", "success"),
        ("carried", "carried"),
        ("event_kinds", "events"),
        ("layout", "mission"),
    ],
)
def test_a_wrong_engine_is_found_out(
    array: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Wrong, "array", array)
    if array == "layout":
        monkeypatch.setattr(_Wrong, "mission", lambda self, _: str(self.state.layout[0]))
    monkeypatch.setattr(sameness, "Engine", _Wrong)
    said = compare("MiniGrid-Empty-8x8-v0", 200, seed=3).difference
    assert said is not None and name in said and "MiniGrid" in said
    if array != "layout":
        assert "step 10 (" in said


def test_a_wrong_grid_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "grid", lambda *_: np.zeros((8, 8, 3), np.uint8))
    said = compare("MiniGrid-Empty-8x8-v0", 200).difference
    assert said is not None and "grid at (0, 0) is [2, 5, 0] in MiniGrid, [0, 0, 0] here" in said


@pytest.mark.parametrize(
    ("level", "options", "said"),
    [
        ("BabyAI-GoToLocl-v0", {}, "did you mean 'BabyAI-GoToLocal-v0'?"),
        (
            "MiniGrid-Dynamic-Obstacles-6x6-v0",
            {},
            "a rule that the engine does not have: DynamicObstaclesEnv.step",
        ),
        ("MiniGrid-Empty-5x5-v0", {"view": 6}, "view size must be odd, not 6"),
        ("MiniGrid-Empty-5x5-v0", {"view": 33}, "between 3 and 31"),
        ("MiniGrid-Empty-5x5-v0", {"steps": 0}, "number of steps must be"),
        ("MiniGrid-Empty-5x5-v0", {"seed": -1}, "seed must be"),
        ("MiniGrid-Empty-5x5-v0", {"n_items": 3}, "takes no setting n_items"),
        (TASKS["search"], {"distractors": -1}, "distractors"),
    ],
)
def test_what_cannot_be_compared_is_told(level: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said.replace("?", r"\?")):
        compare(level, **{"steps": 10, **options})


# The quirks of MiniGrid that docs/engine.md lists; the engine reproduces each.


def _world(level: str, **settings: Any) -> Any:
    worlds = make_worlds(level, 1, **settings)
    worlds.reset(0, 0)
    return worlds.world(0)


def _room(instr: Instr) -> Any:
    """A bare BabyAI room: the agent at (2, 2) looks east at a red ball, a blue key south of it."""
    world = _world("BabyAI-GoToObj-v0")
    world.grid.grid = [t if t and t.type == "wall" else None for t in world.grid.grid]
    world.put_obj(Ball("red"), 3, 2)
    world.put_obj(Key("blue"), 2, 3)
    world.agent_pos, world.agent_dir = (2, 2), 0
    world.instrs = instr
    instr.reset_verifier(world)
    return world


def _ends(world: Any, *names: str) -> list[tuple[float, bool, bool]]:
    """Reward, terminated and truncated of each action, in MiniGrid and in the engine alike."""
    engine = Engine(layout_of(world, "a level"), 1, autoreset=False)
    engine.reset()
    found = []
    for name in names:
        _, reward, terminated, truncated, _ = world.step(Actions[name])
        engine.step(np.array([Actions[name]]))
        found.append((float(reward), bool(terminated), bool(truncated)))
        assert found[-1] == (engine.rewards[0], engine.terminated[0], engine.truncated[0])
    return found


RED_BALL, BLUE_KEY = ("ball", "red"), ("key", "blue")


def test_carried_things_lie_on_the_floor_in_the_first_view() -> None:
    level = "BabyAI-PutNextS5N2Carrying-v0"
    env = make_worlds(level, 1).envs[0]
    for seed in range(20):
        obs, _ = env.reset(seed=seed)
        world: Any = env.unwrapped
        engine = Engine(layout_of(world, level), 1)
        engine.reset()
        assert (obs["image"] == engine.images[0]).all()
        assert tuple(obs["image"][3, 6]) == (1, 0, 0) and world.carrying is not None
        assert tuple(world.gen_obs()["image"][3, 6]) == world.carrying.encode()


def test_going_to_a_cell_from_which_the_thing_is_gone_is_success() -> None:
    pick, go = PickupInstr(ObjDesc(*RED_BALL)), GoToInstr(ObjDesc(*RED_BALL))
    ((reward, terminated, _),) = _ends(_room(BeforeInstr(pick, go)), "pickup")
    assert reward > 0 and terminated


def test_what_is_carried_already_must_be_picked_up_again() -> None:
    world = _room(BeforeInstr(GoToInstr(ObjDesc(*BLUE_KEY)), PickupInstr(ObjDesc(*RED_BALL))))
    ends = _ends(world, "pickup", "right", "pickup", "left", "drop", "pickup")
    assert [e[1] for e in ends] == [False] * 5 + [True]


def test_but_not_in_the_step_that_ends_the_first_part() -> None:
    """Then "pickup" before whatever else counts, with full hands."""
    world = _room(BeforeInstr(GoToInstr(ObjDesc(*RED_BALL)), PickupInstr(ObjDesc(*RED_BALL))))
    ((reward, terminated, _),) = _ends(world, "pickup")
    assert reward > 0 and terminated


def test_a_drop_in_the_first_step_is_not_seen() -> None:
    world = _world("BabyAI-PutNextS5N2Carrying-v0")
    (fixed,) = world.instrs.desc_fixed.obj_set
    x, y = fixed.cur_pos
    free = [
        (x + dx, y + dy, d)
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1))
        for d, (ax, ay) in enumerate(((1, 0), (0, 1), (-1, 0), (0, -1)))
        if world.grid.get(x + dx, y + dy) is None
        and world.grid.get(x + dx - ax, y + dy - ay) is None
    ]
    at_x, at_y, direction = free[0]
    dx, dy = ((1, 0), (0, 1), (-1, 0), (0, -1))[direction]
    world.agent_pos, world.agent_dir = (at_x - dx, at_y - dy), direction
    ends = _ends(world, "drop", "pickup", "drop")
    assert [e[1] for e in ends] == [False, False, True] and ends[2][0] > 0


def test_strict_parts_joined_by_and_never_fail() -> None:
    strict = PickupInstr(ObjDesc(*BLUE_KEY), strict=True)
    assert _ends(_room(strict), "pickup") == [(0, True, False)]
    go = GoToInstr(ObjDesc("ball", "green"))
    assert _ends(_room(AndInstr(PickupInstr(ObjDesc(*BLUE_KEY), strict=True), go)), "pickup") == [
        (0, False, False)
    ]


def test_an_end_can_be_both_terminated_and_truncated() -> None:
    world = _world("MiniGrid-Empty-5x5-v0", max_steps=1)
    world.agent_pos, world.agent_dir = (2, 3), 0
    ((reward, terminated, truncated),) = _ends(world, "forward")
    assert reward == pytest.approx(0.1) and terminated and truncated


def test_go_to_door_fails_for_any_toggle_and_needs_no_look() -> None:
    world = _world("MiniGrid-GoToDoor-5x5-v0")
    assert _ends(world, "left", "toggle")[1] == (0, True, False)
    for turns in range(4):
        world = _world("MiniGrid-GoToDoor-5x5-v0")
        x, y = world.target_pos
        inside = (min(max(x, 1), world.width - 2), min(max(y, 1), world.height - 2))
        world.agent_pos, world.agent_dir = inside, turns
        ((reward, terminated, _),) = _ends(world, "done")
        assert reward > 0 and terminated


def test_go_to_object_means_the_place_where_it_lay() -> None:
    world = _world("MiniGrid-GoToObject-6x6-N2-v0")
    x, y = map(int, world.target_pos)
    world.grid.set(x, y, None)
    world.carrying = Box("red")  # as if it had been picked up
    world.carrying.init_pos = (x, y)
    world.agent_pos = next(
        c for c in ((x - 1, y), (x + 1, y), (x, y - 1)) if world.grid.get(*c) is None
    )
    ((reward, _, _),) = _ends(world, "done")
    assert reward > 0


def test_put_near_fails_for_a_drop_that_drops_nothing() -> None:
    world = _world("MiniGrid-PutNear-6x6-N2-v0")
    ball = Ball("red")
    world.put_obj(ball, 1, 1)
    world.agent_pos, world.agent_dir = (2, 1), 2
    world.grid.set(2, 1, None)
    world.move_type, world.moveColor = "ball", "red"
    # The wall is in front when it is to be dropped.
    assert _ends(world, "pickup", "right", "drop") == [
        (0, False, False),
        (0, False, False),
        (0, True, False),
    ]


def test_the_memory_levels_toggle_for_pickup() -> None:
    world = _world("MiniGrid-MemoryS11-v0")
    world.put_obj(Box("red", Key("blue")), 4, 5)
    world.agent_pos, world.agent_dir = (3, 5), 0
    _ends(world, "pickup")
    assert world.carrying is None and world.grid.get(4, 5).type == "key"
