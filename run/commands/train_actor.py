"""``python -m run train-actor``: train the learned Actor, score it, save its weights."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from envs.errors import BadInput
from run.display.progress import ProgressBar
from run.storage.folder import RunFolder
from run.storage.settings import at_least
from run.storage.training import CheckpointFile, CurveLog, trained

if TYPE_CHECKING:
    from agents.actor.network import ActorNetwork
    from agents.actor.training import Checkpoint, Progress

COLUMNS = ("stage", "steps", "loss", "success", "reward", "held_out", "seconds")


@dataclass(frozen=True)
class TrainActorSettings:
    """Train the learned Actor to carry out commands: imitation first, then PPO.

    The Actor sees its 7x7 view and the words of the command, and keeps a map of what it has seen.
    It first imitates a teacher that knows no more than that (DAgger), then Stable-Baselines3's
    PPO goes on with the truth of the command as the reward, both on the batched engine: our
    rooms, made anew without end, and BabyAI's levels, from pools that are drawn first. The stage
    that does better on validation worlds is kept.

    The run folder gets checkpoints, the curve as CSV, TensorBoard log and picture, and scores. The
    defaults made the weights in the repository.

    Examples:
      python -m run train-actor
      python -m run train-actor --imitation-steps 200000 --ppo-steps 0 --score-commands 100
      python -m run train-actor --resume runs/train-actor/20260102-030405-actor
      python -m run train-actor --init agents/actor/weights --imitation-steps 0 --ppo-steps 0
    """

    FREE_ON_RESUME: ClassVar[tuple[str, ...]] = ("out", "checkpoint_seconds")

    imitation_steps: int = 3_000_000
    """Environment steps of imitation; 0 leaves it out."""
    ppo_steps: int = 1_000_000
    """Environment steps of PPO; 0 leaves it out."""
    ppo_learning_rate: float = 3e-5
    """PPO's step size."""
    reward: str = "truth"
    """PPO's reward: truth, or the success detector: detector, baseline, or a folder. A detector
    rewards commands of which one sees whether they were done: go to and pick up."""
    worlds: int = 512
    """Worlds stepped together."""
    pool: int = 1500
    """Layouts drawn of each BabyAI level to practise on."""
    seed: int = 0
    """Seed of weights, worlds and sampling."""
    evaluate_every: int = 250_000
    """Environment steps between evaluations on held-out items; 0 for none."""
    validation_commands: int = 300
    """Commands of each validation ground that the stages are compared on; 0 keeps the last."""
    score_commands: int = 1000
    """Commands to score on at the end, for each line of the table; 0 leaves the table out."""
    init: Path | None = None
    """Folder of weights to start from instead of new ones."""
    out: Path | None = None
    """Folder to which the final weights are also written."""
    resume: Path | None = None
    """Run folder of a run that was stopped, even killed: goes on exactly as it would have."""
    checkpoint_seconds: float = 30.0
    """Least time between two checkpoints."""
    device: str = "cpu"
    """Where the network learns: cpu or cuda. The worlds are always stepped on the CPU."""
    threads: int = 1
    """Threads of the worlds, the senses and torch. In torch another number gives other last digits,
    and so other weights."""
    runs_dir: Path = Path("runs")
    """Where run folders are made."""
    name: str = "actor"
    """Name at the end of the run folder."""

    def __post_init__(self) -> None:
        at_least(
            self,
            {
                "imitation_steps": 0,
                "ppo_steps": 0,
                "worlds": 16,
                "pool": 1,
                "seed": 0,
                "evaluate_every": 0,
                "validation_commands": 0,
                "score_commands": 0,
                "threads": 1,
            },
        )
        if self.device.split(":")[0] not in ("cpu", "cuda"):
            raise BadInput(f"unknown device '{self.device}'; known: cpu, cuda")


def train_actor(args: TrainActorSettings) -> Path:
    """Train as ``args`` say; returns the run folder."""
    return trained(args, "train-actor", _begun)


def _begun(args: TrainActorSettings, folder: RunFolder) -> _Training:
    import torch

    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise BadInput(f"--device {args.device}: torch finds no such GPU here; use --device cpu")
    if args.reward != "truth":
        from run.detectors import check_detector

        check_detector(args.reward)
    return _Training(args, folder)


