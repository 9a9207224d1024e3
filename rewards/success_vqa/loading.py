"""Detectors by name, by folder, or by hub id."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from models.components import checked_reference, component, made
from models.references import Part, Reference, folder_of, part_of, resolve
from rewards.success_vqa.registry import DETECTORS

if TYPE_CHECKING:
    from rewards.reward import QuestionAnswerer
    from rewards.success_vqa.detector import SuccessDetector

WEIGHTS = Path(__file__).with_name("weights")


DETECTOR = Part(
    "detector",
    DETECTORS,
    ("answer",),
    offers=2,
    shipped=lambda: {"detector": WEIGHTS / "detector", "baseline": WEIGHTS / "baseline"},
    accepts=("model",),
)


def check_detector(name: str) -> Reference:
    """What a detector's name stands for, found out without loading it.

    Raises:
        BadInput: It names no detector.
    """
    return checked_reference(DETECTOR, name)


def load_detector(name: str, device: str = "auto", cache: Path | None = None) -> QuestionAnswerer:
    """Load any model that answers questions about clips.

    Args:
        name: A name of ``DETECTORS``; a run folder of train-detector; a folder of weights; a hub
            id; or ``module:Class``. Weights may also be those of a vision-language model of
            transformers.
        device: cpu, cuda, or auto for the best available.
        cache: The folder of fetched and converted weights of language models.

    Raises:
        BadInput: ``name`` is none of these, or its files are damaged.
    """
    reference = resolve(DETECTOR, name)
    if reference.kind in ("name", "module"):
        return made(DETECTOR, component(DETECTOR, reference), name, device, cache)
    folder = folder_of(DETECTOR, reference)
    if folder is not None and part_of(folder) == DETECTOR.name:
        return load_trained(folder, device, cache)
    from rewards.success_vqa.vlm import load_untuned

    return load_untuned(reference.target, device)


def load_shipped_detector(device: str = "auto", cache: Path | None = None) -> SuccessDetector:
    """The detector whose weights are in the repository."""
    return load_trained(WEIGHTS / "detector", device, cache)


def load_shipped_baseline(device: str = "auto", cache: Path | None = None) -> SuccessDetector:
    """The baseline whose weights are in the repository."""
    return load_trained(WEIGHTS / "baseline", device, cache)


def load_trained(folder: Path, device: str = "auto", cache: Path | None = None) -> SuccessDetector:
    """Load a detector trained by ``train-detector``.

    Args:
        folder: The folder of its weights and ``config.json``.
        device: cpu, cuda, or auto for the best available.
        cache: The folder of fetched and converted weights of its language model.

    Raises:
        BadInput: The weights are damaged, or were trained with another language model.
    """
    from rewards.success_vqa.detector import SuccessDetector

    return SuccessDetector.from_folder(folder, device, cache)
