"""``python -m run train-actor``: train the learned Actor, score it, save its weights."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from envs.errors import BadInput
from models.training.callbacks import CheckpointCallback, SaveWeightsCallback
from models.training.checkpoints import CheckpointManager
from models.training.trainer import Stage, Trainer, TrainerCallback
from run.display.palette import colour
from run.display.training_curves import mark_stages, stage_points
from run.storage.folder import RunFolder
from run.storage.settings import at_least
from run.storage.training import (
    USUAL_IN_TRAINING,
    CurveCallback,
    ProgressCallback,
    checkpoint_manager,
    save_final,
    trained,
)
from run.storage.unused import idle, refuse

if TYPE_CHECKING:
    from agents.actor.network import ActorNetwork
    from agents.actor.ppo import ActorPPOConfig
    from agents.actor.vector_env import MultiTaskVectorEnv

COLUMNS = ("stage", "steps", "loss", "success", "reward", "held_out", "seconds")


@dataclass(frozen=True)
class TrainActorSettings:
    """Train the learned Actor to carry out commands: imitation first, then PPO.

    The Actor sees its 7x7 view and the words of the command, and keeps a map of what it has seen.
    It first imitates an expert that knows no more than that (DAgger), then Stable-Baselines3's
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
    USUAL: ClassVar[tuple[str, ...]] = (
        "imitation-steps",
        "ppo-steps",
        "reward",
        *USUAL_IN_TRAINING,
    )
    # Options that only one stage uses, by the option that says how long it is.
    STAGE_OPTIONS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "ppo_steps": ("ppo_learning_rate", "reward"),
    }

    imitation_steps: int = 3_000_000
    """Number of environment steps of imitation; 0 skips imitation."""
    ppo_steps: int = 1_000_000
    """Number of environment steps of PPO; 0 skips PPO."""
    ppo_learning_rate: float = 3e-5
    """Learning rate of PPO."""
    reward: str = "truth"
    """PPO's reward: truth, or a success detector: detector, baseline, a run folder of
    train-detector, a folder of weights, a hub id, or module:Class. A detector rewards commands
    whose success is visible: go to and pick up."""
    worlds: int = 512
    """Number of worlds that are stepped together."""
    pool: int = 1500
    """Number of training layouts drawn of each BabyAI level."""
    seed: int = 0
    """Seed of weights, worlds and sampling."""
    evaluate_every: int = 250_000
    """Number of environment steps between evaluations on held-out items; 0 for none."""
    validation_commands: int = 300
    """Commands of each validation task by which the better stage is chosen; 0 keeps the last."""
    score_commands: int = 1000
    """Commands for each line of the final table of scores; 0 leaves the table out."""
    init: str | None = None
    """An Actor to start from instead of new weights: learned, a run folder of train-actor, a folder
    of weights, or a hub id."""
    out: Path | None = None
    """Folder to which the final weights are also written."""
    force: bool = False
    """Replace what is at --out already."""
    resume: Path | None = None
    """Run folder of a run that was stopped, even killed: continue it exactly where it stopped."""
    checkpoint_seconds: float = 30.0
    """Minimum number of seconds between two checkpoints."""
    device: str = "cpu"
    """Where the network learns: cpu or cuda. The worlds are always stepped on the CPU."""
    threads: int = 1
    """Threads of the worlds, the map memories and torch. Another number rounds differently in
    torch, and so gives other weights."""
    runs_dir: Path = Path("runs")
    """Folder in which run folders are made."""
    name: str = "actor"
    """End of the run folder's name."""

    def refuse_unused(self, given: Collection[str]) -> None:
        """Raise BadInput for an option that is given and that this run does not use."""
        unused = idle(self, self.STAGE_OPTIONS)
        refuse(given, unused)

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
            raise BadInput(f"unknown device '{self.device}'; use cpu or cuda")


def train_actor(args: TrainActorSettings) -> Path:
    """Train with these settings and return the run folder."""
    return trained(args, "train-actor", _prepared, check_parts)


def check_parts(args: TrainActorSettings) -> None:
    from rewards.success_vqa.loading import check_detector

    if args.reward != "truth":
        check_detector(args.reward)
    if args.init is not None:
        _initial_weights(args.init)


def _initial_weights(init: str) -> Path:
    from agents.actor.registry import ACTOR
    from models.references import weights_folder

    return weights_folder(init, ACTOR)


def _prepared(args: TrainActorSettings, folder: RunFolder) -> _ActorTraining:
    """Check and load all that the settings name."""
    import torch

    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise BadInput(f"--device {args.device}: torch finds no such GPU here; use --device cpu")
    return _ActorTraining(args, folder)


