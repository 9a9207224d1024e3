"""The scripted Actor: its routes are shortest, by a second way to find them, and they work."""

from __future__ import annotations

import numpy as np
import pytest
from minigrid.core.actions import Actions as A
from minigrid.core.grid import Grid
from minigrid.core.world_object import Ball, Box, Door, Key, Wall, WorldObj
from minigrid.minigrid_env import MiniGridEnv

from agents.actor import ACTORS, make_actor
from agents.actor.route import Pose, decode_item, route, route_in
from envs import Command, Item, make_worlds
from envs.commands import CommandWatch
from envs.errors import BadInput
from envs.events import EventWatch, item_of
from envs.items import ALL_ITEMS
from envs.objects import ItemObject
from envs.places import Places
from envs.room import TaskSpace

ITEMS = [ALL_ITEMS[k] for k in (0, 50, 100, 143)]


class Maze(MiniGridEnv):
    """A small random layout of walls, doors and things, solvable or not."""

    def __init__(self, seed: int, size: int = 6) -> None:
        self.seed = seed
        super().__init__(mission_space=TaskSpace(), grid_size=size, max_steps=1000)
        self.reset()

    def _gen_grid(self, width: int, height: int) -> None:
        rng = np.random.default_rng(self.seed)
        self.mission = ""
        self.grid = Grid(width, height)
        self.grid.wall_rect(0, 0, width, height)
        cells = [(x, y) for x in range(1, width - 1) for y in range(1, height - 1)]
        cells = [cells[k] for k in rng.permutation(len(cells))]
        self.agent_pos, self.agent_dir = cells.pop(), int(rng.integers(4))
        things = [ItemObject(ITEMS[0]), ItemObject(ITEMS[1]), Door("red"), Key("blue"), Ball("red")]
        things += [Wall(), Wall(), Box("green")]
        for thing in things[: int(rng.integers(3, len(things) + 1))]:
            self.put_obj(thing, *cells.pop())


def fewest(world: MiniGridEnv, item: Item) -> int | None:
    """The fewest actions until the agent faces such an item: the slow, plain way.

    Breadth first, one action at a time, over place, direction and which doors are open, on
    MiniGrid's objects and not on their encoding.
    """
    ahead = ((1, 0), (0, 1), (-1, 0), (0, -1))
    start = (*map(int, world.agent_pos), int(world.agent_dir), frozenset())
    edge, steps = {start}, 0
    seen = set(edge)
    while edge:
        after = set()
        for x, y, direction, opened in edge:
            front = (x + ahead[direction][0], y + ahead[direction][1])
            thing = world.grid.get(*front)
            found = item_of(thing)
            if found is not None and item.describes(found):
                return steps
            after.add((x, y, (direction + 1) % 4, opened))
            after.add((x, y, (direction - 1) % 4, opened))
            if thing is None or (isinstance(thing, Door) and (thing.is_open or front in opened)):
                after.add((*front, direction, opened))
            elif isinstance(thing, Door) and not thing.is_locked:
                after.add((x, y, direction, opened | {front}))
        edge = after - seen
        seen |= edge
        steps += 1
    return None


NAMES = ("red door", "blue key", "red ball", "green box", "object", str(ITEMS[0]), str(ITEMS[1]))


def start_of(world: MiniGridEnv) -> Pose:
    return Pose(int(world.agent_pos[0]), int(world.agent_pos[1]), int(world.agent_dir))


def carry_out(
    world: MiniGridEnv, command: Command, actions: list[int], places: Places | None = None
) -> bool:
    follow = CommandWatch(command, places)
    for action in [*actions, A.done]:
        watch = EventWatch(world)
        world.step(action)
        follow.update(world, watch.events(world, action))
    return follow.done


@pytest.mark.parametrize("size", [5, 6, 8])
def test_routes_are_as_short_as_the_slow_way_finds_and_do_the_deed(size: int) -> None:
    unreachable = 0
    for seed in range(60):
        world = Maze(seed, size)
        for name in NAMES:
            item = Item.parse(name)
            expected = fewest(world, item)
            found = route(world.grid.encode(), start_of(world), Command("go to", item), None)
            assert (None if found is None else len(found)) == expected, (seed, name)
            unreachable += expected is None
        command = Command("examine", ITEMS[seed % 2])
        found = route(world.grid.encode(), start_of(world), command, None)
        if found is not None:
            # With examine one more step, the deed itself.
            assert len(found) == fewest(world, command.item) + 1
            assert carry_out(world, command, found)
    assert unreachable > 20


