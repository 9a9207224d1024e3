"""The vision encoder's steps, each against a second way to compute it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from models.vision.encoder import Attention, VisionEncoder, frames_present


def encoder() -> VisionEncoder:
    torch.manual_seed(0)
    return VisionEncoder(16, 1, 4).eval()


@pytest.mark.parametrize("masked", [False, True])
@torch.no_grad()
def test_attention_is_torchs(masked: bool) -> None:
    """Two heads of size 4, neither the width nor the source's size."""
    torch.manual_seed(0)
    attention = Attention(6, 10, 2, 8)
    x, to = torch.randn(3, 5, 6), torch.randn(3, 7, 10)
    mask = torch.rand(3, 7) < 0.5 if masked else None
    if mask is not None:
        mask[:, 0] = True
    query, (keys, values) = attention.query(x), attention.keys(to).chunk(2, -1)
    heads = [t.view(3, -1, 2, 4).transpose(1, 2) for t in (query, keys, values)]
    shown = None if mask is None else mask[:, None, None]
    joined = scaled_dot_product_attention(*heads, attn_mask=shown).transpose(1, 2)
    expected = attention.out(joined.reshape(3, 5, 8))
    assert torch.allclose(attention(x, to, mask), expected, atol=1e-5)


@torch.no_grad()
def test_hands_are_means_over_places_and_the_scene_is_a_sum() -> None:
    """What is faced and held: each place counts by the softmax over places; in sight: an eighth of
    the sum over places. Pixels are divided by 64."""
    net = encoder()
    shown: dict[str, torch.Tensor] = {}
    net.stem.register_forward_pre_hook(lambda module, args: shown.update(pixels=args[0]))
    net.norm_places.register_forward_hook(lambda module, args, out: shown.update(places=out))
    frames = torch.randint(1, 256, (2, 32, 32, 3), dtype=torch.uint8)
    frames[0, 0, 0] = 255
    features = net.encode_frames(frames)
    assert float(shown["pixels"].max()) == 255 / 64
    places = shown["places"]
    assert places.shape == (2, 16, 16) and features.where.shape == (2, 16, 2)
    for n in range(2):
        expected = []
        for k in range(2):
            weights = features.where[n, :, k].exp() / features.where[n, :, k].exp().sum()
            expected.append(sum(w * net.what(p) for w, p in zip(weights, places[n], strict=True)))
        expected.append(sum(net.scene(p) for p in places[n]) / 8)
        assert torch.allclose(
            features.vectors[n], net.norm_vectors(torch.stack(expected)), atol=1e-4
        )


@torch.no_grad()
def test_a_block_adds_to_what_it_is_given() -> None:
    block = encoder().blocks[0]
    assert isinstance(block.out, nn.Conv2d) and block.out.bias is not None
    block.out.weight.zero_()
    block.out.bias.zero_()
    x = torch.randn(1, 16, 4, 4)
    assert torch.equal(block(x), x)


@torch.no_grad()
def test_vectors_carry_their_time_and_kind_and_absent_frames_nothing() -> None:
    net = encoder()
    vectors = torch.randn(1, 8, 3, 16)
    present = torch.zeros(1, 8, dtype=torch.bool)
    present[0, 6:] = True
    out = net.resample(vectors, present)
    assert out.shape == (1, 8 * 3 + 4, 16)
    for t in range(8):
        for k in range(3):
            own = vectors[0, t, k] + net.time[t] + net.kind[k] if t >= 6 else torch.zeros(16)
            assert torch.allclose(out[0, 3 * t + k], net.norm(own), atol=1e-5)
    # The latents attend to the two frames that are present alone.
    flat = (vectors[0, 6:] + net.time[6:, None] + net.kind).flatten(0, 1)[None]
    latents = net.latents[None]
    for layer in net.resampler:
        latents = layer(latents, flat, torch.ones(1, 6, dtype=torch.bool))
    assert torch.allclose(out[:, 24:], net.norm(latents), atol=1e-5)


def test_frames_that_are_black_all_over_are_absent() -> None:
    clips = torch.zeros(1, 8, 16, 16, 3, dtype=torch.uint8)
    clips[0, 7, 3, 4, 1] = 1
    assert frames_present(clips).tolist() == [[False] * 7 + [True]]
