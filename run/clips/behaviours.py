"""Behaviours: what agents do in the clips of the success detector, well, badly and otherwise.

A behaviour is a list of phases that is drawn for one world; in each phase some actor carries out a
command or acts on its own. ``record_rollouts`` plays them in all worlds together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from minigrid.core.actions import Actions

from agents.actor.learned import WEIGHTS, LearnedActor, load_network
from agents.actor.network import ActorNetwork
from agents.actor.scripted import ScriptedActor
from agents.actor.stepping import StepActor
from envs.attributes import Attribute
from envs.batched.cells import EMPTY, FLOOR
from envs.batched.kernels import step_x, step_y
from envs.batched.worlds import BatchedWorlds, item_of_encoding, thing_of
from envs.commands import Command
from envs.items import Item
from envs.room import one_of
from envs.trajectory import Trajectory, TrajectoryRecorder
from envs.worlds import Worlds
from rewards.success_vqa.questions import ClipGroundTruth, ItemEvent

LONG = 48  # steps that are enough for any command in rooms as large as ours


@dataclass(frozen=True)
class BehaviourPhase:
    """One actor at work: ``who`` is one of ``WHO``, ``steps`` the most steps it takes.

    Actors that act on their own get a command all the same.
    """

    who: str
    command: Command
    steps: int = LONG


class Wandering(StepActor):
    """Walks about at random, toggling, picking up and dropping what it meets now and then."""

    P = (0.17, 0.17, 0.42, 0.08, 0.06, 0.1)

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 7])

    def act(self, worlds: Worlds, active: np.ndarray) -> np.ndarray:
        return self.rng.choice(6, size=len(worlds), p=self.P)


class Dropping(StepActor):
    """Puts down what it carries on the first free cell that it turns to."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 8])

    def act(self, worlds: Worlds, active: np.ndarray) -> np.ndarray:
        assert isinstance(worlds, BatchedWorlds)
        actions = np.full(len(worlds), int(Actions.done))
        for i in map(int, np.flatnonzero(active)):
            if not worlds.engine.state.carried[i]:
                continue
            turn = int(Actions.left if self.rng.integers(2) else Actions.right)
            actions[i] = int(Actions.drop) if _is_free(worlds, i) else turn
        return actions


class Noisy(ScriptedActor):
    """The scripted Actor, taking a random step with chance ``p`` and then planning anew."""

    def __init__(self, seed: int, p: float = 0.35) -> None:
        super().__init__()
        self.rng = np.random.default_rng([seed, 9])
        self.p = p
        self._commands: Sequence[Command | None] = ()

    def start(self, worlds: Worlds, commands: Sequence[Command | None]) -> None:
        super().start(worlds, commands)
        self._commands = commands

    def act(self, worlds: Worlds, active: np.ndarray) -> np.ndarray:
        actions = np.full(len(worlds), int(Actions.done))
        for i in map(int, np.flatnonzero(active)):
            command = self._commands[i]
            assert command is not None
            if self.rng.random() < self.p:
                actions[i] = self.rng.integers(3)
                self._routes[i] = [] if worlds.done[i] else [-1]
            elif self._routes[i] == [-1]:
                self._routes[i] = [*self._route(worlds, i, command), int(Actions.done)]
            if actions[i] == int(Actions.done) and self._routes[i]:
                actions[i] = self._routes[i].pop(0)
        return actions


WHO = ("scripted", "learned", "wandering", "dropping", "noisy")


def _is_free(worlds: BatchedWorlds, i: int) -> bool:
    """Whether world i's agent can put something down before it."""
    state, pad = worlds.engine.state, worlds.engine.view - 1
    x, y, direction = map(int, state.pose[i])
    front = int(state.cells[i, y + pad + step_y(direction), x + pad + step_x(direction)])
    return thing_of(front) is None and front & 31 in (EMPTY, FLOOR)


def _lookalike(items: Sequence[Item], item: Item, rng: np.random.Generator) -> Item:
    """Another item of the room, most likely the one with the most similar name."""
    others = [i for i in items if i != item]
    order = sorted(others, key=lambda i: (-item.likeness(i), rng.random()))
    return order[0] if rng.random() < 0.8 else one_of(rng, others)


Draw = Callable[[Sequence[Item], np.random.Generator], list[BehaviourPhase]]
TRAINING: dict[str, Draw] = {}
OTHER: dict[str, Draw] = {}


def _behaviour(name: str, table: dict[str, Draw]) -> Callable[[Draw], Draw]:
    def add(draw: Draw) -> Draw:
        table[name] = draw
        return draw

    return add


