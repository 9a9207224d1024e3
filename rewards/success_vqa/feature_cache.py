"""A cache of the vision encoder's features of single frames."""

from __future__ import annotations

import numpy as np
import torch

from models.precision import half
from models.vision.encoder import frames_present
from rewards.success_vqa.dataset import ClipDataset
from rewards.success_vqa.detector import SuccessDetector

_CHUNK = 16  # clips whose frames are encoded together


class FrameFeatureCache:
    """Features of a dataset's frames, for a detector whose vision encoder is frozen.

    Each frame is encoded when it is first needed, and always in the same batch, so that its
    features do not depend on which clips are drawn together.
    """

    def __init__(self, detector: SuccessDetector, dataset: ClipDataset) -> None:
        self._detector = detector
        self._frames = dataset.frames
        self._features: torch.Tensor | None = None
        self._encoded = np.zeros(-(-len(dataset) // _CHUNK), bool)

    @torch.no_grad()
    def __call__(self, which: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """The features of some clips.

        Args:
            which: The clips' numbers, ``[batch]``.

        Returns:
            Features ``[batch, 8, 3, width]`` of their frames, and which of the 8 frames exist,
            ``[batch, 8] bool``.
        """
        device = self._detector.device
        for chunk in np.unique(which // _CHUNK):
            if self._encoded[chunk]:
                continue
            rows = slice(chunk * _CHUNK, (chunk + 1) * _CHUNK)
            frames = torch.from_numpy(self._frames[rows]).to(device)
            with half(device):
                features = self._detector.encoder.encode_clips(frames)
            if self._features is None:
                size = (len(self._frames), *features.shape[1:])
                self._features = torch.zeros(size, dtype=torch.bfloat16)
            self._features[rows] = features.to("cpu", torch.bfloat16)
            self._encoded[chunk] = True
        assert self._features is not None, "no clips were asked for"
        shown = frames_present(torch.from_numpy(self._frames[which])).to(device)
        return self._features[torch.from_numpy(which)].float().to(device), shown
