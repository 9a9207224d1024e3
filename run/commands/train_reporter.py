"""``python -m run train-reporter``: teach a Reporter to see, to speak, and to say what matters."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from envs.errors import BadInput
from run.display.progress import ProgressBar
from run.storage.folder import RunFolder
from run.storage.settings import at_least
from run.storage.training import (
    CheckpointFile,
    CurveLog,
    best_of,
    rank,
    trained,
    with_best,
)

if TYPE_CHECKING:
    import torch

    from agents.protocols import Planner
    from agents.reporter import reinforcement
    from agents.reporter import training as captioning
    from agents.reporter.reinforcement import RewardComponent
    from agents.reporter.training import Checkpoint
    from rewards.reward import QuestionAnswerer

COLUMNS = (
    "stage",
    "step",
    "loss",
    "success",
    "truth",
    "episode",
    "command",
    "divergence",
    "length",
    "true",
    "matters",
    "episodes_per_second",
    "validation",
    "seconds",
)
MAX_TURNS = 8
TUNED_RATE = 0.05  # at the full step size, a trained vision encoder forgets what it saw


@dataclass(frozen=True)
class TrainReporterSettings:
    """Teach a Reporter to see and to speak by captioning, then by reinforcement what matters.

    Sight, where --sight-steps asks for it: the vision encoder of a detector, which has seen floors
    below training's items only, is shown items in colours that there are not, and learns to tell
    the floors below them; what else it sees stays as it was.

    Captioning: it is shown rollouts of commands that are given at random in rooms of the visual
    conditional tasks, training items, some of them cut short, and told one true sentence about
    each: what was done or not managed, where the item lies, what mark examining showed, what else
    is in view, how the agent moved. So afterwards it sees and speaks, but does not know what
    matters to a Planner.

    Reinforcement: whole teams play these tasks, Planner and Actor frozen; the tokens of its reports
    learn by policy gradient from what came of each episode, against the mean of other tries at the
    same world, with a penalty for moving away from what captioning made. What is rewarded is the
    sum, by their weights, of the task's truth, of the detector's answer whether it was achieved and
    of its answers whether the commands were carried out. A run whose detector reward rises while
    the truth falls stops and says so.

    A vision encoder and gated cross-attention learn; the language model stays as it is. Now and
    then validation is played: how many reports are true in captioning, success in reinforcement;
    the weights that did best are kept.

    torchrun --nproc-per-node N -m run train-reporter … shares the work of each step among processes
    (with GPUs also accelerate launch --num_processes N --module run train-reporter …).

    The run folder gets the curve as CSV, TensorBoard log and picture, and in checkpoints/ the
    weights captioning and final, which --reporter takes by their path.

    Examples:
      python -m run train-reporter --init data/detector --sight-steps 600
      python -m run train-reporter --steps 0 --init my/reporter --rl-steps 100
      python -m run train-reporter --rl-steps 100 --truth-weight 0 --episode-weight 1
      python -m run train-reporter --resume runs/train-reporter/20260102-030405-reporter
      python -m run episode --task visual-conditional --reporter my/reporter
    """

    FREE_ON_RESUME: ClassVar[tuple[str, ...]] = ("out", "checkpoint_seconds", "workers")

    base: str = "smollm2-135m"
    """Its language model: a packaged name, a folder, a .gguf file or an id on the hub."""
    sight_steps: int = 0
    """Steps in which a vision encoder that comes by --init learns to tell floors below items that
    it never saw."""
    sight_learning_rate: float = 1e-3
    """Their highest step size."""
    steps: int = 1000
    """Steps of captioning."""
    batch: int = 32
    """Captions in a step."""
    learning_rate: float = 1e-3
    """Captioning's highest step size."""
    rl_steps: int = 0
    """Steps of reinforcement."""
    groups: int = 8
    """Worlds in a step of reinforcement."""
    members: int = 8
    """How often each of them is played, at least 2; with few, there is little to compare."""
    rl_learning_rate: float = 2e-4
    """Reinforcement's highest step size."""
    kl: float = 0.05
    """Weight of the divergence from the Reporter that captioning made."""
    clip: float = 0.2
    """How far a token's probability may move in a step, as a share."""
    epochs: int = 1
    """How often a step learns from its reports."""
    temperature: float = 1.0
    """How freely reports are tried out; above 0."""
    truth_weight: float = 1.0
    """Weight of the task's truth in the reward."""
    episode_weight: float = 0.0
    """Weight of the detector's answer whether the task was achieved."""
    command_weight: float = 0.0
    """Weight of the detector's answers whether the commands were carried out, their mean."""
    detector: str = "detector"
    """The success detector: detector, baseline, or a folder."""
    planner: str = "parley-visible"
    """The Planner that reads the reports; see episode --help."""
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
    workers: int = 0
    """Processes that play captioning's episodes ahead of it: worthwhile where a GPU waits for them.
    The weights are the same."""
    init: Path | None = None
    """Folder of a Reporter to start from, or of a detector that lends its vision encoder."""
    tune_vision: bool = False
    """Let a vision encoder that comes by --init learn from captions too, slowly; otherwise it stays
    as it is."""
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
                "sight_steps": 0,
                "steps": 0,
                "batch": 1,
                "rl_steps": 0,
                "groups": 1,
                "members": 2,
                "kl": 0,
                "epochs": 1,
                "truth_weight": 0,
                "episode_weight": 0,
                "command_weight": 0,
                "width": 8,
                "gates": 1,
                "every": 1,
                "seed": 0,
                "validate_every": 0,
                "validation_episodes": 1,
                "threads": 0,
                "workers": 0,
            },
        )
        rates = ("sight_learning_rate", "learning_rate", "rl_learning_rate")
        for name in (*rates, "clip", "temperature"):
            if not getattr(self, name) > 0:
                raise BadInput(f"--{name.replace('_', '-')} must be above 0")
        if not self.truth_weight + self.episode_weight + self.command_weight > 0:
            raise BadInput(
                "nothing is rewarded: give --truth-weight, --episode-weight or --command-weight"
            )
        if self.sight_steps and self.init is None:
            raise BadInput("--sight-steps needs --init: there is nothing yet to keep")
        if self.width % 8:
            raise BadInput(f"--width must be a multiple of 8, not {self.width}")


