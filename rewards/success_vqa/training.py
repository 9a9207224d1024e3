"""The detector's training: first on what frames show, then on questions about whole clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from envs.errors import BadInput
from models.precision import half
from models.training.checkpoints import pack, unpack
from models.training.gradient_step import gradient_step
from models.training.process_group import ProcessGroup
from models.training.schedules import cosine_to_fiftieth
from models.training.trainer import Stage, ValidationResult
from models.vision.encoder import N_FRAMES
from rewards.success_vqa.auxiliary_heads import AuxiliaryHeads, auxiliary_loss
from rewards.success_vqa.clips import QuestionAnswer
from rewards.success_vqa.dataset import ClipDataset, cross_clip_negatives
from rewards.success_vqa.detector import SuccessDetector
from rewards.success_vqa.feature_cache import FrameFeatureCache

FRAMES_RATE = 2.0  # learning rate on frames, as a multiple of that on clips
CAPTIONED = 0.5  # share of the clips with a caption to learn, at first


@dataclass(frozen=True)
class DetectorTrainingConfig:
    """Settings of `FrameStage` and `ClipStage`."""

    steps: int
    """Steps on clips."""
    frame_steps: int = 0
    """Steps on frames, before those on clips."""
    batch: int = 32
    """Clips in a step, with all their questions; a step on frames has 8 frames for each."""
    learning_rate: float = 6e-4
    """The highest learning rate on clips."""
    auxiliary: float = 1.0
    """Weight of the auxiliary loss, on what answers rest on."""
    captions: float = 0.3
    """Weight of the captions' loss."""
    cross_clip_negatives: float = 0.0
    """Share of the clips with a question of another clip, at first."""
    tune_vision: bool = False
    """Train the vision encoder on clips too."""
    seed: int = 0


@dataclass(frozen=True)
class ClipLosses:
    """The losses of a step on clips: scalars."""

    answers: torch.Tensor
    auxiliary: torch.Tensor
    captions: torch.Tensor

    def total(self, config: DetectorTrainingConfig) -> torch.Tensor:
        """The sum by the configured weights."""
        weighted = self.answers + config.auxiliary * self.auxiliary
        return weighted + config.captions * self.captions


class DetectorLearner:
    """A detector, its auxiliary heads and their optimiser, which all stages share."""

    def __init__(
        self,
        detector: SuccessDetector,
        dataset: ClipDataset,
        config: DetectorTrainingConfig,
        heads: AuxiliaryHeads | None = None,
    ) -> None:
        """
        Args:
            detector: Learns.
            dataset: What it learns from.
            config: The settings.
            heads: Trained auxiliary heads; None for new ones.

        Raises:
            BadInput: Where there are fewer clips in a batch than processes.
        """
        self.detector = detector
        self.dataset = dataset
        self.config = config
        self.processes = ProcessGroup(detector.device)
        if config.batch < self.processes.n:
            raise BadInput(
                f"a batch of {config.batch} is too small for {self.processes.n} processes"
            )
        torch.manual_seed(config.seed)
        self.heads: nn.Module = nn.Module()
        if detector.has_vision_encoder:
            self.heads = (heads or AuxiliaryHeads(detector.config.width)).to(detector.device)
        trained = (*detector.parameters(), *self.heads.parameters())
        self.parameters = [p for p in trained if p.requires_grad]
        matrices = [p for p in self.parameters if p.ndim > 1]
        others = [p for p in self.parameters if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}],
            config.learning_rate,
            betas=(0.9, 0.98),
        )

    @property
    def share(self) -> slice:
        """Which items of a batch are this process's."""
        return slice(self.processes.rank, None, self.processes.n)

    def descend(self, loss: torch.Tensor, step: int, learning_rate: float) -> None:
        """Make a gradient step.

        Args:
            loss: The loss, a scalar.
            step: The number of the step, for error messages.
            learning_rate: The learning rate.
        """
        gradient_step(
            [loss],
            self.optimiser,
            self.parameters,
            step=step,
            learning_rate=learning_rate,
            processes=self.processes,
        )

    def state_dict(self) -> dict[str, Any]:
        """Copies of the trained weights and of the optimiser's state."""
        model, heads = self.detector.trained_state(), self.heads.state_dict()
        return dict(pack(self.optimiser, model=model, heads=heads))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned. Raises BadInput for another detector's."""
        model, heads = self.detector.trained_state(), self.heads.state_dict()
        unpack(state, self.optimiser, model=model, heads=heads)


