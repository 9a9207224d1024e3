"""BabyAI's mixed local missions: what lies there, what is asked, and who judges it."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import gymnasium as gym
import pytest
from minigrid.core.actions import Actions as A
from minigrid.core.world_object import Door
from minigrid.envs.babyai.core.verifier import AfterInstr, BeforeInstr

from agents.actor import make_actor
from agents.planner.registry import make_planner
from agents.reporter import make_reporter
from agents.team import Team
from envs import Command, Item, Worlds, make_worlds
from envs.babyai import KINDS, MAX_DISTRACTORS
from envs.errors import BadInput
from envs.events import item_of
from envs.items import find_items

THING = r"the (red|green|blue|purple|yellow|grey) (key|ball|box)"
SENTENCES = {
    "go to": rf"go to {THING}",
    "pick up": rf"pick up {THING}",
    "put next to": rf"put {THING} next to {THING}",
    "pick up then go to": (
        rf"pick up {THING}, then go to {THING}|go to {THING} after you pick up {THING}"
    ),
    "open": r"open the (red|green|blue|purple|yellow|grey) door",
}


def things(world: Any) -> list[Item]:
    return [i for i in map(item_of, world.grid.grid) if i is not None]


def play(worlds: Worlds, seeds: range) -> list[Any]:
    team = Team(make_planner("oracle"), make_actor("scripted"), make_reporter("scripted"))
    n = len(worlds)
    return [e for s in seeds[::n] for e in team.play(worlds, range(s, s + n))]


@pytest.mark.parametrize("distractors", [0, 8, MAX_DISTRACTORS])
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_kind_says_and_holds(kind: str, distractors: int) -> None:
    worlds = make_worlds("babyai-mixed", 1, kinds=kind, distractors=distractors)
    world: Any = worlds.world(0)
    for seed in range(20):
        worlds.reset(0, seed)
        task = worlds.tasks[0]
        assert re.fullmatch(SENTENCES[kind], task) and world.kind == kind
        lying = things(world)
        assert len(set(lying)) == len(lying)  # so each name means one thing
        assert set(find_items(task)) <= set(lying)
        named = 1 if kind in ("go to", "pick up") else 2  # the door and its key, too
        assert len(lying) == named + distractors
        doors = [t for t in world.grid.grid if isinstance(t, Door)]
        assert len(doors) == (kind == "open")
        if doors:
            assert doors[0].is_locked and Item("key", doors[0].color) in lying
            assert all(x < 8 for x in range(15) for y in range(8) if item_of(world.grid.get(x, y)))


@pytest.mark.parametrize("distractors", [0, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_every_mission_can_be_fulfilled(kind: str, distractors: int) -> None:
    worlds = make_worlds("babyai-mixed", 8, kinds=kind, distractors=distractors)
    episodes = play(worlds, range(48))
    assert [e.success for e in episodes] == [True] * 48
    verbs = {
        "pick up then go to": ["pick up", "go to"],
        "open": ["pick up", "open"],
        "put next to": ["put"],
    }.get(kind, [kind])
    for episode in episodes:
        assert [t.command.verb for t in episode.turns] == verbs


def test_all_kinds_come_and_both_orders() -> None:
    worlds = make_worlds("babyai-mixed", 1)
    world: Any = worlds.world(0)
    kinds, orders = Counter[str](), set()
    for seed in range(250):
        worlds.reset(0, seed)
        kinds[world.kind] += 1
        orders.add(type(world.instrs))
    assert set(kinds) == set(KINDS) and min(kinds.values()) > 30
    assert {BeforeInstr, AfterInstr} <= orders


def test_one_size_whatever_is_asked() -> None:
    worlds = make_worlds("babyai-mixed", 1)
    assert {(worlds.reset(0, s), worlds.world(0).grid.width)[1] for s in range(30)} == {15}
    assert make_worlds("babyai-mixed", 1, kinds=("go to", "pick up")).world(0).width == 8


def test_nothing_is_done_when_it_begins_and_success_is_one() -> None:
    env = gym.make("Parley/BabyAIMixedLocal-v0", kinds="pick up", distractors=0)
    for seed in range(30):
        env.reset(seed=seed)
        # At the start nothing lies beside the agent.
        _, reward, terminated, _, info = env.step(A.pickup)
        assert (reward, terminated, info["success"], info["events"]) == (0, False, False, ())
    worlds = make_worlds("babyai-mixed", 1, kinds="pick up")
    rewards: list[float] = []
    step = worlds.envs[0].step

    def counted(action: Any) -> Any:
        found = step(action)
        rewards.append(found[1])
        return found

    worlds.envs[0].step = counted  # type: ignore[method-assign]
    play(worlds, range(1))
    assert rewards[-1] == 1.0 and set(rewards[:-1]) <= {0.0}


def test_going_before_picking_up_does_not_count() -> None:
    worlds = make_worlds("babyai-mixed", 1, kinds="pick up then go to")
    actor = make_actor("scripted")
    worlds.reset(0, 3)
    named = find_items(worlds.tasks[0])
    order = named if worlds.tasks[0].startswith("pick up") else named[::-1]
    actor.execute(worlds, [Command("go to", order[1])], 64)
    assert not worlds.over[0]
    actor.execute(worlds, [Command("pick up", order[0])], 64)
    assert not worlds.over[0]
    actor.execute(worlds, [Command("go to", order[1])], 64)
    assert worlds.success[0]


def test_the_kind_of_validation_is_the_other_way_round() -> None:
    worlds = make_worlds("babyai-mixed", 1, kinds="go to then pick up")
    actor, orders, early = make_actor("scripted"), set(), 0
    for seed in range(12):
        worlds.reset(0, seed)
        task, named = worlds.tasks[0], find_items(worlds.tasks[0])
        orders.add(task.split()[0])
        first, last = named if task.startswith("go to") else named[::-1]
        assert ("then pick up" in task) == task.startswith("go to")
        actor.execute(worlds, [Command("pick up", last)], 64)
        early += worlds.success[0]  # the way to it can lead past the first
        worlds.reset(0, seed)
        actor.execute(worlds, [Command("go to", first)], 64)
        assert not worlds.over[0]
        actor.execute(worlds, [Command("pick up", last)], 64)
        assert worlds.success[0]
    assert orders == {"go", "pick"} and early <= 3


def test_the_world_s_verbs_leave_examine_out() -> None:
    worlds = make_worlds("babyai-mixed", 1)
    assert worlds.verbs(0) == ("go to", "pick up", "open", "put")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"kinds": "opn"}, "unknown kind 'opn'; did you mean 'open'"),
        ({"kinds": ()}, "chooses none of"),
        ({"distractors": -1}, "distractors must be between 0 and 10"),
        ({"distractors": 11}, "not 11"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
        ({"room_size": 5}, "cannot be made with room_size=5"),
        ({"distractor": 3}, "takes no setting distractor; did you mean 'distractors'"),
    ],
)
def test_bad_settings_are_one_sentence(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told) as error:
        make_worlds("babyai-mixed", 1, **settings)
    assert "\n" not in str(error.value)


def test_an_episode_of_our_mixture_has_128_steps() -> None:
    assert make_worlds("babyai-mixed", 1).world(0).max_steps == 128
