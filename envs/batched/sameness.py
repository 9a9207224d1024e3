"""The proof that the engine is MiniGrid: both play the same episodes, and must not differ."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from minigrid.core.constants import DIR_TO_VEC
from minigrid.core.world_object import Door, WorldObj
from minigrid.envs.babyai.core.roomgrid_level import RoomGridLevel
from minigrid.minigrid_env import MiniGridEnv

from envs.batched.cells import CODE_MASK, COLOUR_SHIFT, STATE_SHIFT
from envs.batched.engine import N_ACTIONS, Engine
from envs.batched.layouts import check_rules, layout_of, reset_quietly
from envs.batched.rebuild import rebuild
from envs.batched.rooms import Rooms
from envs.batched.sentences import events_of
from envs.errors import BadInput, whole_number
from envs.events import EventWatch
from envs.making import make_envs

# Our own levels with other settings, in addition to all registered levels.
VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Parley/SecretConditional-v0", {"show_marks": True, "n_items": 10, "room_size": 6}),
    ("Parley/SecretConditional-v0", {"items": "held-out", "room_size": 16}),
    ("Parley/SecretSearch-v0", {"show_marks": True, "distractors": 3, "n_items": 5}),
    (
        "Parley/SecretConditional-v0",
        {
            "phrasings": ("normally", "unless"),
            "words": ("wug", "safe"),
            "asked": ("third", "first"),
        },
    ),
    ("Parley/SecretSearch-v0", {"phrasings": ("others", "which"), "words": ("hot", "lucky")}),
    ("Parley/SecretComposition-v0", {"kinds": ("order",), "n_items": 5, "room_size": 6}),
    ("Parley/VisualConditional-v0", {"conditions": ("wall",), "n_items": 6}),
    ("Parley/VisualConditional-v0", {"conditions": ("corner",)}),
    ("Parley/VisualConditional-v0", {"conditions": ("floor",), "n_items": 8}),
    ("Parley/VisualConditional-v0", {"conditions": ("mark",)}),
    ("Parley/Command-v0", {"verbs": ("go to", "examine", "pick up"), "max_steps": 60}),
    *(
        ("Parley/Instruction-v0", {"instruction": text, "n_items": 5})
        for text in (
            "Go to the red cross.",
            "Examine the blue ring.",
            "Put the red circle next to the green square.",
            "If the red cross is on a green floor, pick up the blue tee, otherwise pick up the "
            "grey ex.",
            "Exactly one of the red cross, the blue ring and the solid tee is good. Pick up the "
            "good one.",
            "Do whatever you like with the red ring.",
        )
    ),
    ("Parley/BabyAIMixedLocal-v0", {"distractors": 0, "kinds": ("open", "put next to")}),
)
# The engine's own rooms, which are rebuilt as MiniGrid worlds.
ROOMS: dict[str, Rooms] = {
    "Rooms conditional": Rooms("conditional", n_items=(3, 6, 10), room_sizes=(6, 8, 16)),
    "Rooms conditional, marks": Rooms("conditional", items="all", show_marks=True),
    "Rooms search": Rooms(
        "search", n_items=(2, 5), room_sizes=(6, 8), distractors=3, show_marks=True
    ),
    "Rooms visual-conditional": Rooms("visual-conditional", n_items=(3, 7), room_sizes=(6, 9)),
    "Rooms command": Rooms(
        "command",
        items="held-out",
        n_items=(3, 4),
        room_sizes=(6, 8),
        verbs=("go to", "examine", "pick up"),
    ),
}
GRID_EVERY = 10  # steps, between comparisons of the whole grid


@dataclass(frozen=True)
class Comparison:
    """The result of playing a level on both sides.

    Attributes:
        level: The level's id.
        view: Cells a side of a view.
        seed: The seed.
        steps: Steps played.
        episodes: Episodes begun.
        successes: Episodes that ended in success.
        failures: Episodes that ended in failure.
        cut: Episodes that were only truncated.
        events: The number of events of each kind.
        difference: The first difference, as a sentence, or None.
    """

    level: str
    view: int
    seed: int
    steps: int
    episodes: int
    successes: int
    failures: int
    cut: int
    events: dict[str, int]
    difference: str | None


def compare(level: str, steps: int, seed: int = 0, view: int = 7, **settings: Any) -> Comparison:
    """Play MiniGrid's level and the engine side by side, from the same layouts.

    Compared after every step: the image, direction and mission, the reward, terminated, truncated,
    what is carried, the number of steps, the events, the success according to the level's own step
    or BabyAI's verifier, and every ``GRID_EVERY`` steps the whole grid. A third of the episodes are
    played at random, a third mostly forwards, and in the others a walker looks for things and uses
    them, so that doors, boxes and tasks get done.

    Args:
        level: A registered id or a short name of ``envs.making.TASKS``.
        steps: The number of steps.
        seed: The seed of the layouts and actions.
        view: Cells a side of a view.
        settings: Keyword arguments of the level's constructor.

    Raises:
        BadInput: The level is unknown, or the engine does not support it.
    """
    (env,) = make_envs(level, 1, **settings)
    check_rules(env.unwrapped, level)
    _check(steps, seed, view)
    world = _bare(env)
    world.agent_view_size = view

    def begin(episode: int) -> tuple[gym.Env, Any, Engine]:
        obs = reset_quietly(env, seed + episode, level)
        engine = Engine(layout_of(world, level), 1, view=view, autoreset=False)
        engine.reset()
        return env, obs, engine

    return _play(level, view, seed, steps, begin)


def compare_rooms(rooms: Rooms, steps: int, seed: int = 0, view: int = 7) -> Comparison:
    """Play the engine's own rooms, rebuilt as MiniGrid worlds, and the engine side by side.

    Args:
        rooms: The rooms.
        steps: The number of steps.
        seed: The seed of the rooms and actions.
        view: Cells a side of a view.
    """
    _check(steps, seed, view)
    engine = Engine(rooms, 1, seed=seed, view=view, autoreset=False)

    def begin(episode: int) -> tuple[gym.Env, Any, Engine]:
        engine.reset()
        world = rebuild(engine, 0)
        return world, world.gen_obs(), engine

    return _play(f"rooms of {rooms.family}", view, seed, steps, begin)


def _check(steps: int, seed: int, view: int) -> None:
    whole_number("number of steps", steps, low=1)
    whole_number("seed", seed, low=0)
    whole_number("view size", view, 3, 31)
    if view % 2 == 0:
        raise BadInput(f"view size must be odd, not {view}")


def _bare(env: gym.Env) -> MiniGridEnv:
    world = env.unwrapped
    assert isinstance(world, MiniGridEnv)
    return world


def _play(
    level: str,
    view: int,
    seed: int,
    steps: int,
    begin: Callable[[int], tuple[gym.Env, Any, Engine]],
) -> Comparison:
    rng = np.random.default_rng(seed)
    ends: Counter[str] = Counter()
    events: Counter[str] = Counter()
    episodes, taken, difference = 0, 0, None
    over = True
    while taken < steps and difference is None:
        if over:
            env, obs, engine = begin(episodes)
            episodes += 1
            world, verdicts = _bare(env), _listen(_bare(env))
            choose = _policy(rng, world)
            where = f"{level}, view {view}, seed {seed}, episode {episodes - 1}"
            difference = _first(_seen(obs, engine), f"{where}, at its start")
            over = False
            continue
        action, watch = choose(), EventWatch(world)
        verdicts.clear()
        obs, reward, terminated, truncated, info = env.step(action)
        engine.step(np.array([action]))
        true_events = info["events"] if "events" in info else watch.events(world, action)
        success = verdicts[-1] == "success" if verdicts else bool(terminated and float(reward) > 0)
        success = info.get("success", success)
        taken += 1
        over = terminated or truncated
        pairs = _seen(obs, engine)
        pairs |= {
            "reward": (reward, engine.rewards[0]),
            "terminated": (terminated, engine.terminated[0]),
            "truncated": (truncated, engine.truncated[0]),
            "success": (success, engine.success[0]),
            "steps": (world.step_count, engine.steps[0]),
            "carried": (_code(world.carrying), int(engine.state.carried[0]) & CODE_MASK),
            "events": (true_events, events_of(engine.state, engine.layouts, 0)),
        }
        if verdicts:
            pairs["verifier's success"] = (verdicts[-1] == "success", engine.success[0])
        if over or taken % GRID_EVERY == 0:
            grid = engine.grid(0)[: world.width, : world.height]
            pairs["grid"] = (world.grid.encode(), grid)
        step_name = f"{where}, step {world.step_count} ({world.actions(action).name})"
        difference = _first(pairs, step_name)
        events.update(e.kind for e in true_events)
        if over:
            ends["success" if success else "failure" if terminated else "cut"] += 1
    return Comparison(
        level,
        view,
        seed,
        taken,
        episodes,
        ends["success"],
        ends["failure"],
        ends["cut"],
        dict(sorted(events.items())),
        difference,
    )


def _listen(world: MiniGridEnv) -> list[str]:
    """A list that gets the verdict of BabyAI's verifier on each step, if the level has one."""
    verdicts: list[str] = []
    if isinstance(world, RoomGridLevel):
        instruction: Any = world.instrs  # type: ignore[attr-defined]
        verify = instruction.verify

        def listening(action: Any) -> str:
            verdicts.append(verify(action))
            return verdicts[-1]

        instruction.verify = listening
    return verdicts


