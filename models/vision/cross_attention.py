"""A frozen causal language model with gated cross-attention to visual features (Flamingo, arXiv
2204.14198).

The layers below the first gate never see a clip, so they need no gradient, and their hidden states
of a text are cached.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache

from envs.errors import BadInput
from models.vision.encoder import Attention, feed_forward

_MAX_CACHED_TEXTS = 100_000
_TEXTS_A_BATCH = 16  # larger batches hold more padding


class _Gate(nn.Module):
    """Gated cross-attention from text to visual features, followed by a feed-forward block."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.attend = Attention(size, width, 8, 384)
        self.ff = feed_forward(size, 768)
        # Flamingo's gates start closed, at 0. Slightly open gates let a small model learn sooner.
        self.gates = nn.Parameter(torch.full((2,), 0.3))

    def forward(self, x: torch.Tensor, media: torch.Tensor) -> torch.Tensor:
        gates = self.gates.tanh()
        x = x + (gates[0] * self.attend(self.norm(x), media)).to(x.dtype)
        return x + (gates[1] * self.ff(x)).to(x.dtype)


class _Gated(nn.Module):
    """A layer of the language model with a gate before it."""

    def __init__(self, gate: _Gate, layer: nn.Module) -> None:
        super().__init__()
        self.gate = gate
        self.layer = layer
        self.media: torch.Tensor | None = None

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        assert self.media is not None
        return self.layer(self.gate(x, self.media), *args, **kwargs)


def _sub_decoder(decoder: Any, first: int, last: int) -> Any:
    """Layers ``first`` to ``last - 1`` of a decoder as a decoder; weights are shared."""
    sub = copy.copy(decoder)
    sub._modules = dict(decoder._modules)
    sub.layers = nn.ModuleList(decoder.layers[first:last])
    sub.config = copy.deepcopy(decoder.config)
    sub.config.num_hidden_layers = last - first
    if getattr(sub.config, "layer_types", None):
        sub.config.layer_types = decoder.config.layer_types[first:last]
    return sub