@pytest.mark.parametrize("verb", ["go to", "examine", "pick up", "open"])
def test_every_verb_ends_done(verb: str) -> None:
    things = {"open": ("red door", "green box")}.get(verb, (str(ITEMS[0]), str(ITEMS[1])))
    done = 0
    for seed in range(40):
        for name in things:
            world = Maze(seed, 7)
            command = Command(verb, Item.parse(name))
            found = route(world.grid.encode(), start_of(world), command, None)
            if found is not None:
                assert carry_out(world, command, found), (seed, name)
                done += 1
    assert done > 40


def test_an_open_door_is_opened_again() -> None:
    world = Maze(0, 8)
    for seed in range(200):
        world = Maze(seed, 8)
        door = next((t for t in world.grid.grid if isinstance(t, Door)), None)
        command = Command("open", Item.parse("red door"))
        if door is None:
            continue
        door.is_open = True
        found = route(world.grid.encode(), start_of(world), command, None)
        if found is not None:
            assert carry_out(world, command, found)
            return
    raise AssertionError("no layout with a door that can be reached")


class Hall(MiniGridEnv):
    """A hall with things laid by hand; the agent looks right."""

    def __init__(
        self, things: dict[tuple[int, int], WorldObj], start: tuple[int, int] = (1, 2)
    ) -> None:
        self.laid, self.start = things, start
        super().__init__(mission_space=TaskSpace(), width=9, height=5, max_steps=1000)
        self.reset()

    def _gen_grid(self, width: int, height: int) -> None:
        self.grid = Grid(width, height)
        self.grid.wall_rect(0, 0, width, height)
        for cell, thing in self.laid.items():
            self.put_obj(thing, *cell)
        self.agent_pos, self.agent_dir, self.mission = self.start, 0, ""


def test_of_two_doors_of_one_name_the_one_that_is_not_open_is_opened() -> None:
    near, far = Door("red", is_open=True), Door("red")
    world = Hall({(2, 0): near, (6, 0): far})
    found = route(world.grid.encode(), start_of(world), Command.parse("open the red door"), None)
    assert found is not None and carry_out(world, Command.parse("open the red door"), found)
    assert near.is_open and far.is_open


def test_lays_down_what_it_carries_where_it_is_not_in_the_way() -> None:
    # A wall with one gap, right before the agent; the gap must stay free, and so must the door.
    walls: dict[tuple[int, int], WorldObj] = {(3, 1): Wall(), (3, 3): Wall()}
    world = Hall({**walls, (6, 2): Ball("blue"), (0, 2): Door("grey")}, start=(2, 2))
    world.carrying = Key("grey")
    command = Command.parse("pick up the blue ball")
    found = route(world.grid.encode(), start_of(world), command, item_of(world.carrying))
    assert found is not None and carry_out(world, command, found)
    assert world.grid.get(1, 2) is None and world.grid.get(3, 2) is None


@pytest.mark.parametrize("verb", ["go to", "pick up", "examine"])
@pytest.mark.parametrize(
    ("place", "cell"),
    [("in front of you", (7, 2)), ("behind you", (1, 2)), ("on your left", (4, 1)), ("", (4, 1))],
)
def test_goes_to_the_one_at_the_place(verb: str, place: str, cell: tuple[int, int]) -> None:
    cells = ((7, 2), (1, 2), (4, 1), (4, 3))
    world = Hall({c: ItemObject(ITEMS[0]) for c in cells}, start=(4, 2))
    thing, places = world.grid.get(*cell), Places(world)
    command = Command.parse(f"{verb} the {ITEMS[0]} {place}")
    for turn in (A.left, A.left):  # places stay as they were when the episode began
        world.step(turn)
    actions = route_in(world, places, command)
    assert actions is not None and carry_out(world, command, actions, places)
    if place:
        assert thing in (world.carrying, world.grid.get(*world.front_pos))


