"""The training loop of detectors.

Every step draws its clips from its own seed, so that training goes on after a checkpoint exactly as
it would have gone on without one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import nn
from torch.nn import functional

from envs.errors import BadInput
from models.precision import half
from models.vision.encoder import N_FRAMES
from rewards.success_vqa.auxiliary_heads import AuxiliaryHeads, auxiliary_loss
from rewards.success_vqa.clips import QuestionAnswer
from rewards.success_vqa.dataset import ClipDataset, cross_clip_negatives
from rewards.success_vqa.detector import SuccessDetector
from rewards.success_vqa.feature_cache import FrameFeatureCache
from rewards.success_vqa.targets import ClipOutcome

FRAMES_RATE = 2.0  # learning rate on frames, as a multiple of that on clips


_Losses = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class _TrainingStep(nn.Module):
    """A step's losses, as one module, so that accelerate can share steps among processes."""

    def __init__(
        self, detector: SuccessDetector, heads: nn.Module, weights: Mapping[str, float]
    ) -> None:
        super().__init__()
        self.detector = detector
        self.heads = heads
        self.weights = weights

    def forward(self, stage: str, *what: Any) -> _Losses:
        """The loss on what frames show, or those on answers, auxiliary logits and captions."""
        return self._frames(*what) if stage == "frames" else self._answer(*what)

    def _frames(self, frames: torch.Tensor, *targets: torch.Tensor) -> _Losses:
        loss = self.heads(self.detector.encoder.look(frames), *targets)
        return loss, torch.zeros_like(loss), torch.zeros_like(loss)

    def _answer(
        self,
        clips: tuple[torch.Tensor, ...],
        questions: Sequence[Sequence[QuestionAnswer]],
        attributes: np.ndarray,
        outcomes: Sequence[ClipOutcome | None],
        captions: Sequence[str],
        captioned: Sequence[bool],
    ) -> _Losses:
        """The losses on a batch of clips.

        Args:
            clips: the clips' frames, or what `FrameFeatureCache` has of them.
            questions: of each clip.
            attributes: `FrameTargets.attributes` ``[clips, 8, 10]``.
            outcomes: what was done in each clip.
            captions: of each clip.
            captioned: which captions are to be learned.
        """
        detector = self.detector
        media = detector.encoder(*clips) if len(clips) == 1 else detector.encoder.sum_up(*clips)
        of = [k for k, of_clip in enumerate(questions) for _ in of_clip]
        which = torch.tensor(of, device=media.device)
        flat = [q for of_clip in questions for q in of_clip]
        texts = [q.text for q in flat]
        if detector.has_vision_encoder:
            logits, predicted = detector(media, which, texts)
            auxiliary = auxiliary_loss(
                predicted, [attributes[k] for k in of], [outcomes[k] for k in of], flat
            )
        else:
            logits = detector.logits(media, which, texts)
            auxiliary = torch.zeros_like(logits).sum()
        true = torch.tensor([float(q.answer) for q in flat], device=media.device)
        losses = functional.binary_cross_entropy_with_logits(logits, true, reduction="none")
        weights = torch.tensor([self.weights[q.kind] for q in flat], device=media.device)
        losses = losses * weights
        # Yes and no count the same, however many of each there are.
        each = [losses[true == t].sum() / weights[true == t].sum() for t in (0, 1) if t in true]
        loss = torch.stack(each).mean()
        some = [k for k, c in enumerate(captions) if c and captioned[k]]
        if not some:
            return loss, auxiliary, torch.zeros_like(loss)
        which = torch.tensor(some, device=media.device)
        return loss, auxiliary, detector.caption_loss(media, which, [captions[k] for k in some])


@dataclass(frozen=True)
class Progress:
    """Where training stands after a step. On frames ``loss`` is that on what they show, on clips
    that on the answers; then those on what answers rest on and on captions."""

    step: int
    loss: float
    finding_loss: float
    caption_loss: float


@dataclass
class Checkpoint:
    """All that training needs to go on."""

    step: int
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)