def _seen(obs: Any, engine: Engine) -> dict[str, tuple[Any, Any]]:
    return {
        "image": (obs["image"], engine.images[0]),
        "direction": (obs["direction"], engine.directions[0]),
        "mission": (obs["mission"], engine.mission(0)),
    }


def _code(thing: WorldObj | None) -> int:
    if thing is None:
        return 0
    kind, colour, state = thing.encode()
    return kind | colour << COLOUR_SHIFT | state << STATE_SHIFT


def _first(pairs: dict[str, tuple[Any, Any]], where: str) -> str | None:
    """The first pair that differs, in one sentence."""
    for name, (theirs, ours) in pairs.items():
        if isinstance(theirs, np.ndarray):
            if theirs.shape == ours.shape and (theirs == ours).all():
                continue
            if theirs.shape != ours.shape:
                return f"{where}: {name} is {theirs.shape} in MiniGrid, {ours.shape} here"
            x, y = np.argwhere((theirs != ours).any(-1))[0]
            there, here = theirs[x, y].tolist(), ours[x, y].tolist()
            return f"{where}: {name} at ({x}, {y}) is {there} in MiniGrid, {here} here"
        theirs, ours = (v.item() if isinstance(v, np.generic) else v for v in (theirs, ours))
        if theirs != ours:
            return f"{where}: {name} is {theirs!r} in MiniGrid, {ours!r} here"
    return None


