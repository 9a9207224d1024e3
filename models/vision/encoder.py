"""The vision encoder: clips to a fixed number of vectors.

Each frame by itself goes through convolutions, which are the same at each place and for pictures
of any size. What the agent faces, what it holds and what is in sight become a vector each. A
perceiver resampler (Flamingo, arXiv 2204.14198, section 3.1.1) summarises those of all frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from envs.errors import BadInput
from envs.trajectory import CLIP_FRAMES

N_FRAMES = CLIP_FRAMES
MOST_PIXELS = 512  # a side
SIDE = 64  # pixels a side of the encoder's smallest input
LARGEST = 96  # of its largest; larger pictures are scaled down to the smallest
PATCH = 8
SMALLEST_CELL = 5
VECTORS = 3  # of each frame


def check_frames(frames: Any) -> np.ndarray:
    """The frames of a clip as an array ``[T, height, width, 3] uint8``, with T from 1 to 8.

    Raises:
        BadInput: For anything else; the message says what was expected.
    """
    array = np.asarray(frames)
    shape = array.shape
    if array.dtype != np.uint8 or array.ndim != 4 or shape[3] != 3:
        raise BadInput(
            f"a clip is frames [T, height, width, 3] of uint8, not {list(shape)} of {array.dtype}"
        )
    if not 1 <= shape[0] <= N_FRAMES:
        raise BadInput(f"a clip has 1 to {N_FRAMES} frames, not {shape[0]}")
    if not (8 <= shape[1] <= MOST_PIXELS and 8 <= shape[2] <= MOST_PIXELS):
        raise BadInput(f"frames are 8 to {MOST_PIXELS} pixels a side, not {shape[1]} x {shape[2]}")
    return array


def cell_size(frames: np.ndarray) -> int | None:
    """The side in pixels of a grid world's cells in pictures ``[T, height, width, 3] uint8``; None
    where no grid is visible.

    Neighbouring pixels differ most at the edges of cells, on average over all frames and rows.
    """
    grey = frames.astype(np.int16).sum(-1)
    height, width = grey.shape[1:]
    profiles = [
        np.abs(np.diff(grey, axis=2)).mean((0, 1)),
        np.abs(np.diff(grey, axis=1)).mean((0, 2)),
    ]
    scores: dict[int, float] = {}
    for size in range(SMALLEST_CELL, min(height, width) // 3 + 1):
        if height % size or width % size:
            continue
        score = 0.0
        for profile in profiles:
            edges = np.zeros(len(profile), bool)
            edges[size - 1 :: size] = True
            others = profile[~edges].mean()
            # Most edges must stand out: a few strong lines make no grid.
            score += profile[edges].mean() - others if np.median(profile[edges]) > others else -1e9
        scores[size] = score
    best = max(scores.values(), default=0.0)
    if best <= 0.3 * sum(p.mean() for p in profiles):
        return None
    # Every second edge of a cell of half the size stands out as much.
    return min(size for size, score in scores.items() if score > 0.6 * best)


def fit(frames: np.ndarray) -> tuple[int, int]:
    """The height and width to which frames ``[T, height, width, 3] uint8`` are scaled for the
    encoder: cells as large as its patches, if a grid is visible, and no side above ``LARGEST``."""
    height, width = frames.shape[1:3]
    cell = cell_size(frames)
    if cell is not None:
        height, width = height // cell * PATCH, width // cell * PATCH
    longest = max(height, width)
    if longest > LARGEST:
        height, width = (max(1, round(v * SIDE / longest)) for v in (height, width))
    return height, width


def prepare(frames: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
    """A clip ``[T, height, width, 3] uint8`` as the encoder's input ``[8, side, side, 3] uint8``.

    Frames are scaled to ``size`` (height, width), by default to the size that `fit` returns, and
    padded with black at the right and below. Fewer than 8 frames are preceded by black ones, so
    that the last frame always has index 7.

    Raises:
        BadInput: For what is no clip.
    """
    frames = check_frames(frames)
    height, width = size or fit(frames)
    if (height, width) != frames.shape[1:3]:
        how = Image.Resampling.BILINEAR
        scaled = [Image.fromarray(f).resize((width, height), how) for f in frames]
        frames = np.stack([np.asarray(f) for f in scaled])
    side = max(SIDE, -(-max(height, width) // (2 * PATCH)) * 2 * PATCH)
    out = np.zeros((N_FRAMES, side, side, 3), np.uint8)
    out[N_FRAMES - len(frames) :, :height, :width] = frames
    return out


def stack(prepared: Sequence[np.ndarray]) -> np.ndarray:
    """One batch of prepared clips, or of batches of them, padded to the largest side."""
    side = max(p.shape[-2] for p in prepared)
    padded = []
    for p in prepared:
        more = side - p.shape[-2]
        rim = [(0, 0)] * (p.ndim - 3) + [(0, more), (0, more), (0, 0)]
        padded.append(np.pad(p, rim) if more else p)
    return np.stack(padded) if prepared[0].ndim == 4 else np.concatenate(padded)


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
        """Attend from ``x`` to ``to``.

        Args:
            x: ``[batch, n, width]``.
            to: ``[batch, m, source]``.
            mask: ``[batch, m] bool``, true where ``to`` can be attended to; None for everywhere.

        Returns:
            ``[batch, n, width]``.
        """
        query = self._split(self.query(x))
        keys, values = map(self._split, self.keys(to).chunk(2, -1))
        # By hand: the fused attention's backward pass takes several times as long on a CPU.
        scores = query @ keys.transpose(-1, -2) * query.shape[-1] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None], float("-inf"))
        attended = scores.softmax(-1).to(values.dtype) @ values
        joined: torch.Tensor = self.out(attended.transpose(1, 2).flatten(2))
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
    """A residual convolutional block: relates each position to its neighbours."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.around = nn.Conv2d(width, width, 3, 1, 1)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = x + self.out(functional.gelu(self.around(self.norm(x))))
        return out


