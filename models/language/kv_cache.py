"""The key-value cache: the text that a language model has already read, with its keys and values.

A pass over new text attends to these instead of reading the old text again. The memory of the
prompt's fixed examples is kept on disk, so that a later start need not read them either.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

FILES_KEPT = 12  # about 25 MB each with the 1.5-billion-parameter model


@dataclass(frozen=True)
class KVCache:
    """Tokens read, and their keys and values in all layers, ``[layers, 2, tokens, width]``."""

    tokens: tuple[int, ...]
    states: torch.Tensor

    def first(self, n: int) -> KVCache:
        """The memory of the first n tokens."""
        return KVCache(self.tokens[:n], self.states[:, :, :n])


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two texts have in common at their start."""
    if a[: len(b)] == b:  # most often so, and found out quickly
        return len(b)
    for k, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return k
    return min(len(a), len(b))


def fingerprint(model: torch.nn.Module) -> str:
    """A key that tells models apart by their settings and by a sample of every weight."""
    digest = hashlib.sha256(f"{torch.__version__} {transformers.__version__}".encode())
    digest.update(str(getattr(model, "config", "")).encode())
    for name, weight in sorted(model.named_parameters()):
        flat = weight.detach().flatten()
        sample = torch.cat([flat[:8], flat[-8:]]).float().cpu().numpy()
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode() + sample.tobytes())
    return digest.hexdigest()


def file_for(folder: Path, model_key: str, tokens: Sequence[int]) -> Path:
    """Where the memory of these tokens, read by this model, is kept."""
    key = hashlib.sha256(f"{model_key} {list(tokens)}".encode()).hexdigest()
    return folder / f"{key[:32]}.safetensors"


def load(file: Path, tokens: Sequence[int], device: torch.device) -> KVCache | None:
    """The memory in a file, or None where there is no whole one for these tokens."""
    if not file.exists():
        return None
    try:
        with safe_open(file, framework="pt", device=str(device)) as source:
            states = source.get_tensor("states")
    except (SafetensorError, OSError):
        return None
    if states.shape[2] != len(tokens):
        return None
    os.utime(file)
    return KVCache(tuple(tokens), states)


def save(memory: KVCache, file: Path) -> None:
    """Keep a memory, and drop the files that have gone unused for longest.

    It only saves time later, so a full or read-only disk is no error.
    """
    half = file.with_name(f"{file.name}.{os.getpid()}.half")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({"states": memory.states.contiguous().cpu()}, half)
        os.replace(half, file)
        kept = sorted(file.parent.glob("*.safetensors"), key=lambda f: f.stat().st_mtime)
        for old in kept[:-FILES_KEPT]:
            old.unlink(missing_ok=True)
    except (OSError, SafetensorError):
        half.unlink(missing_ok=True)
