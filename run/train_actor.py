"""``python -m run train-actor``: train the learned Actor, score it, save its weights."""

from __future__ import annotations

import csv
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.errors import BadInput
from run.folder import RunFolder
from run.settings import to_json

if TYPE_CHECKING:
    from agents.actor.network import ActorNetwork


@dataclass(frozen=True)
class TrainActor:
    """Train the learned Actor to carry out commands: imitation first, then PPO.

    The Actor sees its 7x7 view and the words of the command. It first imitates a teacher that
    plans over what the Actor itself has seen (DAgger), then Stable-Baselines3's PPO goes on with
    the truth of the command as the reward. The run folder gets checkpoints, a CSV of the curve,
    and scores on training and held-out items. The defaults made the weights in the repository.

    Examples:
      python -m run train-actor
      python -m run train-actor --imitation-steps 20000 --ppo-steps 4096 --score-commands 50
      python -m run train-actor --init runs/train-actor/.../checkpoints/final --imitation-steps 0
    """

    imitation_steps: int = 320_000
    """Environment steps of imitation; 0 leaves it out."""
    ppo_steps: int = 81_920
    """Environment steps of PPO; 0 leaves it out."""
    worlds: int = 32
    """Worlds stepped together."""
    seed: int = 0
    """Seed of weights, worlds and sampling."""
    score_commands: int = 1000
    """Commands to score on, for training items and for held-out items."""
    score_room_sizes: tuple[int, ...] = (8,)
    """Rooms to score in."""
    score_n_items: tuple[int, ...] = (3, 4, 5, 6)
    """Numbers of items to score with."""
    init: Path | None = None
    """Folder of weights to start from instead of new ones."""
    out: Path | None = None
    """Folder to which the final weights are also written."""
    threads: int = 1
    """Threads of torch. Another number gives other last digits, and so other weights."""
    tensorboard: bool = False
    """Also write PPO's curves for TensorBoard (needs the extra [track])."""
    runs_dir: Path = Path("runs")
    """Where run folders are made."""
    name: str = "actor"
    """Name at the end of the run folder."""

    def __post_init__(self) -> None:
        for name, low in (
            ("imitation_steps", 0),
            ("ppo_steps", 0),
            ("worlds", 1),
            ("score_commands", 1),
            ("threads", 1),
        ):
            if getattr(self, name) < low:
                raise BadInput(
                    f"--{name.replace('_', '-')} must be at least {low}, not {getattr(self, name)}"
                )
        if self.tensorboard and find_spec("tensorboard") is None:
            raise BadInput("--tensorboard needs TensorBoard: pip install 'parley[track]'")


def train_actor(args: TrainActor) -> Path:
    """Train as ``args`` say; returns the run folder."""
    import torch
    from rich.console import Console
    from rich.progress import Progress as Bars

    from agents.actor.learned import load_network
    from agents.actor.network import ActorNetwork
    from agents.actor.practice import Ground
    from agents.actor.training import Progress, reinforce, warm_start

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    network = ActorNetwork() if args.init is None else load_network(args.init)
    started = time.monotonic()
    ground = Ground()
    # Training seeds lie far above those that evaluations use (0 and up), apart for each stage.
    first_seed = 1_000_000_000 + 20_000_000 * args.seed
    console = Console(stderr=True)
    with (
        RunFolder.new(args.runs_dir, "train-actor", args.name, to_json(args)) as folder,
        Bars(console=console) as bars,
        open(folder.path / "curve.csv", "w", newline="") as file,
    ):
        curve = csv.writer(file)
        curve.writerow(["stage", "steps", "loss", "success", "seconds"])
        task = bars.add_task("", total=None)

        def tell(progress: Progress) -> None:
            seconds = time.monotonic() - started
            curve.writerow([*asdict(progress).values(), round(seconds, 1)])
            file.flush()
            # Both stages train the network in place, so this is a checkpoint for --init.
            network.save_pretrained(folder.part("checkpoints", "latest"))
            total = args.imitation_steps if progress.stage == "imitation" else args.ppo_steps
            text = f"{progress.stage}: success {progress.success:.2f}, loss {progress.loss:.3f}"
            bars.update(task, description=text, completed=progress.steps, total=total)
            if not console.is_terminal:
                console.print(f"{text}, {progress.steps:,} of {total:,} steps, {seconds:.0f} s")

        common: dict[str, Any] = {"n_worlds": args.worlds, "on_progress": tell}
        if args.imitation_steps:
            warm_start(network, ground, steps=args.imitation_steps, seed=first_seed, **common)
            network.save_pretrained(folder.part("checkpoints", "imitation"))
        if args.ppo_steps:
            reinforce(
                network,
                ground,
                steps=args.ppo_steps,
                seed=first_seed + 10_000_000,
                tensorboard=str(folder.path / "tensorboard") if args.tensorboard else None,
                **common,
            )
        for path in (folder.part("checkpoints", "final"), args.out):
            if path is not None:
                network.save_pretrained(path)
        scores = score(network, args)
        folder.write_json(
            "summary.json",
            {
                "command": "train-actor",
                "seed": args.seed,
                "n": args.score_commands,
                "n_errors": 0,
                "seconds": round(time.monotonic() - started, 1),
                "scores": scores,
            },
        )
    for name, found in scores.items():
        console.print(
            f"{name} items: {found['success_rate']:.3f} of {found['n']} commands carried out "
            f"within {ground.max_steps} steps, {found['mean_steps'] or 0:.1f} steps on average"
        )
    print(folder.path)
    return folder.path


def score(network: ActorNetwork, args: TrainActor) -> dict[str, dict[str, Any]]:
    """The share of examine and pick up commands carried out, on training and held-out items."""
    from agents.actor.learned import LearnedActor
    from agents.actor.practice import Ground, measure
    from run.summary import wilson

    scores = {}
    for items in ("train", "held-out"):
        ground = Ground(items, args.score_n_items, args.score_room_sizes, ("examine", "pick up"))
        found = measure(LearnedActor(network), ground, args.score_commands, args.seed)
        scores[items] = {
            "n": found.n,
            "success_rate": found.carried_out / found.n,
            "success_ci95": wilson(found.carried_out, found.n),
            "said_done": found.said_done / found.n,
            "mean_steps": found.mean_steps if found.carried_out else None,
        }
    return scores