class _Training:
    """One run of ``train-actor``."""

    def __init__(self, args: TrainActorSettings, folder: RunFolder) -> None:
        import torch
        from rich.console import Console

        from agents.actor.learned import load_network
        from agents.actor.network import ActorNetwork
        from agents.actor.training import Checkpoint

        self.args = args
        self.folder = folder
        self.console = Console(stderr=True)
        self.state = CheckpointFile(folder, args.checkpoint_seconds)
        found = self.state.read()
        self.head: dict[str, Any] = found[1] if found else {}
        self.saved = Checkpoint(found[0], self.head["numbers"]) if found else None
        self.started = time.monotonic() - self.head.get("seconds", 0.0)
        self.rows: list[list[Any]] = self.head.get("rows", [])
        self._evaluated = max((r[1] for r in self.rows if r[4] != ""), default=0)
        torch.manual_seed(args.seed)
        network = ActorNetwork() if args.init is None else load_network(args.init)
        self.network: ActorNetwork = network.to(args.device)
        self.stage = ""

    def run(self) -> None:
        """Train, choose, score."""
        args = self.args
        stages: list[tuple[str, int, Callable[..., None]]] = [
            (stage, steps, make)
            for stage, steps, make in (
                ("imitation", args.imitation_steps, self._imitate),
                ("ppo", args.ppo_steps, self._reinforce),
            )
            if steps
        ]
        at = self.head.get("stage", "")
        if stages:
            self.curve = CurveLog(self.folder, COLUMNS, "steps", self.rows)
            for stage, steps, run in stages:
                checkpoint = self.folder.path / "checkpoints" / stage
                if at and stage != at:
                    from agents.actor.learned import load_network

                    if stage == "imitation":  # finished before the run was stopped
                        done = load_network(checkpoint)
                        self.network.load_state_dict(done.state_dict())
                        continue
                self.stage = stage
                run(steps, self.saved if stage == at else None)
                self._save_network(checkpoint)
            self.curve.close()
            self._plot()
        self._finish([stage for stage, _, _ in stages])

    def _sources(self, stage_seed: int) -> Any:
        from agents.actor.task_sources import draw_pools, training_sources
        from agents.actor.vector_env import MultiTaskVectorEnv

        pools = draw_pools(
            self.args.pool, self.args.seed, self.folder.part("pools", "x").parent, self._say
        )
        seed = 1_000_000_007 + 1000 * (2 * self.args.seed + stage_seed)
        return MultiTaskVectorEnv(
            training_sources(self.args.worlds, pools), seed, self.args.threads
        )

    def _imitate(self, steps: int, resume: Checkpoint | None) -> None:
        from agents.actor.training import warm_start

        gym = self._sources(0)
        with ProgressBar(self.console, self.stage, steps, "steps") as bar:
            warm_start(
                self.network,
                gym,
                steps=steps,
                seed=2 * self.args.seed,
                on_progress=lambda progress: self._log(progress, bar),
                save=self._offer,
                resume=resume,
            )

    def _reinforce(self, steps: int, resume: Checkpoint | None) -> None:
        from agents.actor.training import reinforce

        args, rewarder = self.args, None
        if args.reward == "truth":
            gym = self._sources(1)
        else:
            from agents.actor.task_sources import VISIBLE
            from agents.actor.vector_env import MultiTaskVectorEnv
            from rewards.reward import DetectorReward
            from run.detectors import DetectorRewarder, load_detector

            # The detector can judge only what can be seen.
            gym = MultiTaskVectorEnv([(VISIBLE, args.worlds)], 2 * args.seed + 1, args.threads)
            rewarder = DetectorRewarder(DetectorReward(load_detector(args.reward, args.device)))
        with ProgressBar(self.console, self.stage, steps, "steps") as bar:
            reinforce(
                self.network,
                gym,
                steps=steps,
                seed=2 * self.args.seed + 1,
                learning_rate=self.args.ppo_learning_rate,
                rewarder=rewarder,
                device=self.args.device,
                on_progress=lambda progress: self._log(progress, bar),
                save=self._offer,
                resume=resume,
            )

    def _log(self, progress: Progress, bar: ProgressBar) -> None:
        """Enter a round into the curves; now and then with an evaluation on held-out items."""
        held_out: float | str = ""
        every = self.args.evaluate_every
        whole = progress.steps + (self.args.imitation_steps if progress.stage == "ppo" else 0)
        if every and whole // every > self._evaluated // every:
            held_out = self._evaluate()
            self._evaluated = whole
        seconds = round(time.monotonic() - self.started, 1)
        row = [progress.stage, whole, progress.loss, progress.success, progress.reward]
        row += [held_out, seconds]
        self.curve.add(row)
        text = f"{progress.stage}: success {progress.success:.3f}, loss {progress.loss:.4f}"
        bar.update(text, progress.steps)

    def _evaluate(self) -> float:
        from agents.actor.task_sources import TESTS
        from agents.actor.vector_env import measure

        source = next(t for t in TESTS if "held-out" in t.name).source(200)
        # Other rooms than those that the table at the end is made of.
        return measure(self._policy(), source, 200, seed=600_000_000).carried_out / 200

    def _policy(self, network: ActorNetwork | None = None) -> Callable[[Any], Any]:
        from agents.actor.learned import choose

        return lambda seen: choose(network or self.network, seen)

    def _offer(self, make: Callable[[], Checkpoint]) -> None:
        """Write a checkpoint, if the last is old enough."""
        if not self.state.is_due():
            return
        saved = make()
        head = {
            "stage": self.stage,
            "numbers": saved.numbers,
            "rows": self.rows,
            "seconds": time.monotonic() - self.started,
        }
        self.state.write(saved.tensors, head)
        self._save_network(self.folder.part("checkpoints", "latest"))

    def _save_network(self, path: Path) -> None:
        self.network.save_pretrained(path)

    def _finish(self, stages: list[str]) -> None:
        from agents.actor.learned import load_network

        chosen = stages[-1] if stages else "init"
        validated: dict[str, float] = {}
        if len(stages) > 1 and self.args.validation_commands:
            for stage in stages:
                network = load_network(self.folder.path / "checkpoints" / stage)
                validated[stage] = self._validate(network)
                self._say(f"validation after {stage}: {validated[stage]:.4f}")
            chosen = max(stages, key=lambda s: validated[s])
            best = load_network(self.folder.path / "checkpoints" / chosen)
            self.network.load_state_dict(best.state_dict())
        for path in (self.folder.part("checkpoints", "final"), self.args.out):
            if path is not None:
                self._save_network(path)
        scores = score(self._policy(), self.args.score_commands, self._say)
        self.folder.write_json(
            "summary.json",
            {
                "command": "train-actor",
                "seed": self.args.seed,
                "n": sum(s["n"] for s in scores.values()),
                "n_errors": 0,
                "seconds": round(time.monotonic() - self.started, 1),
                "validation": validated,
                "chosen": chosen,
                "scores": scores,
            },
        )

    def _validate(self, network: ActorNetwork) -> float:
        from agents.actor.task_sources import validation
        from agents.actor.vector_env import measure

        n = self.args.validation_commands
        found = [
            measure(self._policy(network), source, n, seed=700_000_000).carried_out / n
            for source in validation(n)
        ]
        return sum(found) / len(found)

    def _plot(self) -> None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.subplots()
        noise = {"imitation": ", 5 % of actions at random", "ppo": ""}
        for stage in dict.fromkeys(r[0] for r in self.rows):
            rows = [r for r in self.rows if r[0] == stage]
            axes.plot(
                [r[1] / 1e6 for r in rows],
                [r[3] for r in rows],
                label=f"{stage}: all practice{noise[stage]}",
            )
        seen = [(r[1] / 1e6, r[4]) for r in self.rows if r[4] != ""]
        if seen:
            axes.plot(*zip(*seen, strict=True), "ko-", ms=4, label="8x8 rooms, held-out items")
        axes.set(xlabel="million environment steps", ylabel="commands carried out", ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")
        figure.savefig(self.folder.part("plots", "curve.png"), dpi=120)

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False)


