"""What a pretrained model must keep to before it is used: the contract of loading.

One loader for Planner, Reporter and detector: no tensor is drawn at random in the place of one
that is missing, the tokenizer fits the embedding, the outputs are finite, and a causal model does
not look ahead. What breaks the contract is refused in one sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from envs.errors import BadInput, reason_of

_PROBE_TOKENS = 8


def check_tensors(name: str, info: dict[str, Any], model: PreTrainedModel) -> None:
    """Check that every tensor of a model came from its files.

    Args:
        name: The model's name.
        info: What ``from_pretrained(…, output_loading_info=True)`` returned beside the model.
        model: The model.

    Raises:
        BadInput: One is missing, or has another shape there.
    """
    missing = sorted(set(map(str, info.get("missing_keys") or ())) - _tied(model))
    if missing:
        raise BadInput(
            f"'{name}' lacks {_some(missing)}, which would be drawn at random; its files are "
            "incomplete"
        )
    mismatched = [str(m[0] if isinstance(m, tuple | list) else m) for m in _mismatched(info)]
    if mismatched:
        raise BadInput(f"'{name}' has {_some(mismatched)} in another shape than its config.json")
    errors = [str(e) for e in info.get("error_msgs") or ()]
    if errors:
        raise BadInput(f"'{name}' cannot be loaded: {errors[0].strip().splitlines()[0]}")


def _mismatched(info: dict[str, Any]) -> Iterable[Any]:
    return sorted(info.get("mismatched_keys") or (), key=str)


def _tied(model: PreTrainedModel) -> set[str]:
    """The names of tensors that are others under a second name, and so stand in no file."""
    tied = getattr(model, "all_tied_weights_keys", None)
    if tied is None and getattr(model.config, "tie_word_embeddings", False):
        tied = getattr(model, "_tied_weights_keys", None)
    names = set(tied or ())
    # Some versions give patterns.
    patterns = [re.compile(n) for n in names if re.search(r"[\\^$*+]", n)]
    every = {n for n, _ in model.named_parameters(remove_duplicate=False)}
    return names | {n for n in every if any(p.search(n) for p in patterns)}


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 1} tensors more" if len(names) > 1 else ""
    return f"the tensor '{names[0]}'{more}"


def check_tokenizer(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Check that the model has an embedding for every token.

    Raises:
        BadInput: It has none for some.
    """
    embedding = model.get_input_embeddings()
    rows = getattr(embedding, "num_embeddings", None) or int(model.config.vocab_size)
    ids = tokenizer.get_vocab().values()
    largest = max((*ids, *(i for i in tokenizer.all_special_ids if i is not None)), default=0)
    if largest >= rows:
        raise BadInput(
            f"the tokenizer of '{name}' does not fit: it has tokens up to number {largest}, the "
            f"model only knows those below {rows}"
        )


@torch.inference_mode()
def check_causal(name: str, model: PreTrainedModel) -> None:
    """Check that a model predicts each token from those before it alone, in finite numbers.

    Raises:
        BadInput: It looks ahead, its numbers are not finite, or it cannot be run.
    """
    vocabulary = int(model.config.get_text_config().vocab_size)
    ids = torch.arange(1, _PROBE_TOKENS + 1) * 7919 % vocabulary
    other = ids.clone()
    other[-1] = (int(ids[-1]) + 1) % vocabulary
    try:
        rows = torch.stack([ids, other]).to(model.device)
        # One after the other: in one batch the last digits could differ.
        logits = [model(input_ids=row[None], use_cache=False).logits[0].float() for row in rows]
    # Whatever a model that was made for something else raises.
    except Exception as error:
        raise BadInput(f"'{name}' cannot be run: {reason_of(error)}") from error
    if not all(bool(torch.isfinite(part).all()) for part in logits):
        raise BadInput(f"the numbers of '{name}' are not finite (NaN or infinite)")
    change = (logits[0] - logits[1]).abs()
    # On a CPU those before are equal to the last bit.
    tolerance = 1e-4 if model.dtype == torch.float32 else 2e-2
    if change[:-1].max() > tolerance * change[-1].max():
        raise BadInput(
            f"'{name}' is no causal language model: what it predicts depends on later tokens "
            f"(model type {model.config.model_type})"
        )
