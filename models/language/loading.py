"""Loading: a causal language model of transformers, from wherever its name points."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from envs.errors import BadInput
from models.language.convert import gguf_model, packaged_model
from models.language.formats import NumberFormat
from models.language.weights import HUB_TIMEOUT_S, cache_folder, packaged
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
    """The model and tokenizer of a packaged name, a folder, a ``.gguf`` file or a hub id.

    No pickle and no code of the model's own is ever loaded. Raises BadInput, in one sentence,
    for what is no model and what cannot be had.
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
    wanted = _dtype(dtype, target)
    transformers_logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(place)
        model = AutoModelForCausalLM.from_pretrained(place, dtype=wanted, use_safetensors=True)
    # What a broken folder raises is different with each file that may be broken in it.
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise BadInput(f"'{name}' is no language model that can be loaded: {reason}") from error
    finally:
        transformers_logging.enable_progress_bar()
    torch.nn.Module.to(model, target)
    return model.eval(), tokenizer


def on_hub(name: str, instead: str = "") -> str:
    """A hub id, after a quick look whether it is there. Raises BadInput where it is not, which says
    what there is ``instead``."""
    from huggingface_hub import (
        get_hf_file_metadata,
        hf_hub_url,
        try_to_load_from_cache,
    )

    if name.count("/") != 1 or name.startswith((".", "/", "~")) or name.endswith(("/", ".gguf")):
        raise BadInput(f"there is no file or folder '{name}'")
    try:
        if isinstance(try_to_load_from_cache(name, "config.json"), str):
            return name
        # Asked once with a short wait; from_pretrained alone would retry for half a minute.
        get_hf_file_metadata(hf_hub_url(name, "config.json"), timeout=HUB_TIMEOUT_S)
    # The hub client raises errors of several libraries; all mean that the model is out of reach.
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise BadInput(
            f"'{name}' is no folder here, and the model hub does not give it ({reason}){instead}"
        ) from error
    return name


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().split("\n")[0]
        raise BadInput(f"device '{name}' cannot be used: {reason}") from error
    return device


def number_format(dtype: NumberFormat | Literal["auto"], device: str) -> NumberFormat:
    """The number format in which a model is loaded here. Raises BadInput for a device that cannot
    be used."""
    taken = _dtype(dtype, _device(device))
    return next(name for name, known in FORMATS.items() if known == taken)


def _dtype(name: NumberFormat | Literal["auto"], device: torch.device) -> torch.dtype:
    if name != "auto":
        return FORMATS[name]
    if device.type == "cpu":
        return faster_on_cpu()
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return torch.float16
    return torch.bfloat16
