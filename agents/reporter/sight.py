"""Before captioning: the vision encoder learns that a floor keeps its colour whatever lies on it.

A detector's encoder tells floors from each other below all items that it was trained with, but
worse below others, since it knows what a floor and an item look like together. So it is shown
items in colours that there are not; what it makes of frames as they are is to stay the same.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np
import torch
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX
from torch import nn
from torch.nn import functional

from agents.reporter.facts import ThoroughReporter
from agents.reporter.network import ReporterNetwork
from agents.reporter.training import (
    FIRST_SEED,
    Caption,
    CaptionCollector,
    Checkpoint,
    Progress,
    descend,
)
from envs.batched.pixels import view_frames
from envs.items import COLOURS
from envs.worlds import VIEW
from models.precision import half
from models.training.process_group import ProcessGroup
from models.vision.encoder import PATCH, VECTORS, VisionEncoder

SIGHT_FIRST_SEED = FIRST_SEED + 700_000_000
PATIENCE = 64
RECOLOURED = 2  # of each frame with a floor
OTHERS = 48  # frames a step that are only to look as before
KEPT = 3.0  # weight of what is to stay the same
# The cell before the agent, which stands in the middle of the last row.
ROWS, COLUMNS = (slice(k * PATCH, (k + 1) * PATCH) for k in (VIEW - 2, VIEW // 2))
DARKEST = 76  # channel of a picture's highlighted cells


@cache
def floors() -> np.ndarray:
    """What a cell with a floor of each colour looks like: ``[6, 8, 8, 3] float32``."""
    views = np.zeros((len(COLOURS), VIEW, VIEW, 3), np.uint8)
    views[..., 0] = OBJECT_TO_IDX["floor"]
    views[..., 1] = np.array([COLOR_TO_IDX[c] for c in COLOURS])[:, None, None]
    return view_frames(views, PATCH)[:, ROWS, COLUMNS].astype(np.float32)


def recoloured(frames: np.ndarray, floor: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The frames ``[N, 64, 64, 3] uint8`` with the item that is faced, which lies on the ``floor
    [N]`` of that number in ``COLOURS``, in another colour, drawn anew for each frame. How far each
    pixel is from the floor's is turned; the floor stays as it is."""
    found = frames.copy()
    turns = rng.normal(size=(len(frames), 3, 3))
    turns *= rng.uniform(0.7, 2.0, (len(frames), 1, 1)) / np.linalg.norm(
        turns, axis=(1, 2), keepdims=True
    )
    plain = floors()[floor]
    apart = frames[:, ROWS, COLUMNS] - plain
    turned = plain + np.einsum("nij,nxyj->nxyi", turns, apart)
    found[:, ROWS, COLUMNS] = turned.round().clip(DARKEST, 255).astype(np.uint8)
    return found


def steady(
    network: ReporterNetwork,
    practice: CaptionCollector,
    *,
    steps: int,
    batch: int = 32,
    learning_rate: float = 1e-3,
    seed: int = 0,
    on_progress: Callable[[Progress], None] = lambda p: None,
    save: Callable[[Callable[[], Checkpoint]], None] = lambda make: None,
    resume: Checkpoint | None = None,
) -> None:
    """Train what `VisionEncoder.look` is made of on the frames at the end of ``batch`` episodes'
    rollouts a step, of which each of several processes plays its share; it rests
    afterwards if it did before.

    What is faced must tell its floor, recoloured or not, and all vectors of frames as they are must
    stay what they were. Raises BadInput where the loss is not finite.
    """
    crew = ProcessGroup(network.device)
    own = crew.part(batch, "episodes a step")
    encoder = network.encoder
    before = copy.deepcopy(encoder).requires_grad_(False)
    torch.manual_seed(seed)
    head = nn.Linear(VECTORS * network.config.width, len(COLOURS)).to(network.device)
    parameters = [*encoder.looking(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, learning_rate, (0.9, 0.98), weight_decay=0.01)

    def losses(which: range) -> Iterator[torch.Tensor]:
        for step in which:
            rng = np.random.default_rng([seed, 5, step])
            start = SIGHT_FIRST_SEED + (seed * 1_000_000 + step) * batch + crew.rank * own
            told = practice.play(ThoroughReporter(), range(start, start + own), PATIENCE)
            yield _loss(encoder, before, head, told, rng)

    rested = encoder.rests
    encoder.rest(False)
    descend(
        nn.ModuleList([network, head]),
        losses,
        optimiser,
        parameters,
        crew,
        steps=steps,
        learning_rate=learning_rate,
        on_progress=on_progress,
        save=save,
        resume=resume,
    )
    encoder.rest(rested)


def _loss(
    encoder: VisionEncoder,
    before: VisionEncoder,
    head: nn.Linear,
    told: Sequence[Caption],
    rng: np.random.Generator,
) -> torch.Tensor:
    """How far the encoder is from telling floors by the head, and from what it was ``before``."""
    known = [(c.clip[-1], _floor(c.report)) for c in told]
    on = [(frame, COLOURS.index(f)) for frame, f in known if f]
    seen = [f for c in told for f in c.clip if f.any()]
    picked = rng.permutation(len(seen))[:OTHERS]
    frames = np.stack([f for f, _ in on] + [seen[k] for k in picked])
    floor = np.array([f for _, f in on], int)
    again = [recoloured(frames[: len(on)], floor, rng) for _ in range(RECOLOURED)]
    device = head.weight.device
    pixels = torch.from_numpy(np.concatenate([frames, *again])).to(device)
    plain = len(frames)
    with half(device):
        now = encoder.look(pixels)
        with torch.no_grad():
            then = before.look(pixels[:plain])
        kept = (now.vectors[:plain] - then.vectors).square().mean()
        kept = kept + 0.01 * (now.where[:plain] - then.where).square().mean()
        if not on:
            return KEPT * kept
        which = [*range(len(on)), *range(plain, len(pixels))]
        labels = torch.from_numpy(np.tile(floor, 1 + RECOLOURED)).to(device)
        said = head(now.vectors[which].flatten(1)).float()
        return KEPT * kept + functional.cross_entropy(said, labels)


def _floor(report: str) -> str:
    """The colour of the floor that a report tells of; empty for none."""
    found = re.search(r" is on an? (\w+) floor", report)
    return found[1] if found else ""
