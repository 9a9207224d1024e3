"""Before captioning: the vision encoder learns that a floor keeps its colour below any item.

A detector's encoder tells floors apart below the items that it was trained with, but less well
below others. So it is shown items in colours that do not exist, while its features of frames as
they are must stay the same.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX
from torch import nn
from torch.nn import functional

from agents.messages import Report
from agents.reporter.captions import FIRST_SEED, Caption, CaptionCollector
from agents.reporter.facts import ThoroughReporter
from agents.reporter.network import ReporterNetwork
from envs.attributes import FLOOR
from envs.batched.pixels import view_frames
from envs.items import COLOURS
from envs.worlds import VIEW
from models.precision import half
from models.training.checkpoints import pack, unpack
from models.training.gradient_step import gradient_step
from models.training.process_group import ProcessGroup
from models.training.schedules import cosine_to_zero
from models.training.trainer import Stage
from models.vision.encoder import PATCH, VECTORS, VisionEncoder

SIGHT_FIRST_SEED = FIRST_SEED + 700_000_000
PATIENCE = 64
RECOLOURED = 2  # of each frame with a floor
OTHERS = 48  # frames a step that serve distillation alone
DISTILLATION = 3.0  # weight of the distance from the features at the beginning
# The cell before the agent, which stands in the middle of the last row.
ROWS, COLUMNS = (slice(k * PATCH, (k + 1) * PATCH) for k in (VIEW - 2, VIEW // 2))
DARKEST = 76  # channel of a picture's highlighted cells


@cache
def floors() -> np.ndarray:
    """The pixels of a cell with a floor of each colour: ``[6, 8, 8, 3] float32``."""
    views = np.zeros((len(COLOURS), VIEW, VIEW, 3), np.uint8)
    views[..., 0] = OBJECT_TO_IDX["floor"]
    views[..., 1] = np.array([COLOR_TO_IDX[c] for c in COLOURS])[:, None, None]
    return view_frames(views, PATCH)[:, ROWS, COLUMNS].astype(np.float32)


def recoloured(frames: np.ndarray, floor: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Frames in which the item that is faced has another colour, and its floor has not.

    Each pixel's difference from the floor's is multiplied by a random matrix, one for each frame.

    Args:
        frames: ``[N, 64, 64, 3] uint8``.
        floor: ``[N]`` the number in ``COLOURS`` of the floor below the item.
        rng: Draws the colours.

    Returns:
        ``[N, 64, 64, 3] uint8``.
    """
    changed = frames.copy()
    turns = rng.normal(size=(len(frames), 3, 3))
    turns *= rng.uniform(0.7, 2.0, (len(frames), 1, 1)) / np.linalg.norm(
        turns, axis=(1, 2), keepdims=True
    )
    plain = floors()[floor]
    difference = frames[:, ROWS, COLUMNS] - plain
    turned = plain + np.einsum("nij,nxyj->nxyi", turns, difference)
    changed[:, ROWS, COLUMNS] = turned.round().clip(DARKEST, 255).astype(np.uint8)
    return changed


@dataclass(frozen=True)
class FloorRobustnessConfig:
    """Settings of `FloorRobustness`."""

    steps: int
    batch: int = 32
    """Episodes in a step, shared among the processes."""
    learning_rate: float = 1e-3
    """The highest learning rate."""
    seed: int = 0