class FrameStage(Stage):
    """The vision encoder learns to predict what single frames show.

    In half of the frames the agent faces or holds an item. Raises BadInput where no frame has an
    annotation.
    """

    name = "frames"

    def __init__(self, learner: DetectorLearner) -> None:
        self.learner = learner
        self.steps = learner.config.frame_steps
        self._interactions = learner.dataset.interaction_frames()
        if not len(self._interactions):
            raise BadInput(
                "these clips do not tell what their frames show, so that the vision encoder can "
                "only learn from answers: --frame-steps 0 --tune-vision"
            )

    def step(self, k: int) -> Mapping[str, float]:
        learner, config = self.learner, self.learner.config
        detector = learner.detector.train()
        rng = np.random.default_rng([config.seed, k])
        frames, *targets = self._draw(rng)
        with half(detector.device):
            loss = learner.heads(detector.encoder.encode_frames(frames), *targets)
        peak = FRAMES_RATE * config.learning_rate
        learner.descend(loss, k, cosine_to_fiftieth(k, self.steps, peak))
        return {"loss": loss.item(), "finding_loss": 0.0, "caption_loss": 0.0}

    def _draw(self, rng: np.random.Generator) -> list[torch.Tensor]:
        """This process's share of the frames, and their targets."""
        dataset = self.learner.dataset
        n = N_FRAMES * self.learner.config.batch
        annotated = dataset.annotated_frames()
        is_interaction = rng.random(n) < 0.5
        interactions, others = rng.choice(self._interactions, n), rng.choice(annotated, n)
        drawn = np.where(is_interaction, interactions, others)[self.learner.share]
        which = np.unravel_index(drawn, dataset.frames.shape[:2])
        targets = dataset.targets[which]
        arrays = (dataset.frames[which], targets.attributes, targets.patches, targets.in_sight)
        return [torch.from_numpy(a).to(self.learner.detector.device) for a in arrays]

    def state_dict(self) -> dict[str, Any]:
        return self.learner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state)


