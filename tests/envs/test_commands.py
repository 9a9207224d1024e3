"""Commands: the closed grammar, and the truth of when each is done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from minigrid.core.actions import Actions
from minigrid.core.grid import Grid
from minigrid.core.world_object import Ball, Box, Door
from minigrid.minigrid_env import MiniGridEnv

from envs.commands import VERBS, Command, CommandWatch, all_commands
from envs.errors import BadInput
from envs.events import EventWatch
from envs.items import ALL_ITEMS, Item
from envs.objects import ItemObject
from envs.places import Places
from envs.room import TaskSpace
from tests.envs.test_items import items

RED = Item("cross", "red", "striped")
BLUE = Item("circle", "blue", "solid")

one_item = st.builds(Command, st.sampled_from([v for v in VERBS if v != "put"]), items)
commands = one_item | st.builds(Command, st.just("put"), items, items)


@given(commands)
def test_text_and_command_are_one_to_one(command: Command) -> None:
    assert Command.parse(str(command)) == command
    assert Command.parse(command.sentence()) == command
    assert Command.parse(f" {command.sentence().upper()} ") == command


words = st.sampled_from([*VERBS, "the", "a", "red", "solid", "cross", "next to", "\n", "Planner:"])


@given(st.text(max_size=60) | st.lists(words, max_size=8).map(" ".join))
def test_any_text_is_a_command_or_bad_input(text: str) -> None:
    try:
        command = Command.parse(text)
    except BadInput as error:
        assert str(error)
    else:
        assert command.verb in VERBS
        assert Command.parse(str(command)) == command


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pik up the red cross", "did you mean 'pick up'"),
        ("sing", "known verbs: go to, examine, pick up, open, put"),
        ("", "known verbs"),
        ("pick up the red crss", "did you mean 'cross'"),
        ("put the red cross", "put what next to what"),
        ("pick up", "unknown verb"),
        ("pick up the red cross and the blue ring", "unknown item word"),
    ],
)
def test_what_is_no_command_is_told_why(text: str, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        Command.parse(text)


def test_a_command_has_as_many_items_as_its_verb_takes() -> None:
    with pytest.raises(BadInput, match="takes two items"):
        Command("put", RED)
    with pytest.raises(BadInput, match="takes one item"):
        Command("examine", RED, BLUE)
    with pytest.raises(BadInput, match="did you mean 'examine'"):
        Command("examin", RED)


def test_all_commands_are_distinct_and_only_what_words_allow() -> None:
    names = ["red door", "blue box", "grey key", "striped red cross", "red object"]
    made = {str(c) for c in all_commands(map(Item.parse, names))}
    assert len(made) == len(all_commands(map(Item.parse, names)))
    assert {m for m in made if m.startswith("open")} == {"open the red door", "open the blue box"}
    assert "pick up the red door" not in made
    assert "put the red door next to the blue box" not in made
    assert "put the blue box next to the red door" in made
    assert {m for m in made if m.startswith("examine")} == {
        "examine the striped red cross",
        "examine the red object",
    }
    assert {str(c) for c in all_commands(ALL_ITEMS[:3], ["pick up"])} == {
        f"pick up the {i}" for i in ALL_ITEMS[:3]
    }


class Bench(MiniGridEnv):
    """A strip of a world, laid by hand: the agent at (1, 2) looks right."""

    def __init__(self, things: dict[tuple[int, int], object]) -> None:
        self.laid = things
        super().__init__(mission_space=TaskSpace(), width=8, height=5, max_steps=100)
        self.reset()

    def _gen_grid(self, width: int, height: int) -> None:
        self.grid = Grid(width, height)
        for cell, thing in self.laid.items():
            self.put_obj(thing, *cell)
        self.agent_pos, self.agent_dir, self.mission = (1, 2), 0, ""


A = Actions


def done_after(
    world: Bench, command: str, actions: list[int], places: Places | None = None
) -> list[bool]:
    """Whether the command counts as done after each of the actions."""
    follow = CommandWatch(Command.parse(command), places)
    done = []
    for action in actions:
        watch = EventWatch(world)
        world.step(action)
        done.append(follow.update(world, watch.events(world, action)))
    return done


def test_go_to_is_done_while_the_agent_faces_it() -> None:
    world = Bench({(3, 2): ItemObject(RED)})
    steps = [A.forward, A.left, A.right]
    assert done_after(world, "go to the red cross", steps) == [True, False, True]


def test_examine_is_a_deed_and_stays_done() -> None:
    world = Bench({(3, 2): ItemObject(RED), (2, 1): ItemObject(BLUE)})
    steps = [A.toggle, A.forward, A.toggle, A.left, A.toggle]
    assert done_after(world, "examine the red cross", steps) == [False, False, True, True, True]
    world = Bench({(2, 2): ItemObject(BLUE)})
    assert done_after(world, "examine the red cross", [A.toggle]) == [False]


def test_pick_up_is_done_while_it_is_carried() -> None:
    world = Bench({(2, 2): ItemObject(RED)})
    steps = [A.pickup, A.left, A.drop]
    assert done_after(world, "pick up the striped cross", steps) == [True, True, False]
    world = Bench({(2, 2): ItemObject(BLUE)})
    assert done_after(world, "pick up the striped cross", [A.pickup]) == [False]


def test_open_counts_doors_and_boxes_but_not_closing() -> None:
    world = Bench({(2, 2): Door("red")})
    steps = [A.toggle, A.toggle]
    assert done_after(world, "open the red door", steps) == [True, True]
    world = Bench({(2, 2): Door("red", is_open=True)})
    assert done_after(world, "open the red door", steps) == [False, True]
    world = Bench({(2, 2): Door("red", is_locked=True)})
    assert done_after(world, "open the red door", steps) == [False, False]
    world = Bench({(2, 2): Box("blue", contains=Ball("red"))})
    assert done_after(world, "open the blue box", [A.toggle]) == [True]


@pytest.mark.parametrize(("target", "done"), [((3, 1), True), ((4, 2), True), ((4, 1), False)])
def test_put_is_done_beside_not_diagonally(target: tuple[int, int], done: bool) -> None:
    # Dropped on (3, 2); only its four neighbours count.
    world = Bench({(2, 2): ItemObject(RED), target: ItemObject(BLUE)})
    steps = [A.pickup, A.forward, A.drop]
    command = "put the red cross next to the solid blue circle"
    assert done_after(world, command, steps) == [False, False, done]


def test_putting_something_else_is_not_it() -> None:
    world = Bench({(2, 2): ItemObject(BLUE), (4, 2): ItemObject(RED)})
    steps = [A.pickup, A.forward, A.drop]
    command = "put the red cross next to the blue circle"
    assert done_after(world, command, steps) == [False, False, False]


def test_a_place_is_where_it_lay_at_the_start() -> None:
    def bench() -> Bench:
        return Bench({(2, 2): ItemObject(RED), (1, 1): ItemObject(RED), (4, 2): ItemObject(BLUE)})

    for place, steps, done in (
        ("in front of you", [A.pickup, A.left], [True, True]),
        ("on your left", [A.pickup, A.left], [False, False]),
        ("on your left", [A.left, A.pickup], [False, True]),
        ("in front of you", [A.left, A.pickup], [False, False]),
    ):
        world = bench()
        told = done_after(world, f"pick up the red cross {place}", steps, Places(world))
        assert told == done, (place, steps)

    world = bench()
    places = Places(world)
    # It was picked up in front and is on the left now: still the one from the front.
    assert done_after(world, "pick up the cross", [A.pickup, A.right, A.drop], places)[0]
    assert done_after(world, "go to the red cross in front of you", [A.done], places) == [True]
    assert done_after(world, "go to the red cross on your right", [A.done], places) == [False]
    assert done_after(world, "examine the red cross in front of you", [A.toggle], places) == [True]
    assert done_after(world, "examine the red cross on your left", [A.toggle], places) == [False]
    assert done_after(world, "go to the red cross in front of you", [A.done]) == [False]


@pytest.mark.parametrize(
    ("item", "target", "done"),
    [("in front of you", "on your left", True), ("in front of you", "behind you", False)],
)
def test_put_minds_both_places(item: str, target: str, done: bool) -> None:
    world = Bench({(2, 2): ItemObject(RED), (2, 1): ItemObject(BLUE)})
    steps = [A.pickup, A.drop]
    command = f"put the red cross {item} next to the blue circle {target}"
    assert done_after(world, command, steps, Places(world)) == [False, done]


def test_an_opened_box_is_judged_by_where_it_lay() -> None:
    for place, done in (("in front of you", True), ("behind you", False)):
        world = Bench({(2, 2): Box("blue", contains=Ball("red"))})
        assert done_after(world, f"open the box {place}", [A.toggle], Places(world)) == [done]
        world = Bench({(2, 2): Door("blue")})
        assert done_after(world, f"open the door {place}", [A.toggle], Places(world)) == [done]
