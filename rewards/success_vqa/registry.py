"""The detectors by name, and the classes of saved ones by the kind in their configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from envs.registry import Registry

if TYPE_CHECKING:
    from rewards.reward import QuestionAnswerer
    from rewards.success_vqa.detector import SuccessDetector

DETECTORS: Registry[Callable[..., QuestionAnswerer]] = Registry(
    "detector",
    {
        "detector": "rewards.success_vqa.loading:load_shipped_detector",
        "baseline": "rewards.success_vqa.loading:load_shipped_baseline",
    },
)

DETECTOR_KINDS: Registry[type[SuccessDetector]] = Registry(
    "kind of detector",
    {
        "detector": "rewards.success_vqa.detector:FlamingoDetector",
        "baseline": "rewards.success_vqa.baseline:BaselineDetector",
        "vision-language": "rewards.success_vqa.vlm:TunedVisionLanguageDetector",
    },
)
