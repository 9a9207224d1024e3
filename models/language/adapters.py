"""LoRA adapters (arXiv 2106.09685) in peft's format: reading them and merging them into a model.

An adapter is a folder with ``adapter_config.json`` and ``adapter_model.safetensors``. It is merged
into the weights when it is loaded, so inference costs nothing extra. What is added to each weight
is computed by peft, in training and in loading alike; kinds of adapters that change more than that
are refused.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import PreTrainedModel

from envs.errors import BadInput, reason_of

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# Ways to begin that leave the pretrained weights as they are. PiSSA, OLoRA and others change them,
# and an adapter that was trained on changed weights is wrong on the original ones.
_PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal", "true", "false")
# Settings of variants that are more than what is added to a weight, with what leaves them unused.
_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "use_dora": (False, None),
    "modules_to_save": (None, []),
    "bias": ("none", None),
    "lora_bias": (False, None),
    "layer_replication": (None, []),
    "trainable_token_indices": (None, [], {}),
    "target_parameters": (None, []),
    "use_qalora": (False, None),
    "corda_config": (None, {}),
    "eva_config": (None, {}),
    "loftq_config": (None, {}),
    "arrow_config": (None, {}),
    "alora_invocation_tokens": (None, []),
}


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
    from peft import LoraConfig, PeftModel, set_peft_model_state_dict

    _, tensors = read_adapter(folder)
    does_not_fit = f"the adapter '{folder}' does not fit '{name}'"
    if not any(key.endswith(".lora_A.weight") for key in tensors):
        raise BadInput(f"{does_not_fit}: it holds no LoRA weights, {sorted(tensors)[:1]}")
    _check_shapes(model, tensors, does_not_fit)
    wrapped: Any = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the weights of Conv1D are transposed
            settings: Any = LoraConfig.from_pretrained(str(folder))
            settings.inference_mode = True
            wrapped = PeftModel(model, settings)
            loaded: Any = set_peft_model_state_dict(wrapped, tensors)
        strange = sorted(map(str, loaded.unexpected_keys))
        missing = sorted(k for k in map(str, loaded.missing_keys) if ".lora_" in k)
        if strange or missing:
            raise BadInput(f"{does_not_fit}: no place for '{(strange or missing)[0]}'")
        modules = lora_modules(wrapped)
        expected = _probed(wrapped)
        merged = {m: merged_weight(m) for m in modules.values()}
        before = {m: m.base_layer.weight.detach().clone() for m in merged}
        for module, weight in merged.items():
            module.base_layer.weight.copy_(weight)
        with wrapped.disable_adapter():
            got = _probed(wrapped)
        if not _near(expected, got, model.dtype):
            for module, weight in before.items():
                module.base_layer.weight.copy_(weight)
            raise BadInput(f"the adapter '{folder}' cannot be merged into '{name}' faithfully")
    except BadInput:
        raise
    # What peft raises depends on what does not fit.
    except Exception as error:
        raise BadInput(f"{does_not_fit}: {reason_of(error)}") from error
    finally:
        if wrapped is not None:
            wrapped.unload()


def _check_shapes(
    model: PreTrainedModel, tensors: dict[str, torch.Tensor], does_not_fit: str
) -> None:
    """Check that each pair of factors has a weight to be added to."""
    modules = dict(model.named_modules())
    for key in sorted(k for k in tensors if k.endswith(".lora_A.weight")):
        module_name = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        module: Any = modules.get(module_name)
        a, b = tensors[key], tensors.get(key.replace("lora_A", "lora_B"))
        if b is None or not hasattr(module, "weight"):
            raise BadInput(f"{does_not_fit}: no place for '{key}'")
        shape = (b.shape[0], a.shape[1]) if a.ndim == b.ndim == 2 else ()
        there = tuple(module.weight.shape)
        transposed = type(module).__name__ == "Conv1D"
        if shape != (there[::-1] if transposed else there) or a.shape[0] != b.shape[1]:
            raise BadInput(
                f"{does_not_fit}: '{module_name}' is {there} there, {shape} in the adapter"
            )


def lora_modules(model: torch.nn.Module) -> dict[str, Any]:
    """The modules of a model with LoRA adapters that have one, by name."""
    return {n: m for n, m in model.named_modules() if hasattr(m, "get_delta_weight")}


def merged_weight(module: Any) -> torch.Tensor:
    """A module's weight with what its adapter adds, ``float32``, in the shape of the weight."""
    weight: torch.Tensor = module.base_layer.weight.float()
    return weight + module.get_delta_weight("default").float()


def _probed(model: Any) -> torch.Tensor:
    """The logits of a few tokens, ``float32``."""
    vocabulary = int(model.config.get_text_config().vocab_size)
    ids = torch.arange(1, 9, device=model.device)[None] * 7919 % vocabulary
    logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits.float()
    return logits


def _near(a: torch.Tensor, b: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether two outputs differ by rounding only."""
    tolerance = 1e-3 if dtype == torch.float32 else 0.1
    scale = float(a.abs().max()) or 1.0
    return float((a - b).abs().max()) <= tolerance * scale


def read_adapter(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """An adapter's settings and tensors.

    Raises:
        BadInput: For an adapter that is damaged or of a kind that cannot be merged.
    """
    try:
        config = json.loads((folder / CONFIG).read_text("utf-8"))
        tensors = load_file(folder / WEIGHTS)
        kind, rank, alpha = config["peft_type"], config["r"], config["lora_alpha"]
        is_sized = rank > 0 and alpha > 0
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise BadInput(f"the adapter '{folder}' cannot be read: {error}") from error
    variants = [k for k, unused in _UNSUPPORTED.items() if config.get(k) not in unused]
    start = config.get("init_lora_weights", True)
    if start not in _PLAIN_STARTS:
        variants.append(f"init_lora_weights {start}, which changes the model below it")
    if kind != "LORA" or variants or not is_sized:
        raise BadInput(f"the adapter '{folder}' is not plain LoRA: {', '.join(variants) or kind}")
    if not all(torch.isfinite(t).all() for t in tensors.values()):
        raise BadInput(f"the adapter '{folder}' holds numbers that are not finite")
    return config, tensors