class FloorRobustness(Stage):
    """Trains the vision encoder's backbone to tell floors below items that it has never seen.

    A head that serves this stage only must name the floor of the item that is faced, recoloured or
    not. What the encoder makes of frames as they are is held to what it was when the stage began
    (feature distillation). Whether the backbone is frozen is the same afterwards as before.
    """

    name = "sight"  # in curve.csv

    def __init__(
        self, network: ReporterNetwork, collector: CaptionCollector, config: FloorRobustnessConfig
    ) -> None:
        """
        Args:
            network: Whose vision encoder learns.
            collector: Plays the episodes, of which the last frames of rollouts are shown.
            config: The settings.
        """
        self.network = network
        self.collector = collector
        self.config = config
        self.steps = config.steps

    def begin(self) -> None:
        config, encoder = self.config, self.network.encoder
        self._processes = ProcessGroup(self.network.device)
        self._share = self._processes.share(config.batch, "episodes a step")
        self._teacher = copy.deepcopy(encoder).requires_grad_(False)
        torch.manual_seed(config.seed)
        self._head = nn.Linear(VECTORS * self.network.config.width, len(COLOURS))
        self._head.to(self.network.device)
        self._parameters = [*encoder.backbone_parameters(), *self._head.parameters()]
        self._optimiser = torch.optim.AdamW(
            self._parameters, config.learning_rate, (0.9, 0.98), weight_decay=0.01
        )
        self._was_frozen = encoder.is_frozen
        encoder.freeze(False)

    def step(self, k: int) -> Mapping[str, float]:
        config = self.config
        rng = np.random.default_rng([config.seed, 5, k])
        start = SIGHT_FIRST_SEED + (config.seed * 1_000_000 + k) * config.batch
        start += self._processes.rank * self._share
        seeds = range(start, start + self._share)
        captions = self.collector.play(ThoroughReporter(), seeds, PATIENCE)
        loss = gradient_step(
            [_loss(self.network.encoder, self._teacher, self._head, captions, rng)],
            self._optimiser,
            self._parameters,
            step=k,
            learning_rate=cosine_to_zero(k, self.steps, config.learning_rate),
            processes=self._processes,
        )
        return {"loss": self._processes.means([loss])[0]}

    def end(self) -> None:
        self.network.encoder.freeze(self._was_frozen)

    def state_dict(self) -> dict[str, Any]:
        model, head = self.network.state_dict(), self._head.state_dict()
        return dict(pack(self._optimiser, model=model, head=head))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        model, head = self.network.state_dict(), self._head.state_dict()
        unpack(state, self._optimiser, model=model, head=head)


def _loss(
    encoder: VisionEncoder,
    teacher: VisionEncoder,
    head: nn.Linear,
    captions: Sequence[Caption],
    rng: np.random.Generator,
) -> torch.Tensor:
    """The cross-entropy of the floors, and ``DISTILLATION`` times the distance from the teacher."""
    last_frames = [(c.clip[-1], _floor(c.report)) for c in captions]
    on_floor = [(frame, COLOURS.index(f)) for frame, f in last_frames if f]
    all_frames = [f for c in captions for f in c.clip if f.any()]
    picked = rng.permutation(len(all_frames))[:OTHERS]
    frames = np.stack([f for f, _ in on_floor] + [all_frames[k] for k in picked])
    floor = np.array([f for _, f in on_floor], int)
    again = [recoloured(frames[: len(on_floor)], floor, rng) for _ in range(RECOLOURED)]
    device = head.weight.device
    pixels = torch.from_numpy(np.concatenate([frames, *again])).to(device)
    plain = len(frames)
    with half(device):
        student = encoder.encode_frames(pixels)
        with torch.no_grad():
            target = teacher.encode_frames(pixels[:plain])
        distance = (student.vectors[:plain] - target.vectors).square().mean()
        distance = distance + 0.01 * (student.where[:plain] - target.where).square().mean()
        if not on_floor:
            return DISTILLATION * distance
        which = [*range(len(on_floor)), *range(plain, len(pixels))]
        labels = torch.from_numpy(np.tile(floor, 1 + RECOLOURED)).to(device)
        logits = head(student.vectors[which].flatten(1)).float()
        return DISTILLATION * distance + functional.cross_entropy(logits, labels)


def _floor(report: Report) -> str:
    """The colour of the floor that a report states; empty for none."""
    return next((f.value for f in report.facts if f.predicate == FLOOR and f.holds), "")
