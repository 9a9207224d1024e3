"""The learned Actor: its senses, its teacher, its network, its training and its shipped weights."""

from __future__ import annotations

import itertools
from collections import deque
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from minigrid.core.actions import Actions
from minigrid.core.constants import OBJECT_TO_IDX
from safetensors.torch import load_file, save_file

from agents.actor import make_actor, map_memory
from agents.actor.expert import expert_actions
from agents.actor.imitation import ActorImitation, ActorImitationConfig
from agents.actor.learned import WEIGHTS, LearnedActor, choose, load_network
from agents.actor.map_memory import MIDDLE, OBSERVATION_SIZE
from agents.actor.network import ActorNetwork
from agents.actor.ppo import ActorPPO, ActorPPOConfig, CommandSB3VecEnv
from agents.actor.rollouts import discounted_outcomes
from agents.actor.route import STEPS
from agents.actor.task_sources import TESTS, training_sources, with_key
from agents.actor.vector_env import CommandVectorEnv, MultiTaskVectorEnv, measure
from envs.attributes import SECRET_PROPERTY, Attribute
from envs.batched import Pool, Rooms
from envs.batched.words import decode_command, encode_command
from envs.commands import VERBS, Command, all_commands
from envs.errors import BadInput
from envs.items import HELD_OUT_ITEMS, Item
from envs.worlds import Worlds
from models.training.trainer import Stage, Trainer
from tests.models.training.recorder import StepRecorder, train

SMALL = Rooms("command", n_items=(3,), room_sizes=(6,), verbs=("go to",), max_steps=16)
ROOMS = Rooms(
    "command", n_items=(3, 6, 8), room_sizes=(6, 8, 10), verbs=("go to", "examine", "pick up")
)


def turned(dx: int, dy: int, quarter_turns: int) -> tuple[int, int]:
    for _ in range(quarter_turns % 4):
        dx, dy = -dy, dx
    return dx, dy


def unpacked(cell: int) -> tuple[int, int, int]:
    return cell & 31, cell >> 5 & 7, cell >> 8


@pytest.mark.parametrize("task", ["Parley/SecretSearch-v0", "BabyAI-GoToObjMaze-v0"])
@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 10_000), actions=st.lists(st.sampled_from([0, 1, 2, 2, 2, 5]), max_size=80)
)
def test_the_map_is_the_world_as_seen(task: str, seed: int, actions: list[int]) -> None:
    """Every cell of the map, turned back to the world's own axes, holds what the world has there,
    and the map's pose is the agent's: without the senses ever having seen either."""
    worlds = Worlds([gym.make(task, disable_env_checker=True)])
    worlds.reset(0, seed)
    world = worlds.world(0)
    start, heading = tuple(world.agent_pos), world.agent_dir
    senses, one = map_memory.new_map_memory(1), np.array([0])
    map_memory.begin_some(senses, one, worlds.images)
    for action in actions:
        worlds.step(np.array([action]), np.array([True]))
        map_memory.step_some(senses, one, np.array([action]), worlds.images)
        if worlds.over[0]:
            break
    dx, dy = (int(v) - MIDDLE for v in senses.pose[0, :2])
    rx, ry = turned(dx, dy, heading)
    assert (start[0] + rx, start[1] + ry) == tuple(world.agent_pos)
    assert (senses.pose[0, 2] + heading) % 4 == world.agent_dir
    truth = world.grid.encode()
    for y, x in np.argwhere(senses.cells[0]):
        rx, ry = turned(int(x) - MIDDLE, int(y) - MIDDLE, heading)
        wx, wy = start[0] + rx, start[1] + ry
        if (wx, wy) == tuple(world.agent_pos) or truth[wx, wy, 0] == OBJECT_TO_IDX["door"]:
            continue  # a door may have been opened and closed again out of view
        assert unpacked(int(senses.cells[0, y, x])) == tuple(truth[wx, wy])