class ClipStage(Stage):
    """The detector learns to answer questions about clips.

    Its vision encoder is frozen, so that each frame is encoded once, unless ``tune_vision`` is set
    or the detector has none of its own. Beside the answers it learns what they rest on
    (`AuxiliaryLogits`). Two things make the beginning easier and fade out over the first half of
    the steps: captions of some clips, and questions of other clips (`cross_clip_negatives`),
    since another item is more easily told apart than a near miss.
    """

    name = "clips"

    def __init__(
        self,
        learner: DetectorLearner,
        validation: Callable[[], ValidationResult] | None = None,
    ) -> None:
        """
        Args:
            learner: Learns.
            validation: Scores the detector, for `Trainer`'s validation.
        """
        self.learner = learner
        self.steps = learner.config.steps
        self._validation = validation
        frozen = learner.detector.has_vision_encoder and not learner.config.tune_vision
        self._features = FrameFeatureCache(learner.detector, learner.dataset) if frozen else None
        self._kind_weights = learner.dataset.kind_weights()

    def step(self, k: int) -> Mapping[str, float]:
        learner, config = self.learner, self.learner.config
        learner.detector.train()
        with half(learner.detector.device):
            losses = self._losses(k)
        rate = cosine_to_fiftieth(k, self.steps, config.learning_rate)
        learner.descend(losses.total(config), config.frame_steps + k, rate)
        return {
            "loss": losses.answers.item(),
            "finding_loss": losses.auxiliary.item(),
            "caption_loss": losses.captions.item(),
        }

    def batch(self, k: int) -> tuple[np.ndarray, list[tuple[QuestionAnswer, ...]], np.ndarray]:
        """The clips of step ``k`` ``[batch]`` by number, their questions, and which of them have a
        caption to learn ``[batch] bool``."""
        dataset, config = self.learner.dataset, self.learner.config
        step = config.frame_steps + k
        rng = np.random.default_rng([config.seed, step])
        per_epoch = max(len(dataset) // config.batch * config.batch, config.batch)
        epoch, place = divmod(k * config.batch, per_epoch)
        order = np.random.default_rng([config.seed, epoch, 5]).permutation(len(dataset))
        which = order[place : place + config.batch]
        questions = [dataset.questions[i] for i in which]
        p = config.cross_clip_negatives * fading(k, self.steps)
        if p:
            negatives = cross_clip_negatives(
                dataset, which, p, np.random.default_rng([config.seed, step, 2])
            )
            questions = [
                own if q in own else (*own, q) for own, q in zip(questions, negatives, strict=True)
            ]
        share = CAPTIONED * fading(k, self.steps) if config.captions else 0.0
        return which, questions, rng.random(len(which)) < share

    def _losses(self, k: int) -> ClipLosses:
        """The losses on this process's share of step ``k``."""
        learner, dataset = self.learner, self.learner.dataset
        detector = learner.detector
        every_clip, every_question, every_captioned = self.batch(k)
        clips = every_clip[learner.share]
        questions = every_question[learner.share]
        captioned = every_captioned[learner.share]
        if self._features is not None:
            media = detector.encoder.resample(*self._features(clips))
        else:
            media = detector.encoder(torch.from_numpy(dataset.frames[clips]).to(detector.device))
        owners = [i for i, of_clip in enumerate(questions) for _ in of_clip]
        which = torch.tensor(owners, device=media.device)
        flat = [q for of_clip in questions for q in of_clip]
        texts = [q.text for q in flat]
        if detector.has_vision_encoder:
            logits, predicted = detector(media, which, texts)
            attributes = dataset.targets.attributes[clips]
            outcomes = [dataset.outcomes[i] for i in clips]
            auxiliary = auxiliary_loss(
                predicted, [attributes[i] for i in owners], [outcomes[i] for i in owners], flat
            )
        else:
            logits = detector.logits(media, which, texts)
            auxiliary = torch.zeros_like(logits).sum()
        answers = torch.tensor([float(q.answer) for q in flat], device=media.device)
        weights = torch.tensor([self._kind_weights[q.kind] for q in flat], device=media.device)
        captions = [dataset.captions[i] for i in clips]
        loss = answer_loss(logits, answers, weights)
        return ClipLosses(loss, auxiliary, self._caption_loss(media, captions, captioned, loss))

    def _caption_loss(
        self,
        media: torch.Tensor,
        captions: Sequence[str],
        captioned: np.ndarray,
        like: torch.Tensor,
    ) -> torch.Tensor:
        """The captions' loss; a zero ``like`` another loss where none is to be learned."""
        some = [i for i, caption in enumerate(captions) if caption and captioned[i]]
        if not some:
            return torch.zeros_like(like)
        which = torch.tensor(some, device=media.device)
        return self.learner.detector.caption_loss(media, which, [captions[i] for i in some])

    def end(self) -> None:
        self.learner.detector.eval()

    def validate(self) -> ValidationResult | None:
        return None if self._validation is None else self._validation()

    def state_dict(self) -> dict[str, Any]:
        return self.learner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state)


def fading(step: int, steps: int) -> float:
    """A weight that falls from 1 at step 0 to 0 in the middle of the steps, and stays there."""
    return max(0.0, 1 - 2 * step / steps)


def answer_loss(logits: torch.Tensor, answers: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy, weighted within each answer; yes and no count the same, however many
    there are of each.

    Args:
        logits: ``[n]`` of yes.
        answers: ``[n]``, 1 for yes and 0 for no.
        weights: ``[n]`` of the questions' kinds.

    Returns:
        A scalar.
    """
    losses = functional.binary_cross_entropy_with_logits(logits, answers, reduction="none")
    losses = losses * weights
    by_answer = [
        losses[answers == answer].sum() / weights[answers == answer].sum()
        for answer in (0, 1)
        if answer in answers
    ]
    return torch.stack(by_answer).mean()
