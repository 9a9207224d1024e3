"""A detector's vision encoder learns floors below items that it never saw, and forgets nothing."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from minigrid.core.constants import COLOR_TO_IDX

from agents.reporter.sight import COLUMNS, DARKEST, ROWS, floors, recoloured, steady
from agents.reporter.training import CaptionCollector, Checkpoint
from envs.batched.pixels import view_frames
from envs.errors import BadInput
from envs.items import COLOURS, Item
from envs.objects import ItemObject
from tests.agents.test_learned_reporter import network

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


def test_looking_learns_alone_and_resumes_exactly() -> None:
    whole, parts = network(3), network(3)
    whole.encoder.rest()
    before = {n: t.clone() for n, t in whole.state_dict().items()}
    losses: list[float] = []
    kept: list[Checkpoint] = []
    how = {"steps": 4, "batch": 12, "learning_rate": 1e-2}
    steady(whole, CaptionCollector(12), **how, on_progress=lambda p: losses.append(p.loss))  # type: ignore[arg-type]
    steady(parts, CaptionCollector(12), **how, save=lambda make: kept.append(make()))  # type: ignore[arg-type]
    again = network(3)
    steady(again, CaptionCollector(12), **how, resume=kept[1])  # type: ignore[arg-type]
    moved = set()
    for (name, one), two in zip(
        whole.state_dict().items(), again.state_dict().values(), strict=True
    ):
        assert torch.equal(one, two), name
        if not torch.equal(one, before[name]):
            moved.add(name)
    looking = {id(p) for p in whole.encoder.looking()}
    assert moved == {n for n, p in whole.named_parameters() if id(p) in looking}
    assert whole.encoder.rests and len(losses) == 4 and all(np.isfinite(losses))


def test_it_rests_afterwards_if_it_did_before() -> None:
    for rested in (True, False):
        net = network()
        net.encoder.rest(rested)
        steady(net, CaptionCollector(8), steps=1, batch=8)
        assert net.encoder.rests == rested
        assert {p.requires_grad for p in net.encoder.looking()} == {not rested}


def test_floors_are_learned_while_what_is_seen_stays() -> None:
    net = network(4)
    old = copy.deepcopy(net.encoder)
    losses: list[float] = []
    steady(
        net,
        CaptionCollector(12),
        steps=24,
        batch=12,
        learning_rate=1e-2,
        on_progress=lambda p: losses.append(p.loss),
    )
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    shown = torch.from_numpy(frames())
    with torch.no_grad():
        now, then = net.encoder.look(shown).vectors, old.look(shown).vectors
    assert 0 < float((now - then).square().mean()) < 1


def test_a_loss_that_is_not_finite_stops_it() -> None:
    net = network()
    with torch.no_grad():
        net.encoder.norm_vectors.weight[0] = float("nan")
    with pytest.raises(BadInput, match="not finite at step 1"):
        steady(net, CaptionCollector(8), steps=2, batch=8)
