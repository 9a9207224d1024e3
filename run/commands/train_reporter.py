"""``python -m run train-reporter``: train a Reporter by captioning and reinforcement."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from envs.errors import BadInput
from models.training.callbacks import CheckpointCallback, SaveWeightsCallback, ValidationCallback
from models.training.reward_hacking import RewardHackingMonitor
from models.training.trainer import Stage, Trainer, ValidationResult
from run.storage.folder import RunFolder
from run.storage.settings import at_least
from run.storage.training import (
    USUAL_IN_TRAINING,
    CurveCallback,
    ProgressCallback,
    checkpoint_manager,
    rank,
    save_final,
    trained,
)
from run.storage.unused import idle, refuse

if TYPE_CHECKING:
    from agents.protocols import Planner
    from agents.reporter.reinforcement import RewardComponent
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
# The metrics beside the progress bar, with their formats.
SHOWN = {
    "loss": ".3f",
    "success": ".2f",
    "divergence": ".3f",
    "length": ".0f",
    "true": ".2f",
    "episodes_per_second": ".1f",
}
MAX_TURNS = 8
TUNED_RATE = 0.05  # at the full learning rate, a trained vision encoder forgets


@dataclass(frozen=True)
class TrainReporterSettings:
    """Train a Reporter: captioning teaches it to see and to speak, reinforcement what matters.

    Floors, where --floor-steps asks for it: the vision encoder of a detector, which has seen floors
    below training's items only, is shown items in colours that do not exist, and learns to tell
    the floors below them; its features of frames as they are stay the same.

    Captioning: it is shown rollouts of random commands in rooms of the visual conditional tasks,
    training items, some of them cut short, with one true sentence about each: what was done or not
    managed, where the item lies, what mark examining revealed, what else is in view, how the agent
    moved. Afterwards it sees and speaks, but does not know what matters to a Planner.

    Reinforcement: whole teams play these tasks with Planner and Actor frozen. The tokens of its
    reports are trained by policy gradient: the baseline is the mean reward of the other samples of
    the same world, and a KL penalty holds it near what captioning made. The reward is the weighted
    sum of the task's truth, of the detector's answer whether the task was achieved and of its
    answers whether the commands were carried out. A run whose detector reward rises while the
    truth falls stops with an error.

    Vision encoder and gated cross-attention are trained, the language model is frozen. Validation
    is played at intervals: the share of true reports in captioning, success too in reinforcement;
    the best weights are kept.

    torchrun --nproc-per-node N -m run train-reporter … shares the work of each step among processes
    (with GPUs also accelerate launch --num_processes N --module run train-reporter …).

    The run folder holds the curve as CSV, TensorBoard log and plot, and in checkpoints/ the
    weights captioning and final, which --reporter takes by their path.

    Examples:
      python -m run train-reporter --init data/detector --floor-steps 600
      python -m run train-reporter --steps 0 --init my/reporter --rl-steps 100
      python -m run train-reporter --rl-steps 100 --truth-weight 0 --episode-weight 1
      python -m run train-reporter --resume runs/train-reporter/20260102-030405-reporter
      python -m run episode --task visual-conditional --reporter my/reporter
    """

    FREE_ON_RESUME: ClassVar[tuple[str, ...]] = ("out", "checkpoint_seconds", "workers")
    USUAL: ClassVar[tuple[str, ...]] = (
        "floor-steps",
        "steps",
        "rl-steps",
        "truth-weight",
        "episode-weight",
        "command-weight",
        "detector",
        "planner",
        "actor",
        *USUAL_IN_TRAINING,
    )
    # Options that only one stage uses, by the option that says how long it is.
    STAGE_OPTIONS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "floor_steps": ("floor_learning_rate",),
        "steps": ("learning_rate", "workers", "tune_vision"),
        "rl_steps": (
            "groups",
            "samples_per_prompt",
            "rl_learning_rate",
            "kl",
            "clip",
            "epochs",
            "temperature",
            "truth_weight",
            "episode_weight",
            "command_weight",
            "detector",
            "planner",
        ),
        "validate_every": ("validation_episodes",),
    }

    base: str = "smollm2-135m"
    """The language model: a packaged name, a folder, a .gguf file or a hub id."""
    floor_steps: int = 0
    """Number of steps in which the vision encoder of --init learns floors under unknown items."""
    floor_learning_rate: float = 1e-3
    """Peak learning rate of the floor steps."""
    steps: int = 1000
    """Number of captioning steps."""
    batch: int = 32
    """Number of captions in a step."""
    learning_rate: float = 1e-3
    """Peak learning rate of captioning."""
    rl_steps: int = 0
    """Number of reinforcement steps."""
    groups: int = 8
    """Number of different worlds in a reinforcement step."""
    samples_per_prompt: int = 8
    """How often each of these worlds is played; at least 2. With few, the baseline is noisy."""
    rl_learning_rate: float = 2e-4
    """Peak learning rate of reinforcement."""
    kl: float = 0.05
    """Weight of the KL divergence from the Reporter after captioning."""
    clip: float = 0.2
    """PPO's clip range: how far a token's probability ratio may move from 1."""
    epochs: int = 1
    """Number of passes over the reports of a reinforcement step."""
    temperature: float = 1.0
    """Sampling temperature of reports; must be above 0."""
    truth_weight: float = 1.0
    """Weight of the environment's own reward."""
    episode_weight: float = 0.0
    """Weight of the detector's answer to whether the task succeeded."""
    command_weight: float = 0.0
    """Weight of the mean of the detector's answers to whether each command was carried out."""
    detector: str = "detector"
    """The success detector: detector, baseline, a run folder of train-detector, a folder of
    weights, a hub id, or module:Class."""
    planner: str = "parley-visible"
    """The Planner that reads the reports: a name as in episode --help, openai:MODEL, a .gguf file,
    a run folder of train-planner, a folder of weights, a hub id, or module:Class."""
    actor: str = "scripted"
    """The Actor of the team: scripted, learned, a run folder of train-actor, a folder of weights, a
    hub id, or module:Class."""
    width: int = 192
    """Width of the vision encoder."""
    gates: int = 4
    """Number of gated cross-attention layers in the language model."""
    every: int = 2
    """Number of layers between two of them, counted back from the last layer."""
    seed: int = 0
    """Seed of weights and worlds."""
    validate_every: int = 100
    """Number of steps between validations; 0 for none, so that the last weights are the result."""
    validation_episodes: int = 64
    """Number of episodes in a validation."""
    device: str = "auto"
    """Device for training: cpu, cuda, or auto for the fastest available."""
    threads: int = 0
    """Number of torch threads; 0 for all cores. It changes results in their last digits."""
    workers: int = 0
    """Number of processes that play the episodes of captioning in advance, for when a GPU waits for
    them. The resulting weights are the same."""
    init: str | None = None
    """A Reporter to start from, or a detector whose vision encoder is used: learned, detector,
    baseline, a run folder of train-reporter or train-detector, a folder of weights, or a hub
    id."""
    tune_vision: bool = False
    """Also train the vision encoder of --init on captions, with a lower learning rate; by default
    it is frozen."""
    out: Path | None = None
    """Folder to which the final weights are also written."""
    force: bool = False
    """Replace what is at --out already."""
    resume: Path | None = None
    """Run folder of a run that was stopped, even killed: continue it exactly where it stopped."""
    checkpoint_seconds: float = 120.0
    """Minimum number of seconds between two checkpoints."""
    cache: Path | None = None
    """Folder for fetched and converted weights; by default $PARLEY_CACHE or ~/.cache/parley."""
    runs_dir: Path = Path("runs")
    """Folder in which run folders are made."""
    name: str = "reporter"
    """End of the run folder's name."""

    def refuse_unused(self, given: Collection[str]) -> None:
        """Raise BadInput for an option that is given and that this run does not use."""
        unused = idle(self, self.STAGE_OPTIONS)
        if not (self.episode_weight or self.command_weight):
            unused["detector"] = "neither --episode-weight nor --command-weight is given"
        if self.init is None:
            unused["tune_vision"] = "without --init the vision encoder is always trained"
        refuse(given, unused)

    def __post_init__(self) -> None:
        at_least(
            self,
            {
                "floor_steps": 0,
                "steps": 0,
                "batch": 1,
                "rl_steps": 0,
                "groups": 1,
                "samples_per_prompt": 2,
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
        rates = ("floor_learning_rate", "learning_rate", "rl_learning_rate")
        for name in (*rates, "clip", "temperature"):
            if not getattr(self, name) > 0:
                raise BadInput(f"--{name.replace('_', '-')} must be above 0")
        if not self.truth_weight + self.episode_weight + self.command_weight > 0:
            raise BadInput(
                "nothing is rewarded: give --truth-weight, --episode-weight or --command-weight"
            )
        if self.floor_steps and self.init is None:
            raise BadInput("--floor-steps needs --init: a new encoder has nothing to keep")
        if self.width % 8:
            raise BadInput(f"--width must be a multiple of 8, not {self.width}")


def train_reporter(args: TrainReporterSettings) -> Path:
    """Train with these settings and return the run folder."""
    return trained(args, "train-reporter", _ReporterTraining, check_parts)


def check_parts(args: TrainReporterSettings) -> None:
    from agents.actor.registry import check_actor
    from agents.planner.registry import check_planner
    from rewards.success_vqa.loading import check_detector

    check_planner(args.planner)
    check_actor(args.actor)
    check_detector(args.detector)
    if args.init is not None:
        _initial_weights(args.init)


def _initial_weights(init: str) -> Path:
    from agents.reporter.registry import REPORTER
    from models.references import weights_folder
    from rewards.success_vqa.loading import DETECTOR

    return weights_folder(init, REPORTER, DETECTOR)


class _ReporterTraining:
    """One run of ``train-reporter``."""

    def __init__(self, args: TrainReporterSettings, folder: RunFolder) -> None:
        import torch
        from rich.console import Console

        from agents.planner.options import PlannerOptions
        from agents.planner.registry import make_planner
        from agents.reporter.captioning import start_from
        from agents.reporter.captions import CaptionCollector
        from agents.reporter.network import ReporterConfig, ReporterNetwork
        from models.language.loading import load_model
        from rewards.success_vqa.loading import load_detector

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
            start_from(self.network, _initial_weights(args.init))
            if not args.tune_vision:
                self.network.encoder.freeze()
        self.detector: QuestionAnswerer | None = None
        self.planner: Planner | None = None
        if args.rl_steps:
            if args.episode_weight or args.command_weight:
                self.detector = load_detector(args.detector, args.device, args.cache)
            self.planner = make_planner(args.planner, options)
        self.collector = CaptionCollector(max(args.batch, 32), args.actor)
        self.checkpoints = checkpoint_manager(folder, args.checkpoint_seconds)
        self.resume = self.checkpoints.load()

    def run(self) -> None:
        """Train all stages, keep the best weights of each."""
        args = self.args
        components = self._components()
        curve = CurveCallback(self.folder, COLUMNS)
        captions = args.floor_steps or args.steps
        validation = ValidationCallback(
            args.validate_every,
            self.network.state_dict,
            self.network.load_state_dict,
            lambda text: self.console.print(text, highlight=False),
            # What reinforcement begins with, so that its gain can be seen.
            at_start=self._validate_team if args.rl_steps and not captions else None,
        )
        trainer = Trainer(
            self._stages(components),
            [
                validation,
                SaveWeightsCallback(
                    lambda stage: self.network.save(self.folder.part("checkpoints", stage)),
                    {"captioning"},
                ),
                curve,
                ProgressCallback(self.console, SHOWN),
                RewardHackingMonitor([name for name in components if name != "truth"]),
                CheckpointCallback(self.checkpoints),
            ],
        )
        trainer.train(self.resume)
        if rank():
            return
        if curve.records():
            _plot(curve, self.folder)
        save_final(self.folder, args.out, self.network.save)
        self.folder.write_json(
            "summary.json",
            {
                "command": "train-reporter",
                "seed": args.seed,
                "n": len(curve.records()),
                "n_errors": 0,
                "seconds": round(trainer.seconds, 1),
                "validation": validation.scores,
            },
        )

    def _components(self) -> dict[str, tuple[float, RewardComponent]]:
        """The reward's components by name, with their weights."""
        from agents.reporter.reinforcement import success_component
        from rewards.reward import DetectorReward
        from run.reward_functions import command_component, episode_component

        args = self.args
        components: dict[str, tuple[float, RewardComponent]] = {
            "truth": (args.truth_weight, success_component)
        }
        if self.detector is not None:
            reward = DetectorReward(self.detector)
            if args.episode_weight:
                components["episode"] = (args.episode_weight, episode_component(reward))
            if args.command_weight:
                components["command"] = (args.command_weight, command_component(reward))
        return components

    def _stages(self, components: Mapping[str, tuple[float, RewardComponent]]) -> list[Stage]:
        from agents.reporter.captioning import Captioning, CaptioningConfig
        from agents.reporter.floor_robustness import FloorRobustness, FloorRobustnessConfig

        args = self.args
        stages: list[Stage] = []
        if args.floor_steps:
            floors = FloorRobustnessConfig(
                args.floor_steps, args.batch, args.floor_learning_rate, args.seed
            )
            stages.append(FloorRobustness(self.network, self.collector, floors))
        captioning = CaptioningConfig(
            args.steps,
            args.batch,
            args.learning_rate,
            1.0 if args.init is None else TUNED_RATE,
            args.seed,
            args.workers,
        )
        stages.append(Captioning(self.network, self.collector, captioning, self._validate_captions))
        if args.rl_steps:
            stages.append(self._reinforcement(components))
        return stages

    def _reinforcement(self, components: Mapping[str, tuple[float, RewardComponent]]) -> Stage:
        from agents.actor import make_actor
        from agents.reporter.reinforcement import (
            PolicyUpdateConfig,
            ReporterReinforcement,
            ReporterReinforcementConfig,
        )
        from envs import make_worlds
        from models.training.process_group import ProcessGroup

        args = self.args
        assert self.planner is not None
        share = ProcessGroup(self.network.device).share(args.groups, "groups")
        config = ReporterReinforcementConfig(
            args.rl_steps,
            args.groups,
            args.samples_per_prompt,
            args.rl_learning_rate,
            PolicyUpdateConfig(args.kl, args.clip, args.epochs),
            args.temperature,
            MAX_TURNS,
            freeze_encoder=args.init is not None,
            seed=args.seed,
        )
        return ReporterReinforcement(
            self.network,
            self.reference,
            self.planner,
            make_actor(args.actor),
            make_worlds("visual-conditional", share * args.samples_per_prompt, items="train"),
            components,
            config,
            self._validate_team,
        )

    def _validate_captions(self) -> ValidationResult:
        """The share of true reports."""
        from agents.reporter.captioning import share_true

        share = share_true(self.network, self.collector, self.args.validation_episodes)
        return ValidationResult(share, "of reports true")

    def _validate_team(self) -> ValidationResult:
        """The mean of the true success with the most likely reports and of the share of true
        reports, on episodes that training never plays."""
        import numpy as np

        from agents.actor import make_actor
        from agents.reporter.captions import FIRST_VALIDATION_SEED
        from agents.reporter.facts import TruthChecker
        from agents.reporter.learned import LearnedReporter
        from agents.reporter.reinforcement import DeduplicatingPlanner
        from agents.team import Team
        from envs import make_worlds

        args = self.args
        assert self.planner is not None
        n = args.validation_episodes
        worlds = make_worlds("visual-conditional", min(n, 64), items="train")
        checker = TruthChecker(LearnedReporter(self.network))
        team = Team(DeduplicatingPlanner(self.planner), make_actor(args.actor), checker, MAX_TURNS)
        successes = 0
        for first in range(0, n, len(worlds)):
            seeds = range(FIRST_VALIDATION_SEED + first, FIRST_VALIDATION_SEED + n)
            episodes = team.play(worlds, seeds[: len(worlds)])
            successes += sum(bool(e.success) for e in episodes)
        success = successes / n
        true = float(np.mean(checker.true)) if checker.true else 0.0
        summary = f"success {success:.4f}, reports true {true:.4f}"
        return ValidationResult((success + true) / 2, summary)


def _plot(curve: CurveCallback, folder: RunFolder) -> None:
    """A panel for each stage: its loss, or what reinforcement is judged by."""
    from matplotlib.figure import Figure

    panels = {
        "sight": {"loss": "loss on floors, and distance from the features at the beginning"},
        "captioning": {"loss": "captions' loss"},
        "reinforcement": {
            "success": "success",
            "episode": "detector: task achieved",
            "command": "detector: commands done",
            "true": "reports true",
            "matters": "reports state what was revealed",
        },
    }
    stages = [stage for stage in panels if curve.records(stage)]
    figure = Figure(figsize=(9, 3.5 * len(stages)), layout="constrained")
    for axes, stage in zip(figure.subplots(len(stages), squeeze=False)[:, 0], stages, strict=True):
        for name, label in {**panels[stage], "validation": "validation"}.items():
            points = [(r["step"], r[name]) for r in curve.records(stage) if r[name] != ""]
            if points:
                marks: dict[str, Any] = {"marker": "o", "color": "k", "ms": 4}
                style = marks if name == "validation" else {}
                axes.plot(*zip(*points, strict=True), label=label, **style)
        axes.set(xlabel="step", title=stage)
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    figure.savefig(folder.part("plots", "curve.png"), dpi=120)
