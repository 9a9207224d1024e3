"""The digest of a model's weights: what its caches are kept under, and what a run records."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

import torch
import transformers

_CHUNK = 1 << 22
_KNOWN = "digests.json"
_KEPT = 200


def file_digest(file: Path, cache: Path) -> str:
    """The SHA-256 of a file, remembered by its place, size, time of change and inode.

    Args:
        file: The file.
        cache: The folder in which digests are remembered.
    """
    stat = file.stat()
    key = f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"
    known = _known(cache)
    if key in known:
        return known[key]
    digest = hashlib.sha256()
    with file.open("rb") as source:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
    known[key] = digest.hexdigest()
    _remember(cache, known)
    return known[key]


def folder_digest(folder: Path, cache: Path) -> str:
    """The digest of a model folder: of its weight files and its configuration."""
    digest = hashlib.sha256()
    for file in sorted([*folder.glob("*.safetensors"), *folder.glob("*config.json")]):
        digest.update(f"{file.name} {file_digest(file, cache)}\n".encode())
    return digest.hexdigest()


def note_digest(model: torch.nn.Module, digest: str) -> None:
    """Note which weights a model has, as long as nobody changes them."""
    model._parley_digest = digest, _versions(model)  # type: ignore[assignment]


def noted_digest(model: torch.nn.Module) -> str | None:
    """The digest that was noted; None where the weights have been changed since, or none was."""
    noted = getattr(model, "_parley_digest", None)
    if not isinstance(noted, tuple) or noted[1] != _versions(model):
        return None
    return str(noted[0])


def weights_digest(model: torch.nn.Module) -> str:
    """The digest of a model's weights: the noted one, or else one of all its numbers."""
    noted = noted_digest(model)
    if noted is not None:
        return noted
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        flat = tensor.detach().cpu().contiguous().view(-1)
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()


def model_key(model: torch.nn.Module) -> str:
    """What a cache of a model's states is kept under: weights, number format, configuration and
    the libraries' versions."""
    parts = (
        weights_digest(model),
        str(getattr(model, "dtype", "")),
        str(getattr(model, "config", "")),
        torch.__version__,
        transformers.__version__,
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _versions(model: torch.nn.Module) -> int:
    """A number that changes with every weight that is replaced, or changed in place."""
    return hash(tuple((p.data_ptr(), p._version) for p in model.parameters()))


def _known(cache: Path) -> dict[str, str]:
    try:
        stored = json.loads((cache / _KNOWN).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}


def _remember(cache: Path, known: dict[str, str]) -> None:
    half = cache / f".{_KNOWN}.{os.getpid()}"
    # It only saves time later, so a full or read-only disk is no error.
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        half.write_text(json.dumps(dict(list(known.items())[-_KEPT:])), "utf-8")
        os.replace(half, cache / _KNOWN)
