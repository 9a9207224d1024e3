"""What env_speed.py compares: each contender, and the worker process that measures it.

env_speed.py starts this file once for each number of threads and for each interpreter, so that
every contender is pinned to the same processor cores before its libraries start, and so that
the JAX peers may live in another virtual environment, which needs nothing of this project. Then
it speaks to it in JSON lines: a request a line on standard input, an answer a line back.

    {"do": "prepare", "contender": "xland", "level": "Empty-8x8", "worlds": 64, ...}
        -> {"version": "0.9.3"}, or {"missing": "what cannot be imported"}
    {"do": "measure", "contender": "xland", "seconds": 0.5}  -> {"rate": 812345.6}
    {"do": "forget"}                                         -> {}
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLOCK = 64  # steps between two draws of random actions, and between two looks at the clock
ACTIONS = 7
VIEW = 7
TILE = 8  # pixels a side of a tile of the frames
LAYOUTS = 512  # the pool that our resets draw from
MINIGRID_WORLDS = 16  # more of them cost the same a step, and only take longer to make
PARALLEL_COPY = 1024  # with fewer worlds a second thread costs the copy more than it brings
OPTIONAL = ("jax", "xminigrid", "navix", "Engine.frames")  # skipped where not there
MAX_STEPS = {"Empty-8x8": 256, "DoorKey-8x8": 640}  # MiniGrid's; Navix would take 100


@dataclass(frozen=True)
class ContenderSetting:
    """What a contender is asked for. ``observation`` is ``images`` or ``frames``."""

    level: str
    worlds: int
    threads: int
    observation: str
    seed: int


Block = Callable[[], int]
"""Steps all worlds some times and returns the number of steps: worlds times times."""

CONTENDERS: dict[str, tuple[str, Callable[[ContenderSetting], Block]]] = {}
"""By name: the package whose version counts, and what prepares it."""


def contender(name: str, package: str) -> Callable[[Callable[[ContenderSetting], Block]], Any]:
    """Add a function that prepares a contender to ``CONTENDERS``."""

    def add(prepare: Callable[[ContenderSetting], Block]) -> Callable[[ContenderSetting], Block]:
        CONTENDERS[name] = (package, prepare)
        return prepare

    return add


@contender("parley", "parley")
def parley(setting: ContenderSetting) -> Block:
    """The batched engine: images [worlds, 7, 7, 3] uint8, or frames from them."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    import numpy as np

    from envs.batched import Engine, Pool

    pool = Pool.draw(f"MiniGrid-{setting.level}-v0", LAYOUTS, seed=setting.seed)
    engine = Engine(pool, setting.worlds, seed=setting.seed, view=VIEW, threads=setting.threads)
    engine.reset()
    rng = np.random.default_rng(setting.seed)
    frames = setting.observation == "frames"
    if frames and not hasattr(engine, "frames"):
        raise ModuleNotFoundError("this engine has no frames()", name="Engine.frames")

    def block() -> int:
        for actions in rng.integers(0, ACTIONS, (BLOCK, setting.worlds)):
            engine.step(actions)
            if frames:
                engine.frames(tile_size=TILE)
        return BLOCK * setting.worlds

    return block


@contender("minigrid", "minigrid")
def minigrid(setting: ContenderSetting) -> Block:
    """MiniGrid's worlds one after another in a Python loop, without gymnasium's wrappers."""
    import gymnasium
    import minigrid  # noqa: F401  (registers the levels)
    import numpy as np
    from minigrid.wrappers import RGBImgPartialObsWrapper

    n = min(setting.worlds, MINIGRID_WORLDS)
    worlds: list[Any] = [gymnasium.make(f"MiniGrid-{setting.level}-v0").unwrapped for _ in range(n)]
    if setting.observation == "frames":
        worlds = [RGBImgPartialObsWrapper(world, tile_size=TILE) for world in worlds]
    for i, world in enumerate(worlds):
        world.reset(seed=setting.seed + i)
    rng = np.random.default_rng(setting.seed)

    def block() -> int:
        for actions in rng.integers(0, ACTIONS, (BLOCK, n)):
            for world, action in zip(worlds, actions, strict=True):
                _, _, terminated, truncated, _ = world.step(action)
                if terminated or truncated:
                    world.reset()
        return BLOCK * n

    return block


