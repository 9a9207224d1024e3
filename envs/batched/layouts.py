"""Layouts: MiniGrid worlds after reset, as arrays; pools of them; files of pools."""

from __future__ import annotations

import contextlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import gymnasium as gym
import minigrid
import numpy as np
from minigrid.core import world_object
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX
from minigrid.core.world_object import Box, WorldObj
from minigrid.envs.babyai.core import verifier
from minigrid.minigrid_env import MiniGridEnv

from envs.batched.cells import (
    BALL,
    BOX,
    COLOUR_SHIFT,
    DOOR,
    EMPTY,
    FIRST_ITEM,
    FLOOR,
    GOAL,
    ID_SHIFT,
    KEY,
    LAVA,
    MAX_THINGS,
    WALL,
    WALL_CELL,
    pack_object,
)
from envs.batched.kernels import LayoutArrays
from envs.batched.rooms import FACTS
from envs.batched.rules import (
    COMMAND,
    COMMAND_ALONE,
    FETCH,
    GO_TO,
    GO_TO_TARGET,
    IN_ORDER,
    INSTRUCTION,
    MEMORY,
    N_RULES,
    NO_PART,
    OPEN_DOOR,
    PICK_TARGET,
    PICK_UP,
    PLAIN,
    PUT_NEAR,
    PUT_NEXT,
    RED_BLUE_DOORS,
    RIGHT_ITEM,
    UNLOCK,
)
from envs.batched.words import ITEM_WORDS, WORDS_A_COMMAND, encode_command
from envs.command import CommandTask
from envs.commands import VERBS, Command
from envs.composition import SecretComposition
from envs.conditional import ConditionalEnv, SecretConditional
from envs.errors import BadInput, whole_number
from envs.instruction import Instruction
from envs.items import ANY_SHAPE, COLOURS, SHAPES, Item
from envs.making import make_envs
from envs.objects import ItemObject
from envs.playground import Playground
from envs.room import RoomEnv
from envs.search import SecretSearch

VERSION = 1  # of pool files
_PLAIN_THINGS = ("wall", "floor", "lava", "goal")
_SUPPORTED_OBJECTS = (
    *(getattr(world_object, n) for n in ("Wall", "Floor", "Lava", "Goal", "Door", "Key", "Ball")),
    Box,
    ItemObject,
)


# The valid contents of the arrays of a pool file.
_CELLS = ("cells", "carried", "inside")
_THINGS = (KEY, BALL, BOX, *range(FIRST_ITEM, FIRST_ITEM + len(SHAPES)))
_KINDS = (EMPTY, WALL, FLOOR, DOOR, GOAL, LAVA, *_THINGS)
_N_WORDS = (len(VERBS), *(1 + len(words) for words in ITEM_WORDS * 2))


# The type and the shape of each array for one layout; H and W are the pool's.
FIELDS: dict[str, tuple[Any, tuple[int | str, ...]]] = {
    "cells": (np.uint32, ("H", "W")),
    "pose": (np.int32, (3,)),
    "carried": (np.uint32, ()),
    "max_steps": (np.int32, ()),
    "see_through": (np.bool_, ()),
    "rule": (np.uint8, ()),
    "target": (np.int32, (4,)),
    "inside": (np.uint32, (MAX_THINGS + 1,)),
    "places": (np.int32, (MAX_THINGS + 1,)),
    "parts": (np.uint8, (4, 2)),
    "sets": (np.uint64, (4, 2)),
    "strict_order": (np.bool_, ()),
    "command": (np.uint8, (WORDS_A_COMMAND,)),
    "facts": (np.uint8, (MAX_THINGS + 1,)),
    "weight": (np.float64, ()),
}


def empty_layouts(n: int, height: int, width: int) -> LayoutArrays:
    """Layouts of walls, all equally likely.

    Args:
        n: The number of layouts.
        height: Their cells from north to south.
        width: Their cells from west to east.
    """
    sizes = {"H": height, "W": width}
    arrays = {
        name: np.zeros((n, *(sizes[s] if isinstance(s, str) else s for s in shape)), kind)
        for name, (kind, shape) in FIELDS.items()
    }
    arrays["cells"][:] = WALL_CELL
    arrays["inside"][:] = EMPTY
    arrays["places"][:] = -1
    arrays["weight"][:] = np.arange(1, n + 1) / n
    return LayoutArrays(**arrays)


