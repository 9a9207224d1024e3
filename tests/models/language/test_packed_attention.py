"""Packed attention is attention, dialogue by dialogue."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from agents.planner.language import LanguagePlanner
from agents.planner.options import PlannerOptions
from models.language.packed_attention import (
    PackedBatch,
    PackedSequence,
    attention,
    packed,
    unfused_attention,
)
from tests.agents.tiny import HEADS, SIZES, tiny_model, tiny_tokenizer

LAYERS, HEADS_, KEY_HEADS, SIZE = 2, 4, 2, 8
WIDTH = KEY_HEADS * SIZE


def _states(tokens: int) -> torch.Tensor:
    return torch.randn(LAYERS, 2, tokens, WIDTH)


@pytest.mark.parametrize("n_prefix", [0, 7])
def test_each_dialogue_attends_to_what_it_may_see_and_no_more(n_prefix):
    torch.manual_seed(0)
    tree = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]], bool)
    parts = [
        PackedSequence(_states(5), 3, tree),
        PackedSequence(_states(0), 6, tree[:1, :1]),
        PackedSequence(_states(2), 1, tree),
    ]
    prefix = _states(n_prefix)
    batch = PackedBatch(parts, prefix if n_prefix else None, _states(0))
    new = [part.n_text + len(part.tree_mask) for part in parts]
    query = torch.randn(HEADS_, sum(new), SIZE)
    key, value = torch.randn(2, KEY_HEADS, sum(new), SIZE)
    found = batch.attend(1, query, key, value, 0.3)
    start = 0
    for k, (part, n) in enumerate(zip(parts, new, strict=True)):
        old = torch.cat([prefix[1], part.states[1]], 1)
        for row in range(n):
            if row < part.n_text:
                rows = [*range(row + 1)]
            else:
                seen = np.flatnonzero(part.tree_mask[row - part.n_text])
                rows = [*range(part.n_text), *(part.n_text + int(node) for node in seen)]
            for head in range(HEADS_):
                shared = head * KEY_HEADS // HEADS_
                own = slice(shared * SIZE, (shared + 1) * SIZE)
                at = [start + r for r in rows]
                keys = torch.cat([old[0, :, own], key[shared, at]])
                values = torch.cat([old[1, :, own], value[shared, at]])
                share = torch.softmax(keys @ query[head, start + row] * 0.3, 0)
                assert torch.allclose(found[start + row, head], share @ values, atol=1e-5)
        kept = batch.states[1, :, k, part.states.shape[2] : part.states.shape[2] + n]
        assert torch.equal(kept[0], key[:, start : start + n].transpose(0, 1).flatten(1))
        assert torch.equal(kept[1], value[:, start : start + n].transpose(0, 1).flatten(1))
        start += n


@pytest.mark.parametrize("scale", [None, 0.7])
def test_the_kernel_and_the_plain_steps_agree(scale):
    torch.manual_seed(0)
    query = torch.randn(2, HEADS_, 5, SIZE)
    key, value = torch.randn(2, 2, KEY_HEADS, 9, SIZE)
    mask = torch.zeros(2, 1, 5, 9).masked_fill_(torch.rand(2, 1, 5, 9) < 0.4, -torch.inf)
    for some in (None, mask):
        quick = attention(query, key, value, some, scale)
        plain = unfused_attention(query, key, value, some, scale)
        for a, b in zip(quick, plain, strict=True):
            assert torch.allclose(a, b, atol=1e-5)


def test_a_model_is_as_it_was_afterwards():
    model = tiny_model("llama")
    ids = torch.tensor([[5, 6, 7]])
    before = model.config._attn_implementation, model(ids).logits
    with pytest.raises(RuntimeError, match="stop"), packed(model):
        raise RuntimeError("stop")
    assert model.config._attn_implementation == before[0]
    assert torch.equal(model(ids).logits, before[1])


def test_a_model_that_sees_through_a_window_is_scored_plainly():
    config = MistralConfig(vocab_size=len(tiny_tokenizer()), sliding_window=4, **SIZES, **HEADS)
    p = LanguagePlanner(
        MistralForCausalLM(config).eval(), tiny_tokenizer(), PlannerOptions(examples=0)
    )
    assert not p._uses_trie
