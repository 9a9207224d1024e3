"""The task of carrying out one command."""

from __future__ import annotations

import pytest
from minigrid.core.actions import Actions as A

from envs.command import CommandTask
from envs.commands import Command
from envs.errors import BadInput
from envs.objects import ItemObject
from tests.envs.test_room import stand_before


def first(verb: str, **settings: int) -> CommandTask:
    env = CommandTask(verbs=(verb,), **settings)
    env.reset(seed=3)
    assert env.command.verb == verb and env.mission == str(env.command)
    return env


def thing_of(env: CommandTask, wanted: bool = True) -> ItemObject:
    return next(t for t in env.things if (t.item == env.command.item) is wanted)


@pytest.mark.parametrize(
    ("verb", "deeds"), [("go to", []), ("examine", [A.toggle]), ("pick up", [A.pickup])]
)
def test_done_after_the_deed_succeeds_and_before_it_fails(verb: str, deeds: list[int]) -> None:
    env = first(verb)
    stand_before(env, thing_of(env))
    for deed in deeds:
        _, reward, terminated, _, info = env.step(deed)
        assert (reward, terminated, info["success"]) == (0, False, False)
    _, reward, terminated, _, info = env.step(A.done)
    assert (reward, terminated, info["success"]) == (1, True, True)

    env = first(verb)
    stand_before(env, thing_of(env, wanted=False))
    _, reward, terminated, _, info = env.step(A.done)
    assert (reward, terminated, info["success"]) == (0, True, False)


@pytest.mark.parametrize("verb", ["go to", "examine", "pick up"])
def test_picking_up_what_was_not_asked_for_fails(verb: str) -> None:
    env = first(verb)
    stand_before(env, thing_of(env, wanted=False))
    _, reward, terminated, _, info = env.step(A.pickup)
    assert (reward, terminated, info["success"]) == (0, True, False)


def test_picking_up_after_examining_fails_too() -> None:
    env = first("examine")
    stand_before(env, thing_of(env))
    env.step(A.toggle)
    _, _, terminated, _, info = env.step(A.pickup)
    assert terminated and not info["success"]


def test_verbs_and_items_are_all_drawn() -> None:
    env = CommandTask(verbs=("go to", "examine", "pick up"), n_items=3)
    drawn = set()
    for seed in range(80):
        env.reset(seed=seed)
        where = [t.item for t in env.things].index(env.command.item)
        drawn.add((env.command.verb, where))
        assert Command.parse(env.mission) == env.command
    assert len(drawn) == 9
    with pytest.raises(BadInput, match="unknown verb 'pick upp'; did you mean 'pick up'"):
        CommandTask(verbs=("pick upp",))
    with pytest.raises(BadInput, match="unknown verb 'open'"):
        CommandTask(verbs=("open",))