def slow_paths(senses: map_memory.MapMemory, w: int) -> dict[tuple[int, int], int]:
    """For each thing that can be faced, over known cells: the fewest actions to face it. A second,
    plain way to get what ``observe_one`` finds (rooms without doors)."""
    start = tuple(map(int, senses.pose[w]))
    best, edge, found = {start: 0}, deque([start]), {}
    while edge:
        pose = edge.popleft()
        x, y, direction = pose
        dx, dy = STEPS[direction]
        ahead = ((x + dx) % map_memory.SIZE, (y + dy) % map_memory.SIZE)
        kind = int(senses.cells[w, ahead[1], ahead[0]]) & 31
        if kind >= OBJECT_TO_IDX["circle"]:
            found.setdefault(ahead, best[pose])
        after = [(x, y, (direction + 1) % 4), (x, y, (direction + 3) % 4)]
        if kind in (OBJECT_TO_IDX["empty"], OBJECT_TO_IDX["floor"]):
            after.append((*ahead, direction))
        for pose_after in after:
            if pose_after not in best:
                best[pose_after] = best[pose] + 1
                edge.append(pose_after)
    return found


def test_ways_are_the_shortest_over_the_known_cells() -> None:
    practice = CommandVectorEnv(ROOMS, 32, seed=2)
    practice.reset()
    rng = np.random.default_rng(0)
    compared = 0
    for _ in range(6):
        practice.step(rng.choice([0, 1, 2, 2], 32))
        for w in range(32):
            things = practice.observations[w, : 4 * map_memory.N_THINGS].reshape(-1, 4)
            ways = [
                int(t[map_memory.FACE])
                for t in things
                if t[map_memory.LOOK] and t[2] != map_memory.NO_PATH
            ]
            far = sorted(slow_paths(practice.memory, w).values())
            steps = [int(np.searchsorted(map_memory.FAR, d, side="right") - 1) for d in far]
            assert sorted(way % map_memory.N_FAR for way in ways) == sorted(steps)
            compared += len(ways)
    assert compared > 300