def copy_layouts(source: LayoutArrays, target: LayoutArrays, first: int) -> None:
    """Copy layouts into others, which may be larger.

    Args:
        source: The layouts to copy.
        target: The layouts to overwrite.
        first: The number of the first one to overwrite.
    """
    height, width = source.cells.shape[1:]
    rows = slice(first, first + len(source.cells))
    for name, mine in target._asdict().items():
        theirs = getattr(source, name)
        if name == "cells":
            mine[rows] = WALL_CELL
            mine[rows, :height, :width] = theirs
        elif name == "places":
            wide = theirs // width * target.cells.shape[2] + theirs % width
            mine[rows] = np.where(theirs >= 0, wide, theirs)
        else:
            mine[rows] = theirs


@dataclass(frozen=True)
class Pool:
    """L layouts of one or several levels, as a source of layouts for ``Engine``.

    Attributes:
        arrays: The layouts.
        missions: Their L task sentences.
        levels: The ids of their L levels.
    """

    arrays: LayoutArrays
    missions: tuple[str, ...]
    levels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.missions)

    @classmethod
    def draw(
        cls,
        level: str,
        n: int,
        seed: int = 0,
        on_progress: Callable[[int], None] = lambda _: None,
        **settings: Any,
    ) -> Pool:
        """Draw layouts with a level's own generator, layout i with the seed ``seed + i``.

        Args:
            level: A registered id or a short name of ``envs.making.TASKS``.
            n: The number of layouts.
            seed: The first seed.
            on_progress: Called with the number of layouts drawn so far.
            settings: Keyword arguments of the level's constructor.

        Raises:
            BadInput: The level is unknown, or has an object or a rule that the engine does not
                support.
        """
        whole_number("number of layouts", n, low=1)
        whole_number("seed", seed, low=0)
        (world,) = make_envs(level, 1, **settings)
        check_rules(world.unwrapped, level)
        worlds = []
        for i in range(n):
            worlds.append(snapshot(world, seed + i, level))
            on_progress(i + 1)
        return cls.join(worlds)

    @classmethod
    def join(cls, pools: Sequence[Pool], weights: Sequence[float] | None = None) -> Pool:
        """Join several pools into one.

        Args:
            pools: The pools.
            weights: How likely each pool is; by default its number of layouts.

        Raises:
            BadInput: There are no pools, or ``weights`` is not one number above 0 for each.
        """
        if not pools:
            raise BadInput("there are no pools to join")
        if weights is not None:
            if len(weights) != len(pools):
                raise BadInput(f"there are {len(weights)} weights for {len(pools)} pools")
            for weight in weights:
                if not (isinstance(weight, Real) and 0 < weight < np.inf):
                    raise BadInput(f"a pool's weight must be a number above 0, not {weight!r}")
        height = max(p.arrays.cells.shape[1] for p in pools)
        width = max(p.arrays.cells.shape[2] for p in pools)
        arrays = empty_layouts(sum(map(len, pools)), height, width)
        chances = np.concatenate(
            [
                np.diff(p.arrays.weight, prepend=0.0) * (len(p) if weights is None else weights[k])
                for k, p in enumerate(pools)
            ]
        )
        first = 0
        for pool in pools:
            copy_layouts(pool.arrays, arrays, first)
            first += len(pool)
        arrays.weight[:] = np.cumsum(chances) / chances.sum()
        return cls(
            arrays,
            tuple(m for p in pools for m in p.missions),
            tuple(n for p in pools for n in p.levels),
        )

    def as_commands(self) -> Pool:
        """The layouts whose mission is one command, as command tasks.

        The mission becomes the command; the episode succeeds when the agent says ``done`` after it
        has been carried out.

        Raises:
            BadInput: No mission is a single command.
        """
        arrays = self.arrays
        keep = (arrays.parts[:, 0, 0] != NO_PART) & (arrays.parts[:, 1:, 0] == NO_PART).all(1)
        if not keep.any():
            raise BadInput("no mission of this pool is a single command")
        kept = LayoutArrays(**{k: v[keep].copy() for k, v in arrays._asdict().items()})
        kept.rule[:] = COMMAND
        kept.parts[:] = 0
        picks = np.isin(kept.command[:, 0], (VERBS.index("pick up"), VERBS.index("put")))
        kept.sets[:, 1] = 0
        kept.sets[:, 1, 0] = np.where(picks, kept.sets[:, 0, 0], 0)
        chances = np.diff(arrays.weight, prepend=0.0)[keep]
        kept.weight[:] = np.cumsum(chances) / chances.sum()
        rows = np.flatnonzero(keep)
        return Pool(
            kept,
            tuple(self.missions[i] for i in rows),
            tuple(self.levels[i] for i in rows),
        )

    def save(self, file: str | Path) -> None:
        """Write the pool to ``file`` (NumPy's ``.npz``, compressed, nothing pickled).

        Raises:
            BadInput: It cannot be written; an existing file is then left as it was.
        """
        file = Path(file)
        head = {
            "version": VERSION,
            "minigrid": minigrid.__version__,
            "missions": self.missions,
            "levels": self.levels,
        }
        text = np.frombuffer(json.dumps(head).encode(), np.uint8)
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            with open(temporary, "wb") as out:
                np.savez_compressed(out, head=text, **self.arrays._asdict())
            os.replace(temporary, file)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            why = error.strerror or error
            raise BadInput(f"cannot write pool file '{file}': {why}") from error

    @classmethod
    def load(cls, file: str | Path) -> Pool:
        """Read a pool.

        Raises:
            BadInput: The file is no pool, is cut short, or has another version.
        """
        try:
            with np.load(file, allow_pickle=False) as archive:
                head = json.loads(archive["head"].tobytes())
                if not isinstance(head, dict) or head.get("version") != VERSION:
                    version = head.get("version") if isinstance(head, dict) else None
                    raise BadInput(
                        f"pool file '{file}' is of version {version}, this is {VERSION}; "
                        "draw it anew"
                    )
                arrays = {name: archive[name] for name in FIELDS}
            missions, levels = tuple(map(str, head["missions"])), tuple(map(str, head["levels"]))
        except BadInput:
            raise
        except FileNotFoundError as error:
            raise BadInput(f"there is no pool file '{file}'") from error
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise BadInput(f"'{file}' is no pool file, or was cut short: {error}") from error
        except Exception as error:  # zlib and zipfile raise more than they say
            raise BadInput(f"pool file '{file}' cannot be read: {error}") from error
        _check_arrays(arrays, len(missions), file)
        arrays = {name: np.ascontiguousarray(a) for name, a in arrays.items()}
        if len(levels) != len(missions):
            raise BadInput(f"pool file '{file}' names {len(levels)} levels, {len(missions)} tasks")
        return cls(LayoutArrays(**arrays), missions, levels)


