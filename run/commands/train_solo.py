"""``python -m run train-solo``: PPO from scratch on a whole task, without a Planner."""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from envs.errors import BadInput
from run.display.messages import saying
from run.display.progress import ProgressBar
from run.storage.folder import RunFolder
from run.storage.settings import at_least, to_json
from run.storage.training import CurveLog
from run.storage.unused import idle, refuse

if TYPE_CHECKING:
    from stable_baselines3 import PPO

COLUMNS = ("steps", "success", "held_out", "seconds")
HORIZON = 64  # steps of each world in a rollout
TEST_SEED = 500_000_000


@dataclass(frozen=True)
class TrainSoloSettings:
    """Train one network on the whole task with PPO, from scratch: what a team is measured against.

    It sees the agent's 7x7 view and which items the task sentence names, in their order; there is
    no Planner, no Reporter and no command. What examining reveals shows as a mark (show_marks), or
    it could not be known. The reward is the task's, 1 at its success. The Actor of a team was
    trained with 4 million environment steps, so that is the default here.

    The run folder gets the curve as CSV, TensorBoard log and picture, the weights, and
    summary.json: success on held-out items with a 95 % interval.

    Examples:
      python -m run train-solo
      python -m run train-solo --task search --n-items 4
      python -m run train-solo --steps 200000 --worlds 64
    """

    USUAL: ClassVar[tuple[str, ...]] = (
        "task",
        "steps",
        "seed",
        "device",
        "threads",
        "runs-dir",
        "name",
    )

    task: Literal["conditional", "search"] = "conditional"
    """The task family."""
    n_items: int = 4
    """Number of items in the room."""
    room_size: int = 8
    """Width and height of the room in tiles, walls included."""
    steps: int = 4_000_000
    """Number of environment steps, of all worlds together."""
    worlds: int = 256
    """Number of worlds that are stepped together."""
    learning_rate: float = 5e-4
    """Initial learning rate, which decays to 0."""
    batch: int = 2048
    """Minibatch size: number of observations in a gradient step."""
    epochs: int = 3
    """Number of epochs over each rollout."""
    entropy: float = 0.01
    """Weight of the entropy bonus."""
    evaluate_every: int = 250_000
    """Number of environment steps between evaluations on held-out items; 0 for none."""
    evaluate_episodes: int = 200
    """Number of episodes in such an evaluation."""
    score_episodes: int = 400
    """Number of episodes in the final evaluation."""
    seed: int = 0
    """Seed of worlds and initial weights."""
    threads: int = 0
    """Number of torch threads; 0 for all cores."""
    device: str = "cpu"
    """Device for training: cpu or cuda."""
    runs_dir: Path = Path("runs")
    """Folder in which run folders are made."""
    name: str | None = None
    """End of the run folder's name; the task if it is not given."""

    def refuse_unused(self, given: Collection[str]) -> None:
        """Raise BadInput for an option that is given and that this run does not use."""
        refuse(given, idle(self, {"evaluate_every": ("evaluate_episodes",)}))

    def __post_init__(self) -> None:
        lows = {
            "steps": 1,
            "worlds": 1,
            "batch": 2,
            "epochs": 1,
            "score_episodes": 1,
            "evaluate_episodes": 1,
        }
        at_least(self, lows | {"evaluate_every": 0, "seed": 0, "threads": 0, "entropy": 0})
        if not self.learning_rate > 0:
            raise BadInput("--learning-rate must be above 0")
        if self.device.split(":")[0] not in ("cpu", "cuda"):
            raise BadInput(f"unknown device '{self.device}'; use cpu or cuda")


