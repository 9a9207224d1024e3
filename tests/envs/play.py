"""The cheats' own play, without the loop: the oracle's commands, the scripted Actor's steps."""

from __future__ import annotations

from agents.actor import make_actor
from envs import Item, Worlds
from envs.room import RoomEnv


def play_oracle(worlds: Worlds, seed: int, max_turns: int = 12) -> int:
    """One episode of world 0; returns the number of turns it took."""
    actor = make_actor("scripted")
    worlds.reset(0, seed)
    world = worlds.world(0)
    assert isinstance(world, RoomEnv)
    examined: set[Item] = set()
    turns = 0
    while not worlds.over[0] and turns < max_turns:
        (rollout,) = actor.execute(worlds, [world.oracle(frozenset(examined))], 200)
        assert rollout is not None
        examined |= {e.item for e in rollout.events if e.kind == "examined"}
        turns += 1
    return turns
