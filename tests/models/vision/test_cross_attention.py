"""Gates and sampling of the language model with gated cross-attention, worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from models.vision.cross_attention import GatedLanguage, _Gate
from tests.agents.tiny import tiny_model, tiny_tokenizer

N_TOKENS, END = 4, 3


def test_a_gate_weighs_both_blocks_by_the_tanh_of_its_gates() -> None:
    """tanh 1 = 0.76159 and tanh -2 = -0.96403."""
    torch.manual_seed(0)
    gate = _Gate(16, 8)
    gate.gates.data = torch.tensor([1.0, -2.0])
    x, media = torch.randn(2, 3, 16), torch.randn(2, 5, 8)
    with torch.no_grad():
        attended = x + 0.76159 * gate.attend(gate.norm(x), media)
        expected = attended - 0.96403 * gate.ff(attended)
        assert torch.allclose(gate(x, media), expected, atol=1e-4)


def language_of_media(monkeypatch: pytest.MonkeyPatch) -> GatedLanguage:
    """A language model whose logits are the media's, whatever the text."""
    language = GatedLanguage(
        tiny_model("llama"), tiny_tokenizer(), width=N_TOKENS, gates=1, every=1, name="tiny"
    )
    head = nn.Linear(N_TOKENS, N_TOKENS, bias=False)
    head.weight.data = torch.eye(N_TOKENS)
    language.head = head

    def whole(input_ids: torch.Tensor, **_: Any) -> Any:
        media = language._gated[0].media
        assert media is not None and len(media) == len(input_ids)
        return SimpleNamespace(last_hidden_state=media)

    monkeypatch.setattr(language, "_whole", whole)
    return language


@pytest.mark.parametrize(
    ("chance", "token"), [(0.01, 0), (0.13, 0), (0.16, 1), (0.41, 1), (0.45, 2), (0.99, 2)]
)
def test_a_token_sampled_at_temperature_2(
    chance: float, token: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of 1, 4 and 16 become 1, 2 and 4: the shares 1/7, 2/7 and 4/7."""
    language = language_of_media(monkeypatch)
    media = torch.tensor([[[1.0, 4.0, 16.0, 1e-12]]]).log()
    sampled = language.sample(
        media, [0], [(5, 6)], torch.tensor([[chance]]), end=END, temperature=2.0
    )
    assert sampled == [(token,)]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_each_prompt_sees_its_own_media(
    temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Media k makes token k certain. A text that has ended leaves the batch, and prompts with the
    same media and tokens share a row."""
    language = language_of_media(monkeypatch)
    media = 50 * torch.eye(N_TOKENS)[:, None]
    index = [2, 3, 0, 2, 1, 2]
    prompts = [(5,), (5,), (5, 6), (5,), (6, 5), (6,)]
    chance = torch.full((6, 3), 0.5)
    sampled = language.sample(media, index, prompts, chance, end=END, temperature=temperature)
    assert sampled == [(k,) if k == END else (k,) * 3 for k in index]