@contender("copy", "numba")
def copy(setting: ContenderSetting) -> Block:
    """No world at all, only a memory copy of a view for each; no engine can be faster."""
    # Threads that spin while they wait stall for milliseconds on cores shared with others.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import numba
    import numpy as np

    size = VIEW * VIEW * 3
    parallel = setting.threads > 1 and setting.worlds >= PARALLEL_COPY

    @numba.njit(parallel=parallel)
    def views(grids, images):  # type: ignore[no-untyped-def]
        for i in numba.prange(images.shape[0]):
            for k in range(size):
                images[i, k] = grids[i, k]

    rng = np.random.default_rng(setting.seed)
    grids = rng.integers(0, 11, (setting.worlds, size), dtype=np.uint8)
    images = np.zeros_like(grids)

    def block() -> int:
        for _ in range(BLOCK):
            views(grids, images)
        return BLOCK * setting.worlds

    return block


@contender("xland", "xminigrid")
def xland(setting: ContenderSetting) -> Block:
    """XLand-MiniGrid: view [7, 7, 2], which sees through walls; its own layout at each reset."""
    import jax
    import xminigrid
    from xminigrid.wrappers import GymAutoResetWrapper

    env, params = xminigrid.make(f"MiniGrid-{setting.level}", view_size=VIEW)
    env = GymAutoResetWrapper(env)
    first = jax.jit(jax.vmap(lambda key: env.reset(params, key)))
    step = jax.vmap(lambda timestep, action: env.step(params, timestep, action))
    return _scanned(first, step, env.num_actions(params), setting)


@contender("navix", "navix")
def navix(setting: ContenderSetting) -> Block:
    """Navix: view [7, 7, 3] in MiniGrid's encoding, which sees through walls."""
    import jax
    import navix
    from navix import observations

    env = navix.make(
        f"Navix-{setting.level}-v0",
        max_steps=MAX_STEPS[setting.level],
        observation_fn=observations.symbolic_first_person,
    )
    first = jax.jit(jax.vmap(env.reset))
    return _scanned(first, jax.vmap(env.step), len(env.action_set), setting)


def _scanned(first: Callable, step: Callable, n_actions: int, setting: ContenderSetting) -> Block:
    """Many steps in one compiled scan, with random actions drawn inside.

    The whole timestep, with its observation, is what the scan carries. So each step must write
    its observation to memory, over the one before: what our engine does too. (Unrolled scans
    were tried: they compile for a minute and then run slower.)
    """
    import jax

    if setting.observation != "images":
        raise NotImplementedError("the JAX peers are measured with images only")
    n = setting.worlds
    steps = max(16, min(1024, 131072 // n))

    def body(timestep: Any, key: Any) -> tuple[Any, Any]:
        timestep = step(timestep, jax.random.randint(key, (n,), 0, n_actions))
        return timestep, timestep.reward.sum()

    @jax.jit
    def run(timestep: Any, key: Any) -> tuple[Any, Any, Any]:
        key, now = jax.random.split(key)
        timestep, rewards = jax.lax.scan(body, timestep, jax.random.split(now, steps))
        return timestep, key, rewards.sum()

    key, now = jax.random.split(jax.random.key(setting.seed))
    state = [first(jax.random.split(now, n)), key]

    def block() -> int:
        timestep, key, rewards = jax.block_until_ready(run(*state))
        assert timestep.observation.shape[:3] == (n, VIEW, VIEW) and rewards >= 0
        state[:] = timestep, key
        return n * steps

    block()  # the first result has other types than what reset made: two compilations
    return block


def measure(block: Block, seconds: float) -> float:
    """World steps a second, over whole blocks for at least ``seconds``."""
    steps = 0
    start = time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        steps += block()
    return steps / passed


def pin(threads: int) -> None:
    """Keep this process, and all threads that it will start, on that many cores."""
    if hasattr(os, "sched_setaffinity"):  # Linux
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    os.environ["NUMBA_NUM_THREADS"] = str(threads)
    os.environ["JAX_PLATFORMS"] = "cpu"
    if threads == 1:
        os.environ["XLA_FLAGS"] = (
            "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        )


def serve(threads: int) -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not come between the answers
    ready: dict[str, Block] = {}
    for line in sys.stdin:
        request = json.loads(line)
        do = request.pop("do")
        answer: dict[str, Any] = {}
        if do == "prepare":
            name = request.pop("contender")
            package, prepare = CONTENDERS[name]
            try:
                ready[name] = prepare(ContenderSetting(threads=threads, **request))
                ready[name]()  # compiles and warms up
                answer = {"version": _version(package)}
            except ModuleNotFoundError as error:
                if error.name not in OPTIONAL:
                    raise
                answer = {"missing": error.name}
        elif do == "measure":
            answer = {"rate": measure(ready[request["contender"]], request["seconds"])}
        else:
            ready.clear()
        print(json.dumps(answer), file=answers, flush=True)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # run from the source tree
        return "source"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Worker of env_speed.py; not for use by hand.")
    parser.add_argument("--threads", type=int, required=True)
    count = parser.parse_args().threads
    pin(count)
    serve(count)