def _check_arrays(arrays: dict[str, np.ndarray], n: int, file: str | Path) -> None:
    """Raise BadInput for arrays that would lead the kernels out of bounds."""
    cells = arrays["cells"]
    if cells.ndim != 3 or n < 1:
        raise BadInput(f"pool file '{file}' holds no layouts")
    sizes = {"H": cells.shape[1], "W": cells.shape[2]}
    for name, (kind, shape) in FIELDS.items():
        want = (n, *(sizes[s] if isinstance(s, str) else s for s in shape))
        if arrays[name].shape != want or arrays[name].dtype != kind:
            raise BadInput(
                f"pool file '{file}': '{name}' is {arrays[name].dtype} {arrays[name].shape}, "
                f"not {np.dtype(kind)} {want}"
            )
    width, height = sizes["W"], sizes["H"]
    pose, places, weight = arrays["pose"], arrays["places"], arrays["weight"]
    kinds = {k: arrays[k] & 31 for k in _CELLS}
    numbers = {k: (arrays[k] >> ID_SHIFT) & 255 for k in _CELLS}
    held = np.arange(n), numbers["carried"]
    nothing = arrays["carried"] == 0
    good = (
        (pose >= 0).all()
        and (pose < (width, height, 4)).all()
        and all(np.isin(kinds[k], _KINDS).all() for k in ("cells", "inside"))
        and (nothing | np.isin(kinds["carried"], _THINGS)).all()
        and all(((arrays[k] >> COLOUR_SHIFT & 7) < len(COLOURS)).all() for k in _CELLS)
        and all((numbers[k] <= MAX_THINGS).all() for k in _CELLS)
        and (places >= -1).all()
        and (places < width * height).all()
        and (arrays["max_steps"] > 0).all()
        and (arrays["rule"] < N_RULES).all()
        and (arrays["parts"][..., 0] <= PUT_NEXT).all()
        and (arrays["facts"] < len(FACTS)).all()
        and (arrays["command"] < _N_WORDS).all()
        and (weight[0] >= 0 and (np.diff(weight) >= 0).all() and abs(weight[-1] - 1) < 1e-6)
        # A carried thing has a number, and a place at which the first view shows it.
        and (nothing | ((numbers["carried"] > 0) & (places[held] >= 0))).all()
    )
    if good:
        doors = arrays["target"][np.isin(arrays["rule"], (UNLOCK, RED_BLUE_DOORS))]
        good = bool(((doors >= 0) & (doors < (width, height, width, height))).all())
    if not good:
        raise BadInput(f"pool file '{file}' holds numbers that no layout has")