def test_following_a_way_leads_nearer() -> None:
    """Taking the first action of the way to the nearest thing, again and again, arrives."""
    practice = CommandVectorEnv(ROOMS, 32, seed=4)
    practice.reset()
    arrived = np.zeros(32, bool)
    for _ in range(40):
        actions = np.zeros(32, np.int64)
        for w, seen in enumerate(practice.observations):
            way = seen[map_memory.FACE] if seen[map_memory.LOOK] else map_memory.NO_PATH
            arrived[w] |= way // map_memory.N_FAR == map_memory.HERE
            actions[w] = (
                map_memory.FIRST_ACTIONS[way // map_memory.N_FAR] if way < 48 else Actions.left
            )
        practice.step(actions)
    assert arrived.all()


def test_the_place_to_explore_always_shows_something_new() -> None:
    pool = Pool.draw("BabyAI-GoToObjMaze-v0", 8, seed=900).as_commands()
    practice = CommandVectorEnv(pool, 8, seed=0)
    practice.reset()
    practice.engine.autoreset = False
    explored = practice.observations[:, 4 * map_memory.N_THINGS + map_memory.EXPLORE]
    for _ in range(400):
        known = (practice.memory.cells > 0).sum((1, 2))
        here = explored.copy()
        actions = np.array(
            [
                map_memory.FIRST_ACTIONS[e // map_memory.N_FAR] if e < 48 else Actions.left
                for e in here
            ]
        )
        assert (
            here // map_memory.N_FAR != map_memory.HERE
        ).all()  # what is here has been seen already
        last_step = (here < 48) & (here % map_memory.N_FAR == 1)
        practice.engine.step(actions)
        practice.observe(actions, np.ones(8, bool))
        more = (practice.memory.cells > 0).sum((1, 2)) > known
        assert more[last_step].all()
    assert (explored == map_memory.NO_PATH).sum() >= 6  # the whole maze is known


@pytest.mark.parametrize("level", ["ours", "BabyAI-PutNextLocal-v0", "BabyAI-GoToObjMaze-v0"])
def test_the_teacher_carries_out_every_command_with_what_it_has_sensed(level: str) -> None:
    source = ROOMS if level == "ours" else Pool.draw(level, 40, seed=800).as_commands()
    score = measure(expert_actions, source, 40, seed=11)
    assert score.carried_out == 40
    assert score.done_on_time == 40


def test_the_teacher_gives_up_at_a_locked_door_and_opens_it_with_the_key() -> None:
    settings = {"kinds": ("open",), "distractors": 0}
    pool = Pool.draw("Parley/BabyAIMixedLocal-v0", 10, seed=700, **settings).as_commands()
    practice = CommandVectorEnv(pool, 10, seed=0)
    practice.reset()
    said = np.zeros(10, bool)
    for _ in range(40):
        actions = expert_actions(practice.observations)
        said |= practice.step(actions) & (actions == Actions.done)
    assert said.all()
    score = measure(expert_actions, with_key(pool), 10, seed=0)
    assert score.carried_out == 10


def test_commands_are_told_apart_by_their_numbers_and_read_back() -> None:
    items = [*HELD_OUT_ITEMS[:4], Item("box", "blue"), Item("door", "red"), Item("ball")]
    items.append(Item("ball", "green", place="left"))
    commands = all_commands(items, VERBS)
    codes = {encode_command(c).tobytes() for c in commands}
    assert len(codes) == len(commands)
    assert [decode_command(encode_command(c)) for c in commands] == list(commands)


def test_places_are_seen_from_where_the_episode_began() -> None:
    """Of two balls alike, only the one on the side that the command names fits all its words."""
    pool = Pool.draw("BabyAI-PickupLoc-v0", 60, seed=300).as_commands()
    assert measure(expert_actions, pool, 60, seed=0).carried_out >= 59


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
    # of another vocabulary: a table with fewer rows
    network.save_pretrained(tmp_path / "other")
    weights = load_file(tmp_path / "other" / "model.safetensors")
    weights["trunk.general.table.weight"] = weights["trunk.general.table.weight"][:-1].clone()
    save_file(weights, tmp_path / "other" / "model.safetensors")
    with pytest.raises(BadInput, match=r"cannot be loaded.*size mismatch"):
        load_network(tmp_path / "other")


def test_what_is_not_there_does_not_count() -> None:
    """The same observation gives the same answer beside one that knows more things."""
    torch.manual_seed(0)
    network = ActorNetwork()
    practice = CommandVectorEnv(ROOMS, 16, seed=1)
    practice.reset()
    for _ in range(5):
        practice.step(np.full(16, int(Actions.right)))
    seen = practice.observations
    fewest, most = seen[:, -1].argmin(), seen[:, -1].argmax()
    assert seen[fewest, -1] < seen[most, -1]
    alone = network(torch.from_numpy(seen[[fewest]]))[0][0]
    beside = network(torch.from_numpy(seen[[fewest, most]]))[0][0]
    assert torch.allclose(alone, beside, atol=1e-5)


def test_the_vec_env_tells_truncation_from_termination() -> None:
    """Standing still runs into the step limit: truncated, with the last observation kept."""
    env = CommandSB3VecEnv(MultiTaskVectorEnv([(SMALL, 4)], seed=0))
    env.reset()
    assert SMALL.max_steps is not None
    for step in range(SMALL.max_steps):
        turn = Actions.left if step % 2 else Actions.right
        seen, reward, over, infos = env.step(np.full(4, turn))
    assert over.all()
    assert all(i["TimeLimit.truncated"] for i in infos)
    assert reward.sum() == 0
    last = infos[0]["terminal_observation"]
    assert last[4 * map_memory.N_THINGS + map_memory.LAST] == Actions.left
    assert seen[0][4 * map_memory.N_THINGS + map_memory.LAST] == map_memory.NO_ACTION
    over, infos = env.step(np.full(4, Actions.done))[2:]
    assert over.all()
    assert not any(i["TimeLimit.truncated"] for i in infos)


def test_outcomes_are_discounted_until_their_episode_ends() -> None:
    """Worked out by hand with 0.99. World 0 succeeds at step 1 and then goes on; world 1 fails at
    step 2 and begins anew; world 2 never ends."""
    rewards, ended = np.zeros((4, 3)), np.zeros((4, 3), bool)
    rewards[1, 0], ended[1, 0], ended[2, 1] = 1, True, True
    rewards[0, 2] = 7  # counts only where an episode ends
    outcomes = discounted_outcomes(rewards, ended, np.array([0.5, 0.4, 0.8], np.float32))
    expected = [
        [0.99, 0.0, 0.8 * 0.99**4],
        [1.0, 0.0, 0.8 * 0.99**3],
        [0.5 * 0.99**2, 0.0, 0.8 * 0.99**2],
        [0.5 * 0.99, 0.4 * 0.99, 0.8 * 0.99],
    ]
    np.testing.assert_allclose(outcomes, expected, rtol=1e-6)


def test_ppo_takes_the_value_of_what_a_truncated_episode_ends_in() -> None:
    """After a truncation 0.99 times the value of the last observation is part of the reward; after
    a termination it is not."""
    torch.manual_seed(0)
    network = ActorNetwork(channels=8, width=32)
    config = ActorPPOConfig(8 * 32, 8, epochs=1)
    stage = ActorPPO(network, lambda: MultiTaskVectorEnv([(SMALL, 8)], 0), config)
    stage.begin()
    endings: list[tuple[int, int, bool, bool, float]] = []
    env = stage._env
    step, step_wait = itertools.count(), env.step_wait

    def watched() -> Any:
        observations, rewards, over, infos = step_wait()
        t = next(step)
        for i in np.flatnonzero(over):
            last = torch.from_numpy(infos[i]["terminal_observation"][None])
            with torch.no_grad():
                value = float(network(last)[1])
            truncated = infos[i]["TimeLimit.truncated"]
            endings.append((t, int(i), truncated, bool(rewards[i]), value))
        return observations, rewards, over, infos

    env.step_wait = watched  # type: ignore[method-assign]
    stage.step(0)
    buffer = stage.model.rollout_buffer
    assert {truncated for _, _, truncated, _, _ in endings} == {True, False}
    for t, i, truncated, success, value in endings:
        expected = success + (0.99 * value if truncated else 0.0)
        assert buffer.rewards[t, i] == pytest.approx(expected, abs=1e-5)
    assert any(abs(value) > 0.01 for _, _, truncated, _, value in endings if truncated)


def stages(network: ActorNetwork, seed: int, worlds_seed: int) -> list[Stage]:
    def make_worlds() -> MultiTaskVectorEnv:
        return MultiTaskVectorEnv([(SMALL, 8)], worlds_seed)

    return [
        ActorImitation(network, make_worlds, ActorImitationConfig(2048, 8, seed=seed)),
        ActorPPO(network, make_worlds, ActorPPOConfig(1024, 8, seed=seed)),
    ]


def trained(seed: int, stop: bool = False) -> ActorNetwork:
    """A little training; with ``stop``, broken off in each stage and resumed from a checkpoint."""
    torch.manual_seed(seed)
    network = ActorNetwork(channels=8, width=32)
    for number in range(2):
        stage = stages(network, seed, seed)[number]
        if not stop:
            train(stage)
            continue
        recorder = StepRecorder(stop_after=3)
        with pytest.raises(KeyboardInterrupt):
            Trainer([stage], [recorder]).train()
        network = ActorNetwork(channels=8, width=32)  # as a new process would have it
        train(stages(network, seed, seed + 99)[number], recorder.checkpoints[1])
    return network


def same(one: ActorNetwork, two: ActorNetwork) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_training_twice_with_one_seed_gives_the_same_weights() -> None:
    one = trained(0)
    assert same(one, trained(0))
    assert not same(one, trained(1))


def test_training_goes_on_after_a_checkpoint_as_if_it_had_not_stopped() -> None:
    assert same(trained(0), trained(0, stop=True))


def test_a_checkpoint_of_another_network_is_refused() -> None:
    def imitation(network: ActorNetwork, n: int) -> ActorImitation:
        config = ActorImitationConfig(512, n)
        return ActorImitation(network, lambda: MultiTaskVectorEnv([(SMALL, n)], 0), config)

    (*_, saved) = train(imitation(ActorNetwork(channels=8, width=32), 8)).checkpoints
    with pytest.raises(BadInput, match=r"of another network: network.*does not fit"):
        train(imitation(ActorNetwork(channels=8, width=16), 8), saved)
    with pytest.raises(BadInput, match="of other worlds"):
        train(imitation(ActorNetwork(channels=8, width=32), 4), saved)


def test_imitation_learns_a_small_world() -> None:
    torch.manual_seed(0)
    network = ActorNetwork(channels=8, width=32)

    def policy(seen: np.ndarray) -> np.ndarray:
        return choose(network, seen)

    before = measure(policy, SMALL, 100, seed=500)
    config = ActorImitationConfig(65_536, 64, learning_rate=5e-3, batch=512, seed=7)
    train(ActorImitation(network, lambda: MultiTaskVectorEnv([(SMALL, 64)], seed=7), config))
    after = measure(policy, SMALL, 100, seed=500)
    assert after.carried_out >= before.carried_out + 30
    assert after.carried_out >= 80


def test_the_grounds_share_out_all_worlds() -> None:
    from agents.actor.task_sources import LEVELS

    pool = Pool.draw("Parley/BabyAIMixedLocal-v0", 30, seed=10)
    sources = training_sources(100, dict.fromkeys(LEVELS, pool))
    assert sum(n for _, n in sources) == 100
    assert min(n for _, n in sources) >= 1


@pytest.mark.parametrize("test", TESTS, ids=[t.name for t in TESTS])
def test_the_shipped_weights_carry_out_commands(test) -> None:
    """A small fixed set, so that the weights cannot rot; the model card has the 1,000 commands."""
    network = load_network(WEIGHTS)
    score = measure(lambda seen: choose(network, seen), test.source(60), 60, seed=0)
    assert score.carried_out / score.n >= test.floor - 0.05


def test_the_learned_actor_is_the_same_in_the_loop_as_in_practice() -> None:
    """Actions chosen from ``Worlds`` step by step, and in one engine of many, are the same."""
    from envs.batched.layouts import snapshot

    env = gym.make("Parley/Command-v0", disable_env_checker=True, n_items=6)
    worlds = Worlds([env])
    actor = make_actor("learned")
    network = load_network(WEIGHTS)
    for seed in range(8):
        worlds.reset(0, seed)
        command = worlds.world(0).command  # type: ignore[attr-defined]
        actor.begin(worlds)
        rollout = actor.execute(worlds, [command], 100)[0]
        assert rollout is not None
        pool = snapshot(env, seed, "Parley/Command-v0")
        score = measure(lambda seen: choose(network, seen), pool, 1, seed=0)
        assert (rollout.done, rollout.steps) == (score.carried_out == 1, score.mean_steps)


def test_the_learned_actor_sees_only_its_view_and_the_command() -> None:
    """Another item out of view, or another secret, changes nothing of what it does at first."""
    worlds = Worlds([gym.make("Parley/SecretConditional-v0", disable_env_checker=True)])
    firsts = []
    for fact in ("good", "bad"):
        worlds.reset(0, 4)
        for thing in worlds.world(0).things:  # type: ignore[attr-defined]
            thing.revealed = Attribute(SECRET_PROPERTY, fact)
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


def test_senses_do_not_depend_on_threads() -> None:
    one, two = (MultiTaskVectorEnv([(ROOMS, 40)], seed=3, threads=t) for t in (1, 2))
    rng = np.random.default_rng(0)
    for gym_ in (one, two):
        gym_.reset()
    for _ in range(60):
        actions = rng.choice([0, 1, 2, 2, 3, 5, 6], 40)
        assert np.array_equal(one.step(actions), two.step(actions))
        assert np.array_equal(one.observations, two.observations)
