"""``python -m run train-planner``: adapt a small language model as the Planner."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from envs.errors import BadInput
from models.training.callbacks import CheckpointCallback, SaveWeightsCallback, ValidationCallback
from models.training.trainer import Stage, Trainer, ValidationResult
from run.display.palette import colour
from run.display.training_curves import mark_stages, stage_points
from run.evaluation.suites import find_suite, select_tasks
from run.storage.folder import RunFolder
from run.storage.settings import at_least, shown
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
    import torch

    from agents.planner.demonstrations import TaskFamily
    from agents.planner.options import PlannerOptions

COLUMNS = ("stage", "step", "loss", "success", "reward", "divergence", "validation", "seconds")
VALIDATION = "planner-validation"


@dataclass(frozen=True)
class TrainPlannerSettings:
    """Adapt a language model as the Planner: imitation first, then reinforcement.

    Only LoRA adapters are trained. First they imitate the oracle. Then the Planner samples commands
    in whole episodes and learns by policy gradient: the baseline is the mean reward of the other
    samples of the same episode, and a KL penalty keeps it close to the Planner after imitation.

    The families and phrasings of training are listed in agents/planner/demonstrations.py:
    conditional tasks, also with other actions than picking up, and searches among up to 5 items;
    with training items, one paraphrase each, some irrelevant reports and some Actors that run out
    of steps. The suite planner-validation is played at intervals, and the best adapters are kept.

    The run folder contains the curve as CSV, TensorBoard log and plot, and in checkpoints/ the
    adapters imitation (the best), reinforcement (the last) and final (the best of all). The path
    of each can be given as --planner. The model card of parley-135m has its command.

    Examples:
      python -m run train-planner
      python -m run train-planner --imitation-steps 20 --rl-steps 0 --validate-every 10
      python -m run train-planner --base my/model --device cuda --batch 64
      python -m run train-planner --imitation-steps 0 --init my/adapter --rl-steps 50
      python -m run train-planner --imitation-steps 0 --rl-steps 0 --init seed0 seed1 seed2
      python -m run train-planner --resume runs/train-planner/20260102-030405-planner
      python -m run episode --planner runs/train-planner/20260102-030405-planner/checkpoints/final
    """

    FREE_ON_RESUME: ClassVar[tuple[str, ...]] = ("out", "checkpoint_seconds")
    USUAL: ClassVar[tuple[str, ...]] = (
        "base",
        "imitation-steps",
        "rl-steps",
        "batch",
        "learning-rate",
        "reward",
        "actor",
        *USUAL_IN_TRAINING,
    )
    # Options that only one stage uses, by the option that says how long it is.
    STAGE_OPTIONS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "imitation_steps": (
            "batch",
            "learning_rate",
            "objective",
            "random_embeddings",
            "relabelling",
            "noise_injection",
        ),
        "rl_steps": (
            "groups",
            "samples_per_prompt",
            "rl_learning_rate",
            "kl",
            "temperature",
            "reward",
        ),
        "validate_every": ("validation_episodes", "validation_tasks"),
    }

    base: str = "smollm2-135m"
    """The model to adapt: a packaged name, a folder, a .gguf file or a hub id."""
    imitation_steps: int = 160
    """Number of imitation steps; 0 skips imitation."""
    batch: int = 8
    """Number of dialogues in an imitation step."""
    learning_rate: float = 1e-3
    """Peak learning rate of imitation."""
    objective: Literal["choices", "tokens"] = "choices"
    """choices: imitate at decision points, where candidates differ; tokens: imitate every token of
    the commands."""
    random_embeddings: float = 0.0
    """Imitation: maximum share of a dialogue's words that get random embeddings, 0 to 1."""
    relabelling: float = 0.0
    """Imitation: probability that a dialogue's items are relabelled as boxes and balls. In half of
    these dialogues the task states beforehand what examining would reveal."""
    noise_injection: float = 0.0
    """Imitation: probability that the expert gives a wrong command. The policy learns to recover
    from it, not to imitate it (DART, arXiv 1703.09327)."""
    rl_steps: int = 20
    """Number of reinforcement steps; 0 skips reinforcement."""
    groups: int = 8
    """Number of different episodes in a reinforcement step."""
    samples_per_prompt: int = 8
    """How often each of these episodes is played; at least 2."""
    rl_learning_rate: float = 5e-5
    """Peak learning rate of reinforcement."""
    kl: float = 0.5
    """Weight of the KL divergence from the Planner after imitation."""
    temperature: float = 1.0
    """Sampling temperature in reinforcement; must be above 0."""
    reward: str = "truth"
    """Reward: truth (the environment's own), or a detector: detector (the shipped one), baseline, a
    run folder of train-detector, a folder of weights, a hub id, or module:Class. A detector
    judges from pixels, which never show a secret property."""
    without: tuple[str, ...] = ()
    """Task families to leave out, by name or pattern ("search*"); they are listed in
    agents/planner/demonstrations.py."""
    visible: bool = False
    """Also train on visual conditionals, for a Planner that reads a learned Reporter's reports.
    They are then no longer zero-shot."""
    actor: str = "scripted"
    """The Actor of the team: scripted, learned, a run folder of train-actor, a folder of weights, a
    hub id, or module:Class."""
    rank: int = 16
    """Rank of the adapters."""
    prompt: Literal["short", "dialogue"] = "short"
    """The prompt in agents/planner/prompts: short, or dialogue as for models without adapter."""
    examples: int = 2
    """Number of worked examples in the prompt. Every step reads them again, so more are slower."""
    seed: int = 0
    """Seed of adapters, worlds and sampling."""
    validate_every: int = 40
    """Number of steps between validations; 0 for none, so that the last adapters are the result."""
    validation_episodes: int = 60
    """Number of validation episodes of each task."""
    validation_tasks: Annotated[str | None, shown("NAMES", "all")] = None
    """Tasks of planner-validation to validate on, by name or pattern ("visual*"), separated by
    commas."""
    device: str = "auto"
    """Device for training: cpu, cuda, or auto for the fastest available."""
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """The model's number format; auto is bfloat16 where that is faster, else float32, and the run's
    config.json records which. Adapters are always float32."""
    threads: int = 0
    """Number of torch threads; 0 for all cores. It changes results in their last digits."""
    init: tuple[str, ...] = ()
    """Adapters to start from, each a shipped name, a run folder of train-planner, a folder of
    weights, or a hub id; of several, their mean. By default a new one."""
    processors: str = "default"
    """Decision processors of the Planner (see evaluate --help). By default those that all adapters
    of --init share, with the parameters that change decisions least; for a new adapter, those of
    constrained scoring."""
    out: Path | None = None
    """Folder to which the final adapter is also written."""
    force: bool = False
    """Replace what is at --out already."""
    resume: Path | None = None
    """Run folder of a run that was stopped, even killed: continue it exactly where it stopped."""
    checkpoint_seconds: float = 60.0
    """Minimum number of seconds between two checkpoints."""
    cache: Path | None = None
    """Folder for fetched and converted weights; by default $PARLEY_CACHE or ~/.cache/parley."""
    runs_dir: Path = Path("runs")
    """Folder in which run folders are made."""
    name: str = "planner"
    """End of the run folder's name."""

    def refuse_unused(self, given: Collection[str]) -> None:
        """Raise BadInput for an option that is given and that this run does not use."""
        unused = idle(self, self.STAGE_OPTIONS)
        refuse(given, unused)

    def __post_init__(self) -> None:
        tasks = select_tasks(VALIDATION, find_suite(VALIDATION), self.validation_tasks)
        variants = max(len(task.variants) for task in tasks)
        at_least(
            self,
            {
                "imitation_steps": 0,
                "batch": 1,
                "rl_steps": 0,
                "groups": 1,
                "samples_per_prompt": 2,
                "rank": 1,
                "examples": 0,
                "seed": 0,
                "validate_every": 0,
                "validation_episodes": variants,
                "threads": 0,
                "kl": 0,
            },
        )
        for name in ("random_embeddings", "relabelling", "noise_injection"):
            if not 0 <= (value := getattr(self, name)) < 1:
                option = name.replace("_", "-")
                raise BadInput(f"--{option} must be from 0 to below 1, not {value}")
        for name in ("learning_rate", "rl_learning_rate", "temperature"):
            if not getattr(self, name) > 0:
                raise BadInput(f"--{name.replace('_', '-')} must be above 0")


