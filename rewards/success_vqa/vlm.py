"""Any vision-language model of transformers as a detector: zero-shot, few-shot, or tuned with LoRA.

As in arXiv 2303.07280, section 3, the model gets the frames and a question; the answer is read off
its logits of "yes" and "no" (TOPReward does the same with log P("yes")).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch import nn

from envs.errors import BadInput
from models.vision.encoder import check_frames
from models.vision.vision_language import (
    check_template,
    inputs_of,
    load_vision_language,
    message,
)
from rewards.success_vqa.detector import VERSION, SuccessDetector

ASK = "These are frames of a video, in order. {question} Answer yes or no."


@dataclass(frozen=True)
class FewShotExample:
    """A clip with a question and its right answer, for the prompt."""

    frames: np.ndarray
    question: str
    answer: bool


class VisionLanguageDetector:
    """A model for images and text (``AutoModelForImageTextToText``) that answers questions on
    clips.

    Args:
        model: The model.
        processor: Its ``AutoProcessor``.
        examples: Examples for the prompt.

    Raises:
        BadInput: The processor has no chat template, or its tokenizer cannot tell "yes" from "no".
    """

    def __init__(self, model: Any, processor: Any, examples: Sequence[FewShotExample] = ()) -> None:
        check_template(processor)
        self.model = model.eval()
        self.processor = processor
        self.examples = tuple(examples)
        pairs = _first_tokens(processor.tokenizer)
        self._yes, self._no = (sorted({pair[k] for pair in pairs}) for k in (0, 1))
        if not pairs or set(self._yes) & set(self._no):
            raise BadInput("the processor's tokenizer does not tell 'yes' from 'no'")

    @torch.no_grad()
    def answer(
        self, clips: Sequence[np.ndarray], questions: Sequence[Sequence[str]], batch: int = 64
    ) -> list[np.ndarray]:
        """The probabilities of "yes", among "yes" and "no".

        Args:
            clips: For each clip 1 to 8 frames, ``[T, height, width, 3] uint8``.
            questions: For each clip any number of questions.
            batch: Unused; questions are answered one by one.

        Returns:
            For each clip ``[questions] float64``.

        Raises:
            BadInput: A clip has another shape or type, or a question is empty.
        """
        probabilities = []
        for frames, texts in zip(clips, questions, strict=True):
            check_frames(frames)
            logits = np.array([float(self.logit(frames, text)) for text in texts])
            probabilities.append(1 / (1 + np.exp(-logits)))
        return probabilities

    def logit(self, frames: np.ndarray, question: str) -> torch.Tensor:
        """The log-odds of "yes" to one question about frames ``[T, height, width, 3] uint8``.

        Raises:
            BadInput: The question is empty.
        """
        if not question.strip():
            raise BadInput("an empty question cannot be answered")
        messages: list[dict[str, Any]] = []
        for example in self.examples:
            messages.append(message(example.frames, ASK.format(question=example.question)))
            answer = {"type": "text", "text": "yes" if example.answer else "no"}
            messages.append({"role": "assistant", "content": [answer]})
        messages.append(message(frames, ASK.format(question=question)))
        clips = [*(example.frames for example in self.examples), frames]
        inputs = inputs_of(self.model, self.processor, messages, clips)
        logits = self.model(**inputs).logits[0, -1].float()
        yes, no = (logits[tokens].logsumexp(0) for tokens in (self._yes, self._no))
        return yes - no


@dataclass(frozen=True)
class TunedVisionLanguageConfig:
    """The architecture of a tuned model.

    Attributes:
        base: The folder or hub id of the vision-language model.
        rank: The rank of its adapter.
        kind: The name in ``DETECTOR_KINDS``.
        temperature: Divides the logits.
        version: The version of the saved files.
    """

    base: str
    rank: int = 8
    kind: str = "vision-language"
    temperature: float = 1.0
    version: int = VERSION


class TunedVisionLanguageDetector(SuccessDetector):
    """A vision-language model that learns from clips by LoRA (arXiv 2106.09685) on all linear
    layers.

    Only the adapter is trained and saved. The model gets clips as `models.vision.encoder.prepare`
    makes them.
    """

    has_vision_encoder = False

    def __init__(self, detector: VisionLanguageDetector, config: TunedVisionLanguageConfig) -> None:
        super().__init__(config, nn.Identity())
        lora = LoraConfig(
            r=config.rank, lora_alpha=2 * config.rank, target_modules="all-linear", lora_dropout=0.0
        )
        self.adapted = get_peft_model(detector.model, lora)
        self._prompted = VisionLanguageDetector(self.adapted, detector.processor)

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], device: str = "auto", cache: Path | None = None
    ) -> TunedVisionLanguageDetector:
        """The pretrained model with an untrained adapter. ``cache`` is unused.

        Args:
            config: As `read_config` returns it.
            device: Where a pretrained model is loaded: cpu, cuda or auto.
            cache: The folder of fetched and converted weights of that model.

        Raises:
            TypeError: A setting is missing or unknown.
            BadInput: The pretrained model cannot be loaded.
        """
        settings = TunedVisionLanguageConfig(**config)
        return cls(load_untuned(settings.base, device), settings)

    def logits(
        self, media: torch.Tensor, which: torch.Tensor, questions: Sequence[str]
    ) -> torch.Tensor:
        """Logits of "yes", as `SuccessDetector.logits`.

        Args:
            media: The clips' frames, ``[clips, 8, 64, 64, 3] uint8``; black ones at the beginning
                do not count.
            which: ``[questions] int64``, the number of each question's clip.
            questions: The questions.
        """
        clips = [frames.cpu().numpy() for frames in media]
        logits = []
        for k, question in zip(which.tolist(), questions, strict=True):
            shown = clips[k].any(axis=(1, 2, 3))
            shown[-1] = True
            logits.append(self._prompted.logit(clips[k][shown.argmax() :], question))
        return torch.stack(logits)

    def trained_state(self) -> dict[str, torch.Tensor]:
        return dict(get_peft_model_state_dict(self.adapted))

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        return set_peft_model_state_dict(self.adapted, dict(state_dict))


def _first_tokens(tokenizer: Any) -> list[tuple[int, int]]:
    """The pairs of tokens with which "yes" and "no" can begin, with and without space and
    capital."""
    pairs = []
    for form in ("{}", " {}"):
        for words in (("yes", "no"), ("Yes", "No")):
            texts = [form.format(word) for word in words]
            yes, no = (tokenizer.encode(t, add_special_tokens=False)[0] for t in texts)
            if yes != no:
                pairs.append((yes, no))
    return pairs


def load_untuned(name: str, device: str = "auto") -> VisionLanguageDetector:
    """Load a model by hub id or folder.

    Raises:
        BadInput: There is none, or it does not take images.
    """
    return VisionLanguageDetector(*load_vision_language(name, device))