def snapshot(env: gym.Env, seed: int, level: str) -> Pool:
    """Reset a world and return its layout, as a pool of one.

    Args:
        env: The environment.
        seed: The seed of the reset.
        level: The level's id.

    Raises:
        BadInput: The world has an object that the engine does not support.
    """
    reset_quietly(env, seed, level)
    world = env.unwrapped
    assert isinstance(world, MiniGridEnv)
    return layout_of(world, level)


def reset_quietly(env: gym.Env, seed: int, level: str) -> Any:
    """Reset a world without printing, and return its first observation.

    Args:
        env: The environment.
        seed: The seed of the reset.
        level: The level's id, for messages.

    Raises:
        BadInput: The level lacks a file that it needs.
    """
    # BabyAI's level generator prints every layout that it rejects.
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return env.reset(seed=seed)[0]
    except OSError as error:
        raise BadInput(f"level '{level}' cannot make a world: {error}") from error


def layout_of(world: MiniGridEnv, level: str) -> Pool:
    """The layout of a world at the start of an episode, as a pool of one.

    Raises:
        BadInput: The world has an object that the engine does not support.
    """
    arrays = empty_layouts(1, world.height, world.width)
    number: dict[int, int] = {}  # of each thing, by its identity

    def enter(thing: WorldObj | None) -> int:
        if thing is None:
            return EMPTY
        if type(thing) not in _SUPPORTED_OBJECTS:
            raise BadInput(
                f"level '{level}' has a {type(thing).__name__}, an object that the engine does "
                "not have"
            )
        if thing.type in _PLAIN_THINGS:
            return pack_object(thing)
        if id(thing) not in number:
            number[id(thing)] = len(number) + 1
            if len(number) > MAX_THINGS:
                raise BadInput(f"level '{level}' has more than {MAX_THINGS} things in one world")
            if isinstance(thing, Box):
                arrays.inside[0, number[id(thing)]] = enter(thing.contains)
            if isinstance(thing, ItemObject):
                if thing.revealed not in FACTS:
                    raise BadInput(f"level '{level}' has a fact of its own: '{thing.fact}'")
                arrays.facts[0, number[id(thing)]] = FACTS.index(thing.revealed)
        return pack_object(thing, number[id(thing)])

    for y in range(world.height):
        for x in range(world.width):
            thing = world.grid.get(x, y)
            cell = arrays.cells[0, y, x] = enter(thing)
            if cell >> ID_SHIFT:
                arrays.places[0, (cell >> ID_SHIFT) & 255] = y * world.width + x
    if world.carrying is not None:
        cell = arrays.carried[0] = enter(world.carrying)
        x, y = map(int, world.carrying.init_pos)
        arrays.places[0, (cell >> ID_SHIFT) & 255] = y * world.width + x
    arrays.pose[0] = (*map(int, world.agent_pos), int(world.agent_dir))
    arrays.max_steps[0] = world.max_steps
    arrays.see_through[0] = world.see_through_walls
    _fill_rule(arrays, world, level, number)
    return Pool(arrays, (world.mission,), (level,))


