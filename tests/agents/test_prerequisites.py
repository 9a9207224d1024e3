"""What must come first: keys before doors, doors before what lies behind, and never without end."""

from __future__ import annotations

import pytest
from minigrid.core.grid import Grid
from minigrid.core.world_object import Ball, Box, Door, Key, Wall, WorldObj
from minigrid.minigrid_env import MiniGridEnv

from agents.planner.prerequisites import PrerequisitePlanner
from envs.commands import Command
from envs.places import Places
from envs.room import TaskSpace


class Corridor(MiniGridEnv):
    """A corridor one cell wide, 9 long; the agent at its first cell, (1, 1), looks along it."""

    def __init__(self, things: dict[int, WorldObj], carrying: WorldObj | None = None) -> None:
        self.laid = things
        super().__init__(mission_space=TaskSpace(), width=11, height=3, max_steps=100)
        self.reset()
        self.carrying = carrying

    def _gen_grid(self, width: int, height: int) -> None:
        self.grid = Grid(width, height)
        self.grid.wall_rect(0, 0, width, height)
        for x, thing in self.laid.items():
            self.put_obj(thing, x, 1)
        self.agent_pos, self.agent_dir, self.mission = (1, 1), 0, ""


def first(
    command: str, things: dict[int, WorldObj], carrying: WorldObj | None = None
) -> tuple[str, Corridor]:
    world = Corridor(things, carrying)
    return str(PrerequisitePlanner(world, Places(world)).to(Command.parse(command))), world


def locked(colour: str) -> Door:
    return Door(colour, is_locked=True)


@pytest.mark.parametrize(
    ("things", "carrying", "expected"),
    [
        ({6: Ball("red")}, None, "pick up the red ball"),
        ({4: Door("red"), 6: Ball("red")}, None, "pick up the red ball"),
        ({2: Key("grey"), 4: locked("grey"), 6: Ball("red")}, None, "pick up the grey key"),
        ({4: locked("grey"), 6: Ball("red")}, Key("grey"), "open the grey door"),
        # The way's first hindrance first; a box that holds something is opened.
        ({2: Box("blue"), 4: Ball("grey"), 6: Ball("red")}, None, "pick up the blue box"),
        ({2: Box("blue", Key("grey")), 6: Ball("red")}, None, "open the blue box"),
        ({3: Box("blue", Key("red")), 4: locked("red"), 6: Ball("red")}, None, "open the blue box"),
        # Nothing helps: the key is behind its own door, or there is none, or there is no way.
        ({4: locked("grey"), 5: Key("grey"), 6: Ball("red")}, None, "pick up the grey key"),
        ({4: locked("grey"), 6: Ball("red")}, None, "pick up the grey key"),
        ({4: Wall(), 6: Ball("red")}, None, "pick up the red ball"),
    ],
)
def test_what_comes_before_picking_up_the_red_ball(
    things: dict[int, WorldObj], carrying: WorldObj | None, expected: str
) -> None:
    assert first("pick up the red ball", things, carrying)[0] == expected


def test_a_locked_door_is_opened_once_its_key_is_carried() -> None:
    things: dict[int, WorldObj] = {3: Key("grey"), 6: locked("grey")}
    assert first("open the grey door", things)[0] == "pick up the grey key"
    assert first("open the grey door", things, Key("red"))[0] == "pick up the grey key"
    assert first("open the grey door", {6: locked("grey")}, Key("grey"))[0] == "open the grey door"


def test_of_two_that_look_alike_the_one_in_the_way_is_named_by_its_place() -> None:
    class Cross(Corridor):
        def _gen_grid(self, width: int, height: int) -> None:
            super()._gen_grid(width, height)
            self.agent_pos = (5, 1)
            self.grid.set(4, 1, Ball("blue"))  # nearer to its back than the one ahead

    world = Cross({7: Ball("blue"), 9: Ball("red")})
    command = PrerequisitePlanner(world, Places(world)).to(Command.parse("pick up the red ball"))
    assert str(command) == "pick up the blue ball in front of you"


def test_what_is_carried_is_laid_down_to_be_picked_up_anew() -> None:
    said, _ = first("pick up the red ball", {5: Box("blue")}, Ball("red"))
    assert said == "put the red ball next to the blue box"