def train_solo(args: TrainSoloSettings) -> Path:
    """Train and score; returns the run folder. Raises BadInput for settings that cannot be."""
    with saying("loading torch"):
        import torch
    from rich.console import Console
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback

    from agents.solo import SoloExtractor, SoloVecEnv
    from envs.batched import Engine
    from models.tensor_files import save_tensors
    from run.evaluation.statistics import wilson

    if args.threads:
        torch.set_num_threads(args.threads)
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise BadInput(f"--device {args.device}: torch finds no such GPU here; use --device cpu")
    with saying("compiling the engine"):
        engine = Engine(_rooms(args, "train"), args.worlds, seed=args.seed)
    name = args.name or args.task
    with RunFolder.new(args.runs_dir, "train-solo", name, to_json(args), False) as folder:
        curve = CurveLog(folder, COLUMNS, "steps", [])
        model = PPO(
            "MlpPolicy",
            SoloVecEnv(engine),
            learning_rate=lambda left: args.learning_rate * left,
            n_steps=HORIZON,
            batch_size=min(args.batch, HORIZON * args.worlds),
            n_epochs=args.epochs,
            gamma=0.99,
            ent_coef=args.entropy,
            seed=args.seed,
            device=args.device,
            policy_kwargs={"features_extractor_class": SoloExtractor, "net_arch": []},
        )
        began = time.monotonic()

        class Tell(BaseCallback):
            """A row of the curve after each rollout."""

            looked = 0

            def _on_step(self) -> bool:
                return True

            def _on_rollout_end(self) -> None:
                steps = self.num_timesteps
                ended = [e["r"] for e in model.ep_info_buffer or ()]
                held: float | str = ""
                if args.evaluate_every and steps - self.looked >= args.evaluate_every:
                    self.looked = steps
                    held = float(_held_out(args, model, args.evaluate_episodes, 1).mean())
                rate = sum(ended) / max(1, len(ended))
                curve.add([steps, rate, held, round(time.monotonic() - began, 1)])
                bar.update(f"success {rate:.2f}", steps)

        with ProgressBar(Console(stderr=True), "training", args.steps, "steps") as bar:
            model.learn(args.steps, callback=Tell())
        curve.close()
        won = _held_out(args, model, args.score_episodes, 2)
        # Stable-Baselines3 names the extractor three times.
        named = model.policy.state_dict().items()
        tensors = {n: t.contiguous() for n, t in named if not n.startswith(("pi_", "vf_"))}
        save_tensors(tensors, folder.part("checkpoints", "model.safetensors"))
        _plot(args, curve, folder)
        summary = {
            "command": "train-solo",
            "seed": args.seed,
            "n": len(won),
            "n_errors": 0,
            "steps": model.num_timesteps,
            "seconds": round(time.monotonic() - began, 1),
            "success_rate": float(won.mean()),
            "success_ci95": wilson(int(won.sum()), len(won)),
        }
        folder.write_json("summary.json", summary)
        print(json.dumps({k: summary[k] for k in ("steps", "success_rate", "success_ci95")}))
    print(folder.path)
    return folder.path


def _rooms(args: TrainSoloSettings, items: str) -> Any:
    from envs.batched import Rooms

    return Rooms(
        args.task,
        items=items,
        n_items=(args.n_items,),
        room_sizes=(args.room_size,),
        show_marks=True,
    )


def _held_out(args: TrainSoloSettings, model: PPO, episodes: int, which: int) -> Any:
    """Success ``[episodes] bool`` in rooms of held-out items, from seeds that training never has;
    ``which`` keeps the looks during training apart from the score."""
    from agents.solo import success
    from envs.batched import Engine

    seed = TEST_SEED + which
    engine = Engine(_rooms(args, "held-out"), episodes, seed=seed, autoreset=False)
    engine.reset(seed)
    return success(model, engine)


def _plot(args: TrainSoloSettings, curve: CurveLog, folder: RunFolder) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([r[0] for r in curve.rows], [r[1] for r in curve.rows], label="training items")
    seen = [r for r in curve.rows if r[2] != ""]
    axes.plot([r[0] for r in seen], [r[2] for r in seen], "ko-", ms=4, label="held-out items")
    axes.set(xlabel="environment steps", ylabel="success", ylim=(0, 1.02), title=args.task)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(folder.part("plots", "curve.png"), dpi=120)
