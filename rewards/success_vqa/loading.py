"""Detectors by name, by folder, or by hub id."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from envs.errors import BadInput, unknown
from models.vision.vision_language import HUB_ID, is_of_transformers
from rewards.success_vqa.registry import DETECTOR_KINDS, DETECTORS

if TYPE_CHECKING:
    from rewards.reward import QuestionAnswerer
    from rewards.success_vqa.detector import SuccessDetector

WEIGHTS = Path(__file__).with_name("weights")


def check_detector(name: str) -> None:
    """Check a detector's name without loading it.

    Raises:
        BadInput: It is no name of a detector, no folder and does not look like a hub id.
    """
    if ":" in name:
        DETECTORS.resolve(name)
    elif name not in DETECTORS and not Path(name).is_dir() and not HUB_ID.fullmatch(name):
        raise unknown("detector", name, DETECTORS)


def load_detector(name: str, device: str = "auto", cache: Path | None = None) -> QuestionAnswerer:
    """Load any model that answers questions about clips.

    Args:
        name: A name of ``DETECTORS`` (``module:name`` imports the module that registers it first),
            the folder of a trained detector, or the folder or hub id of any vision-language model
            of transformers.
        device: cpu, cuda, or auto for the best available.
        cache: The folder of fetched and converted weights of language models.

    Raises:
        BadInput: ``name`` is none of these, or its files are damaged.
    """
    check_detector(name)
    if name in DETECTORS or ":" in name:
        return DETECTORS.resolve(name)(device=device, cache=cache)
    folder = Path(name)
    if (folder / "config.json").is_file() and not is_of_transformers(folder):
        return load_trained(folder, device, cache)
    from rewards.success_vqa.vlm import load_untuned

    return load_untuned(name, device)


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
    from rewards.success_vqa.detector import read_config

    config = read_config(folder)
    try:
        detector = DETECTOR_KINDS[config["kind"]].from_config(config, device, cache)
    except TypeError as error:
        raise BadInput(f"'{folder}' does not describe a detector: {error}") from error
    detector.load(folder)
    detector.eval()
    return detector