def _verb(rng: np.random.Generator) -> str:
    return ("go to", "examine", "pick up")[rng.choice(3, p=(0.24, 0.38, 0.38))]


def _draw_command(items: Sequence[Item], rng: np.random.Generator) -> Command:
    return Command(_verb(rng), one_of(rng, items))


def _up_and_down(who: str, pick_up: Command) -> list[BehaviourPhase]:
    return [BehaviourPhase(who, pick_up), BehaviourPhase("dropping", pick_up, 6)]


@_behaviour("learned", TRAINING)
def _learned(items: Sequence[Item], rng: np.random.Generator) -> list[BehaviourPhase]:
    return [BehaviourPhase("learned", _draw_command(items, rng))]


@_behaviour("scripted", TRAINING)
def _scripted(items: Sequence[Item], rng: np.random.Generator) -> list[BehaviourPhase]:
    return [BehaviourPhase("scripted", _draw_command(items, rng))]


@_behaviour("wandering", TRAINING)
def _wandering(items: Sequence[Item], rng: np.random.Generator) -> list[BehaviourPhase]:
    return [BehaviourPhase("wandering", _draw_command(items, rng), 8 * int(rng.integers(1, 4)))]


@_behaviour("interrupted", TRAINING)
def _interrupted(items: Sequence[Item], rng: np.random.Generator) -> list[BehaviourPhase]:
    return [BehaviourPhase("scripted", _draw_command(items, rng), 2 * int(rng.integers(1, 6)))]


@_behaviour("undone", TRAINING)
def _undone(items: Sequence[Item], rng: np.random.Generator) -> list[BehaviourPhase]:
    first = Command("pick up", one_of(rng, items))
    phases = _up_and_down("scripted", first)
    if rng.integers(2):
        phases.append(BehaviourPhase("wandering", first, 4))
    return phases


@_behaviour("moving on", TRAINING)
def _moving_on(items: Sequence[Item], rng: np.random.Generator) -> list[BehaviourPhase]:
    a, b = (items[k] for k in rng.choice(len(items), 2, replace=False))
    first = Command("pick up", a)
    who = ("scripted", "learned")[rng.integers(2)]
    second = Command(("go to", "examine")[rng.integers(2)], b)
    return [*_up_and_down(who, first), BehaviourPhase(who, second)]


@_behaviour("two deeds", TRAINING)
def _two_deeds(items: Sequence[Item], rng: np.random.Generator) -> list[BehaviourPhase]:
    a, b = (items[k] for k in rng.choice(len(items), 2, replace=False))
    who = ("scripted", "learned")[rng.integers(2)]
    first = ("examine", "pick up")[rng.choice(2, p=(0.7, 0.3))]
    second = "examine" if first == "pick up" else ("examine", "pick up")[rng.integers(2)]
    if first == "examine" and second == "pick up" and rng.random() < 0.3:
        b = a
    return [BehaviourPhase(who, Command(first, a)), BehaviourPhase(who, Command(second, b))]


@_behaviour("conditional", TRAINING)
def _conditional(items: Sequence[Item], rng: np.random.Generator) -> list[BehaviourPhase]:
    a, b = (items[k] for k in rng.choice(len(items), 2, replace=False))
    who = ("scripted", "learned")[rng.integers(2)]
    return [BehaviourPhase(who, Command("examine", a)), BehaviourPhase(who, Command("pick up", b))]


@_behaviour("fickle", OTHER)
def _fickle(items: Sequence[Item], rng: np.random.Generator) -> list[BehaviourPhase]:
    first = _draw_command(items, rng)
    steps = 2 * int(rng.integers(1, 5))
    other = Command(first.verb, _lookalike(items, first.item, rng))
    return [BehaviourPhase("scripted", first, steps), BehaviourPhase("scripted", other)]


@_behaviour("noisy", OTHER)
def _noisy(items: Sequence[Item], rng: np.random.Generator) -> list[BehaviourPhase]:
    return [BehaviourPhase("noisy", _draw_command(items, rng))]


@_behaviour("hoarding", OTHER)
def _hoarding(items: Sequence[Item], rng: np.random.Generator) -> list[BehaviourPhase]:
    a, b = (Command("pick up", items[k]) for k in rng.choice(len(items), 2, replace=False))
    return [*_up_and_down("scripted", a), BehaviourPhase("noisy", b)]


@_behaviour("circling", OTHER)
def _circling(items: Sequence[Item], rng: np.random.Generator) -> list[BehaviourPhase]:
    command = _draw_command(items, rng)
    near = Command("go to", command.item)
    return [
        BehaviourPhase("scripted", near),
        BehaviourPhase("wandering", near, 4),
        BehaviourPhase("scripted", command),
    ]