def train_planner(args: TrainPlannerSettings) -> Path:
    """Train with these settings and return the run folder."""
    from models.language.loading import number_format

    check_parts(args)
    if args.resume is None:
        dtype: Any = number_format(args.dtype, args.device)
        args = replace(args, dtype=dtype)
    return trained(args, "train-planner", _prepared)


def check_parts(args: TrainPlannerSettings) -> None:
    from agents.actor.registry import check_actor
    from agents.planner.adapter import read_about
    from rewards.success_vqa.loading import check_detector

    if args.reward != "truth":
        check_detector(args.reward)
    check_actor(args.actor)
    for name in args.init:
        read_about(_adapter_path(name))


def _prepared(args: TrainPlannerSettings, folder: RunFolder) -> _PlannerTraining:
    """Check and load all that the settings name."""
    from agents.planner.demonstrations import families_without
    from agents.planner.options import PlannerOptions
    from models.language.loading import load_model

    families = families_without(args.without, args.visible)
    options = PlannerOptions(
        device=args.device,
        dtype=args.dtype,
        cache=args.cache,
        processors=args.processors,
    )
    model, tokenizer = load_model(args.base, device=args.device, dtype=args.dtype, cache=args.cache)
    return _PlannerTraining(args, folder, families, model, tokenizer, options)


def _adapter_path(adapter: str) -> Path:
    from agents.planner.registry import PLANNER
    from models.references import weights_folder

    return weights_folder(adapter, PLANNER)