class GatedLanguage:
    """A causal language model of transformers with gated cross-attention layers.

    The language model is frozen; only ``gates`` are trained. This class is no `nn.Module`, so that
    the frozen weights are nobody's parameters: the caller registers ``gates`` as its own submodule.

    Args:
        model: The language model.
        tokenizer: Its tokenizer.
        width: The size of the visual features.
        gates: How many gates there are.
        every: The distance between gates: they stand before the last layer and each ``every``-th
            layer before it.
        name: The model's name in error messages.

    Raises:
        BadInput: For a model whose layers cannot be accessed or that has too few of them.
    """

    def __init__(
        self, model: Any, tokenizer: Any, *, width: int, gates: int, every: int, name: str
    ) -> None:
        decoder = getattr(model, model.base_model_prefix, None)
        layers = getattr(decoder, "layers", None)
        if layers is None or not hasattr(decoder, "norm"):
            raise BadInput(f"the layers of '{type(model).__name__}' are not known")
        n = len(layers)
        at = sorted(n - 1 - every * k for k in range(gates))
        if at[0] < 0:
            raise BadInput(f"{gates} gates need more layers than the {n} of {name}")
        for p in model.parameters():
            p.requires_grad_(False)
        self.gates = nn.ModuleList(_Gate(model.config.hidden_size, width) for _ in range(gates))
        self.model = model
        self.tokenizer = tokenizer
        self.head = model.get_output_embeddings()
        self._bottom, self._top = _sub_decoder(decoder, 0, at[0]), _sub_decoder(decoder, at[0], n)
        self._bottom.norm = nn.Identity()
        self._top.layers = nn.ModuleList(layers[at[0] :])
        # The fused attention's backward pass takes several times as long on a CPU.
        self._top.config._attn_implementation = "eager"
        for module in layers[at[0] :].modules():
            if hasattr(module, "config"):
                module.config = self._top.config
        self._gated: list[_Gated] = []
        for gate, k in zip(self.gates, at, strict=True):
            self._gated.append(_Gated(gate, layers[k]))  # type: ignore[arg-type]
            self._top.layers[k - at[0]] = self._gated[-1]
        self._whole = _sub_decoder(decoder, 0, n)
        self._whole.config._attn_implementation = "eager"
        for k, layer in zip(at, self._gated, strict=True):
            self._whole.layers[k] = layer
        self._texts: OrderedDict[tuple[int, ...], torch.Tensor] = OrderedDict()

    @property
    def device(self) -> torch.device:
        device: torch.device = self.head.weight.device
        return device

    def forget(self) -> None:
        """Clear the cached hidden states of texts."""
        self._texts.clear()

    @torch.no_grad()
    def read(self, texts: Sequence[tuple[int, ...]]) -> torch.Tensor:
        """The hidden states ``[texts, longest, size]`` of texts below the first gate.

        Texts are padded at their ends, which causal attention never reads.
        """
        new = [t for t in dict.fromkeys(texts) if t not in self._texts]
        for first in range(0, len(new), _TEXTS_A_BATCH):
            batch = sorted(new, key=len)[first : first + _TEXTS_A_BATCH]
            longest = max(map(len, batch))
            ids = torch.zeros(len(batch), longest, dtype=torch.long, device=self.device)
            for row, text in zip(ids, batch, strict=True):
                row[: len(text)] = torch.tensor(text)
            hidden = self._bottom(input_ids=ids, use_cache=False).last_hidden_state
            for row, text in zip(hidden, batch, strict=True):
                # In half precision, since there are many.
                self._texts[text] = row[: len(text)].to(torch.bfloat16, copy=True)
        states = [self._texts[t] for t in texts]
        for text in texts:
            self._texts.move_to_end(text)
        while len(self._texts) > max(_MAX_CACHED_TEXTS, len(set(texts))):
            self._texts.popitem(last=False)
        padded = nn.utils.rnn.pad_sequence(states, batch_first=True)
        return padded.to(self.head.weight.dtype)

    def hidden(self, media: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
        """The last hidden states ``[texts, longest, size]`` of texts.

        Args:
            media: The visual features of each text, ``[texts, vectors, width]``.
            read: The output of `read` for the texts.
        """
        for layer in self._gated:
            layer.media = media
        hidden: torch.Tensor = self._top(inputs_embeds=read, use_cache=False).last_hidden_state
        for layer in self._gated:
            layer.media = None
        return hidden

    @torch.no_grad()
    def sample(
        self,
        media: torch.Tensor,
        media_index: Sequence[int],
        prompts: Sequence[tuple[int, ...]],
        chance: torch.Tensor,
        *,
        end: int,
        temperature: float = 1.0,
    ) -> list[tuple[int, ...]]:
        """Sample a continuation of each of N prompts, with a KV cache.

        Prompts with the same media and the same tokens so far share a row of the batch, and a text
        that has ended leaves it.

        Args:
            media: Visual features ``[n, vectors, width]``.
            media_index: For each prompt, the index of its media.
            prompts: The tokens of the prompts.
            chance: Uniform numbers ``[N, most]`` from 0 to 1: each draws one token of one text, so
                that a text does not depend on what it is sampled beside. A text has at most
                ``most`` tokens.
            end: The end-of-text token.
            temperature: The sampling temperature; 0 takes the most probable token.

        Returns:
            The tokens of each continuation, up to and with ``end``.
        """
        first: dict[tuple[int, tuple[int, ...]], int] = {}
        row = [first.setdefault(x, len(first)) for x in zip(media_index, prompts, strict=True)]
        longest = max(map(len, prompts))
        ids = torch.zeros(len(first), longest, dtype=torch.long, device=self.device)
        mask = torch.zeros_like(ids)
        for k, (_, prompt) in enumerate(first):
            ids[k, longest - len(prompt) :] = torch.tensor(prompt)
            mask[k, longest - len(prompt) :] = 1
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        media = media[[k for k, _ in first]]
        cache = DynamicCache()
        sampled: list[list[int]] = [[] for _ in prompts]
        open_ = list(range(len(prompts)))  # those that have not ended
        for column in chance.to(self.device).T:
            for layer in self._gated:
                layer.media = media
            hidden = self._whole(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state[:, -1]
            logits = self.head(hidden).float()
            at = [row[k] for k in open_]
            if temperature:
                shares = (logits / temperature).softmax(-1).cumsum(-1)[at]
                drawn = torch.searchsorted(shares, column[open_, None] * shares[:, -1:])[:, 0]
                tokens = drawn.clamp(max=logits.shape[1] - 1).tolist()
            else:
                tokens = logits.argmax(-1)[at].tolist()
            for k, token in zip(open_, tokens, strict=True):
                sampled[k].append(token)
            open_ = [k for k in open_ if sampled[k][-1] != end]
            if not open_:
                break
            next_: dict[tuple[int, int], int] = {}
            for k in open_:
                row[k] = next_.setdefault((row[k], sampled[k][-1]), len(next_))
            kept = torch.tensor([k for k, _ in next_], device=self.device)
            cache.batch_select_indices(kept)
            ids = torch.tensor([[token] for _, token in next_], device=self.device)
            media, positions = media[kept], positions[kept, -1:] + 1
            mask = torch.cat([mask[kept], mask.new_ones(len(kept), 1)], 1)
        for layer in self._gated:
            layer.media = None
        return [tuple(tokens) for tokens in sampled]


def batches_by_length(texts: Sequence[tuple[int, ...]], most: int = 16) -> list[list[int]]:
    """The indices of texts in batches of at most ``most`` of similar length, to save padding."""
    order = sorted(range(len(texts)), key=lambda k: len(texts[k]))
    return [order[k : k + most] for k in range(0, len(order), most)]
