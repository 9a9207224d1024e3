"""From frames to a few vectors that say what there is to see, and when.

Each frame, with the one before it beside it, is cut into patches of 8 pixels by convolutions;
patches attend to each other within their frame. A perceiver resampler (Flamingo, arXiv
2204.14198, section 3.1.1) sums up all frames in a fixed number of vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from envs.errors import BadInput

N_FRAMES = 8
MOST_PIXELS = 512  # a side
SIDE = 64  # pixels of what the encoder is shown
PATCH = 8
PLACES = (SIDE // PATCH) ** 2


def check_frames(frames: Any) -> np.ndarray:
    """The frames of a clip, ``[T, height, width, 3] uint8`` with 1 to 8 of them.

    Raises BadInput, saying what was expected, for anything else.
    """
    found = np.asarray(frames)
    shape = found.shape
    if found.dtype != np.uint8 or found.ndim != 4 or shape[3] != 3:
        raise BadInput(
            f"a clip is frames [T, height, width, 3] of uint8, not {list(shape)} of {found.dtype}"
        )
    if not 1 <= shape[0] <= N_FRAMES:
        raise BadInput(f"a clip has 1 to {N_FRAMES} frames, not {shape[0]}")
    if not (8 <= shape[1] <= MOST_PIXELS and 8 <= shape[2] <= MOST_PIXELS):
        raise BadInput(f"frames are 8 to {MOST_PIXELS} pixels a side, not {shape[1]} x {shape[2]}")
    return found


def evenly(start: int, end: int, n: int = N_FRAMES) -> tuple[int, ...]:
    """Steps evenly spread from ``start`` to ``end``, both included: at most ``n``, none twice."""
    steps = np.linspace(start, end, min(n, end - start + 1)).round().astype(int)
    return tuple(int(s) for s in steps)


def prepare(frames: np.ndarray) -> np.ndarray:
    """A clip as the encoder is shown it: ``[8, 64, 64, 3] uint8`` of frames ``[T, h, w, 3]``.

    Smaller frames get a black rim, larger ones are shrunk. Where there are fewer than 8 frames,
    black ones come first, so that the last is always number 7. Raises BadInput for what is no clip.
    """
    frames = check_frames(frames)
    out = np.zeros((N_FRAMES, SIDE, SIDE, 3), np.uint8)
    height, width = frames.shape[1:3]
    if max(height, width) > SIDE:
        scale = SIDE / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        box = Image.Resampling.BOX
        frames = np.stack([np.asarray(Image.fromarray(f).resize(size, box)) for f in frames])
        height, width = frames.shape[1:3]
    y, x = (SIDE - height) // 2, (SIDE - width) // 2
    out[N_FRAMES - len(frames) :, y : y + height, x : x + width] = frames
    return out


class Attention(nn.Module):
    """Multi-head attention from ``x [batch, n, width]`` to ``to [batch, m, source]``."""

    def __init__(self, width: int, source: int, heads: int, inner: int | None = None) -> None:
        super().__init__()
        inner = inner or width
        self.heads = heads
        self.query = nn.Linear(width, inner, bias=False)
        self.keys = nn.Linear(source, 2 * inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)

    def forward(
        self, x: torch.Tensor, to: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """``mask [batch, m] bool`` says what can be attended to."""
        query = self._split(self.query(x))
        keys, values = map(self._split, self.keys(to).chunk(2, -1))
        # By hand: the fused attention's backward pass takes several times as long on a CPU.
        scores = query @ keys.transpose(-1, -2) * query.shape[-1] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None], float("-inf"))
        found = scores.softmax(-1).to(values.dtype) @ values
        joined: torch.Tensor = self.out(found.transpose(1, 2).flatten(2))
        return joined

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def feed_forward(width: int, inner: int) -> nn.Module:
    """The two layers that follow attention."""
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, inner, bias=False),
        nn.GELU(),
        nn.Linear(inner, width, bias=False),
    )


class _Block(nn.Module):
    """Attention among the patches of each frame."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attend = Attention(width, width, heads)
        self.ff = feed_forward(width, 4 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed = self.norm(x)
        x = x + self.attend(normed, normed)
        return x + self.ff(x)


class _Resample(nn.Module):
    """One layer of the resampler: latents attend to what was seen and to themselves."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.norm_seen = nn.LayerNorm(width)
        self.attend = Attention(width, width, heads)
        self.ff = feed_forward(width, 4 * width)

    def forward(
        self, latents: torch.Tensor, seen: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        x = self.norm(latents)
        to = torch.cat([self.norm_seen(seen), x], 1)
        itself = mask.new_ones(len(mask), x.shape[1])
        latents = latents + self.attend(x, to, torch.cat([mask, itself], 1))
        return latents + self.ff(latents)


class VisionEncoder(nn.Module):
    """Clips ``[batch, 8, 64, 64, 3] uint8`` to ``[batch, 16 + latents, width]``.

    Two vectors of each frame are for what the agent faces and holds (training tells them so); the
    others sum up all frames. Frames that are black all over are taken for absent.
    """

    def __init__(self, width: int = 192, depth: int = 2, latents: int = 48, heads: int = 8) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(6, 48, 3, 2, 1),
            nn.GELU(),
            nn.Conv2d(48, 128, 3, 2, 1),
            nn.GELU(),
            nn.Conv2d(128, 256, 3, 2, 1),
            nn.GELU(),
            nn.Conv2d(256, width, 1),
        )
        self.place = nn.Parameter(0.02 * torch.randn(PLACES, width))
        self.time = nn.Parameter(0.02 * torch.randn(N_FRAMES, width))
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.queries = nn.Parameter(0.02 * torch.randn(2, width))
        self.norm_hands = nn.LayerNorm(width)
        self.hands = Attention(width, width, heads)
        self.latents = nn.Parameter(0.02 * torch.randn(latents, width))
        self.resampler = nn.ModuleList(_Resample(width, heads) for _ in range(2))
        self.norm = nn.LayerNorm(width)

    def patches(self, clips: torch.Tensor) -> torch.Tensor:
        """The patches of each frame ``[batch, 8, 64, 64, 3] uint8``, each by itself: ``[batch, 8,
        places, width]``."""
        # Black, of which there is most, is 0.
        pixels = clips.permute(0, 1, 4, 2, 3).float() / 64
        before = torch.cat([pixels[:, :1], pixels[:, :-1]], 1)
        x: torch.Tensor = self.stem(torch.cat([pixels, before], 2).flatten(0, 1))
        return x.flatten(2).transpose(1, 2).unflatten(0, clips.shape[:2])

    def look(self, patches: torch.Tensor) -> torch.Tensor:
        """Each frame by itself, its patches related to each other, in the same shape."""
        x = patches.flatten(0, 1) + self.place
        for block in self.blocks:
            x = block(x)
        return x.unflatten(0, patches.shape[:2])

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        seen = self.look(self.patches(clips))
        return self.sum_up(clips, seen, self.at_hand(seen))

    def at_hand(self, x: torch.Tensor) -> torch.Tensor:
        """What is faced and held in frames ``x [..., places, width]``: ``[..., 2, width]``."""
        flat = self.norm_hands(x.flatten(0, -3))
        found: torch.Tensor = self.hands(self.queries.expand(len(flat), -1, -1), flat)
        return found.unflatten(0, x.shape[:-2])

    def sum_up(self, clips: torch.Tensor, x: torch.Tensor, hands: torch.Tensor) -> torch.Tensor:
        """What ``look`` and ``at_hand`` made of the frames, in a fixed number of vectors."""
        shown = clips.flatten(2).amax(-1) > 0
        x = x + self.time[:, None]
        mask = shown[:, :, None].expand(-1, -1, PLACES).flatten(1)
        latents = self.latents.expand(len(clips), -1, -1)
        for layer in self.resampler:
            latents = layer(latents, x.flatten(1, 2), mask)
        told = (hands + self.time[:, None]) * shown[:, :, None, None]
        found: torch.Tensor = self.norm(torch.cat([told.flatten(1, 2), latents], 1))
        return found


def stack(clips: Sequence[np.ndarray]) -> torch.Tensor:
    """Clips of any sizes as one batch ``[batch, 8, 64, 64, 3] uint8``."""
    return torch.from_numpy(np.stack([prepare(c) for c in clips]))