@dataclass(frozen=True)
class RecordedRollout:
    """What one world's agent did, recorded, with the truth about it.

    Attributes:
        seed: the seed of the world.
        items: the items that lie in the world.
        phases: what the agent was to do.
        trajectory: what it did.
        events: (step, event) of each time that an item was examined or picked up; steps count from
            1.
        marks: the mark that examining each item shows.
        faced: what is before the agent at each moment, the start included.
        held: what it carries at each moment.
        attributes: as in `ClipGroundTruth`.
    """

    seed: int
    items: tuple[Item, ...]
    phases: tuple[BehaviourPhase, ...]
    trajectory: Trajectory
    events: tuple[tuple[int, ItemEvent], ...]
    marks: Mapping[Item, str]
    faced: tuple[Item | None, ...]
    held: tuple[Item | None, ...]
    attributes: Mapping[Item, frozenset[Attribute]]

    def between(self, start: int, end: int) -> ClipGroundTruth:
        """What happened in a clip that shows steps ``start`` to ``end``, both included.

        The first frame shows what came of step ``start``, which therefore did not happen in it.
        """
        events = tuple((step, event) for step, event in self.events if start < step <= end)
        return ClipGroundTruth(events, self.faced[end], self.held[end], self.attributes, end)


@cache
def _network() -> ActorNetwork:
    return load_network(WEIGHTS)


def record_rollouts(
    worlds: BatchedWorlds, seeds: Sequence[int], plans: Sequence[Draw]
) -> list[RecordedRollout]:
    """Play one behaviour in each world, all of them together, and record them.

    Args:
        worlds: The worlds.
        seeds: For each world the seed from which everything random in it comes.
        plans: For each world what draws its phases, from the items that can be reached.
    """
    items, attributes, marks, phases = [], [], [], []
    for i, seed in enumerate(seeds):
        worlds.reset(i, seed)
        world = worlds.world(i)
        reachable = tuple(t.item for t in world.things if t.item in world.reachable)  # type: ignore[attr-defined]
        items.append(tuple(t.item for t in world.things))  # type: ignore[attr-defined]
        marks.append({t.item: t.hidden_mark for t in world.things})  # type: ignore[attr-defined]
        attributes.append(world.attributes())  # type: ignore[attr-defined]
        phases.append(tuple(plans[i](reachable, np.random.default_rng([seed, 3]))))
    actors: dict[str, StepActor] = {
        "scripted": ScriptedActor(),
        "learned": LearnedActor(_network()),
        "wandering": Wandering(seeds[0]),
        "dropping": Dropping(seeds[0]),
        "noisy": Noisy(seeds[0]),
    }
    for actor in actors.values():
        actor.begin(worlds)
    recorder = TrajectoryRecorder(with_grids=True)
    recorder.begin(worlds, range(len(worlds)))
    for k in range(max(map(len, phases))):
        groups: dict[tuple[str, int], list[int]] = {}
        for i, phases_of_i in enumerate(phases):
            if k < len(phases_of_i):
                groups.setdefault((phases_of_i[k].who, phases_of_i[k].steps), []).append(i)
        for (who, steps), which in sorted(groups.items()):
            commands: list[Command | None] = [None] * len(worlds)
            for i in which:
                commands[i] = phases[i][k].command
            actors[who].execute(worlds, commands, steps, recorder.on_step)
    rollouts = []
    for i, seed in enumerate(seeds):
        trajectory = recorder.trajectory(i)
        rollouts.append(
            RecordedRollout(
                seed,
                items[i],
                phases[i],
                trajectory,
                tuple(_item_events(trajectory)),
                marks[i],
                tuple(_facing(trajectory, t) for t in range(len(trajectory))),
                tuple(map(item_of_encoding, trajectory.carried)),
                attributes[i],
            )
        )
    return rollouts


_ITEM_VERBS = {"examined": "examine", "picked up": "pick up"}


def _item_events(trajectory: Trajectory) -> Iterator[tuple[int, ItemEvent]]:
    for step, events in enumerate(trajectory.events, 1):
        for event in events:
            if event.kind in _ITEM_VERBS:
                yield step, ItemEvent(_ITEM_VERBS[event.kind], event.item)


def _facing(trajectory: Trajectory, t: int) -> Item | None:
    """What is before the agent at moment t."""
    assert trajectory.grids is not None
    x, y, direction = map(int, trajectory.poses[t])
    return item_of_encoding(trajectory.grids[t, y + step_y(direction), x + step_x(direction)])
