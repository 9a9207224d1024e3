"""The network of the learned Reporter: frames and a command in, a sentence out.

Like the success detector, after Flamingo (arXiv 2204.14198): a vision encoder, and gated cross-
attention into a frozen language model. Only encoder and gates learn.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from envs.commands import Command
from envs.errors import BadInput
from models.precision import half
from models.vision.cross_attention import GatedLanguage, alike
from models.vision.encoder import VisionEncoder, frames_present

WEIGHTS, CONFIG = "model.safetensors", "config.json"
VERSION = 1
KIND = "reporter"
MOST_TOKENS = 40  # of a report


@dataclass(frozen=True)
class ReporterConfig:
    """What a Reporter is built like; see `rewards.success_vqa.detector.DetectorConfig`."""

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
    """A report as it was sampled: its text, and the tokens of prompt and report."""

    text: str
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]


class ReporterNetwork(nn.Module):
    """Encoder and gates over a frozen causal language model of transformers.

    Raises BadInput for a model that `GatedLanguage` cannot use, and for a tokenizer without an
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
        """What the language model reads before it reports."""
        return self._tokens(f"Command: {command}. Report:")

    def sentence(self, text: str) -> tuple[int, ...]:
        """A report as tokens, with the end."""
        return (*self._tokens(f" {text}")[: MOST_TOKENS - 1], self.end)

    def _tokens(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def encode_clips(self, clips: np.ndarray | torch.Tensor) -> torch.Tensor:
        """The vectors of clips ``[N, 8, 64, 64, 3] uint8``, as `prepare` makes them."""
        return self.resample(*self.encode_frames(clips))

    def encode_frames(self, clips: np.ndarray | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features ``[N, 8, 3, width]`` of clips' frames, and ``[N, 8] bool`` which frames are
        present. Equal clips are encoded once."""
        once, which = _different(clips)
        once = once.to(self.device)
        with half(self.device):
            return self.encoder.encode_clips(once)[which], frames_present(once)[which]

    def resample(self, vectors: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        """The vectors of clips from what `encode_frames` returned."""
        with half(self.device):
            return self.encoder.resample(vectors, shown)

    def log_likelihood(
        self,
        media: torch.Tensor,
        prompts: Sequence[tuple[int, ...]],
        sentences: Sequence[tuple[int, ...]],
    ) -> list[torch.Tensor]:
        """Of each report the log-probabilities of its tokens ``[tokens] float32``, after its
        prompt, with its own ``media``."""
        texts = [p + s for p, s in zip(prompts, sentences, strict=True)]
        found: list[torch.Tensor | None] = [None] * len(texts)
        for part in alike(texts):
            with half(self.device):
                hidden = self._language.hidden(
                    media[part], self._language.read([texts[k] for k in part])
                )
                rows = [
                    row[len(prompts[k]) - 1 : len(texts[k]) - 1]
                    for row, k in zip(hidden, part, strict=True)
                ]
                logits = self._language.head(torch.cat(rows))
            said = torch.tensor([t for k in part for t in sentences[k]], device=self.device)
            each = logits.float().log_softmax(-1).gather(1, said[:, None])[:, 0]
            for k, own in zip(part, each.split([len(sentences[k]) for k in part]), strict=True):
                found[k] = own
        return [x for x in found if x is not None]

    def report(
        self,
        clips: np.ndarray | torch.Tensor,
        commands: Sequence[Command],
        chance: np.ndarray,
        temperature: float = 0.0,
    ) -> list[SampledReport]:
        """A report of each clip; ``chance [N, MOST_TOKENS]`` decides, as in `GatedLanguage.sample`.

        A ``temperature`` of 0 takes the likeliest token each time.
        """
        prompts = [self.prompt(c) for c in commands]
        with torch.no_grad(), half(self.device):
            once, which = _different(clips)
            tokens = self._language.sample(
                self.encode_clips(once),
                which,
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
        """Write what learned, in half precision, and the configuration."""
        folder.mkdir(parents=True, exist_ok=True)
        half = folder / f".{WEIGHTS}.half"
        save_file({n: t.detach().half().contiguous() for n, t in self.state_dict().items()}, half)
        half.replace(folder / WEIGHTS)
        text = json.dumps(asdict(self.config), indent=2)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Take the weights of a folder. Raises BadInput where they are damaged or of another."""
        try:
            tensors = load_file(folder / WEIGHTS)
        except (SafetensorError, OSError) as error:
            raise BadInput(f"the weights in '{folder}' cannot be read: {error}") from error
        mine = self.state_dict()
        wrong = sorted(set(tensors) ^ set(mine)) or [
            n for n, t in tensors.items() if t.shape != mine[n].shape
        ]
        if wrong:
            raise BadInput(f"the weights in '{folder}' are of another Reporter: {wrong[0]}")
        self.load_state_dict({n: t.float() for n, t in tensors.items()})


def read_config(folder: Path) -> ReporterConfig:
    """The configuration of a saved Reporter. Raises BadInput for a folder without one."""
    file = folder / CONFIG
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(about, dict) or about.get("kind") != KIND:
            raise BadInput(f"'{file}' does not describe a Reporter")
        if about.get("version") != VERSION:
            raise BadInput(
                f"the Reporter in '{folder}' is of version {about.get('version')}, not {VERSION}"
            )
        return ReporterConfig(**about)
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(f"'{folder}' holds no Reporter: {error}") from error


def _different(clips: np.ndarray | torch.Tensor) -> tuple[torch.Tensor, list[int]]:
    """The clips without those that are the same, and of each clip which of them it is."""
    frames = torch.as_tensor(clips)
    first: dict[bytes, int] = {}
    which = [first.setdefault(f.numpy().tobytes(), len(first)) for f in frames.cpu()]
    return frames[[which.index(k) for k in range(len(first))]], which
