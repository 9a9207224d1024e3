"""Auxiliary prediction heads and losses, for training only.

A yes or no about a whole clip is too weak a signal for a vision encoder, so it first learns to
predict the contents of single frames. Later the answers are trained together with what they depend
on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from envs.errors import BadInput
from envs.items import ALL_ITEMS, COLOURS
from envs.objects import MARKS
from models.tensor_files import save_tensors
from models.vision.encoder import FrameFeatures
from rewards.success_vqa.clips import ClipOutcome, QuestionAnswer
from rewards.success_vqa.cross_modal_encoder import AuxiliaryLogits
from rewards.success_vqa.detector import SuccessDetector
from rewards.success_vqa.targets import (
    ITEM_WORDS,
    UNKNOWN,
    condition_targets,
    event_targets,
    named_item_targets,
)

TRAINING_WEIGHTS = "training.safetensors"
# Which words make each item's name: [items, words].
_WORDS_OF_ITEMS = torch.tensor(
    [
        [float(w in (i.texture, i.colour, i.shape)) for words in ITEM_WORDS for w in words]
        for i in ALL_ITEMS
    ]
)


class AuxiliaryHeads(nn.Module):
    """Predicts the contents of a frame from the vision encoder's vectors.

    Args:
        width: The size of the encoder's vectors.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_patches = nn.LayerNorm(width)
        sizes = [len(words) + 1 for words in ITEM_WORDS]
        about_faced = (len(MARKS), 2, 2, len(COLOURS) + 1)
        self.faces = nn.ModuleList(nn.Linear(width, n) for n in (*sizes, *about_faced))
        self.holds = nn.ModuleList(nn.Linear(width, n) for n in sizes)
        # Single words are easier to learn than whole names: few items share a name, many a colour.
        n = len(ALL_ITEMS) + _WORDS_OF_ITEMS.shape[1]
        self.places = nn.Linear(width, n)
        self.scene = nn.Linear(width, n)
        for head in (self.places, self.scene):
            nn.init.constant_(head.bias, -2.0)

    def attribute_logits(self, vectors: torch.Tensor) -> list[torch.Tensor]:
        """Logits of each column of `FrameTargets.attributes`, from frames' ``vectors [N, 3,
        width]``."""
        faced = [head(vectors[:, 0]).float() for head in self.faces]
        held = [head(vectors[:, 1]).float() for head in self.holds]
        return [*faced[:3], *held, *faced[3:]]

    def forward(
        self,
        seen: FrameFeatures,
        attributes: torch.Tensor,
        patches: torch.Tensor,
        in_sight: torch.Tensor,
    ) -> torch.Tensor:
        """The loss on the contents of N frames.

        Args:
            seen: The vision encoder's output for the frames.
            attributes: ``[N, 10] int8``; this and the next two are as in `FrameTargets`.
            patches: ``[N, 4] int8``.
            in_sight: ``[N, items] bool``.
        """
        loss = _in_sight_loss(self.scene(seen.vectors[:, 2]).float(), in_sight)
        # An item is in sight if any single patch shows it.
        by_patch = self.places(self.norm_patches(seen.patches)).float().amax(1)
        loss = loss + _in_sight_loss(by_patch, in_sight)
        for k, logits in enumerate(self.attribute_logits(seen.vectors)):
            loss = loss + functional.cross_entropy(
                logits, attributes[:, k].long(), ignore_index=UNKNOWN
            )
        side = math.isqrt(seen.where.shape[1])
        for k in range(2):
            row, column = patches[:, 2 * k].long(), patches[:, 2 * k + 1].long()
            target = torch.where(row < 0, UNKNOWN, row * side + column)
            if (target >= 0).any():
                loss = loss + functional.cross_entropy(
                    seen.where[:, :, k], target, ignore_index=UNKNOWN
                )
        return loss


def _in_sight_loss(logits: torch.Tensor, in_sight: torch.Tensor) -> torch.Tensor:
    """The loss on which items, and which words of their names, are in sight."""
    items = in_sight.float()
    item_logits, word_logits = logits.split([items.shape[1], logits.shape[1] - items.shape[1]], 1)
    words = (items @ _WORDS_OF_ITEMS.to(items.device) > 0).float()
    cross_entropy = functional.binary_cross_entropy_with_logits
    return 3 * cross_entropy(item_logits, items) + 1.5 * cross_entropy(word_logits, words)


def auxiliary_loss(
    logits: AuxiliaryLogits,
    attributes: Sequence[np.ndarray],
    outcomes: Sequence[ClipOutcome | None],
    questions: Sequence[QuestionAnswer],
) -> torch.Tensor:
    """The loss on what the answers to N questions depend on.

    Args:
        logits: The predictions for the N questions.
        attributes: `FrameTargets.attributes` ``[8, 10]`` of each question's clip.
        outcomes: What was done in each question's clip, None if that is not known.
        questions: The questions.
    """
    per_question = list(zip(attributes, outcomes, questions, strict=True))
    targets = (
        np.stack([named_item_targets(a, q) for a, _, q in per_question]),
        np.stack([condition_targets(a, q) for a, _, q in per_question]),
        np.stack([event_targets(o, q) for _, o, q in per_question]),
    )
    items, condition, events = (torch.from_numpy(t).to(logits.items.device) for t in targets)
    loss = logits.items.sum() * 0
    if (items != UNKNOWN).any():
        loss = loss + functional.cross_entropy(
            logits.items.flatten(0, 2), items.long().flatten(), ignore_index=UNKNOWN
        )
    for predicted, target in ((logits.condition, condition), (logits.events, events)):
        has_target = target != UNKNOWN
        if has_target.any():
            loss = loss + functional.binary_cross_entropy_with_logits(
                predicted[has_target], target[has_target].float()
            )
    return loss


def save_training_weights(folder: Path, detector: SuccessDetector, heads: AuxiliaryHeads) -> None:
    """Write the weights that only training needs beside a detector's saved weights.

    Args:
        folder: The folder of the detector.
        detector: The detector.
        heads: Its auxiliary heads.
    """
    inference = detector.inference_state()
    tensors = {f"judge.{n}": t for n, t in detector.trained_state().items() if n not in inference}
    tensors |= {f"spotter.{n}": t for n, t in heads.state_dict().items()}
    half = {n: t.detach().half().contiguous() for n, t in tensors.items()}
    save_tensors(half, folder / TRAINING_WEIGHTS)


def load_training_weights(folder: Path, detector: SuccessDetector, heads: AuxiliaryHeads) -> None:
    """Copy the tensors of `save_training_weights` that match by name and shape.

    Nothing happens if the folder has no such file.

    Args:
        folder: The folder of a detector.
        detector: Gets its tensors.
        heads: Get theirs.

    Raises:
        BadInput: The file is damaged.
    """
    file = folder / TRAINING_WEIGHTS
    if not file.exists():
        return
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError) as error:
        raise BadInput(f"'{file}' cannot be read: {error}") from error
    for prefix, state in (("judge", detector.trained_state()), ("spotter", heads.state_dict())):
        for name, tensor in state.items():
            saved = tensors.get(f"{prefix}.{name}")
            if saved is not None and saved.shape == tensor.shape:
                with torch.no_grad():
                    tensor.copy_(saved)
