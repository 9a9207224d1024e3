"""Packed attention: many dialogues in one row, each attending to itself and to a shared prefix.

The linear layers of a model do not depend on which token belongs to which dialogue, so all tokens
of a pass stand in one row and nothing is padded. Only attention separates them: each dialogue's
queries attend to its own keys, padded to the longest of the pass, and all queries together to the
prefix, which is never copied. The two parts of one softmax are merged by their log-sum-exp, as in
FlashAttention (arXiv 2205.14135) and in Hydragen's shared prefixes (arXiv 2402.05099).
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
# Arguments that would change the softmax in a way that is not implemented here.
UNSUPPORTED = ("sliding_window", "softcap", "s_aux", "position_bias", "head_mask")


@dataclass(frozen=True)
class PackedSequence:
    """One dialogue of a pass.

    ``states [layers, 2, tokens, width]`` are its cached keys and values, without the prefix's;
    ``n_text`` is the number of new tokens behind those, each attending to all before it;
    ``tree_mask [nodes, nodes] bool`` says which nodes behind the text each node attends to.
    """

    states: torch.Tensor
    n_text: int
    tree_mask: np.ndarray


class PackedBatch:
    """Where the tokens of one pass stand, and the keys and values that the pass adds.

    ``states [layers, 2, sequences, room, width]`` hold each dialogue's own keys and values: the
    cached ones, then those of its new tokens in their order.
    """

    def __init__(
        self,
        sequences: Sequence[PackedSequence],
        prefix: torch.Tensor | None,
        states_like: torch.Tensor,
        spare: int = 0,
    ) -> None:
        """Lay out a pass.

        Args:
            sequences: the dialogues.
            prefix: keys and values ``[layers, 2, tokens, width]`` that all of them attend to.
            states_like: a tensor ``[layers, 2, any, width]`` of the model's device and dtype.
            spare: room for this many tokens more in each dialogue, to be read by later passes.
        """
        n_cached = [sequence.states.shape[2] for sequence in sequences]
        n_new = [sequence.n_text + len(sequence.tree_mask) for sequence in sequences]
        self.n, self.longest = len(sequences), max(n_new)
        self.lengths = [cached + new for cached, new in zip(n_cached, n_new, strict=True)]
        room = max(self.lengths)
        self.room = room + spare
        layers, _, _, width = states_like.shape
        # Zeros, since masked values are still multiplied by 0, and 0 times NaN is NaN.
        self.states = states_like.new_zeros(layers, 2, self.n, self.room, width)
        visible = np.zeros((self.n, 1, self.longest, room), bool)
        visible[..., 0] = True  # for padding, whose softmax would else be NaN
        rows, unpadded = [], []
        for k, (sequence, cached, new) in enumerate(zip(sequences, n_cached, n_new, strict=True)):
            self.states[:, :, k, :cached] = sequence.states
            text = cached + sequence.n_text
            own = visible[k, 0]
            own[: sequence.n_text, :text] = np.tri(sequence.n_text, text, cached, dtype=bool)
            own[sequence.n_text : new, :text] = True
            own[sequence.n_text : new, text : cached + new] = sequence.tree_mask
            rows.append(np.arange(cached, cached + new) + k * self.room)
            unpadded.append(np.arange(new) + k * self.longest)
        padded = np.zeros(self.n * self.longest, np.int64)
        padded[np.concatenate(unpadded)] = np.arange(sum(n_new))
        device = states_like.device
        self.prefix = prefix
        self.n_layers_done = 0
        self.visible_room = room
        # From the row of all tokens to the states, to the padded batch, and back.
        self.state_rows = torch.from_numpy(np.concatenate(rows)).to(device)
        self.padded = torch.from_numpy(padded).to(device)
        self.unpadded = torch.from_numpy(np.concatenate(unpadded)).to(device)
        self.mask = self._mask(visible)

    def _mask(self, visible: np.ndarray) -> torch.Tensor:
        """What is added to the dot products, from what may be attended to."""
        mask = torch.zeros(visible.shape, dtype=self.states.dtype)
        return mask.masked_fill_(torch.from_numpy(~visible), -torch.inf).to(self.states.device)

    def next_token(self) -> None:
        """Lay out the next pass, in which each dialogue reads one token more, behind all before it.

        The passes before must have been of text without nodes. Raises IndexError where there is no
        room left.
        """
        if max(self.lengths) >= self.room:
            raise IndexError("no room for another token")
        device = self.states.device
        self.n_layers_done = 0
        self.longest = 1
        self.visible_room = max(self.lengths) + 1
        rows = [k * self.room + length for k, length in enumerate(self.lengths)]
        self.state_rows = torch.tensor(rows, device=device)
        self.padded = self.unpadded = torch.arange(self.n, device=device)
        self.lengths = [length + 1 for length in self.lengths]
        visible = np.arange(self.visible_room) < np.array(self.lengths)[:, None]
        self.mask = self._mask(visible[:, None, None])

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float | None,
    ) -> torch.Tensor:
        """The attention output of each new token in one layer, ``[tokens, heads, size]``.

        Args:
            layer: its index.
            query: ``[heads, tokens, size]`` of the new tokens.
            key: ``[key heads, tokens, size]``; stored in ``states``, like the values.
            value: ``[key heads, tokens, size]``.
            scale: the factor of the dot products, None for ``size ** -0.5``.
        """
        self.n_layers_done += 1
        heads, _, size = query.shape
        states = self.states[layer]
        for side, new in enumerate((key, value)):
            rows = states[side].flatten(0, 1)
            rows.index_copy_(0, self.state_rows, new.transpose(0, 1).flatten(1))
        seen = states[:, :, : self.visible_room]
        keys, values = seen.unflatten(-1, (-1, size)).transpose(2, 3)
        queries = query.transpose(0, 1)[self.padded].view(self.n, self.longest, heads, size)
        own, own_lse = attention(queries.transpose(1, 2), keys, values, self.mask, scale)
        own = own.transpose(1, 2).flatten(0, 1)[self.unpadded]
        if self.prefix is None:
            return own
        keys, values = self.prefix[layer].unflatten(-1, (-1, size)).transpose(1, 2)
        # Heads that share keys stand one behind the other: fewer, longer products are quicker.
        queries = query.reshape(1, len(keys), -1, size)
        shared, shared_lse = attention(queries, keys[None], values[None], None, scale)
        shared = shared.reshape(heads, -1, size).transpose(0, 1)
        shared_lse = shared_lse.reshape(heads, -1).T
        own_lse = own_lse.transpose(1, 2).flatten(0, 1)[self.unpadded]
        weight = torch.sigmoid(own_lse - shared_lse)[..., None]
        return torch.lerp(shared, own, weight.to(own.dtype))


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention ``[batch, heads, queries, size]`` and its log-sum-exp ``[batch, heads, queries]``.

    torch's public function does not return the log-sum-exp; the kernel behind it does.

    Args:
        query: ``[batch, heads, queries, size]``.
        key: ``[batch, key heads, keys, size]``, where ``heads`` is a multiple of ``key heads``.
        value: as ``key``.
        mask: ``[batch, 1, queries, keys]``, added to the scaled dot products.
        scale: the factor of the dot products, None for ``size ** -0.5``.
    """
    if query.device.type != "cpu":
        return unfused_attention(query, key, value, mask, scale)
    output = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, 0.0, False, attn_mask=mask, scale=scale
    )
    return output[0], output[1]