def train_reporter(args: TrainReporterSettings) -> Path:
    """Train as ``args`` say; returns the run folder."""
    return trained(args, "train-reporter", _Training)


class _Training:
    """One run of ``train-reporter``."""

    def __init__(self, args: TrainReporterSettings, folder: RunFolder) -> None:
        import torch
        from rich.console import Console

        from agents.planner.options import PlannerOptions
        from agents.planner.registry import make_planner
        from agents.reporter.network import ReporterConfig, ReporterNetwork
        from agents.reporter.training import CaptionCollector, Checkpoint, start_from
        from models.language.loading import load_model
        from run.detectors import load_detector

        self.args = args
        self.folder = folder
        self.console = Console(stderr=True, quiet=rank() > 0)
        options = PlannerOptions(device=args.device, cache=args.cache)
        model, tokenizer = load_model(args.base, device=args.device, cache=args.cache)
        config = ReporterConfig(args.base, args.width, gates=args.gates, every=args.every)
        torch.manual_seed(args.seed)
        self.network = ReporterNetwork(model, tokenizer, config)
        self.reference = ReporterNetwork(model, tokenizer, config).eval().requires_grad_(False)
        if args.init is not None:
            start_from(self.network, args.init)
            if not args.tune_vision:
                self.network.encoder.rest()
        self.judge: QuestionAnswerer | None = None
        self.planner: Planner | None = None
        if args.rl_steps:
            if args.episode_weight or args.command_weight:
                self.judge = load_detector(args.detector, args.device, args.cache)
            self.planner = make_planner(args.planner, options)
        self.practice = CaptionCollector(max(args.batch, 32), args.actor)
        self.state = CheckpointFile(folder, args.checkpoint_seconds)
        found = self.state.read()
        self.head: dict[str, Any] = found[1] if found else {}
        self.saved = Checkpoint(self.head["step"], found[0]) if found else None
        self.best: dict[str, torch.Tensor] = best_of(found[0]) if found else {}
        self.scores: dict[str, float] = self.head.get("scores", {})
        self.stage: str = self.head.get("stage", "sight" if args.sight_steps else "captioning")
        self.started = time.monotonic() - self.head.get("seconds", 0.0)
        self.curve: CurveLog

    def run(self) -> None:
        """See, caption, reinforce, keep the best."""
        args = self.args
        self.curve = CurveLog(self.folder, COLUMNS, "step", self.head.get("rows", []))
        if self.stage == "sight":
            self._see()
            self.saved = None
            self.stage = "captioning"
        if self.stage == "captioning":
            self._caption()
            self.saved = None
            self.network.save(self.folder.part("checkpoints", "captioning"))
        if args.rl_steps:
            self._reinforce()
        self.curve.close()
        if rank():
            return
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

    def _see(self) -> None:
        from agents.reporter.sight import steady

        args = self.args
        with ProgressBar(self.console, "sight", args.sight_steps, "steps") as bar:
            steady(
                self.network,
                self.practice,
                steps=args.sight_steps,
                batch=args.batch,
                learning_rate=args.sight_learning_rate,
                seed=args.seed,
                on_progress=lambda p: self._log_sight(p, bar),
                save=self._offer,
                resume=self.saved,
            )

    def _caption(self) -> None:
        from agents.reporter.training import caption

        args = self.args
        with ProgressBar(self.console, "captioning", args.steps, "steps") as bar:
            caption(
                self.network,
                self.practice,
                steps=args.steps,
                batch=args.batch,
                learning_rate=args.learning_rate,
                vision_rate=1.0 if args.init is None else TUNED_RATE,
                seed=args.seed,
                workers=args.workers,
                on_progress=lambda p: self._log_caption(p, bar),
                save=self._offer,
                resume=self.saved,
            )
        self._take_best()

    def _reinforce(self) -> None:
        from agents.actor import make_actor
        from agents.reporter.reinforcement import RewardHackingMonitor, reinforce
        from envs import make_worlds
        from models.training.process_group import ProcessGroup

        args = self.args
        assert self.planner is not None
        if self.saved is None:
            self.stage = "reinforcement"
            start = {n: t.detach().clone() for n, t in self.network.state_dict().items()}
        else:
            mark = "before."
            start = {
                n.removeprefix(mark): t for n, t in self.saved.tensors.items() if n.startswith(mark)
            }
        self.reference.load_state_dict(start)
        if args.init is not None:
            self.network.encoder.rest()
        own = ProcessGroup(self.network.device).part(args.groups, "groups")
        watch = RewardHackingMonitor(*self.head.get("watch", ([], [])))
        self.watch = watch
        with ProgressBar(self.console, "reinforcement", args.rl_steps, "steps") as bar:
            reinforce(
                self.network,
                self.reference,
                self.planner,
                make_actor(args.actor),
                make_worlds("visual-conditional", own * args.members, items="train"),
                self._terms(),
                steps=args.rl_steps,
                groups=args.groups,
                members=args.members,
                learning_rate=args.rl_learning_rate,
                kl=args.kl,
                clip=args.clip,
                epochs=args.epochs,
                temperature=args.temperature,
                max_turns=MAX_TURNS,
                seed=args.seed,
                on_progress=lambda p: self._log_reinforcement(p, bar),
                save=self._offer,
                resume=self.saved,
                watch=watch,
            )
        self._take_best()

    def _terms(self) -> dict[str, tuple[float, RewardComponent]]:
        """What is rewarded, by name, with its weight."""
        from agents.reporter.reinforcement import truth
        from rewards.reward import DetectorReward
        from run.detectors import command_term, episode_term

        args = self.args
        terms: dict[str, tuple[float, RewardComponent]] = {"truth": (args.truth_weight, truth)}
        if self.judge is not None:
            reward = DetectorReward(self.judge)
            if args.episode_weight:
                terms["episode"] = (args.episode_weight, episode_term(reward))
            if args.command_weight:
                terms["command"] = (args.command_weight, command_term(reward))
        return terms

    def _take_best(self) -> None:
        if self.best:
            self.network.load_state_dict(self.best)
        self.best = {}

    def _is_due(self, step: int, steps: int) -> bool:
        every = self.args.validate_every
        return bool(every) and (step % every == 0 or step == steps)

    def _validated(self, score: float, what: str, step: int) -> float:
        """Keep the weights if they do better than all before in this stage."""
        self.console.print(f"{self.stage}, step {step}: {score:.4f} {what}", highlight=False)
        known = [v for k, v in self.scores.items() if k.startswith(self.stage)]
        if not self.best or score >= max(known):
            self.best = {n: t.detach().clone() for n, t in self.network.state_dict().items()}
        self.scores[f"{self.stage} {step}"] = score
        return score

    def _log_sight(self, progress: captioning.Progress, bar: ProgressBar) -> None:
        self._enter(progress.step, progress.loss, {}, "")
        bar.update(f"sight: loss {progress.loss:.3f}", progress.step)

    def _log_caption(self, progress: captioning.Progress, bar: ProgressBar) -> None:
        from agents.reporter.training import share_true

        score: float | str = ""
        if self._is_due(progress.step, self.args.steps):
            share = share_true(self.network, self.practice, self.args.validation_episodes)
            score = self._validated(share, "of reports true", progress.step)
        self._enter(self.args.sight_steps + progress.step, progress.loss, {}, score)
        bar.update(f"captioning: loss {progress.loss:.3f}", progress.step)

    def _log_reinforcement(self, progress: reinforcement.Progress, bar: ProgressBar) -> None:
        score: float | str = ""
        if self._is_due(progress.step, self.args.rl_steps):
            success, true = self._played()
            what = f"mean of success {success:.4f} and reports true {true:.4f}"
            score = self._validated((success + true) / 2, what, progress.step)
        values: dict[str, float] = dict(progress.rewards) | {
            "success": progress.success,
            "divergence": progress.divergence,
            "length": progress.length,
            "true": progress.true,
            "matters": progress.matters,
            "episodes_per_second": round(progress.episodes, 3),
        }
        before = self.args.sight_steps + self.args.steps
        self._enter(before + progress.step, progress.loss, values, score)
        bar.update(
            f"success {progress.success:.2f}, divergence {progress.divergence:.3f}, "
            f"{progress.length:.0f} tokens, true {progress.true:.2f}, "
            f"{progress.episodes:.1f} episodes/s",
            progress.step,
        )

    def _played(self) -> tuple[float, float]:
        """The true success with the likeliest reports, and the share of them that is true, on
        episodes that training never plays."""
        import numpy as np

        from agents.actor import make_actor
        from agents.reporter.facts import TruthChecker
        from agents.reporter.learned import LearnedReporter
        from agents.reporter.reinforcement import DeduplicatingPlanner
        from agents.reporter.training import FIRST_VALIDATION_SEED
        from agents.team import Team
        from envs import make_worlds

        args = self.args
        assert self.planner is not None
        n = args.validation_episodes
        worlds = make_worlds("visual-conditional", min(n, 64), items="train")
        checked = TruthChecker(LearnedReporter(self.network))
        team = Team(DeduplicatingPlanner(self.planner), make_actor(args.actor), checked, MAX_TURNS)
        won = 0
        for first in range(0, n, len(worlds)):
            seeds = range(FIRST_VALIDATION_SEED + first, FIRST_VALIDATION_SEED + n)
            won += sum(bool(e.success) for e in team.play(worlds, seeds[: len(worlds)]))
        return won / n, float(np.mean(checked.true)) if checked.true else 0.0

    def _enter(
        self, step: int, loss: float, values: Mapping[str, float], score: float | str
    ) -> None:
        known: dict[str, Any] = dict(values) | {
            "stage": self.stage,
            "step": step,
            "loss": loss,
            "validation": score,
            "seconds": round(time.monotonic() - self.started, 1),
        }
        self.curve.add([known.get(name, "") for name in COLUMNS])

    def _offer(self, make: Callable[[], Checkpoint]) -> None:
        """Write a checkpoint, if the last is old enough."""
        if not self.state.is_due():
            return
        saved = make()
        head: dict[str, Any] = {
            "stage": self.stage,
            "step": saved.step,
            "rows": self.curve.rows,
            "scores": self.scores,
            "seconds": time.monotonic() - self.started,
        }
        tensors = saved.tensors
        if self.stage == "reinforcement":
            before = self.reference.state_dict()
            tensors = tensors | {f"before.{n}": t.clone() for n, t in before.items()}
            head["watch"] = [self.watch.judged, self.watch.true]
        self.state.write(with_best(tensors, self.best), head)

    def _plot(self) -> None:
        """Losses of sight and captioning, then what reinforcement is watched by."""
        from matplotlib.figure import Figure

        rows = [dict(zip(COLUMNS, row, strict=True)) for row in self.curve.rows]
        curves = {
            "sight": {"loss": "loss on floors, and on what is to stay"},
            "captioning": {"loss": "captions' loss"},
            "reinforcement": {
                "success": "success",
                "episode": "detector: task achieved",
                "command": "detector: commands done",
                "true": "reports true",
                "matters": "reports say what was revealed",
            },
        }
        stages = [s for s in curves if any(r["stage"] == s for r in rows)]
        figure = Figure(figsize=(8, 3.5 * len(stages)), layout="constrained")
        for axes, stage in zip(
            figure.subplots(len(stages), squeeze=False)[:, 0], stages, strict=True
        ):
            its = [r for r in rows if r["stage"] == stage]
            for name, label in curves[stage].items():
                seen = [r for r in its if r[name] != ""]
                if seen:
                    axes.plot([r["step"] for r in seen], [r[name] for r in seen], label=label)
            seen = [r for r in its if r["validation"] != ""]
            if seen:
                points = [r["step"] for r in seen], [r["validation"] for r in seen]
                axes.plot(*points, "ko-", ms=4, label="validation")
            axes.set(xlabel="step", title=stage)
            axes.grid(alpha=0.3)
            axes.legend()
        figure.savefig(self.folder.part("plots", "curve.png"), dpi=120)
