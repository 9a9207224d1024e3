"""Packed attention: many dialogues in one row, each attending to itself and to a shared prefix.

The linear layers of a model do not care which token belongs to which dialogue, so all of a pass
stand in one row and nothing is padded. Only attention takes them apart: each dialogue's queries
go to its own keys, padded to the longest of the pass, and all queries together to the prefix,
which is never copied. The two parts of one softmax are merged by their log-sum-exp.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface, PreTrainedModel

NAME = "parley_packed"
# What would change the softmax in a way that is not done here.
FOREIGN = ("sliding_window", "softcap", "s_aux", "position_bias", "head_mask")


@dataclass(frozen=True)
class PackedSequence:
    """One dialogue of a pass.

    ``old [layers, 2, tokens, width]`` are the keys and values read before, behind the prefix;
    ``text`` is how many new tokens stand behind those, each seeing all before it; ``tree
    [nodes, nodes] bool`` says which of the nodes behind the text each of them sees.
    """

    old: torch.Tensor
    text: int
    tree: np.ndarray


class PackedBatch:
    """Where the tokens of one pass stand, and the keys and values that the pass adds.

    ``states [layers, 2, parts, room, width]`` hold each dialogue's own keys and values: the old
    ones, then those of its new tokens in their order.
    """

    def __init__(
        self,
        parts: Sequence[PackedSequence],
        prefix: torch.Tensor | None,
        states_like: torch.Tensor,
    ) -> None:
        olds = [part.old.shape[2] for part in parts]
        news = [part.text + len(part.tree) for part in parts]
        self.n, self.longest = len(parts), max(news)
        self.room = max(map(sum, zip(olds, news, strict=True)))
        layers, _, _, width = states_like.shape
        # Zeros, since what is masked out still counts 0 times its value, and 0 times NaN is NaN.
        self.states = states_like.new_zeros(layers, 2, self.n, self.room, width)
        sees = np.zeros((self.n, 1, self.longest, self.room), bool)
        sees[..., 0] = True  # padding sees something, or it would be NaN
        rows, back = [], []
        for k, (part, old, new) in enumerate(zip(parts, olds, news, strict=True)):
            self.states[:, :, k, :old] = part.old
            text = old + part.text
            seen = sees[k, 0]
            seen[: part.text, :text] = np.tri(part.text, text, old, dtype=bool)
            seen[part.text : new, :text] = True
            seen[part.text : new, text : old + new] = part.tree
            rows.append(np.arange(old, old + new) + k * self.room)
            back.append(np.arange(new) + k * self.longest)
        asks = np.zeros(self.n * self.longest, np.int64)
        asks[np.concatenate(back)] = np.arange(sum(news))
        device = states_like.device
        self.prefix = prefix
        self.attended = 0  # layers that have used this
        self.rows = torch.from_numpy(np.concatenate(rows)).to(device)
        self.back = torch.from_numpy(np.concatenate(back)).to(device)
        self.asks = torch.from_numpy(asks).to(device)
        mask = torch.zeros(sees.shape, dtype=states_like.dtype)
        self.mask = mask.masked_fill_(torch.from_numpy(~sees), -torch.inf).to(device)

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float | None,
    ) -> torch.Tensor:
        """What each new token takes in, ``[tokens, heads, size]``, in one layer.

        ``query [heads, tokens, size]``, ``key`` and ``value [key heads, tokens, size]`` are those
        of the new tokens; the latter two are kept in ``states``.
        """
        self.attended += 1
        heads, _, size = query.shape
        states = self.states[layer]
        for side, new in enumerate((key, value)):
            states[side].flatten(0, 1).index_copy_(0, self.rows, new.transpose(0, 1).flatten(1))
        keys, values = states.unflatten(-1, (-1, size)).transpose(2, 3)
        asks = query.transpose(0, 1)[self.asks].view(self.n, self.longest, heads, size)
        own, own_sum = attention(asks.transpose(1, 2), keys, values, self.mask, scale)
        own = own.transpose(1, 2).flatten(0, 1)[self.back]
        if self.prefix is None:
            return own
        keys, values = self.prefix[layer].unflatten(-1, (-1, size)).transpose(1, 2)
        # Heads that share keys stand one behind the other: fewer, longer products are quicker.
        asks = query.reshape(1, len(keys), -1, size)
        far, far_sum = attention(asks, keys[None], values[None], None, scale)
        far = far.reshape(heads, -1, size).transpose(0, 1)
        far_sum = far_sum.reshape(heads, -1).T
        own_sum = own_sum.transpose(1, 2).flatten(0, 1)[self.back]
        share = torch.sigmoid(own_sum - far_sum)[..., None]
        return torch.lerp(far, own, share.to(own.dtype))


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention ``[batch, heads, queries, size]`` and its log-sum-exp ``[batch, heads, queries]``.

    torch's own function keeps the log-sum-exp to itself; the kernel behind it does not. Key and
    value may have fewer heads.
    """
    if query.device.type != "cpu":
        return attention_by_hand(query, key, value, mask, scale)
    found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, 0.0, False, attn_mask=mask, scale=scale
    )
    return found[0], found[1]


def attention_by_hand(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same in plain steps, for devices whose kernel is another."""
    times = query.shape[1] // key.shape[1]
    key, value = (states.repeat_interleave(times, 1) for states in (key, value))
    fits = (query @ key.transpose(-1, -2)).float()
    fits = fits * (query.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        fits = fits + mask
    total = fits.logsumexp(-1)
    return (fits - total[..., None]).exp().to(value.dtype) @ value, total


@contextmanager
def packed(model: PreTrainedModel) -> Iterator[None]:
    """Within it the model takes a ``packing``; outside, the model is as it was.

    Raises TypeError for a model whose attention cannot be replaced.
    """
    if not model._can_set_attn_implementation():
        raise TypeError(f"the attention of {type(model).__name__} cannot be replaced")
    before = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    packing: PackedBatch,
    scaling: float | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """The form in which transformers calls an attention; ``[1, tokens, heads, size]`` returns."""
    for name in FOREIGN:
        if others.get(name) is not None:
            raise TypeError(f"packed attention does not know '{name}'")
    layer = int(getattr(module, "layer_idx"))  # noqa: B009, not an attribute that mypy knows
    return packing.attend(layer, query[0], key[0], value[0], scaling)[None], None


AttentionInterface.register(NAME, _packed_attention)
