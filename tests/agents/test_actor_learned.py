"""The learned Actor: its map, its teacher, its network, its training and its shipped weights."""

from __future__ import annotations

import itertools
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from minigrid.core.actions import Actions
from minigrid.core.constants import OBJECT_TO_IDX
from safetensors.torch import load_file, save_file

from agents.actor import make_actor
from agents.actor.learned import WEIGHTS, LearnedActor, load_network
from agents.actor.memory import SIZE, MapMemory
from agents.actor.network import COMMAND_SLOTS, OBSERVATION_SIZE, ActorNetwork, encode_command
from agents.actor.practice import Ground, Practice, measure
from agents.actor.route import STEPS
from agents.actor.teacher import teach
from agents.actor.training import PracticeVecEnv, reinforce, warm_start
from envs.commands import VERBS, Command, all_commands
from envs.errors import BadInput
from envs.items import HELD_OUT_ITEMS, Item
from envs.worlds import Worlds

SMALL = Ground(n_items=(3,), room_sizes=(6,), verbs=("go to",), max_steps=16)


def turned(dx: int, dy: int, quarter_turns: int) -> tuple[int, int]:
    for _ in range(quarter_turns % 4):
        dx, dy = -dy, dx
    return dx, dy


@pytest.mark.parametrize("task", ["Parley/SecretSearch-v0", "BabyAI-GoToObjMaze-v0"])
@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 10_000), actions=st.lists(st.sampled_from([0, 1, 2, 2, 2, 5]), max_size=80)
)
def test_the_map_is_the_world_as_seen(task: str, seed: int, actions: list[int]) -> None:
    """Every cell of the map, turned back to the world's own axes, holds what the world has there,
    and the map's pose is the agent's: without the memory ever having seen either."""
    worlds = Worlds([gym.make(task, disable_env_checker=True)])
    worlds.reset(0, seed)
    world = worlds.world(0)
    start, heading = tuple(world.agent_pos), world.agent_dir
    memory, one = MapMemory(1), np.array([0])
    memory.reset(one, worlds.images)
    for action in actions:
        before = world.grid.encode()
        worlds.step(np.array([action]), np.array([True]))
        memory.step(one, np.array([action]), worlds.images)
        if not np.array_equal(before, world.grid.encode()) and worlds.over[0]:
            break
    dx, dy = (int(v) for v in memory.position[0] - SIZE // 2)
    assert (start[0] + turned(dx, dy, heading)[0], start[1] + turned(dx, dy, heading)[1]) == tuple(
        world.agent_pos
    )
    assert (memory.direction[0] + heading) % 4 == world.agent_dir
    truth = world.grid.encode()
    for x, y in np.argwhere(memory.codes[0, :, :, 0]):
        rx, ry = turned(int(x) - SIZE // 2, int(y) - SIZE // 2, heading)
        wx, wy = start[0] + rx, start[1] + ry
        if (wx, wy) == tuple(world.agent_pos) or truth[wx, wy, 0] == OBJECT_TO_IDX["door"]:
            continue  # a door may have been opened and closed again out of view
        assert tuple(memory.codes[0, x, y]) == tuple(truth[wx, wy])


def test_the_crop_shows_the_agents_own_view() -> None:
    """The middle upper part of the crop is, where seen, exactly the 7x7 view."""
    practice = Practice(Ground(), 8, seed=3)
    practice.reset(practice.everyone)
    crop = practice.eyes.memory.crop(practice.everyone, 15)
    view = practice.worlds.images
    part = crop[:, 4:11, 1:8]
    seen = view[..., 0] > 0
    seen[:, 3, 6] = False
    assert seen.sum() > 100
    assert np.array_equal(part[seen], view[seen])


def test_the_teacher_carries_out_every_command_with_what_it_has_seen() -> None:
    practice = Practice(Ground(room_sizes=(6, 8, 10)), 24, seed=11)
    practice.reset(practice.everyone)
    outcomes = []
    for _ in range(80):
        actions = [
            teach(practice.eyes.memory, i, practice.task(i).command, practice.task(i).watch.done)
            for i in range(len(practice))
        ]
        success, over, _ = practice.step(np.array(actions))
        outcomes += list(success[over])
        if over.any():
            practice.reset(np.flatnonzero(over))
    assert len(outcomes) > 100
    assert all(outcomes)


def test_commands_are_told_apart_by_their_numbers() -> None:
    items = [*HELD_OUT_ITEMS[:4], Item("box", "blue"), Item("door", "red"), Item("ball")]
    commands = all_commands(items, VERBS)
    codes = {encode_command(c).tobytes() for c in commands}
    assert len(codes) == len(commands)
    assert encode_command(commands[0]).shape == (COMMAND_SLOTS,)


def test_an_item_that_matches_the_command_stands_out_even_if_never_trained_on() -> None:
    """The product of word matches is highest on the cell that holds the named item."""
    torch.manual_seed(0)
    trunk = ActorNetwork().trunk
    practice = Practice(Ground(items="held-out", verbs=("go to",)), 48, seed=5)
    practice.reset(practice.everyone)
    seen, best = 0, 0
    for i in range(len(practice)):
        window = practice.eyes.memory.crop(np.array([i]), 15)[0].reshape(-1, 3)
        words = torch.from_numpy(practice.eyes.commands[i, 1:]).long()[None]
        scores = trunk._look(torch.from_numpy(window).long()[None], words)[0, :, -5]
        item = practice.task(i).command.item
        at = practice.task(i).things[[t.item for t in practice.task(i).things].index(item)].encode()
        cells = np.flatnonzero((window == at).all(-1))
        if len(cells):
            seen += 1
            best += int(scores.argmax()) in cells
    assert seen >= 15
    assert best == seen


def test_weights_survive_saving_and_wrong_ones_are_refused(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = ActorNetwork(channels=8, width=16)
    network.save_pretrained(tmp_path / "good")
    observations = torch.randint(0, 3, (4, OBSERVATION_SIZE), dtype=torch.uint8)
    again = load_network(tmp_path / "good")
    assert torch.equal(again(observations)[0], network(observations)[0])

    weights = load_file(tmp_path / "good" / "model.safetensors")
    weights.pop("head.bias")
    save_file(weights, tmp_path / "good" / "model.safetensors")
    with pytest.raises(BadInput, match="cannot be loaded"):
        load_network(tmp_path / "good")
    with pytest.raises(BadInput, match=r"config\.json is missing"):
        load_network(tmp_path)


def test_the_vec_env_tells_truncation_from_termination() -> None:
    """Standing still runs into the step limit: truncated, with the last observation kept."""
    env = PracticeVecEnv(Practice(SMALL, 4, seed=0))
    env.reset()
    for step in range(SMALL.max_steps):
        last = env.practice.observe()
        turn = Actions.left if step % 2 else Actions.right
        seen, reward, over, infos = env.step(np.full(4, turn))
    assert over.all()
    assert all(i["TimeLimit.truncated"] for i in infos)
    assert reward.sum() == 0
    # the kept observation is one step after ``last``, not the first of the next episode
    assert not np.array_equal(infos[0]["terminal_observation"], seen[0])
    assert infos[0]["terminal_observation"].shape == last[0].shape
    env.step(np.full(4, Actions.done))
    over, infos = env.step(np.full(4, Actions.done))[2:]
    assert over.all()
    assert not any(i["TimeLimit.truncated"] for i in infos)


def trained(seed: int) -> ActorNetwork:
    torch.manual_seed(seed)
    network = ActorNetwork(channels=8, width=32)
    warm_start(network, SMALL, steps=1024, n_worlds=8, seed=seed)
    reinforce(network, SMALL, steps=512, n_worlds=8, seed=seed)
    return network


def test_training_twice_with_one_seed_gives_the_same_weights() -> None:
    one, two, other = trained(0), trained(0), trained(1)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.head.weight, other.head.weight)


def test_imitation_learns_a_small_world() -> None:
    torch.manual_seed(0)
    network = ActorNetwork(channels=8, width=64)
    before = measure(LearnedActor(network), SMALL, 60, seed=500, batch=20)
    warm_start(network, SMALL, steps=12_288, n_worlds=16, seed=7, learning_rate=3e-3, epochs=2)
    after = measure(LearnedActor(network), SMALL, 60, seed=500, batch=20)
    assert after.carried_out >= before.carried_out + 8


@pytest.mark.parametrize(("items", "floor"), [("train", 0.9), ("held-out", 0.85)])
def test_the_shipped_weights_carry_out_commands(items: str, floor: float) -> None:
    """A small fixed set, so that the weights cannot rot; the model card has the 1,000 commands."""
    ground = Ground(
        items=items, n_items=(3, 4, 5, 6), room_sizes=(8,), verbs=("examine", "pick up")
    )
    score = measure(make_actor("learned"), ground, 128, seed=0)
    assert score.carried_out / score.n >= floor


def test_the_learned_actor_sees_only_its_view_and_the_command() -> None:
    """Another item out of view, or another secret, changes nothing of what it does at first."""
    worlds = Worlds([gym.make("Parley/SecretConditional-v0", disable_env_checker=True)])
    firsts = []
    for fact in ("good", "bad"):
        worlds.reset(0, 4)
        for thing in worlds.world(0).things:  # type: ignore[attr-defined]
            thing.fact = f"has secret property {fact}"
        actor = LearnedActor(WEIGHTS)
        actor.begin(worlds)
        item = worlds.world(0).things[0].item  # type: ignore[attr-defined]
        rollout = actor.execute(worlds, [Command("examine", item)], 64)[0]
        assert rollout is not None
        firsts.append(rollout.steps)
    assert firsts[0] == firsts[1]


def test_steps_and_directions_agree_with_minigrid() -> None:
    from minigrid.core.constants import DIR_TO_VEC

    for ours, theirs in itertools.zip_longest(STEPS, DIR_TO_VEC):
        assert tuple(theirs) == ours
