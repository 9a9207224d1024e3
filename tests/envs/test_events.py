"""Events: what truly happened in one step."""

from __future__ import annotations

import json

import pytest
from minigrid.core.actions import Actions as A
from minigrid.core.world_object import Ball, Box, Door, Goal, Key, Lava, Wall, WorldObj

from envs.attributes import SECRET_PROPERTY, Attribute
from envs.events import Event, EventWatch, item_of
from envs.items import Item
from envs.objects import ItemObject
from tests.envs.test_commands import RED, Bench


def happen(world: Bench, *actions: int) -> list[list[tuple[str, str]]]:
    found = []
    for action in actions:
        watch = EventWatch(world)
        world.step(action)
        found.append([(e.kind, str(e.item)) for e in watch.events(world, action)])
    return found


def test_our_items() -> None:
    world = Bench({(2, 2): ItemObject(RED, Attribute(SECRET_PROPERTY, "bad"))})
    name = "striped red cross"
    assert happen(world, A.left, A.right, A.toggle, A.pickup, A.pickup, A.toggle, A.drop) == [
        [],
        [],
        [("examined", name)],
        [("picked up", name)],
        [],
        [],
        [("dropped", name)],
    ]


def test_examining_brings_the_fact_and_nothing_else_does() -> None:
    world = Bench({(2, 2): ItemObject(RED, Attribute(SECRET_PROPERTY, "bad"))})
    watch = EventWatch(world)
    world.step(A.toggle)
    revealed = Attribute(SECRET_PROPERTY, "bad")
    assert watch.events(world, A.toggle) == (Event("examined", RED, revealed),)
    watch = EventWatch(world)
    world.step(A.pickup)
    assert watch.events(world, A.pickup) == (Event("picked up", RED),)


def test_doors() -> None:
    world = Bench({(2, 2): Door("red")})
    assert happen(world, A.toggle, A.toggle) == [
        [("opened", "red door")],
        [("closed", "red door")],
    ]


def test_a_locked_door_and_its_key() -> None:
    world = Bench({(2, 2): Key("red"), (3, 2): Door("red", is_locked=True)})
    assert happen(world, A.pickup, A.forward, A.toggle) == [
        [("picked up", "red key")],
        [],
        [("unlocked", "red door"), ("opened", "red door")],
    ]
    world = Bench({(2, 2): Key("blue"), (3, 2): Door("red", is_locked=True)})
    assert happen(world, A.pickup, A.forward, A.toggle)[-1] == [("found locked", "red door")]


def test_boxes() -> None:
    world = Bench({(2, 2): Box("blue", contains=Ball("green"))})
    assert happen(world, A.toggle, A.pickup) == [
        [("opened", "blue box")],
        [("picked up", "green ball")],
    ]


def test_a_thing_without_a_name_brings_no_event() -> None:
    class Odd(WorldObj):
        def __init__(self) -> None:
            super().__init__("goal", "green")

        def can_pickup(self) -> bool:
            return True

    assert happen(Bench({(2, 2): Odd()}), A.pickup, A.drop) == [[], []]


@pytest.mark.parametrize("thing", [None, Wall(), Goal(), Lava()])
def test_what_is_no_item(thing: WorldObj | None) -> None:
    assert item_of(thing) is None


def test_json_is_plain() -> None:
    event = Event("examined", Item("circle", "red", "solid"), Attribute(SECRET_PROPERTY, "good"))
    assert json.loads(json.dumps(event.to_json())) == {
        "kind": "examined",
        "item": "solid red circle",
        "fact": "has secret property good",
    }
