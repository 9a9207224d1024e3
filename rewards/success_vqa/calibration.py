"""A detector's answers to a dataset, and the temperature that calibrates them."""

from __future__ import annotations

import math

import numpy as np
import torch

from models.precision import half
from rewards.success_vqa.dataset import ClipDataset
from rewards.success_vqa.detector import SuccessDetector
from rewards.success_vqa.feature_cache import FrameFeatureCache


def answers(
    detector: SuccessDetector,
    dataset: ClipDataset,
    batch: int = 64,
    features: FrameFeatureCache | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities of "yes" and the true answers of all questions of a dataset, in order.

    Args:
        detector: The detector.
        dataset: Clips and their questions.
        batch: The number of clips in a batch.
        features: The dataset's frames as the detector's vision encoder has encoded them; without it
            they are encoded here.

    Returns:
        Probabilities ``[questions] float32`` and answers ``[questions] bool``.
    """
    probabilities: list[np.ndarray] = []
    for first in range(0, len(dataset), batch):
        which = np.arange(first, min(first + batch, len(dataset)))
        with torch.no_grad(), half(detector.device):
            if features is None:
                frames = torch.from_numpy(dataset.frames[which]).to(detector.device)
                media = detector.encoder(frames)
            else:
                media = detector.encoder.resample(*features(which))
        texts = [[q.text for q in dataset.questions[k]] for k in which]
        probabilities += detector.probabilities(media, texts)
    true = np.array([q.answer for questions in dataset.questions for q in questions])
    return np.concatenate(probabilities), true


def calibrate(probabilities: np.ndarray, true: np.ndarray) -> float:
    """The temperature that minimises the negative log-likelihood of the true answers (arXiv
    1706.04599, section 4.2).

    Args:
        probabilities: Probabilities of "yes" at temperature 1, ``[N]``.
        true: The true answers, ``[N] bool``.

    Returns:
        The best of 200 temperatures from 0.2 to 10, evenly spread on a logarithmic scale.
    """
    p = probabilities
    logits = np.log(np.clip(p, 1e-7, 1 - 1e-7) / np.clip(1 - p, 1e-7, 1))
    temperatures = np.exp(np.linspace(math.log(0.2), math.log(10), 200))
    signed = np.where(true, logits, -logits)
    losses = [np.logaddexp(0, -signed / t).mean() for t in temperatures]
    return float(temperatures[int(np.argmin(losses))])