# The classes whose own ``step`` the engine implements, and the rule that does it.
_RULES: dict[str, int] = {
    "MiniGridEnv": PLAIN,
    "RoomGridLevel": INSTRUCTION,
    "BabyAIMixedLocal": INSTRUCTION,
    "RoomEnv": RIGHT_ITEM,
    "UnlockEnv": UNLOCK,
    "RedBlueDoorEnv": RED_BLUE_DOORS,
    "PutNearEnv": PUT_NEAR,
    "GoToObjectEnv": GO_TO_TARGET,
    "GoToDoorEnv": GO_TO_TARGET,
    "MemoryEnv": MEMORY,
    "FetchEnv": FETCH,
    "UnlockPickupEnv": PICK_TARGET,
    "BlockedUnlockPickupEnv": PICK_TARGET,
    "KeyCorridorEnv": PICK_TARGET,
    "ObstructedMazeEnv": PICK_TARGET,
}
_DYNAMICS = (
    "step",
    "reset",
    "_reward",
    "gen_obs",
    "gen_obs_grid",
    "get_view_exts",
    "place_agent_in_front",
)
# Methods that affect only how a world begins.
_MAKERS = (
    *("__init__", "_gen_grid", "_gen_mission", "gen_mission"),
    *("_draw_task", "_place_rule", "_needed", "oracle"),
)
_OWN_RESET = ("RoomGridLevel", "PutNext", "RoomEnv", "BabyAIMixedLocal")


def check_rules(world: Any, level: str) -> None:
    """Check that the engine implements the dynamics of a world's class.

    Raises:
        BadInput: It does not; the message names the rule.
    """
    if verifier.use_done_actions:
        raise BadInput("BABYAI_DONE_ACTIONS is set; the engine has BabyAI's usual rules only")
    for cls in type(world).__mro__:
        if cls is MiniGridEnv:
            return
        ours = cls.__module__.startswith(("minigrid.", "envs."))
        for name in _DYNAMICS:
            if name not in vars(cls):
                continue
            supported = ours and (
                (name == "step" and cls.__name__ in _RULES)
                or (name == "reset" and cls.__name__ in _OWN_RESET)
            )
            if not supported:
                raise BadInput(
                    f"level '{level}' has a rule that the engine does not have: "
                    f"{cls.__name__}.{name}"
                )
        own = [] if ours else [n for n, v in vars(cls).items() if callable(v) or _computed(v)]
        for name in own:
            if name not in _MAKERS and any(name in vars(c) for c in cls.__mro__[1:-1]):
                raise BadInput(
                    f"level '{level}' may have a rule that the engine does not have: "
                    f"{cls.__name__}.{name}"
                )


def _computed(value: object) -> bool:
    return isinstance(value, (property, staticmethod, classmethod))


def _fill_rule(arrays: LayoutArrays, world: Any, level: str, numbers: dict[int, int]) -> None:
    """Fill in how episodes of this world are judged: the rule and its parameters."""
    owner = next(c for c in type(world).__mro__ if "step" in vars(c))
    rule = _RULES[owner.__name__]
    target = arrays.target[0]
    if rule == INSTRUCTION:
        _fill_instruction(arrays, world.instrs, level, numbers)
        # Our own level family rewards success with 1, however long it took.
        target[0] = owner.__module__.startswith("envs.")
    elif rule == RIGHT_ITEM:
        rule = _fill_family(arrays, world, numbers)
    elif rule == UNLOCK:
        target[:2] = _where(world, world.door)
    elif rule == RED_BLUE_DOORS:
        target[:] = (*_where(world, world.red_door), *_where(world, world.blue_door))
    elif rule == PUT_NEAR:
        target[:] = (
            OBJECT_TO_IDX[world.move_type],
            COLOR_TO_IDX[world.moveColor],
            *world.target_pos,
        )
    elif rule == GO_TO_TARGET:
        target[:2] = world.target_pos
    elif rule == MEMORY:
        target[:] = (*world.success_pos, *world.failure_pos)
    elif rule == FETCH:
        target[:2] = OBJECT_TO_IDX[world.targetType], COLOR_TO_IDX[world.targetColor]
    elif rule == PICK_TARGET:
        target[0] = numbers[id(world.obj)]
    arrays.rule[0] = rule


def _where(world: MiniGridEnv, thing: WorldObj) -> tuple[int, int]:
    """The cell of a thing. (MiniGrid's own ``cur_pos`` is not always set.)"""
    at = next(k for k, other in enumerate(world.grid.grid) if other is thing)
    return at % world.width, at // world.width


