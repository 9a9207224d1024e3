"""``python -m run train-detector``: train the success detector, or its baseline, on clips."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from envs.errors import BadInput
from models.training.callbacks import CheckpointCallback, ValidationCallback
from models.training.trainer import Stage, Trainer, TrainerCallback, ValidationResult
from run.display.palette import colour
from run.display.training_curves import mark_stages, stage_points
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
    from rewards.success_vqa.clips import Clip
    from rewards.success_vqa.dataset import ClipDataset
    from rewards.success_vqa.detector import FlamingoConfig, SuccessDetector

COLUMNS = ("step", "loss", "finding_loss", "caption_loss", "validation", "seconds")


@dataclass(frozen=True)
class TrainDetectorSettings:
    """Train the success detector on clips: frames and a question in, yes or no out.

    First a vision encoder learns to predict what single frames show: what the agent faces and
    holds, and where, and what is in sight. Then it is frozen, so that each frame is encoded only
    once. A transformer that compares frames and question, and gated cross-attention into a frozen
    language model, learn to answer questions about clips, to predict what their answers rest on,
    and at first to caption. Validation's questions are asked at intervals; the best weights by
    balanced accuracy are kept, and calibrated by a temperature.

    The run folder holds the curve as CSV, TensorBoard log and plot, and in checkpoints/ the final
    weights, which score-detector and --reward take by their path. With several processes:
    torchrun --nproc-per-node N -m run train-detector … (with GPUs also accelerate launch
    --num_processes N --module run train-detector …)

    Examples:
      python -m run make-clips --out data/clips
      python -m run train-detector --data data/clips
      python -m run train-detector --data data/clips --model baseline
      python -m run train-detector --data data/clips --steps 0 --out data/eyes
      python -m run train-detector --data data/clips --frame-steps 0 --init data/eyes
      python -m run train-detector --data data/clips --share 0.1 --steps 300
      python -m run train-detector --data data/clips --model vision-language --base my/vlm --batch 4
      python -m run train-detector --resume runs/train-detector/20260102-030405-detector
    """

    FREE_ON_RESUME: ClassVar[tuple[str, ...]] = ("out", "checkpoint_seconds")
    USUAL: ClassVar[tuple[str, ...]] = (
        "data",
        "model",
        "base",
        "steps",
        "frame-steps",
        "batch",
        "learning-rate",
        *USUAL_IN_TRAINING,
    )
    # Options that only one stage uses, by the option that says how long it is.
    STAGE_OPTIONS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "steps": ("auxiliary", "captions", "cross_clip_negatives"),
        "validate_every": ("validation_clips",),
    }

    data: Path = Path("data/clips")
    """Folder of a data set made by make-clips."""
    model: Literal["detector", "baseline", "vision-language"] = "detector"
    """detector: vision fed to a frozen language model; baseline: no pretrained language;
    vision-language: an adapter (LoRA) for any such model of transformers, --base."""
    base: str = "smollm2-135m"
    """The language model: a packaged name, a folder, a .gguf file or a hub id."""
    steps: int = 3300
    """Number of training steps on clips, after those on frames."""
    batch: int = 16
    """Number of clips in a step, with all their questions."""
    learning_rate: float = 6e-4
    """Peak learning rate on clips; twice that on frames."""
    auxiliary: float = 1.0
    """Weight of the auxiliary loss, on what answers rest on: which frames show an item that the
    question names, whether its condition holds there, and what was done to it."""
    captions: float = 0.3
    """Early in training: weight of a captioning loss, on half of the clips; 0 for none."""
    cross_clip_negatives: float = 0.3
    """Early in training: share of clips that also get a question of another clip, as an easy
    negative."""
    frame_steps: int = 2500
    """Steps on what frames show, before those on clips: 8 frames for each clip of a batch. 0 for
    an encoder of --init or for --tune-vision."""
    tune_vision: bool = False
    """Also train the vision encoder on answers. This is slower: frame features cannot be cached."""
    labels: tuple[Path, ...] = ()
    """Files of human answers made by label, to use in place of the true ones. Only the questions
    that they answer are asked; validation without such answers keeps the true ones."""
    share: float = 1.0
    """Share of the training clips to use, 0 to 1; --seed draws them."""
    width: int = 192
    """Width of the vision encoder."""
    gates: int = 2
    """Number of gated cross-attention layers in the language model."""
    every: int = 3
    """Number of layers between two of them, counted back from the last layer."""
    rank: int = 8
    """LoRA rank of a vision-language model's adapter."""
    seed: int = 0
    """Seed of weights and of the order of clips."""
    validate_every: int = 330
    """Number of steps between validations; 0 for none, so that the last weights are the result."""
    validation_clips: int = 600
    """Number of clips in a validation."""
    device: str = "auto"
    """Device for training: cpu, cuda, or auto for the fastest available."""
    threads: int = 0
    """Number of torch threads; 0 for all cores. It changes results in their last digits."""
    init: str | None = None
    """A detector to start from: detector, baseline, a run folder of train-detector, a folder of
    weights, or a hub id. All is taken of one built alike, of others the vision encoder."""
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
    name: str = "detector"
    """End of the run folder's name."""

    def refuse_unused(self, given: Collection[str]) -> None:
        """Raise BadInput for an option that is given and that this run does not use."""
        unused = idle(self, self.STAGE_OPTIONS)
        if self.model != "vision-language":
            unused["rank"] = "only --model vision-language has an adapter"
        else:
            own = ("frame_steps", "width", "gates", "every", "auxiliary")
            unused |= dict.fromkeys(own, "a vision-language model has its own vision encoder")
        if self.model == "baseline":
            unused |= dict.fromkeys(
                ("base", "gates", "every"), "the baseline has no language model"
            )
        refuse(given, unused)

    def __post_init__(self) -> None:
        at_least(
            self,
            {
                "steps": 0,
                "batch": 1,
                "auxiliary": 0,
                "captions": 0,
                "frame_steps": 0,
                "width": 8,
                "gates": 1,
                "every": 1,
                "rank": 1,
                "seed": 0,
                "validate_every": 0,
                "validation_clips": 1,
                "threads": 0,
            },
        )
        if not self.learning_rate > 0:
            raise BadInput("--learning-rate must be above 0")
        if not 0 <= self.cross_clip_negatives <= 1:
            raise BadInput(
                f"--cross-clip-negatives must be from 0 to 1, not {self.cross_clip_negatives}"
            )
        if not 0 < self.share <= 1:
            raise BadInput(f"--share must be above 0 and at most 1, not {self.share}")
        blind = not (self.frame_steps or self.init or self.tune_vision)
        if blind and self.model != "vision-language":
            raise BadInput(
                "without --frame-steps the vision encoder learns nothing; give --init, a folder "
                "with one that has learned, or --tune-vision"
            )
        if self.width % 8:
            raise BadInput(f"--width must be a multiple of 8, not {self.width}")