def test_what_is_carried_has_its_place_too() -> None:
    world = Hall({(2, 2): Ball("red"), (1, 3): Ball("red"), (7, 1): Box("blue")})
    places = Places(world)
    world.step(A.pickup)
    carried = world.carrying
    assert route_in(world, places, Command.parse("pick up the ball in front of you")) == []
    command = Command.parse("put the ball on your right next to the box on your left")
    actions = route_in(world, places, command)
    assert actions is not None and carry_out(world, command, actions, places)
    assert world.grid.get(*world.front_pos) is not carried


def test_puts_also_when_something_else_is_carried() -> None:
    done = carried_first = 0
    for seed in range(60):
        world = Maze(seed, 8)
        command = Command("put", ITEMS[0], ITEMS[1])
        if seed % 2:
            world.carrying = Key("grey")
        found = route(world.grid.encode(), start_of(world), command, item_of(world.carrying))
        if found is not None:
            assert carry_out(world, command, found), seed
            done += 1
            carried_first += seed % 2
    assert done > 30 and carried_first > 10


def test_looks_are_read_off_the_encoding() -> None:
    for item in ALL_ITEMS:
        for floor in (None, "blue"):
            thing = ItemObject(item, floor=floor)
            assert decode_item(*thing.encode()) == item
            thing.mark = "orange"
            assert decode_item(*thing.encode()) == item
    for thing in (Door("red"), Key("blue"), Ball("grey"), Box("green")):
        assert decode_item(*thing.encode()) == item_of(thing)
    assert decode_item(*Wall().encode()) is None


def test_carries_out_commands_in_a_batch_and_leaves_the_others_alone() -> None:
    worlds = make_worlds("search", 3, n_items=3)
    for i in range(3):
        worlds.reset(i, i)
    commands = [Command("go to", worlds.world(0).things[0].item), None]
    commands.append(Command("examine", worlds.world(2).things[1].item))
    steps: list[list[int]] = []
    actor = make_actor("scripted")
    first, none, third = actor.execute(
        worlds, commands, 200, lambda w: steps.append(w.steps.tolist())
    )
    assert none is None and worlds.steps[1] == 0
    assert (first.done, first.ended, third.done, third.ended) == (True, "done", True, "done")
    assert [first.steps, 0, third.steps] == worlds.steps.tolist() == steps[-1]
    assert len(steps) == max(first.steps, third.steps)
    assert [e.kind for e in third.events] == ["examined"] and first.events == ()


def test_what_cannot_be_done_is_given_up_at_once() -> None:
    worlds = make_worlds("search", 1)
    worlds.reset(0, 0)
    here = {t.item for t in worlds.world(0).things}
    missing = next(i for i in ALL_ITEMS if i not in here)
    (told,) = make_actor("scripted").execute(worlds, [Command("pick up", missing)], 50)
    assert (told.done, told.ended, told.steps, told.events) == (False, "done", 1, ())


def test_the_budget_ends_a_command() -> None:
    worlds = make_worlds("search", 1, room_size=16)
    worlds.reset(0, 0)
    command = Command("examine", worlds.world(0).things[0].item)
    (told,) = make_actor("scripted").execute(worlds, [command], 1)
    assert (told.steps, told.ended, told.done) == (1, "budget", False)


def test_an_unknown_actor_is_told_with_the_nearest() -> None:
    with pytest.raises(BadInput, match="unknown actor 'scriptd'; did you mean 'scripted'"):
        make_actor("scriptd")
    assert {"scripted", "learned", "human"} <= set(ACTORS)


def test_lays_down_before_a_door_where_there_is_no_other_cell() -> None:
    # Two free cells: the agent's own, which the way on needs, and the one before the door.
    free = {(1, 2), (2, 2), (3, 2)}
    things: dict[tuple[int, int], WorldObj] = {
        (x, y): Wall() for x in range(1, 8) for y in range(1, 4) if (x, y) not in free
    }
    world = Hall({**things, (3, 2): Ball("blue"), (0, 2): Door("grey")}, start=(2, 2))
    world.carrying = Key("grey")
    command = Command.parse("pick up the blue ball")
    actions = route(world.grid.encode(), start_of(world), command, item_of(world.carrying))
    assert actions == [A.left, A.left, A.drop, A.left, A.left, A.pickup] or actions == [
        *(A.right, A.right, A.drop, A.right, A.right, A.pickup)
    ]
