"""The network of the learned Reporter: from frames and a command to a sentence.

Like the success detector it follows Flamingo (arXiv 2204.14198): a vision encoder and gated cross-
attention into a frozen language model. Only the encoder and the gates are trained.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from envs.commands import Command
from envs.errors import BadInput
from models.language.loading import load_model
from models.precision import half
from models.publishing import PublishedWeights
from models.tensor_files import save_tensors
from models.vision.cross_attention import GatedLanguage, batches_by_length
from models.vision.encoder import VisionEncoder, frames_present

WEIGHTS, CONFIG = "model.safetensors", "config.json"
VERSION = 1
KIND = "reporter"
MOST_TOKENS = 40  # of a report


@dataclass(frozen=True)
class ReporterConfig:
    """The architecture of a Reporter; see `rewards.success_vqa.detector.DetectorConfig`."""

    base: str = "smollm2-135m"
    width: int = 192
    depth: int = 3
    latents: int = 16
    gates: int = 4
    every: int = 2
    kind: str = KIND
    version: int = VERSION


@dataclass(frozen=True)
class SampledReport:
    """A sampled report: its text, and the tokens of its prompt and of the report itself."""

    text: str
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]


class ReporterNetwork(
    nn.Module,
    PublishedWeights,
    library_name="parley",
    license="apache-2.0",
    tags=["image-to-text", "minigrid"],
):
    """Vision encoder and gates over a frozen causal language model of transformers.

    Args:
        model: The language model.
        tokenizer: Its tokenizer.
        config: The architecture; None for the default one.

    Raises:
        BadInput: For a model that `GatedLanguage` cannot use, and for a tokenizer without an
            end-of-text token.
    """

    def __init__(self, model: Any, tokenizer: Any, config: ReporterConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ReporterConfig()
        self.encoder = VisionEncoder(config.width, config.depth, config.latents)
        self._language = GatedLanguage(
            model,
            tokenizer,
            width=config.width,
            gates=config.gates,
            every=config.every,
            name=config.base,
        )
        self.gates = self._language.gates
        if tokenizer.eos_token_id is None:
            raise BadInput(f"the tokenizer of {config.base} has no end-of-text token")
        self.end: int = int(tokenizer.eos_token_id)
        self.tokenizer = tokenizer
        self.to(model.device)

    @property
    def device(self) -> torch.device:
        return self.encoder.latents.device

    def prompt(self, command: Command) -> tuple[int, ...]:
        """The tokens of the prompt that a report continues."""
        return self._tokens(f"Command: {command}. Report:")

    def sentence(self, text: str) -> tuple[int, ...]:
        """The tokens of a report, with the end-of-text token."""
        return (*self._tokens(f" {text}")[: MOST_TOKENS - 1], self.end)

    def _tokens(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def encode_clips(self, clips: np.ndarray | torch.Tensor) -> torch.Tensor:
        """The visual features ``[N, vectors, width]`` of clips ``[N, 8, 64, 64, 3] uint8``, which
        `models.vision.encoder.prepare` has prepared."""
        return self.resample(*self.encode_frames(clips))

    def encode_frames(self, clips: np.ndarray | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features ``[N, 8, 3, width]`` of clips' frames, and ``[N, 8] bool`` which frames are
        present. Equal clips are encoded once."""
        unique, indices = _unique(clips)
        unique = unique.to(self.device)
        with half(self.device):
            features, present = self.encoder.encode_clips(unique), frames_present(unique)
            return features[indices], present[indices]

    def resample(self, vectors: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        """The visual features ``[N, vectors, width]`` of clips from the output of
        `encode_frames`."""
        with half(self.device):
            return self.encoder.resample(vectors, shown)

    def log_likelihood(
        self,
        media: torch.Tensor,
        prompts: Sequence[tuple[int, ...]],
        sentences: Sequence[tuple[int, ...]],
    ) -> list[torch.Tensor]:
        """The log-probabilities of the tokens of N reports.

        Args:
            media: The visual features of each clip, ``[N, vectors, width]``.
            prompts: The tokens of each prompt.
            sentences: The tokens of each report.

        Returns:
            For each report, ``[tokens] float32``.
        """
        texts = [p + s for p, s in zip(prompts, sentences, strict=True)]
        log_probabilities: list[torch.Tensor | None] = [None] * len(texts)
        for batch in batches_by_length(texts):
            with half(self.device):
                hidden = self._language.hidden(
                    media[batch], self._language.read([texts[k] for k in batch])
                )
                rows = [
                    row[len(prompts[k]) - 1 : len(texts[k]) - 1]
                    for row, k in zip(hidden, batch, strict=True)
                ]
                logits = self._language.head(torch.cat(rows))
            targets = torch.tensor([t for k in batch for t in sentences[k]], device=self.device)
            chosen = logits.float().log_softmax(-1).gather(1, targets[:, None])[:, 0]
            lengths = [len(sentences[k]) for k in batch]
            for k, own in zip(batch, chosen.split(lengths), strict=True):
                log_probabilities[k] = own
        return [x for x in log_probabilities if x is not None]

    def report(
        self,
        clips: np.ndarray | torch.Tensor,
        commands: Sequence[Command],
        chance: np.ndarray,
        temperature: float = 0.0,
    ) -> list[SampledReport]:
        """Sample a report of each of N clips.

        Args:
            clips: ``[N, 8, 64, 64, 3] uint8``, prepared by `models.vision.encoder.prepare`.
            commands: The command of each clip.
            chance: ``[N, MOST_TOKENS]``, as in `GatedLanguage.sample`.
            temperature: The sampling temperature; 0 takes the most probable token.
        """
        prompts = [self.prompt(c) for c in commands]
        with torch.no_grad(), half(self.device):
            unique, indices = _unique(clips)
            tokens = self._language.sample(
                self.encode_clips(unique),
                indices,
                prompts,
                torch.as_tensor(chance),
                end=self.end,
                temperature=temperature,
            )
        return [
            SampledReport(self.tokenizer.decode([t for t in s if t != self.end]).strip(), p, s)
            for p, s in zip(prompts, tokens, strict=True)
        ]

    def save(self, folder: Path) -> None:
        """Write the trained parameters, in half precision, and the configuration."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {n: t.detach().half().contiguous() for n, t in self.state_dict().items()}
        save_tensors(tensors, folder / WEIGHTS)
        text = json.dumps(asdict(self.config), indent=2)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def from_folder(cls, folder: Path, device: str = "auto", cache: Path | None = None) -> Self:
        """Load what `save` wrote, over the language model that it was trained with.

        Args:
            folder: The folder.
            device: Where the model runs; ``auto`` for the fastest available.
            cache: The folder for downloaded and converted weights.

        Raises:
            BadInput: Where there is no such Reporter, or a damaged one.
        """
        config = read_config(folder)
        network = cls(*load_model(config.base, device=device, cache=cache), config)
        network.load(folder)
        return network.eval()

    def load(self, folder: Path) -> None:
        """Load the weights in a folder.

        Raises:
            BadInput: Where they are damaged or of another architecture.
        """
        try:
            tensors = load_file(folder / WEIGHTS)
        except (SafetensorError, OSError) as error:
            raise BadInput(f"the weights in '{folder}' cannot be read: {error}") from error
        expected = self.state_dict()
        wrong = sorted(set(tensors) ^ set(expected)) or [
            n for n, t in tensors.items() if t.shape != expected[n].shape
        ]
        if wrong:
            raise BadInput(f"the weights in '{folder}' are of another Reporter: {wrong[0]}")
        self.load_state_dict({n: t.float() for n, t in tensors.items()})


def read_config(folder: Path) -> ReporterConfig:
    """The configuration of a saved Reporter.

    Raises:
        BadInput: For a folder without one.
    """
    file = folder / CONFIG
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(stored, dict) or stored.get("kind") != KIND:
            raise BadInput(f"'{file}' does not describe a Reporter")
        if stored.get("version") != VERSION:
            raise BadInput(
                f"the Reporter in '{folder}' is of version {stored.get('version')}, not {VERSION}"
            )
        return ReporterConfig(**stored)
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(f"'{folder}' holds no Reporter: {error}") from error


def _unique(clips: np.ndarray | torch.Tensor) -> tuple[torch.Tensor, list[int]]:
    """The clips without duplicates, and the index of each clip among them."""
    frames = torch.as_tensor(clips)
    first: dict[bytes, int] = {}
    indices = [first.setdefault(f.numpy().tobytes(), len(first)) for f in frames.cpu()]
    return frames[[indices.index(k) for k in range(len(first))]], indices
