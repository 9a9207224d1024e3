"""``python -m run train-reporter``: teach a Reporter to see, and to say what it sees."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from envs.errors import BadInput
from run.folder import RunFolder
from run.settings import at_least
from run.training import Bar, Curve, State, best_of, kept, open_run, with_best

if TYPE_CHECKING:
    import torch

    from agents.reporter.training import Checkpoint, Progress

COLUMNS = ("step", "loss", "true", "seconds")
LOOKS = ("resume", "runs_dir", "name", "out", "checkpoint_seconds")


@dataclass(frozen=True)
class TrainReporter:
    """Teach a Reporter to see and to speak, by captioning.

    It is shown rollouts of commands that are given at random in rooms of the visual conditional
    tasks, training items, some of them cut short, and told one true sentence about each: what was
    done or not managed, where the item lies, what mark examining showed, what else is in view, how
    the agent moved. So afterwards it sees and speaks, but does not know what matters to a Planner.

    A vision encoder and gated cross-attention learn; the language model stays as it is. Now and
    then it reports on episodes that it never saw: how many of its reports are true is told, and the
    best weights by that are kept.

    The run folder gets the curve as CSV, TensorBoard log and picture, and in checkpoints/final the
    weights, which --reporter takes by their path.

    Examples:
      python -m run train-reporter --init data/detector
      python -m run train-reporter --steps 200 --validate-every 50 --out my/reporter
      python -m run train-reporter --resume runs/train-reporter/20260102-030405-reporter
      python -m run episode --task visual-conditional --reporter my/reporter
    """

    base: str = "smollm2-135m"
    """Its language model: a packaged name, a folder, a .gguf file or an id on the hub."""
    steps: int = 1000
    """Steps of captioning."""
    batch: int = 32
    """Captions in a step."""
    learning_rate: float = 1e-3
    """The highest step size."""
    actor: Literal["scripted", "learned"] = "scripted"
    """Who carries the commands out."""
    width: int = 192
    """Size of the vision encoder's vectors."""
    gates: int = 4
    """Gated cross-attentions in the language model."""
    every: int = 2
    """Layers from one of them to the next, counted back from the last."""
    seed: int = 0
    """Seed of weights and worlds."""
    validate_every: int = 100
    """Steps between two looks at validation; 0 keeps the last weights."""
    validation_episodes: int = 64
    """Episodes to look at then."""
    device: str = "auto"
    """Where the model learns: cpu, cuda, or auto for the best there is."""
    threads: int = 0
    """Threads of torch; 0 for all cores. Another number gives other last digits."""
    init: Path | None = None
    """Folder of a Reporter to start from, or of a detector that lends its vision encoder."""
    out: Path | None = None
    """Folder to which the final weights are also written."""
    resume: Path | None = None
    """Run folder of a run that was stopped, even killed: goes on exactly as it would have."""
    checkpoint_seconds: float = 120.0
    """Least time between two checkpoints."""
    cache: Path | None = None
    """Folder for fetched and converted weights."""
    runs_dir: Path = Path("runs")
    """Where run folders are made."""
    name: str = "reporter"
    """Name at the end of the run folder."""

    def __post_init__(self) -> None:
        at_least(
            self,
            {
                "steps": 0,
                "batch": 1,
                "width": 8,
                "gates": 1,
                "every": 1,
                "seed": 0,
                "validate_every": 0,
                "validation_episodes": 1,
                "threads": 0,
            },
        )
        if not self.learning_rate > 0:
            raise BadInput("--learning-rate must be above 0")
        if self.width % 8:
            raise BadInput(f"--width must be a multiple of 8, not {self.width}")


def train_reporter(args: TrainReporter) -> Path:
    """Train as ``args`` say; returns the run folder."""
    import torch

    args, folder = open_run(args, "train-reporter", args.name, LOOKS)
    if args.threads:
        torch.set_num_threads(args.threads)
    with folder:
        try:
            training = _Training(args, folder)
        except BadInput:
            if args.resume is None:
                folder.discard()
            raise
        with kept(folder):
            training.go()
    print(folder.path)
    return folder.path


