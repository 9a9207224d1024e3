"""The detectors by name, and the classes of saved ones by the kind in their configuration."""

from __future__ import annotations

from typing import Any

from envs.registry import Registry

# Any: the detectors import this file, so it cannot name their classes as types.
DETECTORS: Registry[Any] = Registry(
    "detector",
    {
        "detector": "rewards.success_vqa.loading:load_shipped_detector",
        "baseline": "rewards.success_vqa.loading:load_shipped_baseline",
    },
)

DETECTOR_KINDS: Registry[Any] = Registry(
    "kind of detector",
    {
        "detector": "rewards.success_vqa.detector:FlamingoDetector",
        "baseline": "rewards.success_vqa.baseline:BaselineDetector",
        "vision-language": "rewards.success_vqa.vlm:TunedVisionLanguageDetector",
    },
)
