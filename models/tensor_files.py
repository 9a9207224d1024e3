"""Tensors on disk: written beside their place, renamed, and readable as any other file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import save_file

if TYPE_CHECKING:
    import torch


def save_tensors(
    tensors: Mapping[str, torch.Tensor], file: Path, about: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file, in place of an older one only when it is whole.

    Args:
        tensors: The tensors by name, each contiguous.
        file: The file; its folder is made.
        about: Texts for its head.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_name(f".{file.name}.half")
    save_file(dict(tensors), half, None if about is None else dict(about))
    make_readable(half)
    os.replace(half, file)


def make_readable(file: Path) -> None:
    """Give a file the permissions of any new one. safetensors makes its own for the owner alone."""
    probe = file.with_name(f".{file.name}.mode")
    probe.touch()
    try:
        file.chmod(probe.stat().st_mode & 0o777)
    finally:
        probe.unlink()
