"""How fast the Actor learns from scratch, beside Stable-Baselines3 on MiniGrid's own worlds.

    python benchmarks/actor_training.py
    python benchmarks/actor_training.py --minutes 4 --rounds 3 --contenders ours sb3

One level, BabyAI-GoToLocal-v0, unchanged: the episode ends when the agent has gone there. No
contender starts from trained weights. Contenders, all on the CPU with ``--threads`` threads:

- ours: what ``parley train-actor`` does after its warm start: Stable-Baselines3's PPO over many
  worlds of the batched engine, with the Actor's map memory and its network, but set for learning
  from scratch: one epoch a rollout and a higher learning rate (--epochs 3 --batch 2048
  --learning-rate 1e-3 is nearer to ``parley train-actor``). The layouts are a pool that MiniGrid
  drew; drawing is not in the time and is stated below the table.
- sb3: Stable-Baselines3's PPO as a user starts it: 16 MiniGrid worlds, DummyVecEnv, MlpPolicy,
  128 steps a rollout, all else as the library has it (batches of 64, 10 epochs). It sees what
  MiniGrid gives: the view's 147 codes, the direction, and the mission as a bag of words.
- recurrent: RecurrentPPO of sb3_contrib with an LSTM on worlds like sb3's, since our map memory
  remembers and sb3's observation does not. Without sb3_contrib it is skipped, and the run says so.
- engine: sb3's network, observation and epochs, over as many engine worlds as ours, with 32 steps
  a rollout and batches of 2048: what the engine and its many worlds bring.

Contenders take turns. In a turn, whole rollouts with their updates are made until ``--turn``
seconds are over. Steps a second are the environment steps of a turn by its wall time, with the
median and range over the first ``--rounds`` turns of each; steps a CPU second are beside them, for
machines that do other work as well. Those in ``--race`` then go on until a deterministic policy
succeeds in 95 % of ``--episodes`` layouts of other seeds (the same for all; looked at after each
turn, which is not in the time), or until they have trained for ``--minutes``.

What it does not say: ours is not faster by its engine alone. Its map memory gives the network a map
and the path to each thing; sb3's network has to learn those. ``engine`` and ``recurrent`` separate
the two. Our batch, epochs and learning rate are the choice out of eight tried on this level and
these test layouts; the others are not tuned. Epochs differ too, and cost time: see the column, and
``--epochs`` and ``--baseline-epochs``.

Written to the run folder: table.md, table.csv, curves.csv, plot.png, summary.json. The last line
of standard output is a JSON object with ``steps_ratio`` (ours by sb3's, of the medians) and the
seconds of training to 95 %, null where that was not reached or not tried.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

# Before numpy and torch: as many threads as --threads says, see main.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium as gym
import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table
from stable_baselines3 import PPO
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from agents.actor.learned import choose
from agents.actor.network import ActorNetwork
from agents.actor.ppo import ActorPPOConfig, CommandSB3VecEnv, make_ppo, shared_modules
from agents.actor.rollouts import HORIZON
from agents.actor.vector_env import MultiTaskVectorEnv, measure
from envs.batched import Engine, Pool
from envs.batched.sb3 import EngineVecEnv
from envs.errors import BadInput
from run.display.markdown import markdown_table
from run.storage.folder import RunFolder

LEVEL = "BabyAI-GoToLocal-v0"
TARGET = 0.95
ROLLOUT = 128  # steps a rollout of all but ours
CODES = 147  # numbers of MiniGrid's view of 7x7 cells
FIRST_SEED = 1_000_000_000  # far above the seeds of the layouts that success is measured on
HEAD = (
    "contender",
    "worlds",
    "steps a second",
    "range",
    "n",
    "steps a CPU second",
    "collecting",
    "epochs a rollout",
    "seconds to 95 %",
    "steps to 95 %",
    "best",
)
Name = Literal["ours", "sb3", "recurrent", "engine"]


@dataclass(frozen=True)
class ActorTrainingOptions:
    """What to compare, and how long. The defaults take about 15 minutes."""

    contenders: tuple[Name, ...] = ("ours", "sb3", "recurrent", "engine")
    """The contenders. The ratio needs ours and sb3."""

    race: tuple[Name, ...] = ("ours", "sb3")
    """Those that go on after the rounds until 95 % succeed."""

    minutes: float = 10.0
    """The most that each of the race trains."""

    rounds: int = 5
    """Turns over which steps a second are measured."""

    turn: float = 5.0
    """Least seconds of one turn; the rollout that is going on is finished with its update."""

    worlds: int = 512
    """Worlds of ours and of engine."""

    baseline_worlds: int = 16
    """MiniGrid worlds of sb3 and recurrent."""

    layouts: int = 2000
    """Layouts that ours and engine train on; sb3 draws a new one for each episode."""

    episodes: int = 300
    """Layouts of other seeds that success is measured on."""

    batch: int = 1024
    """Ours: batch of an update. ``parley train-actor`` has 2048 in its PPO."""

    epochs: int = 1
    """Ours: epochs of an update. ``parley train-actor`` has 3 in its PPO."""

    learning_rate: float = 2e-3
    """Ours: 20 times what follows a warm start. The others have the library's 3e-4."""

    baseline_epochs: int = 10
    """Epochs of all others; 10 is the library's own number."""

    baseline_batch: int = 64
    """Batch of sb3 and recurrent; 64 is the library's own number, 256 is faster."""

    threads: int = 2
    """Threads of torch, and of our worlds and map memories; MiniGrid steps its worlds with one."""

    out: Path = Path("runs")
    """Where the run folder is made, as actor-training/TIME-NAME."""

    name: str = "table"
    """What the run folder's name ends in."""

    seed: int = 0
    """Seed of weights, worlds and actions."""