class _Training:
    """One run of ``train-reporter``."""

    def __init__(self, args: TrainReporter, folder: RunFolder) -> None:
        import torch
        from rich.console import Console

        from agents.planner.loading import load_model
        from agents.planner.options import PlannerOptions
        from agents.reporter.network import ReporterConfig, ReporterNetwork
        from agents.reporter.training import Checkpoint, Practice, start_from

        self.args = args
        self.folder = folder
        self.console = Console(stderr=True)
        options = PlannerOptions(device=args.device, cache=args.cache)
        model, tokenizer = load_model(args.base, options)
        config = ReporterConfig(args.base, args.width, gates=args.gates, every=args.every)
        torch.manual_seed(args.seed)
        self.network = ReporterNetwork(model, tokenizer, config)
        if args.init is not None:
            start_from(self.network, args.init)
        self.practice = Practice(max(args.batch, 32), args.actor)
        self.state = State(folder, args.checkpoint_seconds)
        found = self.state.read()
        self.head: dict[str, Any] = found[1] if found else {}
        self.saved = Checkpoint(self.head["step"], found[0]) if found else None
        self.best: dict[str, torch.Tensor] = best_of(found[0]) if found else {}
        self.scores: dict[str, float] = self.head.get("scores", {})
        self.started = time.monotonic() - self.head.get("seconds", 0.0)
        self.curve: Curve

    def go(self) -> None:
        """Train, and keep the best."""
        from agents.reporter.training import caption

        args = self.args
        self.curve = Curve(self.folder, COLUMNS, "step", self.head.get("rows", []))
        with Bar(self.console, "captioning", args.steps, "steps") as bar:
            caption(
                self.network,
                self.practice,
                steps=args.steps,
                batch=args.batch,
                learning_rate=args.learning_rate,
                seed=args.seed,
                on_progress=lambda p: self._log(p, bar),
                save=self._offer,
                resume=self.saved,
            )
        if self.best:
            self.network.load_state_dict(self.best)
        self.curve.close()
        if self.curve.rows:
            self._plot()
        for path in (self.folder.part("checkpoints", "final"), args.out):
            if path is not None:
                self.network.save(path)
        self.folder.write_json(
            "summary.json",
            {
                "command": "train-reporter",
                "seed": args.seed,
                "n": len(self.curve.rows),
                "n_errors": 0,
                "seconds": round(time.monotonic() - self.started, 1),
                "validation": self.scores,
            },
        )

    def _log(self, progress: Progress, bar: Bar) -> None:
        from agents.reporter.training import share_true

        args = self.args
        step, every = progress.step, args.validate_every
        shown: float | str = ""
        if every and (step % every == 0 or step == args.steps):
            share = share_true(self.network, self.practice, args.validation_episodes)
            self.console.print(f"after step {step}: {share:.4f} of reports true", highlight=False)
            if not self.best or share >= max(self.scores.values()):
                self.best = {n: t.detach().clone() for n, t in self.network.state_dict().items()}
            self.scores[str(step)] = shown = share
        seconds = round(time.monotonic() - self.started, 1)
        self.curve.add([step, progress.loss, shown, seconds])
        bar.tell(f"captioning: loss {progress.loss:.3f}", step)

    def _offer(self, make: Callable[[], Checkpoint]) -> None:
        """Write a checkpoint, if the last is old enough."""
        if not self.state.is_due():
            return
        saved = make()
        head = {
            "step": saved.step,
            "rows": self.curve.rows,
            "scores": self.scores,
            "seconds": time.monotonic() - self.started,
        }
        self.state.write(with_best(saved.tensors, self.best), head)

    def _plot(self) -> None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.subplots()
        steps = [r[0] for r in self.curve.rows]
        axes.plot(steps, [r[1] for r in self.curve.rows], label="loss, mean of tokens")
        seen = [r for r in self.curve.rows if r[2] != ""]
        if seen:
            axes.plot([r[0] for r in seen], [r[2] for r in seen], "ko-", ms=4, label="reports true")
        axes.set(xlabel="step", ylabel="loss; share", ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend()
        figure.savefig(self.folder.part("plots", "curve.png"), dpi=120)