def unfused_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`attention` without the fused kernel, for devices that lack it.

    Args:
        query: ``[batch, heads, queries, size]``.
        key: ``[batch, key heads, keys, size]``, where ``heads`` is a multiple of ``key heads``.
        value: as ``key``.
        mask: ``[batch, 1, queries, keys]``, added to the scaled dot products.
        scale: the factor of the dot products, None for ``size ** -0.5``.
    """
    times = query.shape[1] // key.shape[1]
    key, value = (states.repeat_interleave(times, 1) for states in (key, value))
    logits = (query @ key.transpose(-1, -2)).float()
    logits = logits * (query.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        logits = logits + mask
    lse = logits.logsumexp(-1)
    return (logits - lse[..., None]).exp().to(value.dtype) @ value, lse


@contextmanager
def packed(model: PreTrainedModel) -> Iterator[None]:
    """A context in which the model accepts a ``packed_batch``; the model is restored at its end.

    Raises:
        TypeError: For a model whose attention cannot be replaced.
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
    packed_batch: PackedBatch,
    scaling: float | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """An attention function as transformers calls it: returns ``[1, tokens, heads, size]``."""
    for name in UNSUPPORTED:
        if others.get(name) is not None:
            raise TypeError(f"packed attention does not know '{name}'")
    layer = int(getattr(module, "layer_idx"))  # noqa: B009, not an attribute that mypy knows
    return packed_batch.attend(layer, query[0], key[0], value[0], scaling)[None], None


AttentionInterface.register(NAME, _packed_attention)