def train(
    detector: SuccessDetector,
    dataset: ClipDataset,
    *,
    steps: int,
    batch: int = 32,
    learning_rate: float = 6e-4,
    findings: float = 1.0,
    captions: float = 0.3,
    borrowed: float = 0.0,
    frame_steps: int = 0,
    tune_vision: bool = False,
    heads: AuxiliaryHeads | None = None,
    seed: int = 0,
    on_progress: Callable[[Progress], None] = lambda p: None,
    save: Callable[[Callable[[], Checkpoint]], None] = lambda make: None,
    resume: Checkpoint | None = None,
) -> None:
    """Train on ``batch`` clips a step, all questions of each.

    The first ``frame_steps``, on 8 times as many single frames, are for the vision encoder: it
    learns what frames show, half of them such that the agent faces or holds something. From then on
    it is frozen, and each frame is encoded once, unless ``tune_vision`` or the detector has no
    vision encoder of its own. ``findings`` weighs the loss on what answers rest on
    (`AuxiliaryLogits`). Two things make the beginning easier, and fade until half of the steps are
    made: half of the clips are told in words, ``captions`` weighs their likelihood; and a share
    ``borrowed`` of the clips gets a question of another clip as well (`cross_clip_negatives`),
    since another item is more easily told apart than a near miss. ``heads`` are auxiliary heads
    that have been trained before.
    Raises BadInput where the loss is not finite; what was saved is then still there.
    """
    # In each stage some parameters have no gradient.
    some_unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(cpu=detector.device.type == "cpu", kwargs_handlers=[some_unused])
    if batch < accelerator.num_processes:
        raise BadInput(f"a batch of {batch} is too small for {accelerator.num_processes} processes")
    torch.manual_seed(seed)
    auxiliary: nn.Module = nn.Module()
    if detector.has_vision_encoder:
        auxiliary = (heads or AuxiliaryHeads(detector.config.width)).to(detector.device)
    parameters = [p for p in (*detector.parameters(), *auxiliary.parameters()) if p.requires_grad]
    decayed = [p for p in parameters if p.ndim > 1]
    others = [p for p in parameters if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}],
        learning_rate,
        betas=(0.9, 0.98),
    )
    losses_of = accelerator.prepare(_TrainingStep(detector, auxiliary, dataset.kind_weights()))
    first = 0
    if resume is not None:
        first = resume.step
        _unpack(resume, detector, auxiliary, optimiser, parameters)
    mine = slice(accelerator.process_index, None, accelerator.num_processes)
    frozen = detector.has_vision_encoder and not tune_vision
    features = FrameFeatureCache(detector, dataset)
    interactions = dataset.interaction_frames()
    if frame_steps and not len(interactions):
        raise BadInput(
            "these clips do not tell what their frames show, so that the vision encoder can only "
            "learn from answers: --frame-steps 0 --tune-vision"
        )
    detector.train()
    for step in range(first, steps):
        rng = np.random.default_rng([seed, step])
        if step < frame_steps:
            place_in, length = step, frame_steps
            n_frames = N_FRAMES * batch
            frames = _some_frames(dataset, interactions, n_frames, mine, rng, detector.device)
            what = ("frames", *frames)
        else:
            place_in, length = step - frame_steps, steps - frame_steps
            epoch, place = divmod(place_in * batch, max(len(dataset) // batch * batch, batch))
            order = np.random.default_rng([seed, epoch, 5]).permutation(len(dataset))
            which = order[place : place + batch]
            at_first = max(0.0, 1 - 2 * place_in / length)
            questions = [dataset.questions[k] for k in which]
            easy = borrowed * at_first
            if easy:
                more = cross_clip_negatives(
                    dataset, which, easy, np.random.default_rng([seed, step, 2])
                )
                questions = [
                    own if q in own else (*own, q) for own, q in zip(questions, more, strict=True)
                ]
            captioned = rng.random(len(which)) < (0.5 * at_first if captions else 0.0)
            own_clips = which[mine]
            shown: tuple[torch.Tensor, ...]
            if frozen:
                shown = features(own_clips)
            else:
                shown = (torch.from_numpy(dataset.frames[own_clips]).to(detector.device),)
            what = (
                "clips",
                shown,
                questions[mine],
                dataset.targets.attributes[own_clips],
                [dataset.outcomes[k] for k in own_clips],
                [dataset.captions[k] for k in own_clips],
                captioned[mine],
            )
        rate = _rate(place_in, length, learning_rate * (FRAMES_RATE if step < frame_steps else 1))
        for group in optimiser.param_groups:
            group["lr"] = rate
        with half(detector.device):
            loss, auxiliary_part, caption = losses_of(*what)
        total = loss + findings * auxiliary_part + captions * caption
        if not torch.isfinite(total):
            raise BadInput(f"the loss is not finite at step {step + 1}; try a lower learning rate")
        optimiser.zero_grad()
        accelerator.backward(total)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        on_progress(Progress(step + 1, loss.item(), auxiliary_part.item(), caption.item()))
        detector.train()
        save(lambda done=step + 1: _pack(done, detector, auxiliary, optimiser, parameters))  # type: ignore[misc]
    detector.eval()


def _some_frames(
    dataset: ClipDataset,
    interactions: np.ndarray,
    n: int,
    mine: slice,
    rng: np.random.Generator,
    device: torch.device,
) -> list[torch.Tensor]:
    """``n`` frames and their targets: half of them ``interactions``, the others any annotated."""
    annotated = dataset.annotated_frames()
    of_both = rng.random(n) < 0.5, rng.choice(interactions, n), rng.choice(annotated, n)
    drawn = np.where(*of_both)[mine]
    which = np.unravel_index(drawn, dataset.frames.shape[:2])
    targets = dataset.targets[which]
    arrays = (dataset.frames[which], targets.attributes, targets.patches, targets.in_sight)
    return [torch.from_numpy(a).to(device) for a in arrays]


def _rate(step: int, steps: int, peak: float) -> float:
    """Up over the first 5 % of the steps, then down to a fiftieth along a cosine."""
    share = (step + 1) / steps
    if share < 0.05:
        return peak * share / 0.05
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (share - 0.05) / 0.95)))


def _pack(
    step: int,
    detector: SuccessDetector,
    auxiliary: nn.Module,
    optimiser: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
) -> Checkpoint:
    tensors = {f"model.{n}": t.detach().clone() for n, t in detector.trained_state().items()}
    tensors |= {f"spotter.{n}": t.detach().clone() for n, t in auxiliary.state_dict().items()}
    for k, p in enumerate(parameters):
        for name, value in optimiser.state[p].items():
            tensors[f"optimiser.{k}.{name}"] = torch.as_tensor(value).detach().clone()
    return Checkpoint(step, tensors)


def _unpack(
    saved: Checkpoint,
    detector: SuccessDetector,
    auxiliary: nn.Module,
    optimiser: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
) -> None:
    model, other = {}, {}
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in saved.tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "model":
            model[rest] = tensor
        elif kind == "spotter":
            other[rest] = tensor
        elif kind == "optimiser":
            k, _, what = rest.partition(".")
            state.setdefault(int(k), {})[what] = tensor
    detector.load_state_dict(model)
    auxiliary.load_state_dict(other)
    for number, memory in state.items():
        optimiser.state[parameters[number]] = memory