class Words:
    """Missions as bags of words."""

    def __init__(self, missions: tuple[str, ...]) -> None:
        self.places = {w: k for k, w in enumerate(sorted({w for m in missions for w in m.split()}))}

    def __len__(self) -> int:
        return len(self.places)

    def bag(self, mission: str) -> np.ndarray:
        """1 for each known word of the mission, ``[len(self)] float32``."""
        counts = np.zeros(len(self), np.float32)
        counts[[self.places[w] for w in mission.split() if w in self.places]] = 1
        return counts

    def space(self) -> gym.spaces.Box:
        """Of observations: codes, direction, bag."""
        return gym.spaces.Box(0.0, 255.0, (CODES + 4 + len(self),), np.float32)


class Flat(gym.ObservationWrapper):
    """MiniGrid's observation as one vector."""

    def __init__(self, env: gym.Env, words: Words) -> None:
        super().__init__(env)
        self.words = words
        self.observation_space = words.space()
        self._mission_bag = ("", words.bag(""))

    def observation(self, observation: dict[str, Any]) -> np.ndarray:
        if observation["mission"] != self._mission_bag[0]:
            self._mission_bag = (observation["mission"], self.words.bag(observation["mission"]))
        seen = np.zeros(self.observation_space.shape or 0, np.float32)
        seen[:CODES] = observation["image"].ravel()
        seen[CODES + observation["direction"]] = 1
        seen[CODES + 4 :] = self._mission_bag[1]
        return seen


def flat(engine: Engine, bags: np.ndarray) -> np.ndarray:
    """The same vectors of all worlds of an engine, whose layouts have ``bags``."""
    n = engine.n
    turned = np.eye(4, dtype=np.float32)[engine.directions]
    seen = (engine.images.reshape(n, -1).astype(np.float32), turned, bags[engine.state.layout])
    return np.concatenate(seen, 1)


class FlatEngine(VecEnvWrapper):
    """``EngineVecEnv`` with the same vectors."""

    def __init__(self, engine: Engine, bags: np.ndarray, words: Words) -> None:
        super().__init__(EngineVecEnv(engine), observation_space=words.space())
        self.engine = engine
        self.bags = bags
        self._now = np.zeros((engine.n, len(words)), np.float32)

    def reset(self) -> VecEnvObs:
        self.venv.reset()
        self._now = self.bags[self.engine.state.layout]
        return flat(self.engine, self.bags)

    def step_wait(self) -> VecEnvStepReturn:
        _, rewards, over, infos = self.venv.step_wait()
        for i in np.flatnonzero(over).tolist():
            last = infos[i]["terminal_observation"]
            turned = np.eye(4, dtype=np.float32)[last["direction"]]
            infos[i]["terminal_observation"] = np.concatenate(
                (last["image"].ravel().astype(np.float32), turned, self._now[i])
            )
        self._now = self.bags[self.engine.state.layout]
        return flat(self.engine, self.bags), rewards, over, infos


