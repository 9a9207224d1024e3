"""What the detector's training draws, weighs and predicts, worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import rewards.success_vqa.auxiliary_heads as auxiliary_heads
import rewards.success_vqa.training as training
from envs.attributes import BESIDE_WALL, Attribute
from models.training.schedules import cosine_to_fiftieth
from models.vision.encoder import FrameFeatures
from rewards.success_vqa.auxiliary_heads import AuxiliaryHeads, auxiliary_loss
from rewards.success_vqa.clips import Clip, FrameAnnotation, QuestionAnswer, QuestionSubject
from rewards.success_vqa.cross_modal_encoder import AuxiliaryLogits, CrossModalEncoder
from rewards.success_vqa.dataset import ClipDataset, cross_clip_negatives
from rewards.success_vqa.detector import TELL
from rewards.success_vqa.feature_cache import FrameFeatureCache
from rewards.success_vqa.scoring import calibration_error
from rewards.success_vqa.targets import UNKNOWN, condition_targets, named_item_targets
from rewards.success_vqa.training import (
    ClipStage,
    DetectorLearner,
    DetectorTrainingConfig,
    FrameStage,
)
from tests.agents.tiny import tiny_model
from tests.rewards.test_detector import baseline, detector, items_apart, lesson
from tests.rewards.test_scoring import dataset

RING = "solid red ring"


def test_the_default_settings_of_the_detectors_training() -> None:
    config = DetectorTrainingConfig(1)
    assert (config.auxiliary, config.captions, config.learning_rate) == (1.0, 0.3, 6e-4)
    learner = DetectorLearner(baseline(), dataset(), config)
    matrices, others = learner.optimiser.param_groups
    assert {p.ndim > 1 for p in matrices["params"]} == {True} and matrices["weight_decay"] == 0.02
    assert {p.ndim > 1 for p in others["params"]} == {False} and others["weight_decay"] == 0.0


def test_both_stages_learn_at_a_cosine_the_first_at_twice_the_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = DetectorTrainingConfig(5, 3, batch=2, learning_rate=0.5)
    learner = DetectorLearner(baseline(), lesson(4), config)
    steps: list[tuple[int, float]] = []
    monkeypatch.setattr(learner, "descend", lambda loss, step, rate: steps.append((step, rate)))
    frames, clips = FrameStage(learner), ClipStage(learner)
    for k in range(3):
        frames.step(k)
    for k in range(5):
        clips.step(k)
    assert steps == [
        *((k, cosine_to_fiftieth(k, 3, 1.0)) for k in range(3)),
        *((3 + k, cosine_to_fiftieth(k, 5, 0.5)) for k in range(5)),
    ]


def test_half_of_the_frames_are_drawn_from_those_with_an_item() -> None:
    """Half of the annotated frames show one: 0.5 + 0.5 * 0.5 of what is drawn, 8 for each clip."""
    learner = DetectorLearner(baseline(), lesson(), DetectorTrainingConfig(1, 1, batch=100))
    frames, attributes, *_ = FrameStage(learner)._draw(np.random.default_rng(0))
    assert len(frames) == len(attributes) == 800
    assert float((attributes[:, 0] > 0).float().mean()) == pytest.approx(0.75, abs=0.05)


def test_a_step_asks_for_the_answers_and_weighs_their_kinds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[list[float], list[float]]] = []

    def answer_loss(logits: Any, answers: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        seen.append((answers.tolist(), weights.tolist()))
        return logits.sum()

    monkeypatch.setattr(training, "answer_loss", answer_loss)
    stage = ClipStage(DetectorLearner(baseline(), dataset(), DetectorTrainingConfig(4, batch=2)))
    stage._losses(3)
    # One clip has a yes of a kind with three questions of four, and a no of the other kind.
    three, one = pytest.approx((4 / 3) ** 0.5), pytest.approx(2.0)
    ((answers, weights),) = seen
    assert sorted(answers) == [0.0, 1.0, 1.0, 1.0]
    assert [w for w, a in zip(weights, answers, strict=True) if a] == [three] * 3
    assert [w for w, a in zip(weights, answers, strict=True) if not a] == [one]


def test_an_epoch_leaves_out_what_fills_no_batch() -> None:
    """Of 10 clips 8 are seen in two steps of 4, and then another 8 in another order."""
    stage = ClipStage(DetectorLearner(baseline(), lesson(10), DetectorTrainingConfig(9, batch=4)))
    batches = [stage.batch(k)[0].tolist() for k in range(4)]
    assert [len(set(b)) for b in batches] == [4] * 4
    assert not set(batches[0]) & set(batches[1]) and not set(batches[2]) & set(batches[3])
    assert batches[0] != batches[2]


def features() -> FrameFeatures:
    """One frame of 4 x 4 patches: the first numbers of the vectors are 2, 3 and 7; one patch has a
    5; the places are row 1, column 2 for what is faced and row 3, column 0 for the agent."""
    patches, vectors, where = torch.zeros(1, 16, 16), torch.zeros(1, 3, 16), torch.zeros(1, 16, 2)
    vectors[0, :, 0] = torch.tensor([2.0, 3.0, 7.0])
    patches[0, 9, 0] = 5.0
    where[0, 6, 0] = where[0, 12, 1] = 30.0
    return FrameFeatures(patches, vectors, where)


def given_heads() -> AuxiliaryHeads:
    """Heads whose first logit is the first number of what they are shown; the others are 0."""
    heads = AuxiliaryHeads(16)
    assert set(heads.places.bias.tolist()) == set(heads.scene.bias.tolist()) == {-2.0}
    heads.norm_patches = nn.Identity()  # type: ignore[assignment]
    for head in (*heads.faces, *heads.holds, heads.places, heads.scene):
        assert isinstance(head, nn.Linear)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        head.weight.data[0, 0] = 1.0
    return heads


def test_each_head_predicts_from_its_own_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    heads = given_heads()
    in_sight: list[float] = []

    def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        in_sight.append(logits[0, 0].item())
        return logits.sum() * 0

    monkeypatch.setattr(auxiliary_heads, "_in_sight_loss", loss)
    unknown = torch.full((1, 10), UNKNOWN, dtype=torch.int8)
    nowhere = torch.full((1, 4), UNKNOWN, dtype=torch.int8)
    none = torch.zeros(1, 3, dtype=torch.bool)
    heads(features(), unknown, nowhere, none)
    # The scene's vector, and the patch that shows most.
    assert in_sight == [7.0, 5.0]
    first = [logits[0, 0].item() for logits in heads.attribute_logits(features().vectors)]
    assert first == [2, 2, 2, 3, 3, 3, 2, 2, 2, 2]


def test_places_are_numbered_row_by_row() -> None:
    """A place that is known for sure costs nothing, and a wrong one 30 each."""
    heads, seen = given_heads(), features()
    known = torch.zeros(1, 10, dtype=torch.int8)
    in_sight = torch.zeros(1, len(auxiliary_heads.ALL_ITEMS), dtype=torch.bool)

    def loss(*patches: int) -> float:
        return heads(seen, known, torch.tensor([patches], dtype=torch.int8), in_sight).item()

    rest = loss(-1, -1, -1, -1)
    assert loss(1, 2, 3, 0) == pytest.approx(rest, abs=1e-4)
    assert loss(2, 1, 3, 0) == pytest.approx(rest + 30, abs=1e-4)
    assert loss(3, 0, 1, 2) == pytest.approx(rest + 60, abs=1e-4)


def test_nothing_is_learned_of_items_in_frames_without_an_annotation() -> None:
    attributes = dataset().targets.attributes[0]
    question = QuestionAnswer("A?", "go to", True, 0, QuestionSubject((RING,)))
    targets = torch.from_numpy(named_item_targets(attributes, question)).long()
    assert (targets[:6] == UNKNOWN).all() and (targets[6:] != UNKNOWN).all()
    items = 20.0 * nn.functional.one_hot(targets.clamp(min=0), 4)[None].float()
    items[0, :6] = torch.tensor([0.0, 20.0, 0.0, 0.0])
    logits = AuxiliaryLogits(items, torch.zeros(1, 8), torch.zeros(1, 3, 3))
    assert auxiliary_loss(logits, [attributes], [None], [question]).item() < 1e-6


def test_a_condition_has_no_target_where_no_item_is_faced() -> None:
    subject = QuestionSubject((RING,), (), RING, Attribute(BESIDE_WALL))
    attributes = np.zeros((3, 10), np.int8)
    attributes[1, 0], attributes[2, [0, 7]] = 1, 1
    asked = QuestionAnswer("A?", "episode", True, 0, subject)
    assert condition_targets(attributes, asked).tolist() == [UNKNOWN, 0, 1]


def test_questions_of_other_clips_are_true_there() -> None:
    clips = items_apart(40)
    rng = np.random.default_rng(0)
    asked = cross_clip_negatives(clips, np.arange(40), 1.0, rng)
    others = [q for k, q in enumerate(asked) if q not in clips.questions[k]]
    assert len(others) > 30 and all("it see the" in q.text and not q.answer for q in others)


def test_places_are_scaled_as_frames_are() -> None:
    """120 pixels become 64: 60 and 30 become 32 and 16, of patches 4 and 2."""
    note = FrameAnnotation(RING, front=(60, 30), agent=(119, 0))
    asked = (QuestionAnswer("A?", "go to", True), QuestionAnswer("B?", "go to", False))
    frames = np.full((1, 120, 120, 3), 9, np.uint8)
    clips = ClipDataset.from_clips([Clip(frames, asked, annotations=(note,))])
    assert clips.frames.shape[2] == 64
    assert clips.targets.patches[0, 7].tolist() == [4, 2, 7, 0]


def test_a_bin_of_confidence_is_five_hundredths_wide() -> None:
    # 0.51 and 0.54 are one bin: 0.525 on average, of which one half is right.
    found = calibration_error(np.array([0.51, 0.54]), np.array([False, True]))
    assert found == pytest.approx(0.025)


class Unmixed(nn.Module):
    """In the place of the transformer: returns what it is given, and keeps the mask."""

    def forward(self, both: torch.Tensor, src_key_padding_mask: torch.Tensor) -> torch.Tensor:
        self.mask = src_key_padding_mask
        return both


@torch.no_grad()
def test_each_auxiliary_logit_is_read_off_its_own_vectors() -> None:
    """Items from the first two vectors of a frame, the condition from the first, events from the
    mean of what follows the frames."""
    torch.manual_seed(0)
    mixer = CrossModalEncoder(8, 1)
    assert mixer.layers.layers[0].norm_first
    unmixed = Unmixed()
    mixer.layers = unmixed  # type: ignore[assignment]
    words, seen = torch.randn(1, 2, 8), torch.randn(1, 24 + 3, 8)
    absent = torch.tensor([[False, True]])
    first, second, logits = mixer(words, absent, seen)
    assert torch.equal(first, words) and torch.equal(second, seen)
    assert unmixed.mask.tolist() == [[False, True] + [False] * 27]
    for t in range(8):
        faced, held = seen[0, 3 * t], seen[0, 3 * t + 1]
        assert torch.allclose(logits.items[0, t, 0], mixer.named(faced), atol=1e-6)
        assert torch.allclose(logits.items[0, t, 1], mixer.named(held), atol=1e-6)
        assert logits.condition[0, t].item() == pytest.approx(mixer.holds(faced).item(), abs=1e-6)
    mean = (seen[0, 24] + seen[0, 25] + seen[0, 26]) / 3
    assert torch.allclose(logits.events[0].flatten(), mixer.deeds(mean), atol=1e-6)


@torch.no_grad()
def test_with_its_gates_shut_captions_cost_what_they_cost_the_language_model() -> None:
    model = detector().eval()
    for gate in model.gates:
        gate.gates.zero_()
    caption = "the red agent"
    media = torch.randn(1, 28, 16)
    loss = model.caption_loss(media, torch.tensor([0]), [caption])
    start, whole = model.tokens(TELL), model.tokens(f"{TELL} {caption}")
    assert whole[: len(start)] == start
    log_p = tiny_model("llama")(torch.tensor([whole])).logits[0].log_softmax(-1)
    each = [-log_p[k - 1, whole[k]].item() for k in range(len(start), len(whole))]
    assert loss.item() == pytest.approx(np.mean(each), rel=0.05)


def test_a_frames_features_are_its_own_in_every_chunk() -> None:
    model, clips = baseline(), lesson(40)
    cache = FrameFeatureCache(model, clips)
    found, present = cache(np.array([39, 2]))
    with torch.no_grad():
        expected = model.encoder.encode_clips(torch.from_numpy(clips.frames[[39, 2]]))
    assert torch.allclose(found, expected, atol=0.05) and not torch.allclose(found[0], found[1])
    assert present.tolist() == [[False] * 6 + [True] * 2] * 2
