"""The cross-modal encoder: a clip's vectors and a question's words in one transformer."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.vision.encoder import N_FRAMES, VECTORS
from rewards.success_vqa.questions import VERBS

MOST_NAMED = 3  # items that a question names: the decider and the two branches


class AuxiliaryLogits(NamedTuple):
    """Logits of what the answers to N questions depend on.

    Attributes:
        items: ``[N, 8, 2, 4]``: which of the items that the question names is faced, and which is
            held, in each frame: none of them, the first, the second or the third.
        condition: ``[N, 8]``: whether the question's condition is true of the faced item.
        events: ``[N, 3, 3]``: whether the first, second and third of the items was gone to,
            examined, picked up (in the order of `VERBS`).
    """

    items: torch.Tensor
    condition: torch.Tensor
    events: torch.Tensor


class CrossModalEncoder(nn.Module):
    """A transformer over a clip's vectors and a question's words.

    As in InstructBLIP (arXiv 2305.06500, section 2.3), the clip's representation depends on the
    question. Three linear heads predict what the answer depends on, for training.
    """

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            width, 8, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.named = nn.Linear(width, 1 + MOST_NAMED)
        self.holds = nn.Linear(width, 1)
        self.deeds = nn.Linear(width, MOST_NAMED * len(VERBS))

    def forward(
        self, words: torch.Tensor, absent: torch.Tensor, seen: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, AuxiliaryLogits]:
        """Encode N pairs of a question and a clip.

        Args:
            words: The questions' words, ``[N, n, width]``.
            absent: Which of them are padding, ``[N, n] bool``.
            seen: The clips' vectors, ``[N, m, width]``.

        Returns:
            The words ``[N, n, width]`` and the vectors ``[N, m, width]``, each in the context of
            the other, and the auxiliary logits.
        """
        n = words.shape[1]
        mask = torch.cat([absent, absent.new_zeros(seen.shape[:2])], 1)
        both = torch.cat([words.to(seen.dtype), seen], 1)
        with sdpa_kernel(SDPBackend.MATH):  # fused, its backward pass is slow on a CPU
            mixed = self.layers(both, src_key_padding_mask=mask)
        of_frames = N_FRAMES * VECTORS
        frames = mixed[:, n : n + of_frames].unflatten(1, (N_FRAMES, VECTORS))
        events = self.deeds(mixed[:, n + of_frames :].mean(1)).float()
        auxiliary = AuxiliaryLogits(
            self.named(frames[:, :, :2]).float(),
            self.holds(frames[:, :, 0]).squeeze(-1).float(),
            events.unflatten(-1, (MOST_NAMED, len(VERBS))),
        )
        return mixed[:, :n], mixed[:, n:], auxiliary