@dataclass(frozen=True)
class TurnMeasurement:
    """One turn: what it took, and how good the policy was afterwards."""

    steps: int
    seconds: float
    cpu: float
    collecting: float
    success: float


@dataclass
class Contender:
    """A model in training, and its measurements."""

    name: str
    model: OnPolicyAlgorithm
    succeed: Callable[[], float]
    turns: list[TurnMeasurement] = field(default_factory=list)

    def take_turn(self, seconds: float) -> None:
        """Whole rollouts and updates until ``seconds`` are over, then a look at success."""
        model = self.model
        a_rollout = model.n_steps * model.n_envs
        collecting = 0.0
        collect = model.collect_rollouts

        def timed(*args: Any, **kw: Any) -> bool:
            nonlocal collecting
            began = time.perf_counter()
            try:
                return collect(*args, **kw)
            finally:
                collecting += time.perf_counter() - began

        model.collect_rollouts = timed  # type: ignore[method-assign]
        before, cpu, began = model.num_timesteps, time.process_time(), time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):  # MiniGrid prints what it rejects
            while time.perf_counter() - began < seconds:
                model.learn(a_rollout, reset_num_timesteps=False)
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        model.collect_rollouts = collect  # type: ignore[method-assign]
        steps = model.num_timesteps - before
        self.turns.append(TurnMeasurement(steps, wall, cpu, collecting, self.succeed()))

    def curve(self) -> list[tuple[int, float, float]]:
        """Steps, seconds of training and success after each turn."""
        steps = np.cumsum([turn.steps for turn in self.turns])
        seconds = np.cumsum([turn.seconds for turn in self.turns])
        success = [turn.success for turn in self.turns]
        return list(zip(steps.tolist(), seconds.tolist(), success, strict=True))

    def reached(self) -> tuple[int, float] | None:
        """Steps and seconds of training after which the target was first reached."""
        return next(((s, t) for s, t, success in self.curve() if success >= TARGET), None)


def our_ppo(
    network: ActorNetwork, worlds: MultiTaskVectorEnv, options: ActorTrainingOptions
) -> PPO:
    """PPO as `agents.actor.ppo.ActorPPO` sets it up, starting from ``network``."""
    config = ActorPPOConfig(
        0,
        worlds.n,
        options.learning_rate,
        options.batch,
        options.epochs,
        seed=options.seed,
    )
    return make_ppo(network, CommandSB3VecEnv(worlds), config)


def prepare(options: ActorTrainingOptions, notes: dict[str, str]) -> list[Contender]:
    """All contenders, ready to train. Adds to ``notes`` what a reader of the table should know."""
    began = time.perf_counter()
    pool = Pool.draw(LEVEL, options.layouts, FIRST_SEED + 1_000_000 * options.seed)
    notes["ours"] = (
        f"{options.layouts} layouts drawn in {time.perf_counter() - began:.1f} seconds; "
        f"{HORIZON} steps a rollout, batches of {options.batch}"
    )
    tests = Pool.draw(LEVEL, options.episodes, 0)
    words = Words(pool.missions)
    bags = np.stack([words.bag(m) for m in pool.missions])
    test_bags = np.stack([words.bag(m) for m in tests.missions])
    torch.manual_seed(options.seed)
    network = ActorNetwork()
    contenders = []
    for name in options.contenders:
        if name == "ours":
            vector_env = MultiTaskVectorEnv([(pool, options.worlds)], options.seed, options.threads)
            model: Any = our_ppo(network, vector_env, options)
            contenders.append(Contender(name, model, _our_success(model, network, tests)))
            continue
        settings = {
            "n_steps": ROLLOUT,
            "batch_size": options.baseline_batch,
            "n_epochs": options.baseline_epochs,
            "seed": options.seed,
            "device": "cpu",
        }
        if name == "engine":
            engine = Engine(pool, options.worlds, seed=options.seed)
            worlds: Any = FlatEngine(engine, bags, words)
            settings |= {"n_steps": HORIZON, "batch_size": min(2048, HORIZON * options.worlds)}
            notes[name] = f"{HORIZON} steps a rollout, batches of {settings['batch_size']}"
        else:
            make = [lambda: Flat(gym.make(LEVEL), words)] * options.baseline_worlds
            worlds = DummyVecEnv(make)
        if name == "recurrent":
            if importlib.util.find_spec("sb3_contrib") is None:
                notes[name] = "skipped, sb3_contrib is missing: pip install sb3-contrib"
                continue
            from sb3_contrib import RecurrentPPO

            model = RecurrentPPO("MlpLstmPolicy", worlds, **settings)
        else:
            model = PPO("MlpPolicy", worlds, **settings)
        contenders.append(Contender(name, model, _flat_success(model, tests, test_bags)))
    return contenders


