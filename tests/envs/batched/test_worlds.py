"""Worlds that the engine steps, side by side with those that MiniGrid steps."""

from __future__ import annotations

from itertools import product
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from minigrid.core.actions import Actions as A
from minigrid.core.grid import Grid
from minigrid.core.mission import MissionSpace
from minigrid.core.world_object import Ball, Box, WorldObj
from minigrid.minigrid_env import MiniGridEnv

from agents.actor import make_actor
from envs import TASKS, Worlds, make_worlds
from envs.batched.worlds import BatchedWorlds
from envs.commands import VERBS, Command, all_commands
from envs.errors import BadInput
from envs.events import item_of
from envs.items import PLACES, Item
from envs.places import Places
from envs.search import SecretSearch

LEVELS = (
    *(t for t in TASKS if t != "instruction"),
    "BabyAI-GoToLocal-v0",
    "BabyAI-PickupLoc-v0",
    "BabyAI-OpenDoorsOrderN4Debug-v0",
    "BabyAI-PutNextS5N2Carrying-v0",
    "BabyAI-SynthSeq-v0",
    "BabyAI-MiniBossLevel-v0",
    "BabyAI-KeyInBox-v0",
    "MiniGrid-Fetch-8x8-N3-v0",
    "MiniGrid-ObstructedMaze-1Dlh-v0",
    "MiniGrid-MemoryS7-v0",
    "MiniGrid-LavaCrossingS9N1-v0",
)


def shown(worlds: Worlds) -> dict[str, Any]:
    """All that the face shows of worlds, hidden states left out."""
    names = ("images", "directions", "over", "truncated", "success", "steps", "done")
    told = {name: getattr(worlds, name).tolist() for name in names}
    return {**told, "events": [*worlds.events], "tasks": [*worlds.tasks]}


def hidden(world: Any) -> dict[str, Any]:
    """What cheats read of a bare world."""
    things = [
        (x, y, *thing.encode(), item_of(thing), getattr(thing, "cur_pos", None) is not None)
        for y in range(world.height)
        for x in range(world.width)
        if (thing := world.grid.get(x, y)) is not None
    ]
    return {
        "things": things,
        "agent": (*map(int, world.agent_pos), int(world.agent_dir), world.step_count),
        "carried": item_of(world.carrying),
        "mission": verifier(getattr(world, "instrs", None)),
        "text": str(world.pprint_grid()) if hasattr(world, "things") else "",
    }


def verifier(instr: Any) -> Any:
    """How far a BabyAI mission is, part by part."""
    if instr is None:
        return None
    parts = [verifier(getattr(instr, name, None)) for name in ("instr_a", "instr_b")]
    return type(instr).__name__, getattr(instr, "a_done", 0), getattr(instr, "b_done", 0), parts


def some_command(worlds: Worlds, i: int, rng: np.random.Generator) -> Command:
    """A command about what lies in world i, with a place now and then."""
    world = worlds.world(i)
    items = {item_of(t) for t in world.grid.grid} - {None}
    found = sorted(items | {Item("object", "red")}, key=str)
    commands = all_commands(found, VERBS)
    command = commands[rng.integers(len(commands))]
    if rng.random() < 0.5:
        return command
    place = tuple(PLACES)[rng.integers(4)]
    item = Item(command.item.shape, command.item.colour, command.item.texture, place)
    return Command(command.verb, item, command.target)


def agree(theirs: Worlds, ours: Worlds, seed: int, rounds: int, ask: float) -> set[str]:
    """Play both alike, at random, and compare; gives the kinds of events and ends seen."""
    rng = np.random.default_rng(seed)
    n = len(theirs)
    seen: set[str] = set()
    for i in range(n):
        for worlds in (theirs, ours):
            worlds.reset(i, seed + i)
    for k in range(rounds):
        assert shown(theirs) == shown(ours)
        for i in map(int, np.flatnonzero(theirs.over)):
            seen.add("success" if theirs.success[i] else "limit" if theirs.truncated[i] else "fail")
            for worlds in (theirs, ours):
                worlds.reset(i, 1000 + seed + n * k + i)
        for i in np.flatnonzero(rng.random(n) < 0.05).tolist():
            command = some_command(theirs, i, rng)
            for worlds in (theirs, ours):
                worlds.watch(i, command)
        # Mostly forwards, and toggling what is in front, or nothing would ever happen.
        actions = rng.choice(7, n, p=(0.15, 0.15, 0.3, 0.12, 0.1, 0.16, 0.02))
        active = rng.random(n) < 0.9
        for worlds in (theirs, ours):
            worlds.step(actions, active)
        seen |= {e.kind for events in theirs.events for e in events}
        seen |= {"done"} if theirs.done.any() else set()
        for i in np.flatnonzero(rng.random(n) < ask).tolist():
            assert hidden(theirs.world(i)) == hidden(ours.world(i))
            assert theirs.places(i)._at == ours.places(i)._at
    return seen


