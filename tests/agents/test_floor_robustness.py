"""A detector's vision encoder learns floors below unknown items, and forgets nothing."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from minigrid.core.constants import COLOR_TO_IDX

from agents.reporter.captions import CaptionCollector
from agents.reporter.floor_robustness import (
    COLUMNS,
    DARKEST,
    ROWS,
    FloorRobustness,
    FloorRobustnessConfig,
    floors,
    recoloured,
)
from agents.reporter.network import ReporterNetwork
from envs.batched.pixels import view_frames
from envs.errors import BadInput
from envs.items import COLOURS, Item
from envs.objects import ItemObject
from tests.agents.test_learned_reporter import network
from tests.models.training.recorder import train

RING = Item("ring", "red", "striped")


def frames() -> np.ndarray:
    """The striped red ring before an agent, on a floor of each colour: ``[6, 56, 56, 3]``."""
    views = np.zeros((6, 7, 7, 3), np.uint8)
    views[..., 0] = 1
    for k, colour in enumerate(COLOURS):
        views[k, 3, 5] = ItemObject(RING, floor=colour).encode()
    return view_frames(views, 8)


def test_the_floors_are_those_that_items_lie_on() -> None:
    shown = frames()[:, ROWS, COLUMNS]
    same = (shown == floors()).all(-1)
    assert same[:, 0, 0].all() and same[:, -1, -1].all() and not same[:, 3, 1:7].all()
    assert len({tuple(f[-1, -1]) for f in floors()}) == len(COLOURS) == len(COLOR_TO_IDX)


def test_an_item_is_recoloured_and_nothing_else_is() -> None:
    shown = frames()
    floor = np.arange(6)
    other = recoloured(shown, floor, np.random.default_rng(0))
    item = (shown[:, ROWS, COLUMNS] != floors()).any(-1)
    changed = (other != shown).any(-1)
    assert 0 < item.mean() < 1
    assert (changed[:, ROWS, COLUMNS] & item).sum() > 0.9 * item.sum()
    assert not (changed[:, ROWS, COLUMNS] & ~item).any()
    changed[:, ROWS, COLUMNS] = False
    assert not changed.any() and other[:, ROWS, COLUMNS].min() >= DARKEST
    again = recoloured(shown, floor, np.random.default_rng(0))
    assert (other == again).all() and len(np.unique(other[:, 43, 27], axis=0)) == 6


def stage(net: ReporterNetwork, n: int, config: FloorRobustnessConfig) -> FloorRobustness:
    return FloorRobustness(net, CaptionCollector(n), config)


def test_the_backbone_learns_alone_and_resumes_exactly() -> None:
    whole, again = network(3), network(3)
    whole.encoder.freeze()
    before = {n: t.clone() for n, t in whole.state_dict().items()}
    config = FloorRobustnessConfig(4, 12, 1e-2)
    recorder = train(stage(whole, 12, config))
    again.encoder.freeze()
    train(stage(again, 12, config), recorder.checkpoints[1])
    moved = set()
    for (name, one), two in zip(
        whole.state_dict().items(), again.state_dict().values(), strict=True
    ):
        assert torch.equal(one, two), name
        if not torch.equal(one, before[name]):
            moved.add(name)
    backbone = {id(p) for p in whole.encoder.backbone_parameters()}
    assert moved == {n for n, p in whole.named_parameters() if id(p) in backbone}
    losses = recorder.column("loss")
    assert whole.encoder.is_frozen and len(losses) == 4 and all(np.isfinite(losses))


def test_it_is_frozen_afterwards_if_it_was_before() -> None:
    for frozen in (True, False):
        net = network()
        net.encoder.freeze(frozen)
        train(stage(net, 8, FloorRobustnessConfig(1, 8)))
        assert net.encoder.is_frozen == frozen
        assert {p.requires_grad for p in net.encoder.backbone_parameters()} == {not frozen}


def test_floors_are_learned_while_features_stay() -> None:
    net = network(4)
    old = copy.deepcopy(net.encoder)
    losses = train(stage(net, 12, FloorRobustnessConfig(24, 12, 1e-2))).column("loss")
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    shown = torch.from_numpy(frames())
    with torch.no_grad():
        now, then = net.encoder.encode_frames(shown).vectors, old.encode_frames(shown).vectors
    assert 0 < float((now - then).square().mean()) < 1


def test_a_loss_that_is_not_finite_stops_it() -> None:
    net = network()
    with torch.no_grad():
        net.encoder.norm_vectors.weight[0] = float("nan")
    with pytest.raises(BadInput, match="not finite at step 1"):
        train(stage(net, 8, FloorRobustnessConfig(2, 8)))
