"""The KV cache: the keys and values of text that a language model has already read.

A pass over new text attends to these instead of reading the old text again. The cache of the
prompt's fixed examples is also kept on disk, so that a later run need not read them either.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from models.language.tokens import Tokens

FILES_KEPT = 12  # about 25 MB each with the 1.5-billion-parameter model


@dataclass(frozen=True)
class KVCache:
    """Tokens, and their keys and values in all layers, ``[layers, 2, tokens, width]``."""

    tokens: Tokens
    states: torch.Tensor

    def first(self, n: int) -> KVCache:
        """The cache of the first n tokens."""
        return KVCache(self.tokens[:n], self.states[:, :, :n])


def file_for(folder: Path, model_key: str, tokens: Sequence[int]) -> Path:
    """The file of a cache.

    Args:
        folder: Where the files are.
        model_key: The `models.digest.model_key` of the model.
        tokens: The tokens that the model has read.
    """
    key = hashlib.sha256(f"{model_key} {list(tokens)}".encode()).hexdigest()
    return folder / f"{key[:32]}.safetensors"


def load(file: Path, tokens: Sequence[int], device: torch.device) -> KVCache | None:
    """Load a cache.

    Args:
        file: The file.
        tokens: The tokens of which it should be.
        device: Where the tensors go.

    Returns:
        The cache; None where the file is missing or damaged, or has another number of tokens.
    """
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


def save(cache: KVCache, file: Path) -> None:
    """Write a cache, and delete the least recently used files.

    It only saves time later, so a full or read-only disk is no error.
    """
    partial = file.with_name(f"{file.name}.{os.getpid()}.half")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({"states": cache.states.contiguous().cpu()}, partial)
        os.replace(partial, file)
        kept = sorted(file.parent.glob("*.safetensors"), key=lambda f: f.stat().st_mtime)
        for old in kept[:-FILES_KEPT]:
            old.unlink(missing_ok=True)
    except (OSError, SafetensorError):
        partial.unlink(missing_ok=True)