@pytest.mark.parametrize("level", LEVELS)
def test_all_that_is_shown_and_hidden_is_the_same(level: str) -> None:
    ours = make_worlds(level, 6, batched=True)
    assert isinstance(ours, BatchedWorlds)
    seen = agree(make_worlds(level, 6), ours, seed=11, rounds=200, ask=0.02)
    assert seen
    assert not ours._apart.any()


def test_events_of_every_kind_were_compared() -> None:
    seen: set[str] = set()
    for level in ("conditional", "MiniGrid-DoorKey-5x5-v0", "MiniGrid-RedBlueDoors-6x6-v0"):
        ours = make_worlds(level, 8, batched=True)
        seen |= agree(make_worlds(level, 8), ours, seed=4, rounds=500, ask=0)
    assert seen >= {
        *("examined", "picked up", "dropped", "opened", "closed", "unlocked", "found locked"),
        *("success", "limit", "fail", "done"),
    }


@pytest.mark.parametrize("show_marks", [True, False])
def test_marks_and_floors(show_marks: bool) -> None:
    for task, settings in (
        ("search", {"show_marks": show_marks}),
        ("visual-conditional", {"conditions": ["floor"] if show_marks else ["mark"]}),
    ):
        made = (make_worlds(task, 4, batched=b, **settings) for b in (False, True))
        agree(*made, seed=2, rounds=300, ask=0.1)


@pytest.mark.parametrize(
    "text",
    [
        "Put the red ring next to the solid blue circle.",
        "Sing to the red cross.",
        "Go to the striped red cross.",
    ],
)
def test_instructions(text: str) -> None:
    theirs, ours = (
        make_worlds("instruction", 4, batched=b, instruction=text) for b in (False, True)
    )
    assert isinstance(ours, BatchedWorlds)
    agree(theirs, ours, seed=6, rounds=300, ask=0.05)
    assert [theirs.judged(i) for i in range(4)] == [ours.judged(i) for i in range(4)]
    assert theirs.verbs(0) == ours.verbs(0)


def test_the_bare_world_moves_only_when_it_is_asked_for() -> None:
    worlds = make_worlds("search", 2, batched=True)
    for i in range(2):
        worlds.reset(i, i)
    bare = worlds.envs[0].unwrapped
    for _ in range(70):
        worlds.step(np.full(2, A.left), np.array([True, True]))
    assert bare.step_count == 0
    assert worlds.world(0) is bare and bare.step_count == 70
    assert worlds.envs[1].unwrapped.step_count == 0
    assert (bare.gen_obs()["image"] == worlds.images[0]).all()


def test_places_are_those_of_the_beginning_whenever_they_are_asked_for() -> None:
    for ask_world_first in (True, False):
        worlds = make_worlds("BabyAI-PickupLoc-v0", 1, batched=True)
        worlds.reset(0, 3)
        truth = Places(worlds.envs[0].unwrapped)
        for action in (A.right, A.forward, A.forward):
            worlds.step(np.array([action]), np.array([True]))
        if ask_world_first:
            worlds.world(0)
        assert worlds.places(0)._at == truth._at and worlds.places(0).start == truth.start


def test_a_frame_shows_the_world_as_it_is_now() -> None:
    frames = []
    for batched in (False, True):
        worlds = make_worlds("conditional", 1, batched=batched)
        worlds.reset(0, 5)
        for action in (A.left, A.forward, A.toggle, A.right):
            worlds.step(np.array([action]), np.array([True]))
        frames.append(worlds.frame(0, 8))
    assert (frames[0] == frames[1]).all()


