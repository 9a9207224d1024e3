"""Behaviours: what agents do while they are filmed, well, badly and otherwise.

A behaviour is a list of phases that are drawn for one world; in each phase somebody carries out a
command, or does something of his own. ``film`` plays them in all worlds together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from minigrid.core.actions import Actions

from agents.actor.learned import WEIGHTS, LearnedActor, load_network
from agents.actor.network import ActorNetwork
from agents.actor.scripted import ScriptedActor
from agents.actor.stepping import StepActor
from envs.attributes import Attribute
from envs.batched.cameras import StateTrajectory
from envs.batched.cells import EMPTY, FLOOR
from envs.batched.kernels import step_x, step_y
from envs.batched.worlds import BatchedWorlds, thing_of
from envs.commands import Command
from envs.items import Item
from envs.room import one_of
from envs.worlds import Worlds
from rewards.success_vqa.questions import ClipGroundTruth, ItemEvent

LONG = 48  # steps that are enough for any command in rooms as large as ours


@dataclass(frozen=True)
class BehaviourPhase:
    """Who does what, for at most how many steps. ``who`` is of ``WHO``; those who take no commands
    get one all the same."""

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
    """Puts down what it holds in the first free place that it turns to."""

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
    """The scripted Actor, but some of its steps are taken at random; then it finds a new way."""

    def __init__(self, seed: int, p: float = 0.35) -> None:
        super().__init__()
        self.rng = np.random.default_rng([seed, 9])
        self.p = p
        self._told: Sequence[Command | None] = ()

    def start(self, worlds: Worlds, commands: Sequence[Command | None]) -> None:
        super().start(worlds, commands)
        self._told = commands

    def act(self, worlds: Worlds, active: np.ndarray) -> np.ndarray:
        actions = np.full(len(worlds), int(Actions.done))
        for i in map(int, np.flatnonzero(active)):
            command = self._told[i]
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
    """Another item of the room, likely the one whose name is most like."""
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


def _deed(items: Sequence[Item], rng: np.random.Generator) -> Command:
    return Command(_verb(rng), one_of(rng, items))


def _up_and_down(who: str, pick_up: Command) -> list[BehaviourPhase]:
    return [BehaviourPhase(who, pick_up), BehaviourPhase("dropping", pick_up, 6)]


@_behaviour("learned", TRAINING)
def _learned(items: Sequence[Item], rng: np.random.Generator) -> list[BehaviourPhase]:
    return [BehaviourPhase("learned", _deed(items, rng))]


@_behaviour("scripted", TRAINING)
def _scripted(items: Sequence[Item], rng: np.random.Generator) -> list[BehaviourPhase]:
    return [BehaviourPhase("scripted", _deed(items, rng))]


@_behaviour("wandering", TRAINING)
def _wandering(items: Sequence[Item], rng: np.random.Generator) -> list[BehaviourPhase]:
    return [BehaviourPhase("wandering", _deed(items, rng), 8 * int(rng.integers(1, 4)))]


@_behaviour("interrupted", TRAINING)
def _interrupted(items: Sequence[Item], rng: np.random.Generator) -> list[BehaviourPhase]:
    return [BehaviourPhase("scripted", _deed(items, rng), 2 * int(rng.integers(1, 6)))]


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
    wish = _deed(items, rng)
    steps = 2 * int(rng.integers(1, 5))
    other = Command(wish.verb, _lookalike(items, wish.item, rng))
    return [BehaviourPhase("scripted", wish, steps), BehaviourPhase("scripted", other)]


@_behaviour("noisy", OTHER)
def _noisy(items: Sequence[Item], rng: np.random.Generator) -> list[BehaviourPhase]:
    return [BehaviourPhase("noisy", _deed(items, rng))]


@_behaviour("hoarding", OTHER)
def _hoarding(items: Sequence[Item], rng: np.random.Generator) -> list[BehaviourPhase]:
    a, b = (Command("pick up", items[k]) for k in rng.choice(len(items), 2, replace=False))
    return [*_up_and_down("scripted", a), BehaviourPhase("noisy", b)]


@_behaviour("circling", OTHER)
def _circling(items: Sequence[Item], rng: np.random.Generator) -> list[BehaviourPhase]:
    deed = _deed(items, rng)
    near = Command("go to", deed.item)
    return [
        BehaviourPhase("scripted", near),
        BehaviourPhase("wandering", near, 4),
        BehaviourPhase("scripted", deed),
    ]


@dataclass
class FilmedRollout:
    """What was filmed of one world.

    ``take`` has one moment more than there were steps; ``events`` are (step, event) of what was
    examined and picked up, ``faced`` and ``held`` what was before the agent and in its hands
    at each moment, ``attributes`` as in `ClipGroundTruth`, ``actions`` what was done.
    """

    seed: int
    items: tuple[Item, ...]
    phases: tuple[BehaviourPhase, ...]
    take: StateTrajectory
    events: tuple[tuple[int, ItemEvent], ...]
    marks: Mapping[Item, str]
    faced: tuple[Item | None, ...]
    held: tuple[Item | None, ...]
    attributes: Mapping[Item, frozenset[Attribute]]
    actions: tuple[int, ...]

    def between(self, start: int, end: int) -> ClipGroundTruth:
        """What happened in a clip that shows steps ``start`` to ``end``, both included."""
        events = tuple((step, event) for step, event in self.events if start < step <= end)
        return ClipGroundTruth(events, self.faced[end], self.held[end], self.attributes, end)


@cache
def _network() -> ActorNetwork:
    return load_network(WEIGHTS)


@dataclass
class _Film:
    """Takes down all worlds, step by step."""

    shots: list[tuple[StateTrajectory, np.ndarray]] = field(default_factory=list)
    at: list[list[int]] = field(default_factory=list)
    deeds: list[list[tuple[int, ItemEvent]]] = field(default_factory=list)

    def begin(self, worlds: BatchedWorlds) -> None:
        self.at = [[] for _ in range(len(worlds))]
        self.deeds = [[] for _ in range(len(worlds))]
        self._shoot(worlds, range(len(worlds)))

    def on_step(self, worlds: Worlds) -> None:
        assert isinstance(worlds, BatchedWorlds)
        moved = [i for i, at in enumerate(self.at) if worlds.steps[i] >= len(at)]
        for i in moved:
            for event in worlds.events[i]:
                if event.kind in ("examined", "picked up"):
                    verb = {"examined": "examine", "picked up": "pick up"}[event.kind]
                    self.deeds[i].append((len(self.at[i]), ItemEvent(verb, event.item)))
        self._shoot(worlds, moved)

    def _shoot(self, worlds: BatchedWorlds, moved: Sequence[int]) -> None:
        for i in moved:
            self.at[i].append(len(self.shots))
        self.shots.append(worlds.take(np.arange(len(worlds))))

    def take(self, i: int) -> tuple[StateTrajectory, list[int]]:
        shots = [self.shots[k] for k in self.at[i]]
        take = StateTrajectory(
            np.stack([t.images[i] for t, _ in shots]),
            np.stack([t.cells[i] for t, _ in shots]),
            np.stack([t.poses[i] for t, _ in shots]),
        )
        return take, [int(hands[i]) for _, hands in shots]


def film(worlds: BatchedWorlds, seeds: Sequence[int], plans: Sequence[Draw]) -> list[FilmedRollout]:
    """Play one behaviour in each world, all of them together, and film them.

    World i is reset with ``seeds[i]``, from which all that is random in it comes; its phases are
    drawn by ``plans[i]`` from the items that can be reached.
    """
    items, attributes, marks, phases = [], [], [], []
    for i, seed in enumerate(seeds):
        worlds.reset(i, seed)
        world = worlds.world(i)
        there = tuple(t.item for t in world.things if t.item in world.reachable)  # type: ignore[attr-defined]
        drawn = plans[i](there, np.random.default_rng([seed, 3]))
        items.append(tuple(t.item for t in world.things))  # type: ignore[attr-defined]
        marks.append({t.item: t.hidden_mark for t in world.things})  # type: ignore[attr-defined]
        attributes.append(world.attributes())  # type: ignore[attr-defined]
        phases.append(tuple(drawn))
    actors: dict[str, StepActor] = {
        "scripted": ScriptedActor(),
        "learned": LearnedActor(_network()),
        "wandering": Wandering(seeds[0]),
        "dropping": Dropping(seeds[0]),
        "noisy": Noisy(seeds[0]),
    }
    for actor in actors.values():
        actor.begin(worlds)
    tape = _Film()
    tape.begin(worlds)
    for k in range(max(map(len, phases))):
        groups: dict[tuple[str, int], list[int]] = {}
        for i, todo in enumerate(phases):
            if k < len(todo):
                groups.setdefault((todo[k].who, todo[k].steps), []).append(i)
        for (who, steps), which in sorted(groups.items()):
            told: list[Command | None] = [None] * len(worlds)
            for i in which:
                told[i] = phases[i][k].command
            actors[who].execute(worlds, told, steps, tape.on_step)
    reels = []
    for i, seed in enumerate(seeds):
        take, hands = tape.take(i)
        facing = tuple(_before(take, t) for t in range(len(take)))
        carried = tuple(thing_of(c) for c in hands)
        reels.append(
            FilmedRollout(
                seed,
                items[i],
                phases[i],
                take,
                tuple(tape.deeds[i]),
                marks[i],
                facing,
                carried,
                attributes[i],
                tuple(worlds.actions(i)),
            )
        )
    return reels


def _before(take: StateTrajectory, t: int) -> Item | None:
    x, y, direction = map(int, take.poses[t])
    return thing_of(int(take.cells[t, y + step_y(direction), x + step_x(direction)]))