class _ActorTraining:
    """One run of ``train-actor``."""

    def __init__(self, args: TrainActorSettings, folder: RunFolder) -> None:
        import torch
        from rich.console import Console

        from agents.actor.network import ActorNetwork, load_network

        self.args = args
        self.folder = folder
        self.console = Console(stderr=True)
        self.checkpoints = checkpoint_manager(folder, args.checkpoint_seconds)
        self.resume = self.checkpoints.load()
        torch.manual_seed(args.seed)
        network = ActorNetwork() if args.init is None else load_network(_initial_weights(args.init))
        self.network: ActorNetwork = network.to(args.device)

    def run(self) -> None:
        """Train, choose the better stage, score it."""
        stages = self._stages()
        names = [stage.name for stage in stages]
        curve = CurveCallback(self.folder, COLUMNS, "steps")
        callbacks: list[TrainerCallback] = [
            SaveWeightsCallback(self._save_stage, names),
            _HeldOutCallback(self.args.evaluate_every, self._held_out_success),
            curve,
            ProgressCallback(self.console, {"success": ".3f", "loss": ".4f"}),
            _SaveLatestCallback(self.checkpoints, lambda: self._save_stage("latest")),
            CheckpointCallback(self.checkpoints),
        ]
        trainer = Trainer(stages, callbacks if stages else ())
        trainer.train(self.resume if stages else None)
        if stages:
            _plot(curve, self.folder)
        chosen, validated = self._choose(names)
        save_final(self.folder, self.args.out, self.network.save_pretrained)
        scores = score(self._policy(self.network), self.args.score_commands, self._say)
        self.folder.write_json(
            "summary.json",
            {
                "command": "train-actor",
                "seed": self.args.seed,
                "n": sum(s["n"] for s in scores.values()),
                "n_errors": 0,
                "seconds": round(trainer.seconds, 1),
                "validation": validated,
                "chosen": chosen,
                "scores": scores,
            },
        )

    def _stages(self) -> list[Stage]:
        from agents.actor.imitation import ActorImitation, ActorImitationConfig
        from agents.actor.ppo import ActorPPOConfig

        args = self.args
        stages: list[Stage] = []
        if args.imitation_steps:
            imitation = ActorImitationConfig(args.imitation_steps, args.worlds, seed=2 * args.seed)
            stages.append(ActorImitation(self.network, lambda: self._worlds(0), imitation))
        if args.ppo_steps:
            ppo = ActorPPOConfig(
                args.ppo_steps,
                args.worlds,
                args.ppo_learning_rate,
                device=args.device,
                first_env_step=args.imitation_steps,
                seed=2 * args.seed + 1,
            )
            stages.append(self._ppo(ppo))
        return stages

    def _ppo(self, config: ActorPPOConfig) -> Stage:
        """PPO on the true success, or on a detector's answers."""
        from agents.actor.ppo import ActorPPO

        args = self.args
        if args.reward == "truth":
            return ActorPPO(self.network, lambda: self._worlds(1), config)
        from agents.actor.task_sources import VISIBLE
        from agents.actor.vector_env import MultiTaskVectorEnv
        from rewards.reward import DetectorReward
        from rewards.success_vqa.loading import load_detector
        from run.reward_functions import DetectorRewarder

        def make_worlds() -> MultiTaskVectorEnv:
            # A detector can judge only commands whose success is visible.
            return MultiTaskVectorEnv([(VISIBLE, args.worlds)], config.seed, args.threads)

        rewarder = DetectorRewarder(DetectorReward(load_detector(args.reward, args.device)))
        return ActorPPO(self.network, make_worlds, config, rewarder)

    def _worlds(self, stage: int) -> MultiTaskVectorEnv:
        """The worlds of stage number ``stage``."""
        from agents.actor.task_sources import draw_pools, training_sources
        from agents.actor.vector_env import MultiTaskVectorEnv

        args = self.args
        pools = draw_pools(args.pool, args.seed, self.folder.part("pools", "x").parent, self._say)
        seed = 1_000_000_007 + 1000 * (2 * args.seed + stage)
        return MultiTaskVectorEnv(training_sources(args.worlds, pools), seed, args.threads)

    def _held_out_success(self) -> float:
        """The share of commands carried out with items that training never shows."""
        from agents.actor.task_sources import TESTS
        from agents.actor.vector_env import measure

        source = next(t for t in TESTS if "held-out" in t.name).source(200)
        # Other rooms than those of the final table.
        return measure(self._policy(self.network), source, 200, seed=600_000_000).carried_out / 200

    @staticmethod
    def _policy(network: ActorNetwork) -> Callable[[Any], Any]:
        from agents.actor.learned import choose

        return lambda observations: choose(network, observations)

    def _save_stage(self, name: str) -> None:
        self.network.save_pretrained(self.folder.part("checkpoints", name))

    def _choose(self, stages: list[str]) -> tuple[str, dict[str, float]]:
        """Load the stage that does best in validation; returns its name and all scores."""
        from agents.actor.network import load_network

        if not stages:
            return "init", {}
        if len(stages) == 1 or not self.args.validation_commands:
            return stages[-1], {}
        folder = self.folder.path / "checkpoints"
        scores: dict[str, float] = {}
        for stage in stages:
            scores[stage] = self._validate(load_network(folder / stage))
            self._say(f"validation after {stage}: {scores[stage]:.4f}")
        chosen = max(stages, key=lambda stage: scores[stage])
        self.network.load_state_dict(load_network(folder / chosen).state_dict())
        return chosen, scores

    def _validate(self, network: ActorNetwork) -> float:
        from agents.actor.task_sources import validation
        from agents.actor.vector_env import measure

        n = self.args.validation_commands
        shares = [
            measure(self._policy(network), source, n, seed=700_000_000).carried_out / n
            for source in validation(n)
        ]
        return sum(shares) / len(shares)

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False)


