"""``python -m run train-detector``: train the success detector, or its baseline, on clips."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
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

    from rewards.success_vqa.clips import Clip
    from rewards.success_vqa.dataset import ClipDataset
    from rewards.success_vqa.detector import FlamingoConfig, SuccessDetector
    from rewards.success_vqa.training import Checkpoint, Progress

COLUMNS = ("step", "loss", "finding_loss", "caption_loss", "validation", "seconds")


@dataclass(frozen=True)
class TrainDetectorSettings:
    """Train the success detector on clips: frames and a question in, yes or no out.

    First a vision encoder learns, on single frames, what they show: what the agent faces and
    holds, and where, and what is in sight. From then on it rests, so each frame is encoded but
    once. Then a transformer that compares frames and question, and gated cross-attention into a
    language model, which stays as it is, learn to answer questions about clips, and what their
    answers rest on, and at first to tell in words what happened. Now and then validation's
    questions are asked; the best weights by balanced accuracy are kept, and calibrated by a
    temperature.

    The run folder gets the curve as CSV, TensorBoard log and picture, and in checkpoints/ the final
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

    data: Path = Path("data/clips")
    """Folder of clips, as make-clips makes it."""
    model: Literal["detector", "baseline", "vision-language"] = "detector"
    """detector: vision fed to a frozen language model; baseline: no pretrained language;
    vision-language: an adapter (LoRA) for any such model of transformers, --base."""
    base: str = "smollm2-135m"
    """Its language model: a packaged name, a folder, a .gguf file or an id on the hub."""
    steps: int = 3300
    """Steps on whole clips, after those on frames."""
    batch: int = 16
    """Clips in a step, with all that is asked of them."""
    learning_rate: float = 6e-4
    """The highest step size on clips; twice that on frames."""
    findings: float = 1.0
    """Weight of the loss on what answers rest on: which frames show an item that the question
    names, whether its condition holds there, and what was done to it."""
    captions: float = 0.3
    """Weight of the loss on what happened in words, told of half of the clips at first; 0 leaves it
    out."""
    borrowed: float = 0.3
    """How many clips are also asked a question of another clip, at first; easier than their own."""
    frame_steps: int = 2500
    """First, steps for what frames show: 8 frames for each clip of a batch. 0 for an encoder that
    --init brings or that --tune-vision lets learn from answers."""
    tune_vision: bool = False
    """Let the vision encoder learn from answers too; each step then encodes its frames anew."""
    labels: tuple[Path, ...] = ()
    """Files of people's answers, as label makes them, which take the place of the true ones: only
    what they answer is asked. Validation's stay true where these have none for it."""
    share: float = 1.0
    """The share of training's clips that are used; --seed draws which."""
    width: int = 192
    """Size of the vision encoder's vectors."""
    gates: int = 2
    """Gated cross-attentions in the language model."""
    every: int = 3
    """Layers from one of them to the next, counted back from the last."""
    rank: int = 8
    """Rank of a vision-language model's adapter."""
    seed: int = 0
    """Seed of weights and of the order of clips."""
    validate_every: int = 330
    """Steps between two looks at validation; 0 keeps the last weights."""
    validation_clips: int = 600
    """Clips of validation to look at."""
    device: str = "auto"
    """Where the model learns: cpu, cuda, or auto for the best there is."""
    threads: int = 0
    """Threads of torch; 0 for all cores. Another number gives other last digits."""
    init: Path | None = None
    """Folder of a detector or baseline to start from: all of one built alike, of others the vision
    encoder."""
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
    name: str = "detector"
    """Name at the end of the run folder."""

    def __post_init__(self) -> None:
        at_least(
            self,
            {
                "steps": 0,
                "batch": 1,
                "findings": 0,
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
        if not 0 <= self.borrowed <= 1:
            raise BadInput(f"--borrowed must be from 0 to 1, not {self.borrowed}")
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
    """Train as ``args`` say; returns the run folder."""
    return trained(args, "train-detector", _Training)


class _Training:
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
        from rewards.success_vqa.training import Checkpoint
        from rewards.success_vqa.vlm import (
            TunedVisionLanguageConfig,
            TunedVisionLanguageDetector,
            load_untuned,
        )

        self.args = args
        self.folder = folder
        own_encoder = args.model != "vision-language"
        self.frame_steps = args.frame_steps if own_encoder else 0
        self.total = self.frame_steps + args.steps
        self.console = Console(stderr=True, quiet=rank() > 0)
        self.console.print(f"reading the clips in {args.data}", highlight=False)
        given = all_labels(args.labels) if args.labels else {}

        def clips(split: str) -> Iterable[Clip]:
            found = read_clips(args.data, split)
            mine = split == "train" or any(label.split == split for label in given.values())
            return labelled(found, split, given) if given and mine else found

        self.store: ClipDataset = ClipDataset.from_clips(clips("train"))
        if args.share < 1:
            self.store = self.store.subset(args.share, np.random.default_rng([args.seed, 9]))
            self.store.check()
        held = ClipDataset.from_clips(clips("validation"))
        share = min(1.0, args.validation_clips / len(held))
        self.held = held.subset(share, np.random.default_rng(9))
        torch.manual_seed(args.seed)
        self.detector: SuccessDetector
        if args.model == "baseline":
            self.detector = BaselineDetector(
                BaselineConfig(vocabulary(self.store.texts()), args.width)
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
            start_from(self.detector, args.init)
            if self.heads is not None:
                load_training_weights(args.init, self.detector, self.heads)
        frozen = own_encoder and not args.tune_vision
        self.features = FrameFeatureCache(self.detector, self.held) if frozen else None
        self.state = CheckpointFile(folder, args.checkpoint_seconds)
        found = self.state.read()
        self.head: dict[str, Any] = found[1] if found else {}
        self.saved: Checkpoint | None = None
        self.best: dict[str, torch.Tensor] = {}
        self.scores: dict[str, float] = self.head.get("scores", {})
        if found:
            self.saved = Checkpoint(self.head["step"], found[0])
            self.best = best_of(found[0])
        self.started = time.monotonic() - self.head.get("seconds", 0.0)
        self.curve: CurveLog

    def _config(self) -> FlamingoConfig:
        from rewards.success_vqa.detector import FlamingoConfig

        args = self.args
        return FlamingoConfig(args.base, args.width, gates=args.gates, every=args.every)

    def run(self) -> None:
        """Train, keep the best, calibrate it."""
        from rewards.success_vqa.auxiliary_heads import save_training_weights
        from rewards.success_vqa.calibration import answers, calibrate
        from rewards.success_vqa.training import train

        args = self.args
        self.curve = CurveLog(self.folder, COLUMNS, "step", self.head.get("rows", []))
        with ProgressBar(self.console, "training", self.total, "steps") as bar:
            train(
                self.detector,
                self.store,
                steps=self.total,
                batch=args.batch,
                learning_rate=args.learning_rate,
                findings=args.findings,
                captions=args.captions if self.detector.has_vision_encoder else 0,
                borrowed=args.borrowed,
                frame_steps=self.frame_steps,
                tune_vision=args.tune_vision,
                heads=self.heads,
                seed=args.seed,
                on_progress=lambda p: self._log(p, bar),
                save=self._offer,
                resume=self.saved,
            )
        if rank():
            return
        if self.best:
            self.detector.load_state_dict(self.best)
        self.detector.eval()
        self.detector.temperature = 1.0
        if args.steps:
            told = answers(self.detector, self.held, features=self.features)
            self.detector.temperature = calibrate(*told)
        self.curve.close()
        if self.curve.rows:
            self._plot()
        for path in (self.folder.part("checkpoints", "final"), args.out):
            if path is not None:
                self.detector.save(path)
        if self.heads is not None:
            save_training_weights(
                self.folder.part("checkpoints", "final"), self.detector, self.heads
            )
        self.folder.write_json(
            "summary.json",
            {
                "command": "train-detector",
                "seed": args.seed,
                "n": len(self.store),
                "n_errors": 0,
                "seconds": round(time.monotonic() - self.started, 1),
                "validation": self.scores,
                "temperature": self.detector.temperature,
            },
        )

    def _log(self, progress: Progress, bar: ProgressBar) -> None:
        args = self.args
        score: float | str = ""
        asked = progress.step - (self.total - args.steps)  # steps on clips; none before
        every = args.validate_every
        if (
            every
            and not rank()
            and asked > 0
            and (progress.step % every == 0 or asked == args.steps)
        ):
            score = self._validate(progress.step)
        seconds = round(time.monotonic() - self.started, 1)
        losses = [progress.loss, progress.finding_loss, progress.caption_loss]
        self.curve.add([progress.step, *losses, score, seconds])
        text = "loss {:.3f}, findings {:.3f}, captions {:.3f}".format(*losses)
        bar.update(text, progress.step)

    def _validate(self, step: int) -> float:
        """Validation's balanced accuracy; weights that do better than all before are kept."""
        from rewards.success_vqa.calibration import answers
        from rewards.success_vqa.scoring import balanced_accuracy

        sure, true = answers(self.detector, self.held, features=self.features)
        score = balanced_accuracy(sure > 0.5, true)
        self.console.print(f"validation after step {step}: {score:.4f}", highlight=False)
        if not self.best or score >= max(self.scores.values()):
            self.best = {n: t.detach().clone() for n, t in self.detector.trained_state().items()}
        self.scores[str(step)] = score
        return score

    def _offer(self, make: Callable[[], Checkpoint]) -> None:
        """Write a checkpoint, if the last is old enough."""
        if not self.state.is_due():
            return
        saved = make()
        tensors = with_best(saved.tensors, self.best)
        head = {
            "step": saved.step,
            "rows": self.curve.rows,
            "scores": self.scores,
            "seconds": time.monotonic() - self.started,
        }
        self.state.write(tensors, head)

    def _plot(self) -> None:
        import numpy as np
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.subplots()
        steps = [r[0] for r in self.curve.rows]
        losses = np.array([r[1] for r in self.curve.rows])
        n = min(25, len(losses))
        smooth = np.convolve(losses, np.ones(n) / n, "valid")
        axes.plot(steps[n - 1 :], smooth, label=f"loss, mean of {n} steps")
        seen = [r for r in self.curve.rows if r[4] != ""]
        axes.plot([r[0] for r in seen], [r[4] for r in seen], "ko-", ms=4, label="validation")
        axes.set(xlabel="step", ylabel="loss; balanced accuracy", ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        axes.legend(loc="center right")
        figure.savefig(self.folder.part("plots", "curve.png"), dpi=120)
