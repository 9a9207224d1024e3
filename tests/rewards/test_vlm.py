"""A vision-language model of transformers as a detector: a small random LLaVA."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from envs.errors import BadInput
from rewards.success_vqa.loading import load_detector
from rewards.success_vqa.vlm import FewShotExample, VisionLanguageDetector
from tests.tiny_vision import small


def clip(seed: int, n: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 24, 24, 3), np.uint8)


def test_it_looks_reads_and_learns_from_examples(tmp_path: Path) -> None:
    model, processor = small()
    judge = VisionLanguageDetector(model, processor)
    found = judge.answer([clip(0), clip(1)], [["Did it?", "Red ring?"], ["Did it?"]])
    assert [len(p) for p in found] == [2, 1] and all(0 < q < 1 for p in found for q in p)
    assert len({found[0][0], found[0][1], found[1][0]}) == 3
    shown = VisionLanguageDetector(model, processor, [FewShotExample(clip(2), "Did it?", True)])
    assert shown.answer([clip(0)], [["Did it?"]])[0][0] != found[0][0]
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = load_detector(str(tmp_path), "cpu")
    assert again.answer([clip(0)], [["Did it?"]])[0][0] == pytest.approx(found[0][0], abs=1e-6)


def test_what_cannot_be_asked_is_refused(tmp_path: Path) -> None:
    model, processor = small()
    judge = VisionLanguageDetector(model, processor)
    with pytest.raises(BadInput, match="1 to 8 frames, not 9"):
        judge.answer([clip(0, 9)], [["Did it?"]])
    with pytest.raises(BadInput, match="an empty question"):
        judge.answer([clip(0)], [[" "]])
    processor.chat_template = None
    with pytest.raises(BadInput, match="has no chat template"):
        VisionLanguageDetector(model, processor)
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    with pytest.raises(BadInput, match="is no model for images and text"):
        load_detector(str(tmp_path))