def train_detector(args: TrainDetectorSettings) -> Path:
    """Train with these settings and return the run folder."""
    return trained(args, "train-detector", _DetectorTraining, check_parts)


def check_parts(args: TrainDetectorSettings) -> None:
    if args.init is not None:
        _initial_weights(args.init)


def _initial_weights(init: str) -> Path:
    from models.references import weights_folder
    from rewards.success_vqa.loading import DETECTOR

    return weights_folder(init, DETECTOR)


class _DetectorTraining:
    """One run of ``train-detector``."""

    def __init__(self, args: TrainDetectorSettings, folder: RunFolder) -> None:
        import numpy as np
        import torch
        from rich.console import Console

        from models.language.loading import load_model
        from rewards.success_vqa.auxiliary_heads import AuxiliaryHeads, load_training_weights
        from rewards.success_vqa.baseline import BaselineConfig, BaselineDetector, vocabulary
        from rewards.success_vqa.clips import read_clips
        from rewards.success_vqa.dataset import ClipDataset
        from rewards.success_vqa.detector import FlamingoDetector, start_from
        from rewards.success_vqa.feature_cache import FrameFeatureCache
        from rewards.success_vqa.labels import all_labels, labelled
        from rewards.success_vqa.vlm import (
            TunedVisionLanguageConfig,
            TunedVisionLanguageDetector,
            load_untuned,
        )

        self.args = args
        self.folder = folder
        own_encoder = args.model != "vision-language"
        self.frame_steps = args.frame_steps if own_encoder else 0
        self.console = Console(stderr=True, quiet=rank() > 0)
        self.console.print(f"reading the clips in {args.data}", highlight=False)
        labels = all_labels(args.labels) if args.labels else {}

        def clips(split: str) -> Iterable[Clip]:
            stored = read_clips(args.data, split)
            if not labels:
                return stored
            is_labelled = any(label.split == split for label in labels.values())
            return labelled(stored, split, labels) if split == "train" or is_labelled else stored

        self.dataset: ClipDataset = ClipDataset.from_clips(clips("train"))
        if args.share < 1:
            self.dataset = self.dataset.subset(args.share, np.random.default_rng([args.seed, 9]))
            self.dataset.check()
        validation = ClipDataset.from_clips(clips("validation"))
        share = min(1.0, args.validation_clips / len(validation))
        self.validation = validation.subset(share, np.random.default_rng(9))
        torch.manual_seed(args.seed)
        self.detector: SuccessDetector
        if args.model == "baseline":
            self.detector = BaselineDetector(
                BaselineConfig(vocabulary(self.dataset.texts()), args.width)
            )
        elif args.model == "vision-language":
            whole = load_untuned(args.base, args.device)
            self.detector = TunedVisionLanguageDetector(
                whole, TunedVisionLanguageConfig(args.base, args.rank)
            )
        else:
            model, tokenizer = load_model(args.base, device=args.device, cache=args.cache)
            self.detector = FlamingoDetector(model, tokenizer, self._config())
            self.detector.to(model.device)
        self.heads = AuxiliaryHeads(self.detector.config.width) if own_encoder else None
        if args.init is not None:
            initial = _initial_weights(args.init)
            start_from(self.detector, initial)
            if self.heads is not None:
                load_training_weights(initial, self.detector, self.heads)
        frozen = own_encoder and not args.tune_vision
        self.features = FrameFeatureCache(self.detector, self.validation) if frozen else None
        self.checkpoints = checkpoint_manager(folder, args.checkpoint_seconds)
        self.resume = self.checkpoints.load()

    def _config(self) -> FlamingoConfig:
        from rewards.success_vqa.detector import FlamingoConfig

        args = self.args
        return FlamingoConfig(args.base, args.width, gates=args.gates, every=args.every)

    def run(self) -> None:
        """Train, keep the best, calibrate it."""
        from rewards.success_vqa.auxiliary_heads import save_training_weights
        from rewards.success_vqa.calibration import answers, calibrate

        args = self.args
        curve = CurveCallback(self.folder, COLUMNS)
        validation = ValidationCallback(
            0 if rank() else args.validate_every,
            self.detector.trained_state,
            self.detector.load_state_dict,
            lambda text: self.console.print(text, highlight=False),
            by_total_step=True,
        )
        shown = {"loss": ".3f", "finding_loss": ".3f", "caption_loss": ".3f"}
        callbacks: list[TrainerCallback] = [
            validation,
            curve,
            ProgressCallback(self.console, shown),
            CheckpointCallback(self.checkpoints),
        ]
        trainer = Trainer(self._stages(), callbacks)
        trainer.train(self.resume)
        if rank():
            return
        self.detector.eval()
        self.detector.temperature = 1.0
        if args.steps:
            answered = answers(self.detector, self.validation, features=self.features)
            self.detector.temperature = calibrate(*answered)
        if curve.records():
            _plot(curve, self.folder)
        save_final(self.folder, args.out, self.detector.save)
        if self.heads is not None:
            save_training_weights(
                self.folder.part("checkpoints", "final"), self.detector, self.heads
            )
        self.folder.write_json(
            "summary.json",
            {
                "command": "train-detector",
                "seed": args.seed,
                "n": len(self.dataset),
                "n_errors": 0,
                "seconds": round(trainer.seconds, 1),
                "validation": validation.scores,
                "temperature": self.detector.temperature,
            },
        )

    def _stages(self) -> list[Stage]:
        from rewards.success_vqa.training import (
            ClipStage,
            DetectorLearner,
            DetectorTrainingConfig,
            FrameStage,
        )

        args = self.args
        config = DetectorTrainingConfig(
            args.steps,
            self.frame_steps,
            args.batch,
            args.learning_rate,
            args.auxiliary,
            args.captions if self.detector.has_vision_encoder else 0.0,
            args.cross_clip_negatives,
            args.tune_vision,
            args.seed,
        )
        learner = DetectorLearner(self.detector, self.dataset, config, self.heads)
        frames = [FrameStage(learner)] if self.frame_steps else []
        return [*frames, ClipStage(learner, self._validate)]

    def _validate(self) -> ValidationResult:
        """The balanced accuracy."""
        from rewards.success_vqa.calibration import answers
        from rewards.success_vqa.scoring import balanced_accuracy

        probabilities, true = answers(self.detector, self.validation, features=self.features)
        return ValidationResult(balanced_accuracy(probabilities > 0.5, true), "balanced accuracy")


def _plot(curve: CurveCallback, folder: RunFolder) -> None:
    """The loss, smoothed, and validation."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    records = curve.records()
    losses = stage_points(records, "loss")
    n = min(25, len(losses.steps))
    label = f"loss, mean of {n} steps"
    axes.plot(*losses.smoothed(n).with_breaks(), color=colour(0), label=label)
    validated = stage_points(records, "validation")
    if validated.steps:
        axes.plot(*validated.with_breaks(), "ko-", ms=4, label="validation")
    mark_stages(axes, [losses])
    axes.set(xlabel="step", ylabel="loss; balanced accuracy")
    axes.set_ylim(0, max(1.02, axes.get_ylim()[1]))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(folder.part("plots", "curve.png"), dpi=120)
