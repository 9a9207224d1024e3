"""A frozen causal language model with gated cross-attention to what was seen (Flamingo, arXiv
2204.14198).

The layers below the first gate never see a clip, so no gradient goes there, and what they make of
a text is kept.
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

_KEPT_TEXTS = 100_000
_AT_ONCE = 16  # texts read together: more of them are more rim


class _Gate(nn.Module):
    """Gated cross-attention from text to what was seen, and the layers that follow it."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.attend = Attention(size, width, 8, 384)
        self.ff = feed_forward(size, 768)
        # Flamingo's gates begin at 0; a little open, they let a small model learn sooner.
        self.gates = nn.Parameter(torch.full((2,), 0.3))

    def forward(self, x: torch.Tensor, media: torch.Tensor) -> torch.Tensor:
        gates = self.gates.tanh()
        x = x + (gates[0] * self.attend(self.norm(x), media)).to(x.dtype)
        return x + (gates[1] * self.ff(x)).to(x.dtype)


class _Gated(nn.Module):
    """A layer of the language model behind a gate."""

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


def _part(decoder: Any, first: int, last: int) -> Any:
    """Some of a decoder's layers as a decoder; weights are shared."""
    part = copy.copy(decoder)
    part._modules = dict(decoder._modules)
    part.layers = nn.ModuleList(decoder.layers[first:last])
    part.config = copy.deepcopy(decoder.config)
    part.config.num_hidden_layers = last - first
    if getattr(part.config, "layer_types", None):
        part.config.layer_types = decoder.config.layer_types[first:last]
    return part


class GatedLanguage:
    """A causal language model of transformers, and the gates that let it see.

    The model itself is frozen; ``gates``, before the ``every``-th layers counted from the last one
    back, learn. They are the caller's to register: this is no module, so that the frozen weights
    are nobody's parameters. Raises BadInput for a model whose layers cannot be got at, or that has
    fewer than the gates need; ``name`` is what it is called then.
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
        self._bottom, self._top = _part(decoder, 0, at[0]), _part(decoder, at[0], n)
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
        self._whole = _part(decoder, 0, n)
        self._whole.config._attn_implementation = "eager"
        for k, layer in zip(at, self._gated, strict=True):
            self._whole.layers[k] = layer
        self._texts: OrderedDict[tuple[int, ...], torch.Tensor] = OrderedDict()

    @property
    def device(self) -> torch.device:
        device: torch.device = self.head.weight.device
        return device

    def forget(self) -> None:
        """Keep no more what the lower layers made of texts."""
        self._texts.clear()

    @torch.no_grad()
    def read(self, texts: Sequence[tuple[int, ...]]) -> torch.Tensor:
        """What the layers below the first gate make of texts: ``[texts, longest, size]``.

        Texts are padded at their ends, where causal attention never looks.
        """
        new = [t for t in dict.fromkeys(texts) if t not in self._texts]
        for first in range(0, len(new), _AT_ONCE):
            part = sorted(new, key=len)[first : first + _AT_ONCE]
            ids = torch.zeros(len(part), max(map(len, part)), dtype=torch.long, device=self.device)
            for row, text in zip(ids, part, strict=True):
                row[: len(text)] = torch.tensor(text)
            hidden = self._bottom(input_ids=ids, use_cache=False).last_hidden_state
            for row, text in zip(hidden, part, strict=True):
                # In half the size: there are many.
                self._texts[text] = row[: len(text)].to(torch.bfloat16, copy=True)
        found = [self._texts[t] for t in texts]
        for text in texts:
            self._texts.move_to_end(text)
        while len(self._texts) > max(_KEPT_TEXTS, len(set(texts))):
            self._texts.popitem(last=False)
        padded = nn.utils.rnn.pad_sequence(found, batch_first=True)
        return padded.to(self.head.weight.dtype)

    def hidden(self, media: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
        """The last hidden states ``[texts, longest, size]`` of texts that were ``read``, each with
        its own ``media``."""
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
        which: Sequence[int],
        prompts: Sequence[tuple[int, ...]],
        chance: torch.Tensor,
        *,
        end: int,
        temperature: float = 1.0,
    ) -> list[tuple[int, ...]]:
        """What follows each prompt ``[N]``, with that of the ``media [n, vectors, width]`` which
        ``which [N]`` names: tokens up to and with ``end``, at most as many as ``chance [N, most]``
        has columns.

        ``chance`` are numbers from 0 to 1 that decide each token, so that a text does not depend on
        what it is sampled beside; ``temperature`` 0 takes the likeliest. Keys and values of what
        was read are kept from token to token. Texts that are the same so far are read once, and
        those that have ended no more.
        """
        first: dict[tuple[int, tuple[int, ...]], int] = {}
        row = [first.setdefault(x, len(first)) for x in zip(which, prompts, strict=True)]
        longest = max(map(len, prompts))
        ids = torch.zeros(len(first), longest, dtype=torch.long, device=self.device)
        mask = torch.zeros_like(ids)
        for k, (_, prompt) in enumerate(first):
            ids[k, longest - len(prompt) :] = torch.tensor(prompt)
            mask[k, longest - len(prompt) :] = 1
        places = (mask.cumsum(1) - 1).clamp(min=0)
        media = media[[k for k, _ in first]]
        cache = DynamicCache()
        said: list[list[int]] = [[] for _ in prompts]
        open_ = list(range(len(prompts)))  # those that have not ended
        for column in chance.to(self.device).T:
            for layer in self._gated:
                layer.media = media
            hidden = self._whole(
                input_ids=ids,
                attention_mask=mask,
                position_ids=places,
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
                said[k].append(token)
            open_ = [k for k in open_ if said[k][-1] != end]
            if not open_:
                break
            next_: dict[tuple[int, int], int] = {}
            for k in open_:
                row[k] = next_.setdefault((row[k], said[k][-1]), len(next_))
            kept = torch.tensor([k for k, _ in next_], device=self.device)
            cache.batch_select_indices(kept)
            ids = torch.tensor([[token] for _, token in next_], device=self.device)
            media, places = media[kept], places[kept, -1:] + 1
            mask = torch.cat([mask[kept], mask.new_ones(len(kept), 1)], 1)
        for layer in self._gated:
            layer.media = None
        return [tuple(tokens) for tokens in said]


def alike(texts: Sequence[tuple[int, ...]], most: int = 16) -> list[list[int]]:
    """The numbers of the texts in parts of similar lengths, so that little is padding."""
    order = sorted(range(len(texts)), key=lambda k: len(texts[k]))
    return [order[k : k + most] for k in range(0, len(order), most)]
