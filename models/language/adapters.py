"""LoRA adapters (arXiv 2106.09685) in peft's format: reading them and merging them into a model.

An adapter is a folder with ``adapter_config.json`` and ``adapter_model.safetensors``. It is merged
into the weights when it is loaded, so inference costs nothing extra.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import PreTrainedModel

from envs.errors import BadInput

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
# Settings of LoRA variants that are more than a product of two matrices.
_VARIANTS = ("use_dora", "use_rslora", "modules_to_save", "alpha_pattern", "rank_pattern")


@torch.no_grad()
def merge(model: PreTrainedModel, folder: Path, name: str) -> None:
    """Merge an adapter into a model, in place.

    Args:
        model: The model.
        folder: The adapter's folder.
        name: The model's name in error messages.

    Raises:
        BadInput: For an adapter of another model or kind and for one that is damaged; the model is
            then unchanged.
    """
    config, tensors = read_adapter(folder)
    scale = config["lora_alpha"] / config["r"]
    changes: list[tuple[torch.nn.Parameter, torch.Tensor]] = []
    modules = dict(model.named_modules())
    for key in sorted(k for k in tensors if k.endswith(".lora_A.weight")):
        module_name = key.removeprefix(_PREFIX).removesuffix(".lora_A.weight")
        module: Any = modules.get(module_name)
        a, b = tensors.pop(key), tensors.pop(key.replace("lora_A", "lora_B"), None)
        if b is None or not hasattr(module, "weight"):
            raise BadInput(f"the adapter '{folder}' does not fit '{name}': no place for '{key}'")
        shape = (b.shape[0], a.shape[1]) if a.ndim == b.ndim == 2 else ()
        if shape != tuple(module.weight.shape) or a.shape[0] != b.shape[1]:
            raise BadInput(
                f"the adapter '{folder}' does not fit '{name}': '{module_name}' is "
                f"{tuple(module.weight.shape)} there, {shape} in the adapter"
            )
        changes.append((module.weight, scale * (b.float() @ a.float())))
    if tensors or not changes:
        raise BadInput(f"the adapter '{folder}' does not fit '{name}': {sorted(tensors)[:1]}")
    for weight, change in changes:
        weight.copy_(weight.float() + change.to(weight.device))


def read_adapter(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """An adapter's settings and tensors.

    Raises:
        BadInput: For an adapter that is damaged or no plain LoRA.
    """
    try:
        config = json.loads((folder / CONFIG).read_text("utf-8"))
        tensors = load_file(folder / WEIGHTS)
        kind, rank, alpha = config["peft_type"], config["r"], config["lora_alpha"]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise BadInput(f"the adapter '{folder}' cannot be read: {error}") from error
    variants = [k for k in _VARIANTS if config.get(k)]
    if kind != "LORA" or variants or not rank > 0 or not alpha > 0:
        raise BadInput(f"the adapter '{folder}' is not plain LoRA: {', '.join(variants) or kind}")
    if not all(torch.isfinite(t).all() for t in tensors.values()):
        raise BadInput(f"the adapter '{folder}' holds numbers that are not finite")
    return config, tensors
