"""Loading causal language models of transformers by packaged name, file, folder or hub id."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from envs.errors import BadInput, reason_of
from models.contract import check_causal, check_tensors, check_tokenizer
from models.digest import folder_digest, note_digest
from models.hub import on_hub
from models.language.convert import gguf_model, packaged_model
from models.language.formats import NumberFormat
from models.language.weights import cache_folder, packaged
from models.precision import faster_on_cpu

FORMATS: Mapping[NumberFormat, torch.dtype] = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float32": torch.float32,
}


def load_model(
    name: str,
    *,
    device: str = "auto",
    dtype: NumberFormat | Literal["auto"] = "auto",
    cache: Path | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal language model and its tokenizer.

    Neither pickles nor code that comes with the model are ever loaded.

    Args:
        name: A packaged name, a folder, a ``.gguf`` file or a hub id.
        device: Where the model runs: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, or ``auto`` for the
            fastest available.
        dtype: The number format; ``auto`` for the fastest on the device.
        cache: The folder for downloaded and converted weights; None for `cache_folder`.

    Returns:
        The model, in evaluation mode, and its tokenizer.

    Raises:
        BadInput: For what is no model, and for a model or device that is not available.
    """
    cache = cache or cache_folder()
    if name in packaged():
        place: str | Path = packaged_model(name, cache)
    elif Path(name).is_file():
        place = gguf_model(Path(name), cache)
    elif Path(name).is_dir():
        place = Path(name)
        if not (place / "config.json").is_file():
            raise BadInput(f"the folder '{name}' is no model: it has no config.json")
    else:
        place = on_hub(name, f"; packaged models that need no hub: {', '.join(packaged())}")
    target = _device(device)
    number_type = _dtype(dtype, target)
    transformers_logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(place)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            place, dtype=number_type, use_safetensors=True, output_loading_info=True
        )
        model, info = loaded
    # The exception depends on which of the folder's files is broken.
    except Exception as error:
        raise BadInput(
            f"'{name}' is no language model that can be loaded: {reason_of(error)}"
        ) from error
    finally:
        transformers_logging.enable_progress_bar()
    check_tensors(name, info, model)
    check_tokenizer(name, model, tokenizer)
    try:
        torch.nn.Module.to(model, target)
    except (RuntimeError, NotImplementedError) as error:
        raise BadInput(f"'{name}' does not fit on {target}: {reason_of(error)}") from error
    model.eval()
    check_causal(name, model)
    if isinstance(place, Path) and place.is_dir():
        note_digest(model, folder_digest(place, cache))
    return model, tokenizer


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type == "meta":
            raise RuntimeError("it holds no numbers")
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BadInput(f"device '{name}' cannot be used: {reason_of(error)}") from error
    return device


def number_format(dtype: NumberFormat | Literal["auto"], device: str) -> NumberFormat:
    """The number format in which a model is loaded on this machine.

    Args:
        dtype: The requested format; ``auto`` for the fastest on the device.
        device: As in `load_model`.

    Raises:
        BadInput: For a device that cannot be used.
    """
    torch_type = _dtype(dtype, _device(device))
    return next(name for name, format_type in FORMATS.items() if format_type == torch_type)


def _dtype(name: NumberFormat | Literal["auto"], device: torch.device) -> torch.dtype:
    if name != "auto":
        return FORMATS[name]
    if device.type == "cpu":
        return faster_on_cpu()
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return torch.float16
    return torch.bfloat16
