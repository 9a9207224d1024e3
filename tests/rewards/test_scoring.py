"""Scores, calibration and weights, each against numbers that are worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from envs.items import ALL_ITEMS, COLOURS, SHAPES, TEXTURES
from rewards.success_vqa.auxiliary_heads import AuxiliaryHeads, _in_sight_loss, auxiliary_loss
from rewards.success_vqa.calibration import calibrate
from rewards.success_vqa.clips import (
    Clip,
    ClipOutcome,
    FrameAnnotation,
    QuestionAnswer,
    QuestionSubject,
)
from rewards.success_vqa.cross_modal_encoder import AuxiliaryLogits
from rewards.success_vqa.dataset import ClipDataset
from rewards.success_vqa.scoring import (
    any_positive,
    balanced_accuracy,
    calibration_error,
    first_fails_last_succeeds,
    score,
    score_by,
)
from rewards.success_vqa.targets import frame_targets

YES, NO = True, False


def test_balanced_accuracy_is_the_mean_of_both_rates() -> None:
    true = np.array([YES, YES, YES, YES, NO, NO])
    predicted = np.array([YES, YES, YES, NO, YES, NO])
    assert balanced_accuracy(predicted, true) == (3 / 4 + 1 / 2) / 2


def test_calibration_error_is_the_mean_gap_over_ten_bins_of_confidence() -> None:
    # Confidence 0.92 twice, right once; 0.62 and 0.78, right each time.
    probabilities = np.array([0.92, 0.92, 0.62, 0.22])
    true = np.array([YES, NO, YES, NO])
    by_hand = (2 * abs(0.92 - 0.5) + abs(0.62 - 1) + abs(0.78 - 1)) / 4
    assert calibration_error(probabilities, true) == pytest.approx(by_hand)
    # Neighbouring bins are not pooled: 0.52 is wrong, 0.56 right.
    assert calibration_error(np.array([0.52, 0.56]), np.array([NO, YES])) == pytest.approx(0.48)
    assert calibration_error(np.array([1.0, 0.0]), np.array([YES, NO])) == 0


def test_a_score_by_hand() -> None:
    probabilities = np.array([0.9, 0.6, 0.5, 0.1, 0.7])  # 0.5 is no yes
    true = np.array([YES, YES, YES, NO, NO])
    one_clip = score(probabilities, true, np.zeros(5, int))
    assert one_clip.tpr == pytest.approx(2 / 3) and one_clip.tnr == 1 / 2 and one_clip.n == 5
    assert one_clip.balanced_accuracy == pytest.approx((2 / 3 + 1 / 2) / 2)
    # A bootstrap over one clip always draws that clip.
    assert one_clip.ci95 == pytest.approx((one_clip.balanced_accuracy,) * 2)
    # Of two clips, one all right and one all wrong, a quarter of the draws has only either.
    true, clip = np.array([YES, NO, YES, NO]), np.array([7, 7, 9, 9])
    two_clips = score(np.array([0.9, 0.1, 0.1, 0.9]), true, clip)
    assert two_clips.balanced_accuracy == 0.5 and two_clips.ci95 == (0, 1)
    assert score(np.zeros(0), np.zeros(0, bool), np.zeros(0, int)).n == 0


def test_the_interval_is_that_of_whole_clips_drawn_anew() -> None:
    rng = np.random.default_rng(4)
    clip = np.sort(np.concatenate([np.arange(14), rng.integers(0, 14, 46)]))
    true, probabilities = np.tile([YES, NO], 30), rng.random(60)
    draws = np.random.default_rng(0).multinomial(14, [1 / 14] * 14, 1000)
    accuracies = []
    for times in draws:
        rows = np.concatenate(
            [
                np.flatnonzero(clip == c)
                for c, n in zip(np.unique(clip), times, strict=True)
                for _ in range(n)
            ]
        )
        accuracies.append(balanced_accuracy(probabilities[rows] > 0.5, true[rows]))
    expected = tuple(np.percentile(accuracies, [2.5, 97.5]))
    assert score(probabilities, true, clip).ci95 == pytest.approx(expected)


def test_a_score_of_one_class_has_one_rate() -> None:
    probabilities, clip = np.array([0.9, 0.8, 0.3]), np.arange(3)
    only_yes = score(probabilities, np.array([YES] * 3), clip)
    assert (only_yes.tpr, only_yes.tnr) == (pytest.approx(2 / 3), None)
    only_no = score(probabilities, np.array([NO] * 3), clip)
    assert (only_no.tpr, only_no.tnr) == (None, pytest.approx(1 / 3))
    assert only_no.balanced_accuracy is None and only_no.ci95 is None


def test_groups_are_scored_apart() -> None:
    true = np.array([YES, NO, YES, NO])
    scores = score_by(["a", "a", "b", "b"], np.array([0.9, 0.1, 0.1, 0.1]), true, np.arange(4))
    assert [(name, s.balanced_accuracy, s.n) for name, s in scores.items()] == [
        ("a", 1.0, 2),
        ("b", 0.5, 2),
    ]


@pytest.mark.parametrize(
    ("answers", "any_clip", "first_and_last"),
    [
        ([], NO, NO),
        ([NO], NO, NO),
        ([YES], YES, YES),
        ([NO, YES], YES, YES),
        ([YES, NO], YES, NO),
        ([YES, YES], YES, NO),
        ([NO, YES, NO], YES, NO),
    ],
)
def test_the_rules_for_episodes(answers: list[bool], any_clip: bool, first_and_last: bool) -> None:
    assert any_positive(answers) == any_clip
    assert first_fails_last_succeeds(answers) == first_and_last


@pytest.mark.parametrize(("share", "temperature"), [(0.75, 2.0), (0.9, 1.0), (0.6, 5.419)])
def test_the_temperature_minimises_the_negative_log_likelihood(
    share: float, temperature: float
) -> None:
    """Where all probabilities are 0.9 and a share of the answers is right, sigmoid(log 9 / T) is
    that share: T = log 9 / log(share / (1 - share))."""
    n = 400
    right = np.arange(n) < round(share * n)
    assert calibrate(np.full(n, 0.9), right) == pytest.approx(temperature, rel=0.011)
    assert calibrate(np.full(n, 0.1), ~right) == pytest.approx(temperature, rel=0.011)


def dataset() -> ClipDataset:
    """Two clips, one of two frames and one of eight; four questions of two kinds."""
    ring, tee = "solid red ring", "striped blue tee"
    go, order = QuestionAnswer("A?", "go to", True), QuestionAnswer("B?", "order", False)
    short = (FrameAnnotation(), FrameAnnotation(faced=ring, front=(12, 4), agent=(20, 4)))
    long = (*[FrameAnnotation(held=tee)] * 2, *[FrameAnnotation()] * 6)
    return ClipDataset.from_clips(
        [
            Clip(np.full((2, 64, 64, 3), 9, np.uint8), (go, order), annotations=short),
            Clip(np.full((8, 64, 64, 3), 9, np.uint8), (go, go), annotations=long),
        ]
    )


def test_rare_kinds_of_questions_weigh_more_by_the_root_of_how_rare_they_are() -> None:
    weights = dataset().kind_weights()
    assert weights == {"go to": pytest.approx((4 / 3) ** 0.5), "order": 2.0}


def test_which_frames_train_the_vision_encoder() -> None:
    clips = dataset()
    assert clips.annotated_frames().tolist() == [6, 7, *range(8, 16)]
    assert clips.interaction_frames().tolist() == [7, 8, 9]
    clips.targets.attributes[:] = np.where(clips.targets.attributes < 0, -1, 0)
    assert clips.interaction_frames().tolist() == clips.annotated_frames().tolist()
    assert len(clips.subset(0.1, np.random.default_rng(0))) == 1


def test_the_targets_of_a_frame_by_hand() -> None:
    ring = FrameAnnotation(
        "striped blue tee",
        "orange",
        "solid red ring",
        ("striped blue tee", "red ball"),
        in_corner=True,
        floor="grey",
        agent=(20, 4),
        front=(12, 4),
    )
    targets = frame_targets([ring, FrameAnnotation("red ball")], 2.0)
    tee = [1 + TEXTURES.index("striped"), 1 + COLOURS.index("blue"), 1 + SHAPES.index("tee")]
    held = [1 + TEXTURES.index("solid"), 1 + COLOURS.index("red"), 1 + SHAPES.index("ring")]
    assert (targets.attributes[:6] == -1).all() and (targets.patches[:6] == -1).all()
    assert targets.attributes[6].tolist() == [*tee, *held, 2, 0, 1, 1 + COLOURS.index("grey")]
    assert targets.patches[6].tolist() == [3, 1, 5, 1]  # 24 // 8, 8 // 8, 40 // 8, 8 // 8
    assert [str(ALL_ITEMS[k]) for k in np.flatnonzero(targets.in_sight[6])] == ["striped blue tee"]
    # Of a ball no words are known, but the other columns are.
    assert targets.attributes[7].tolist() == [-1, -1, -1, 0, 0, 0, 0, 0, 0, 0]
    assert (targets.patches[7] == -1).all() and not targets.in_sight[7].any()


def test_auxiliary_losses_of_untrained_heads_by_hand() -> None:
    """Logits of 0 cost the logarithm of how many classes there are."""
    n_words = len(TEXTURES) + len(COLOURS) + len(SHAPES)
    zeros = torch.zeros(2, len(ALL_ITEMS) + n_words)
    in_sight = torch.zeros(2, len(ALL_ITEMS), dtype=torch.bool)
    in_sight[:, 5] = True
    assert _in_sight_loss(zeros, in_sight).item() == pytest.approx(4.5 * math.log(2))
    sure = torch.full((2, len(ALL_ITEMS) + n_words), -20.0)
    sure[:, 5] = 20
    item = ALL_ITEMS[5]
    words = [*TEXTURES, *COLOURS, *SHAPES]
    for word in (item.texture, item.colour, item.shape):
        assert word is not None
        sure[:, len(ALL_ITEMS) + words.index(word)] = 20
    assert _in_sight_loss(sure, in_sight).item() == pytest.approx(0, abs=1e-6)

    frames = dataset().targets.attributes[:1]
    question = QuestionAnswer("A?", "go to", True, 0, QuestionSubject(("solid red ring",)))
    logits = AuxiliaryLogits(torch.zeros(1, 8, 2, 4), torch.zeros(1, 8), torch.zeros(1, 3, 3))
    loss = auxiliary_loss(logits, frames, [ClipOutcome(faced="solid red ring")], [question])
    assert loss.item() == pytest.approx(math.log(4) + math.log(2))
    assert auxiliary_loss(logits, frames, [None], [question]).item() == pytest.approx(math.log(4))


def test_attribute_logits_are_in_the_order_of_the_targets() -> None:
    logits = AuxiliaryHeads(16).attribute_logits(torch.zeros(1, 3, 16))
    words = [1 + len(TEXTURES), 1 + len(COLOURS), 1 + len(SHAPES)]
    assert [x.shape[1] for x in logits] == [*words, *words, 3, 2, 2, 1 + len(COLOURS)]