def _mask(things: Any, numbers: dict[int, int]) -> np.uint64:
    """The set of these objects, without those that are not in the world (any more)."""
    return np.uint64(sum(1 << n for n in {numbers.get(id(t), 0) for t in things} if n))


_PART_KINDS = {
    "GoToInstr": (GO_TO, "go to"),
    "PickupInstr": (PICK_UP, "pick up"),
    "OpenInstr": (OPEN_DOOR, "open"),
    "PutNextInstr": (PUT_NEXT, "put"),
}


def _fill_instruction(
    arrays: LayoutArrays, instr: Any, level: str, numbers: dict[int, int]
) -> None:
    kind = type(instr).__name__
    halves = [instr]
    if kind in ("BeforeInstr", "AfterInstr"):
        halves = [instr.instr_a, instr.instr_b]
        halves = halves[::-1] if kind == "AfterInstr" else halves
        arrays.strict_order[0] = instr.strict
    for h, half in enumerate(halves):
        both = type(half).__name__ == "AndInstr"
        for k, part in enumerate([half.instr_a, half.instr_b] if both else [half]):
            name = type(part).__name__
            if name not in _PART_KINDS:
                raise BadInput(f"level '{level}' has an instruction that the engine lacks: {name}")
            p = 2 * h + k
            arrays.parts[0, p] = _PART_KINDS[name][0], getattr(part, "strict", False)
            first = part.desc_move if name == "PutNextInstr" else part.desc
            arrays.sets[0, p, 0] = _mask(first.obj_set, numbers)
            if name == "PutNextInstr":
                arrays.sets[0, p, 1] = _mask(part.desc_fixed.obj_set, numbers)
    if len(halves) == 1 and type(instr).__name__ in _PART_KINDS:
        verb = _PART_KINDS[type(instr).__name__][1]
        if verb == "put":
            command = Command(verb, _item(instr.desc_move), _item(instr.desc_fixed))
        else:
            command = Command(verb, _item(instr.desc))
        arrays.command[0] = encode_command(command)


def _item(desc: Any) -> Item:
    """The item that a BabyAI description means."""
    words = {"place": desc.loc} if desc.loc else {}
    return Item(desc.type or ANY_SHAPE, desc.color, **words)


def _fill_family(arrays: LayoutArrays, world: RoomEnv, numbers: dict[int, int]) -> int:
    """Fill in the parameters of the rule of one of our families, and return the rule."""
    number_of = {t.item: numbers[id(t)] for t in world.things}
    one = np.uint64(1)

    def those(item: Item) -> np.uint64:
        bits = (one << np.uint64(n) for i, n in number_of.items() if item.describes(i))
        return np.bitwise_or.reduce(list(bits), initial=np.uint64(0))

    if isinstance(world, CommandTask) or (isinstance(world, Instruction) and world.watch):
        watch = world.watch
        assert watch is not None
        command = watch.command
        arrays.command[0] = encode_command(command)
        arrays.sets[0, 0, 0] = those(command.item)
        if command.target is not None:
            arrays.sets[0, 0, 1] = those(command.target)
        picks = ("pick up",) if isinstance(world, CommandTask) else ("pick up", "put")
        if command.verb in picks:
            arrays.sets[0, 1, 0] = one << np.uint64(number_of[command.item])
        return COMMAND if isinstance(world, CommandTask) else COMMAND_ALONE
    if isinstance(world, Playground):
        return PLAIN
    right: Item | None = None
    if isinstance(world, SecretSearch):
        right = world.good
    elif isinstance(world, Instruction):
        right = world.right if world.judged else None
    elif isinstance(world, SecretConditional) and world.watches:
        raise BadInput("the engine does not have conditionals with other deeds than 'pick up'")
    elif isinstance(world, ConditionalEnv | SecretComposition):
        right = world.right
    else:
        raise BadInput(f"the engine does not have the rules of {type(world).__name__}")
    if right is not None:
        arrays.sets[0, 1, 0] = one << np.uint64(number_of[right])
    if isinstance(world, SecretComposition) and world.kind == "order":
        for k, item in enumerate(world.deciders):
            arrays.sets[0, 0, k] = one << np.uint64(number_of[item])
        return IN_ORDER
    return RIGHT_ITEM