def _policy(rng: np.random.Generator, world: MiniGridEnv) -> Callable[[], int]:
    kind = rng.integers(3)
    if kind == 0:
        return lambda: int(rng.integers(N_ACTIONS))
    if kind == 1:
        return lambda: int(rng.choice(N_ACTIONS, p=[0.12, 0.12, 0.4, 0.14, 0.07, 0.14, 0.01]))
    return Walker(rng, world)


Cell = tuple[int, int]
_USES = {
    "door": ("toggle", "toggle", "toggle", "done"),
    "box": ("pickup", "pickup", "toggle", "drop", "done"),
    "goal": ("forward",),
    "lava": ("forward",),
    "nothing": ("drop", "drop", "forward", "done"),
}
_USES_OF_OTHERS = ("pickup", "pickup", "toggle", "done", "drop")


class Walker:
    """Walks to things, mostly to those that the mission names, and uses them."""

    def __init__(self, rng: np.random.Generator, world: MiniGridEnv) -> None:
        self._rng = rng
        self._world = world
        self._path: list[Cell] = []
        # Whether it avoids what ends an episode.
        self._careful = rng.random() < 0.7

    def __call__(self) -> int:
        world, rng = self._world, self._rng
        if rng.random() < 0.06:
            return int(rng.integers(N_ACTIONS))
        here = (int(world.agent_pos[0]), int(world.agent_pos[1]))
        if self._path and self._path[0] == here:
            self._path.pop(0)
        if not self._path or _distance(self._path[0], here) != 1:
            self._path = self._plan(here)
        if not self._path:
            return int(rng.integers(N_ACTIONS))
        x, y = self._path[0]
        front = here[0] + DIR_TO_VEC[world.agent_dir][0], here[1] + DIR_TO_VEC[world.agent_dir][1]
        if front != (x, y):
            right = DIR_TO_VEC[(world.agent_dir + 1) % 4]
            is_right = (here[0] + right[0], here[1] + right[1]) == (x, y)
            return int(world.actions.right if is_right else world.actions.left)
        thing = world.grid.get(x, y)
        if len(self._path) == 1:
            self._path = []
            uses = _USES.get("nothing" if thing is None else thing.type, _USES_OF_OTHERS)
            return int(world.actions[uses[rng.integers(len(uses))]])
        if isinstance(thing, Door) and not thing.is_open:
            return int(world.actions.toggle)
        if thing is not None and not thing.can_overlap():
            self._path = []
            return int(world.actions.pickup)
        return int(world.actions.forward)

    def _plan(self, here: Cell) -> list[Cell]:
        """A path to something to use or to stand beside; empty if there is none."""
        came = self._reach(here)
        targets = self._targets(came)
        if not targets:
            return []
        cell = targets[self._rng.integers(len(targets))]
        path = [cell]
        while came[path[-1]] != here:
            path.append(came[path[-1]])
        return path[::-1]

    def _targets(self, came: dict[Cell, Cell]) -> list[Cell]:
        world, rng = self._world, self._rng
        kinds: dict[str, list[Cell]] = {}
        named: list[Cell] = []
        words = set(world.mission.replace(",", " ").replace(".", " ").split())
        for cell in came:
            thing = world.grid.get(*cell)
            kind = "nothing" if thing is None else thing.type
            if kind in ("wall", "floor") or (kind == "lava" and self._careful):
                continue
            kinds.setdefault(kind, []).append(cell)
            if thing is not None and (kind == "goal" or {kind, thing.color} <= words):
                named.append(cell)
        if named and rng.random() < 0.7:
            if world.carrying is not None and rng.random() < 0.5:
                free = kinds.get("nothing", [])
                near = [c for c in free if any(_distance(c, a) == 1 for a in named)]
                return near or named
            return named
        if not kinds:
            return []
        names = sorted(kinds)
        return kinds[names[rng.integers(len(names))]]

    def _reach(self, here: Cell) -> dict[Cell, Cell]:
        """For each cell that can be faced or entered, the cell before it on the way."""
        world = self._world
        came: dict[Cell, Cell] = {}
        edge = deque([here])
        while edge:
            at = edge.popleft()
            for dx, dy in ((1, 0), (0, 1), (-1, 0), (0, -1)):
                cell = (at[0] + dx, at[1] + dy)
                inside = 0 <= cell[0] < world.width and 0 <= cell[1] < world.height
                if not inside or cell in came or cell == here:
                    continue
                came[cell] = at
                if self._may_enter(world.grid.get(*cell)):
                    edge.append(cell)
        return came

    def _may_enter(self, thing: WorldObj | None) -> bool:
        if isinstance(thing, Door) and thing.is_locked:
            hands = self._world.carrying
            return hands is not None and hands.type == "key" and hands.color == thing.color
        if isinstance(thing, Door):
            return True
        return thing is None or (thing.can_overlap() and thing.type not in ("lava", "goal"))


def _distance(a: Cell, b: Cell) -> int:
    return abs(a[0] - b[0]) + abs(a[1] - b[1])