def _our_success(model: PPO, network: ActorNetwork, tests: Pool) -> Callable[[], float]:
    def success() -> float:
        for theirs, ours in shared_modules(model, network):
            ours.load_state_dict(theirs.state_dict())
        score = measure(lambda seen: choose(network, seen), tests, len(tests), 0)
        return score.carried_out / score.n

    return success


def _flat_success(model: Any, tests: Pool, bags: np.ndarray) -> Callable[[], float]:
    """The engine has MiniGrid's rules and views, so it measures MiniGrid's learners too."""

    def success() -> float:
        n = len(tests)
        engine = Engine(tests, n, autoreset=False)
        engine.reset()
        engine.place(np.arange(n))
        going, done = np.ones(n, bool), np.zeros(n, bool)
        memory, first = None, np.ones(n, bool)
        while going.any():
            actions, memory = model.predict(
                flat(engine, bags), state=memory, episode_start=first, deterministic=True
            )
            first = np.zeros(n, bool)
            engine.step(np.asarray(actions, np.int64), going)
            done |= going & engine.success
            going &= ~(engine.terminated | engine.truncated)
        return float(done.mean())

    return success


def main(options: ActorTrainingOptions) -> None:
    """Train in turns, write the run folder, print the table and the summary."""
    _check(options)
    torch.set_num_threads(options.threads)
    log = Console(stderr=True)
    config = json.loads(json.dumps(asdict(options), default=str))
    with RunFolder.new(options.out, "actor-training", options.name, config) as folder:
        notes: dict[str, str] = {}
        log.print(f"drawing layouts of {LEVEL}", highlight=False)
        contenders = prepare(options, notes)
        _warm_up(options)
        while going := [c for c in contenders if _goes_on(c, options)]:
            for contender in going:
                contender.take_turn(options.turn)
                steps, seconds, success = contender.curve()[-1]
                rate = contender.turns[-1].steps / contender.turns[-1].seconds
                log.print(
                    f"{contender.name}: {steps:,} steps in {seconds:.0f} s of training, now "
                    f"{rate:,.0f} a second, success {success:.1%}",
                    highlight=False,
                )
            # A killed run keeps what it has.
            write_tables(folder.path, contenders, notes, options)
        plot(folder.path / "plot.png", contenders)
        folder.write_json("summary.json", (ratios := summary(contenders, options.rounds)))
        show = Table(*HEAD)
        for contender in contenders:
            show.add_row(*_cells(contender, options))
        Console(width=150).print(show)
        for name, note in notes.items():
            print(f"{name}: {note}")
        print(f"table and plot: {folder.path}")
        print(json.dumps(ratios))


def _check(options: ActorTrainingOptions) -> None:
    for name in ("rounds", "worlds", "baseline_worlds", "layouts", "episodes", "threads"):
        if getattr(options, name) < 1:
            raise BadInput(f"--{name.replace('_', '-')} must be 1 or more")
    if options.minutes <= 0 or options.turn <= 0:
        raise BadInput("--minutes and --turn must be more than 0")
    if not options.contenders:
        raise BadInput("--contenders needs at least one name")


def _warm_up(options: ActorTrainingOptions) -> None:
    """Compile the kernels of the engine and of the map memory, which is not in the time."""
    vector_env = MultiTaskVectorEnv([(Pool.draw(LEVEL, 2, FIRST_SEED), 2)], options.seed)
    vector_env.reset()
    vector_env.step(np.zeros(2, np.int64))


def _goes_on(contender: Contender, options: ActorTrainingOptions) -> bool:
    if len(contender.turns) < options.rounds:
        return True
    spent = sum(turn.seconds for turn in contender.turns)
    races = contender.name in options.race
    return races and contender.reached() is None and spent < 60 * options.minutes


def rates(contender: Contender, rounds: int, clock: str = "seconds") -> list[float]:
    """Steps a second in each of the first ``rounds`` turns, by wall or ``cpu`` time."""
    return [turn.steps / getattr(turn, clock) for turn in contender.turns[:rounds]]