def score(
    policy: Callable[[Any], Any], n: int, say: Callable[[str], None] = lambda _: None
) -> dict[str, dict[str, Any]]:
    """The table of the model card: ``n`` commands a line, deterministic policy, with intervals."""
    from agents.actor.task_sources import TESTS
    from agents.actor.vector_env import measure
    from envs.batched import Pool
    from run.evaluation.statistics import wilson

    scores: dict[str, dict[str, Any]] = {}
    for test in TESTS if n else ():
        source = test.source(n)
        found = measure(policy, source, n, seed=0)
        # BabyAI's episodes end by themselves; as command tasks they go on until ``done``.
        told = measure(policy, source.as_commands(), n, 0) if isinstance(source, Pool) else found
        scores[test.name] = {
            "n": n,
            "success_rate": found.carried_out / n,
            "success_ci95": wilson(found.carried_out, n),
            "floor": test.floor,
            "said_done": (told.said_done or 0) / n,
            "said_done_ci95": wilson(told.said_done or 0, n),
            "mean_steps": found.mean_steps if found.carried_out else None,
        }
        line = scores[test.name]
        say(
            f"{test.name}: {line['success_rate']:.3f} (floor {test.floor}), "
            f"said done in time {line['said_done']:.3f}"
        )
    return scores