class _HeldOutCallback(TrainerCallback):
    """Enters the success with held-out items into the metrics, each ``every`` environment steps."""

    name = "held_out"

    def __init__(self, every: int, success: Callable[[], float]) -> None:
        self._every = every
        self._success = success
        self._evaluated = 0

    def on_step_end(self, trainer: Trainer) -> None:
        steps = trainer.metrics["steps"]
        if self._every and steps // self._every > self._evaluated // self._every:
            trainer.metrics["held_out"] = self._success()
            self._evaluated = steps

    def state_dict(self) -> dict[str, Any]:
        return {"evaluated": self._evaluated}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._evaluated = state["evaluated"]


class _SaveLatestCallback(TrainerCallback):
    """Saves the weights beside each checkpoint, which is written next."""

    def __init__(self, checkpoints: CheckpointManager, save: Callable[[], None]) -> None:
        self._checkpoints = checkpoints
        self._save = save

    def on_step_end(self, trainer: Trainer) -> None:
        if self._checkpoints.is_due():
            self._save()


def _plot(curve: CurveCallback, folder: RunFolder) -> None:
    """Success in training, stage by stage, and with held-out items."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    noise = {"imitation": ", 5 % of actions at random", "ppo": ""}
    for k, stage in enumerate(dict.fromkeys(r["stage"] for r in curve.records())):
        points = stage_points(curve.records(stage), "success")
        axes.plot(points.steps, points.values, color=colour(k), label=f"{stage}{noise[stage]}")
    tested = stage_points(curve.records(), "held_out")
    if tested.steps:
        axes.plot(*tested.with_breaks(), "ko-", ms=4, label="8x8 rooms,\nheld-out items")
    mark_stages(axes, [stage_points(curve.records(), "success")])
    axes.xaxis.set_major_formatter(lambda steps, _: f"{steps / 1e6:g}")
    axes.set(xlabel="million environment steps", ylabel="commands carried out", ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(folder.part("plots", "curve.png"), dpi=120)


def score(
    policy: Callable[[Any], Any], n: int, say: Callable[[str], None] = lambda _: None
) -> dict[str, dict[str, Any]]:
    """The table of the model card, with 95 % intervals.

    Args:
        policy: Observations to actions, without sampling.
        n: Commands for each line; 0 for no table.
        say: Is told each line.
    """
    from agents.actor.task_sources import TESTS
    from agents.actor.vector_env import measure
    from envs.batched import Pool
    from run.evaluation.statistics import wilson

    scores: dict[str, dict[str, Any]] = {}
    for test in TESTS if n else ():
        source = test.source(n)
        result = measure(policy, source, n, seed=0)
        # BabyAI's episodes end by themselves; as command tasks they go on until ``done``.
        until_done = source.as_commands() if isinstance(source, Pool) else None
        done = result if until_done is None else measure(policy, until_done, n, 0)
        scores[test.name] = {
            "n": n,
            "success_rate": result.carried_out / n,
            "success_ci95": wilson(result.carried_out, n),
            "floor": test.floor,
            "said_done": (done.done_on_time or 0) / n,
            "said_done_ci95": wilson(done.done_on_time or 0, n),
            "mean_steps": result.mean_steps if result.carried_out else None,
        }
        line = scores[test.name]
        say(
            f"{test.name}: {line['success_rate']:.3f} (floor {test.floor}), "
            f"said done in time {line['said_done']:.3f}"
        )
    return scores