def summary(contenders: list[Contender], rounds: int) -> dict[str, float | None]:
    """The last line: the ratio of medians, and the seconds to 95 %."""
    by_name = {c.name: c for c in contenders}

    def ratio(peer: str, clock: str) -> float | None:
        if not {"ours", peer} <= set(by_name):
            return None
        ours, theirs = (
            statistics.median(rates(by_name[name], rounds, clock)) for name in ("ours", peer)
        )
        return round(ours / theirs, 2)

    def seconds(name: str) -> float | None:
        reached = by_name[name].reached() if name in by_name else None
        return None if reached is None else round(reached[1], 1)

    return {
        "steps_ratio": ratio("sb3", "seconds"),
        "steps_ratio_cpu": ratio("sb3", "cpu"),
        "steps_ratio_recurrent": ratio("recurrent", "seconds"),
        "seconds_to_95_ours": seconds("ours"),
        "seconds_to_95_sb3": seconds("sb3"),
    }


def _cells(contender: Contender, options: ActorTrainingOptions) -> tuple[str, ...]:
    wall, turns = rates(contender, options.rounds), contender.turns[: options.rounds]
    model, curve = contender.model, contender.curve()
    rollouts = curve[-1][0] / (model.n_steps * model.n_envs)
    best = max(success for _, _, success in curve)
    minutes = curve[-1][1] / 60
    if (reached := contender.reached()) is not None:
        to = (f"{reached[1]:.0f}", f"{reached[0]:,}")
    else:
        to = (f"not in {minutes:.1f} min", f"not in {curve[-1][0]:,}")
    return (
        contender.name,
        str(model.n_envs),
        f"{statistics.median(wall):,.0f}",
        f"{min(wall):,.0f} to {max(wall):,.0f}",
        str(len(wall)),
        f"{statistics.median(rates(contender, options.rounds, 'cpu')):,.0f}",
        f"{sum(t.collecting for t in turns) / sum(t.seconds for t in turns):.0%}",
        f"{model._n_updates / rollouts:.1f}",
        *to,
        f"{best:.1%}",
    )


def write_tables(
    path: Path, contenders: list[Contender], notes: dict[str, str], options: ActorTrainingOptions
) -> None:
    """``table.md`` to read, ``table.csv`` and ``curves.csv`` to reckon with."""
    lines = markdown_table(HEAD, [_cells(c, options) for c in contenders])
    lines += ["", *(f"- {name}: {note}" for name, note in notes.items())]
    _replace(path / "table.md", "\n".join(lines) + "\n")
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("contender", "worlds", "median", "lowest", "highest", "n", "seconds to 95 %"))
    for c in contenders:
        wall, reached = rates(c, options.rounds), c.reached()
        numbers = (round(statistics.median(wall)), round(min(wall)), round(max(wall)), len(wall))
        table.writerow((c.name, c.model.n_envs, *numbers, "" if reached is None else reached[1]))
    _replace(path / "table.csv", text.getvalue())
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("contender", "steps", "seconds", "success"))
    for c in contenders:
        table.writerows((c.name, s, round(t, 2), round(p, 4)) for s, t, p in c.curve())
    _replace(path / "curves.csv", text.getvalue())


def _replace(path: Path, text: str) -> None:
    path.with_suffix(".part").write_text(text, "utf-8")
    path.with_suffix(".part").replace(path)


def plot(path: Path, contenders: list[Contender]) -> None:
    """Success over seconds of training, a line for each contender."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panel = pyplot.subplots(figsize=(8, 4.5))
    for contender in contenders:
        curve = contender.curve()
        panel.plot(
            [seconds for _, seconds, _ in curve],
            [success for _, _, success in curve],
            marker=".",
            label=f"{contender.name}, {contender.model.n_envs} worlds",
        )
    panel.axhline(TARGET, color="0.6", linestyle="--", linewidth=1)
    panel.set(
        title=f"{LEVEL}, from scratch",
        xscale="log",
        xlabel="seconds of training (wall time)",
        ylabel="success, deterministic",
        ylim=(0, 1.02),
    )
    panel.grid(alpha=0.3)
    panel.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


if __name__ == "__main__":
    try:
        main(tyro.cli(ActorTrainingOptions, description=__doc__))
    except BadInput as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(130)