class _Resample(nn.Module):
    """One layer of the resampler: latents attend to the frames' vectors and to themselves."""

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


@dataclass(frozen=True)
class FrameFeatures:
    """The encoder's features of N frames, each by itself.

    Attributes:
        patches: ``[N, places, width]``, each place without its surroundings.
        vectors: ``[N, 3, width]``: what is faced, what is held, what is in sight.
        where: Logits ``[N, places, 2]`` of the places of the first two.
    """

    patches: torch.Tensor
    vectors: torch.Tensor
    where: torch.Tensor


class VisionEncoder(nn.Module):
    """Encodes clips ``[batch, 8, side, side, 3] uint8`` to ``[batch, 24 + latents, width]``.

    Three vectors of each frame stand for what the agent faces, what it holds and what is in sight
    (auxiliary losses train them for that); the latents summarise all frames. Frames that are black
    all over count as absent.

    Args:
        width: The size of each vector.
        depth: The number of convolutional blocks.
        latents: The number of latents of the resampler.
        heads: The number of attention heads of the resampler.
    """

    def __init__(self, width: int = 192, depth: int = 3, latents: int = 16, heads: int = 8) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(12, 64, 3, 1, 1),
            nn.GELU(),
            nn.Conv2d(64, 128, 3, 2, 1),
            nn.GELU(),
            nn.Conv2d(128, width, 3, 2, 1),
        )
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.norm_places = nn.LayerNorm(width)
        self.where = nn.Linear(width, 2)
        self.what = nn.Linear(width, width)
        self.scene = nn.Sequential(nn.Linear(width, width), nn.GELU())
        self.norm_vectors = nn.LayerNorm(width)
        # Large enough to stand out from the frames' vectors: the order of frames is read off it.
        self.time = nn.Parameter(0.3 * torch.randn(N_FRAMES, width))
        self.kind = nn.Parameter(0.3 * torch.randn(VECTORS, width))
        self.latents = nn.Parameter(0.02 * torch.randn(latents, width))
        self.resampler = nn.ModuleList(_Resample(width, heads) for _ in range(2))
        self.norm = nn.LayerNorm(width)

    def freeze(self, frozen: bool = True) -> None:
        """Freeze the backbone, or unfreeze it where not ``frozen``. The resampler, which relates
        frames to each other, is always trained."""
        for parameter in self.backbone_parameters():
            parameter.requires_grad_(not frozen)

    def backbone_parameters(self) -> list[nn.Parameter]:
        """The parameters that `encode_frames` uses, which encodes each frame by itself."""
        parts = (self.stem, self.blocks, self.norm_places, self.where, self.what, self.scene)
        return [p for part in (*parts, self.norm_vectors) for p in part.parameters()]

    @property
    def is_frozen(self) -> bool:
        """Whether the backbone is frozen."""
        return not self.norm_vectors.weight.requires_grad

    def encode_frames(self, frames: torch.Tensor) -> FrameFeatures:
        """Features of frames ``[N, side, side, 3] uint8``, each by itself."""
        # Black, the most frequent colour, is 0.
        pixels = (frames.permute(0, 3, 1, 2).float() / 64).contiguous(
            memory_format=torch.channels_last
        )
        x = self.stem(pixels)
        patches = x.flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        places = self.norm_places(x.flatten(2).transpose(1, 2))
        where = self.where(places).float()
        hands = where.softmax(1).to(places.dtype).transpose(1, 2) @ self.what(places)
        scene = self.scene(places).sum(1, keepdim=True) / PATCH
        return FrameFeatures(patches, self.norm_vectors(torch.cat([hands, scene], 1)), where)

    def encode_clips(self, clips: torch.Tensor) -> torch.Tensor:
        """The vectors ``[batch, 8, 3, width]`` of each frame of clips; zeros for absent frames."""
        shown = frames_present(clips)
        vectors = self.encode_frames(clips[shown]).vectors
        of_clips = vectors.new_zeros(*shown.shape, *vectors.shape[1:])
        of_clips[shown] = vectors
        return of_clips

    def resample(self, vectors: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        """A fixed number of vectors ``[batch, 24 + latents, width]`` for each clip, from those of
        `encode_clips`; ``shown [batch, 8] bool`` says which frames are present."""
        timed = (vectors + self.time[:, None] + self.kind) * shown[:, :, None, None]
        flat = timed.flatten(1, 2)
        mask = shown[:, :, None].expand(-1, -1, VECTORS).flatten(1)
        latents = self.latents.expand(len(flat), -1, -1)
        for layer in self.resampler:
            latents = layer(latents, flat, mask)
        normalised: torch.Tensor = self.norm(torch.cat([flat, latents], 1))
        return normalised

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.resample(self.encode_clips(clips), frames_present(clips))


def frames_present(clips: torch.Tensor) -> torch.Tensor:
    """Which frames of clips ``[batch, 8, side, side, 3]`` are not black, ``[batch, 8] bool``."""
    return clips.flatten(2).amax(-1) > 0
