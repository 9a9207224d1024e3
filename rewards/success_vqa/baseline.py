"""The bespoke baseline: no pretrained language model (arXiv 2303.07280, section 4.1).

The same vision encoder, learned word embeddings, a transformer over both, and a binary head. A
small caption decoder serves training only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from envs.errors import BadInput
from rewards.success_vqa.cross_modal_encoder import AuxiliaryLogits, CrossModalEncoder
from rewards.success_vqa.detector import MOST_TOKENS, VERSION, SuccessDetector

_WORD = re.compile(r"[a-z]+|[^a-z\s]")
_UNKNOWN = 1  # 0 is padding


@dataclass(frozen=True)
class BaselineConfig:
    """A baseline's architecture; ``words`` are its vocabulary."""

    words: tuple[str, ...] = ()
    width: int = 192
    depth: int = 3
    latents: int = 16
    layers: int = 4
    kind: str = "baseline"
    temperature: float = 1.0
    version: int = VERSION


def words_of(text: str) -> list[str]:
    """A text's words, in lower case."""
    return _WORD.findall(text.lower())


def vocabulary(texts: Iterable[str]) -> tuple[str, ...]:
    """All words of the texts, sorted."""
    return tuple(sorted({word for text in texts for word in words_of(text)}))


class BaselineDetector(SuccessDetector):
    """A transformer over the clip's vectors and the question's words."""

    config: BaselineConfig
    only_training = ("teller.", "words.")

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__(config)
        width = config.width
        self._number = {w: 2 + k for k, w in enumerate(config.words)}
        self.embed = nn.Embedding(2 + len(config.words), width)
        self.place = nn.Parameter(0.02 * torch.randn(MOST_TOKENS, width))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))
        self.mixer = CrossModalEncoder(width, config.layers)
        teller = nn.TransformerDecoderLayer(
            width, 8, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.teller = nn.TransformerDecoder(teller, 2)
        self.words = nn.Linear(width, 2 + len(config.words))

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], device: str = "auto", cache: Path | None = None
    ) -> BaselineDetector:
        """An untrained baseline. It needs no pretrained model, so ``device`` and ``cache`` are
        unused.

        Args:
            config: As `read_config` returns it.
            device: Where a pretrained model is loaded: cpu, cuda or auto.
            cache: The folder of fetched and converted weights of that model.

        Raises:
            TypeError: A setting is missing or unknown.
        """
        return cls(BaselineConfig(**{**config, "words": tuple(config["words"])}))

    def check(self, question: str) -> None:
        super().check(question)
        if len(words_of(question)) > MOST_TOKENS:
            raise BadInput(
                f"a question has at most {MOST_TOKENS} words, not {len(words_of(question))}"
            )

    def _numbers(self, texts: Sequence[str]) -> torch.Tensor:
        """Texts as word numbers ``[texts, longest] int64``, padded with 0."""
        numbers = [[self._number.get(w, _UNKNOWN) for w in words_of(t)] for t in texts]
        longest = max(map(len, numbers))
        padded = [[*row, *[0] * (longest - len(row))] for row in numbers]
        return torch.tensor(padded, device=self.device)

    def forward(
        self, media: torch.Tensor, which: torch.Tensor, questions: Sequence[str]
    ) -> tuple[torch.Tensor, AuxiliaryLogits]:
        """Logits of "yes", and auxiliary logits, as `SuccessDetector.forward`.

        Args:
            media: ``[clips, vectors, width]``, as the vision encoder returns it.
            which: ``[questions] int64``, the number of each question's clip.
            questions: The questions, each of which has passed `check`.
        """
        padded = self._numbers(questions)
        x = self.embed(padded) + self.place[: padded.shape[1]]
        words, _, auxiliary = self.mixer(x, padded == 0, media[which])
        logits: torch.Tensor = self.head(words[:, 0]).squeeze(-1).float()
        return logits, auxiliary

    def caption_loss(
        self, media: torch.Tensor, which: torch.Tensor, captions: Sequence[str]
    ) -> torch.Tensor:
        """The caption decoder's mean loss per word, as `SuccessDetector.caption_loss`.

        Args:
            media: ``[clips, vectors, width]``, as the vision encoder returns it.
            which: ``[captions] int64``, the number of each caption's clip.
            captions: Sentences that say what happened in these clips.
        """
        padded = self._numbers(captions)
        before = torch.cat([torch.zeros_like(padded[:, :1]), padded[:, :-1]], 1)
        x = self.embed(before) + self.place[: padded.shape[1]]
        n = padded.shape[1]
        later = torch.ones(n, n, dtype=torch.bool, device=self.device).triu(1)
        seen = media[which]
        with sdpa_kernel(SDPBackend.MATH):
            logits = self.words(self.teller(x.to(seen.dtype), seen, tgt_mask=later))
        return functional.cross_entropy(
            logits.float().flatten(0, 1), padded.flatten(), ignore_index=0
        )