class _PlannerTraining:
    """One run of ``train-planner``."""

    def __init__(
        self,
        args: TrainPlannerSettings,
        folder: RunFolder,
        families: Sequence[TaskFamily],
        model: Any,
        tokenizer: Any,
        options: PlannerOptions,
    ) -> None:
        from rich.console import Console

        from agents.planner.demonstrations import RolloutCollector
        from agents.planner.policy import PlannerPolicy
        from agents.planner.policy_adapters import load_adapters

        self.args = args
        self.folder = folder
        self.console = Console(stderr=True)
        self.policy = PlannerPolicy(
            model,
            tokenizer,
            rank=args.rank,
            seed=args.seed,
            examples=args.examples,
            prompt=args.prompt,
            options=options,
        )
        if args.init:
            load_adapters(self.policy, [_adapter_path(name) for name in args.init], args.base)
        self.collector = RolloutCollector(
            max(args.batch, args.groups * args.samples_per_prompt), families, args.actor
        )
        self.checkpoints = checkpoint_manager(folder, args.checkpoint_seconds)
        self.resume = self.checkpoints.load()

    def run(self) -> None:
        """Imitate, reinforce, keep the best."""
        from agents.planner.policy_adapters import check_saved

        curve = CurveCallback(self.folder, COLUMNS)
        validation = ValidationCallback(
            self.args.validate_every,
            self.policy.parameters,
            self._restore,
            lambda text: self.console.print(text, highlight=False),
            across_stages=True,
            at_start=self._validate if self.args.init else None,
        )
        trainer = Trainer(
            self._stages(),
            [
                SaveWeightsCallback(self._save_stage, {"reinforcement"}),
                validation,
                SaveWeightsCallback(self._save_stage, {"imitation"}),
                curve,
                ProgressCallback(self.console, {"loss": ".4f", "success": ".3f"}),
                CheckpointCallback(self.checkpoints),
            ],
        )
        trainer.train(self.resume)
        _plot(self.args, curve, self.folder)
        save_final(self.folder, self.args.out, self._save)
        check_saved(self.policy, self.folder.path / "checkpoints" / "final")
        self.folder.write_json(
            "summary.json",
            {
                "command": "train-planner",
                "seed": self.args.seed,
                "n": len(curve.records()),
                "n_errors": 0,
                "seconds": round(trainer.seconds, 1),
                "validation": validation.scores,
                "chosen": validation.best_step(),
            },
        )

    def _stages(self) -> list[Stage]:
        from agents.planner.imitation import PlannerImitation, PlannerImitationConfig
        from agents.planner.reinforcement import PlannerReinforcement, PlannerReinforcementConfig
        from run.reward_functions import episode_reward

        args = self.args
        stages: list[Stage] = []
        if args.imitation_steps:
            imitation = PlannerImitationConfig(
                args.imitation_steps,
                args.batch,
                args.learning_rate,
                args.objective,
                args.random_embeddings,
                args.relabelling,
                args.noise_injection,
                args.seed,
            )
            stages.append(PlannerImitation(self.policy, self.collector, imitation, self._validate))
        if args.rl_steps:
            reinforcement = PlannerReinforcementConfig(
                args.rl_steps,
                args.groups,
                args.samples_per_prompt,
                args.rl_learning_rate,
                args.kl,
                args.temperature,
                args.seed,
            )
            reward = episode_reward(args.reward, args.device, args.cache)
            stages.append(
                PlannerReinforcement(
                    self.policy, self.collector, reinforcement, reward, self._validate
                )
            )
        return stages

    def _validate(self) -> ValidationResult:
        """The validation suite's success rate."""
        from run.evaluation.validation import success_rates

        self.policy.sync()
        rates = success_rates(
            self.policy.planner,
            VALIDATION,
            self.args.validation_episodes,
            tasks=self.args.validation_tasks,
        )
        summary = ", ".join(f"{name} {rate:.2f}" for name, rate in rates.items())
        return ValidationResult(sum(rates.values()) / len(rates), summary)

    def _restore(self, weights: Mapping[str, torch.Tensor]) -> None:
        import torch

        with torch.no_grad():
            for name, p in self.policy.parameters().items():
                p.copy_(weights[name])
        self.policy.sync()

    def _save_stage(self, stage: str) -> None:
        self._save(self.folder.part("checkpoints", stage))

    def _save(self, path: Path) -> None:
        from agents.planner.policy_adapters import save_adapter

        save_adapter(self.policy, path, self.args.base)


def _plot(args: TrainPlannerSettings, curve: CurveCallback, folder: RunFolder) -> None:
    """Success in training's episodes and in validation."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    played = stage_points(curve.records("reinforcement"), "success")
    if played.steps:
        axes.plot(played.steps, played.values, color=colour(0), label="training episodes")
    validated = stage_points(curve.records(), "validation")
    if validated.steps:
        axes.plot(*validated.with_breaks(), "ko-", ms=4, label="validation suite")
    mark_stages(axes, [points for points in (played, validated) if points.steps])
    axes.set(xlabel="step", ylabel="success", ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    if axes.lines:
        figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(folder.part("plots", "curve.png"), dpi=120)