def test_what_an_unfinished_episode_missed_is_forgotten() -> None:
    worlds = make_worlds("conditional", 1, batched=True)
    worlds.reset(0, 1)
    worlds.step(np.array([A.left]), np.array([True]))
    worlds.reset(0, 2)
    assert worlds.world(0).step_count == 0 and worlds.steps[0] == 0


def test_an_unknown_action_is_the_same_error_and_changes_nothing() -> None:
    for batched in (False, True):
        worlds = make_worlds("search", 2, batched=batched)
        worlds.reset(0, 0)
        before = shown(worlds)
        with pytest.raises(ValueError) as error:
            worlds.step(np.array([99, 0]), np.array([True, True]))
        assert not isinstance(error.value, BadInput)
        worlds.step(np.array([2, 99]), np.array([False, True]))  # world 1 is over
        assert shown(worlds) == before


class Lamp(WorldObj):
    """A thing that the engine has never heard of."""

    def __init__(self) -> None:
        super().__init__("ball", "red")


class Hall(MiniGridEnv):
    """A room with a ball, or with a lamp where the seed is odd."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(MissionSpace(lambda: "look about"), grid_size=5, max_steps=40, **kwargs)

    def _gen_grid(self, width: int, height: int) -> None:
        self.grid = Grid(width, height)
        self.grid.wall_rect(0, 0, width, height)
        self.place_obj(Lamp() if self.np_random.integers(2) else Ball("blue"))
        self.place_obj(Box("green", Ball("red")))
        self.place_agent()
        self.mission = "look about"


class Upside(SecretSearch):
    """Our own family, judged the other way round."""

    def _judge(self, *step: Any) -> bool | None:
        judged = super()._judge(*step)
        return None if judged is None else not judged


class Slippery(Hall):
    """A rule of its own."""

    def step(self, action: Any) -> Any:
        return super().step(A.forward)


def test_a_layout_that_the_engine_cannot_hold_is_played_by_minigrid() -> None:
    theirs, ours = Worlds([Hall() for _ in range(6)]), BatchedWorlds([Hall() for _ in range(6)])
    seen = agree(theirs, ours, seed=0, rounds=300, ask=0.05)
    assert 0 < ours._apart.sum() < 6
    assert {"picked up", "dropped", "opened", "limit"} <= seen


@pytest.mark.parametrize(
    ("env", "why"),
    [
        (lambda: Slippery(), "Slippery.step"),
        (lambda: Upside(), "Upside._judge"),
        (lambda: gym.wrappers.TimeLimit(Hall(), 5), "TimeLimit"),
        (lambda: Hall(agent_view_size=5), "views of 7 and of 5"),
        (lambda: gym.make("MiniGrid-Dynamic-Obstacles-5x5-v0"), "Dynamic"),
    ],
)
def test_levels_that_the_engine_lacks(env: Any, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        BatchedWorlds([Hall(), env()])


def test_make_worlds_falls_back_to_minigrid() -> None:
    worlds = make_worlds("MiniGrid-Dynamic-Obstacles-5x5-v0", 2, batched=True)
    assert type(worlds) is Worlds
    with pytest.raises(BadInput, match="unknown task"):
        make_worlds("serach", 1, batched=True)


@pytest.mark.parametrize("seed", range(6))
def test_an_order_is_kept_or_not_as_in_minigrid(seed: int) -> None:
    settings = {"kinds": "order", "n_items": 5, "room_size": 6}
    theirs = make_worlds("composition", 1, **settings)
    ours = make_worlds("composition", 1, batched=True, **settings)
    assert isinstance(ours, BatchedWorlds)
    actor = make_actor("scripted")
    theirs.reset(0, seed)
    world: Any = theirs.world(0)
    todo, pick = world.deciders, Command("pick up", world.right)
    orders = [s for n in range(3) for s in product((*todo, world.right), repeat=n)]
    kept = 0
    for order in orders:
        for worlds in (theirs, ours):
            worlds.reset(0, seed)
            for command in (*(Command("examine", i) for i in order), pick):
                assert not worlds.over[0]
                actor.execute(worlds, [command], 200)
        assert theirs.over[0] and shown(theirs) == shown(ours)
        kept += bool(ours.success[0])
    assert 0 < kept < len(orders)
