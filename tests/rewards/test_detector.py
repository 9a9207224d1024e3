"""The detector and its baseline, in small, over a tiny random language model."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from envs.attributes import BESIDE_WALL, FLOOR, IN_CORNER, MARK, Attribute
from envs.errors import BadInput
from envs.items import ALL_ITEMS, SHAPES
from models.training.checkpoints import TrainingCheckpoint
from models.training.trainer import Trainer
from models.vision.encoder import cell_size, prepare, stack
from rewards.success_vqa.auxiliary_heads import (
    AuxiliaryHeads,
    auxiliary_loss,
    load_training_weights,
    save_training_weights,
)
from rewards.success_vqa.baseline import BaselineConfig, BaselineDetector
from rewards.success_vqa.calibration import calibrate
from rewards.success_vqa.clips import (
    Clip,
    ClipEvent,
    ClipOutcome,
    FrameAnnotation,
    QuestionAnswer,
    QuestionSubject,
)
from rewards.success_vqa.cross_modal_encoder import AuxiliaryLogits
from rewards.success_vqa.dataset import ClipDataset, cross_clip_negatives
from rewards.success_vqa.detector import (
    TELL,
    VERSION,
    FlamingoConfig,
    FlamingoDetector,
    SuccessDetector,
    read_config,
    start_from,
)
from rewards.success_vqa.targets import (
    condition_targets,
    event_targets,
    named_item_targets,
)
from rewards.success_vqa.training import (
    ClipLosses,
    ClipStage,
    DetectorLearner,
    DetectorTrainingConfig,
    FrameStage,
    answer_loss,
    fading,
)
from tests.agents.tiny import tiny_model, tiny_tokenizer
from tests.models.training.recorder import StepRecorder

SMALL = FlamingoConfig("tiny", 16, 1, 4, gates=1, every=1)
WORDS = ("agent", "did", "it", "red", "the", "?")


def detector(seed: int = 0) -> FlamingoDetector:
    torch.manual_seed(seed)
    return FlamingoDetector(tiny_model("llama"), tiny_tokenizer(), SMALL)


def baseline(seed: int = 0) -> BaselineDetector:
    torch.manual_seed(seed)
    return BaselineDetector(BaselineConfig(WORDS, 16, 1, 4, 1))


def clips(n: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(1, 256, (1 + k % 8, 24, 24 + 8 * (k % 3), 3), np.uint8) for k in range(n)]


def detectors() -> list[SuccessDetector]:
    return [detector(), baseline()]


@pytest.mark.parametrize("model", detectors(), ids=["detector", "baseline"])
def test_an_answer_does_not_depend_on_what_else_is_asked(model: SuccessDetector) -> None:
    shown = clips(5)
    asked = [["Did it?"], ["Did the red agent?", "Did it?"], ["Red?"], ["Did it the it?"], ["Did?"]]
    together = model.answer(shown, asked, batch=3)
    for frames, texts, found in zip(shown, asked, together, strict=True):
        assert found.shape == (len(texts),)
        for text, p in zip(texts, found, strict=True):
            alone = model.answer([frames], [[text]])[0][0]
            assert alone == pytest.approx(p, abs=0.01)  # bfloat16


@pytest.mark.parametrize("model", detectors(), ids=["detector", "baseline"])
def test_it_looks_and_reads(model: SuccessDetector) -> None:
    with torch.no_grad():
        shown = stack([prepare(c) for c in clips(2, seed=3)])
        media = model.encoder(torch.from_numpy(shown))
        which = torch.tensor([0, 0, 1])
        odds = model.logits(media, which, ["Did it?", "Red the agent?", "Did it?"]).tolist()
    assert odds[0] != odds[1] and odds[0] != odds[2]


def test_the_temperature_divides_the_logits() -> None:
    model = baseline()
    p = model.answer(clips(1), [["Did it?"]])[0][0]
    model.temperature = 2.0
    calibrated = model.answer(clips(1), [["Did it?"]])[0][0]
    odds, halved = np.log(p / (1 - p)), np.log(calibrated / (1 - calibrated))
    assert abs(odds) > 1e-3 and halved == pytest.approx(odds / 2, rel=1e-3)


def test_with_its_gates_shut_it_is_the_language_model() -> None:
    model = detector()
    with torch.no_grad():
        model.gates[0].gates.zero_()
    text = model.tokens("Did the agent pick it up? Answer:")
    media = torch.zeros(1, 28, 16)
    with torch.no_grad():
        mine = model._language.hidden(media, model._language.read([text]))
        language_model = tiny_model("llama")
        its = language_model(torch.tensor([text]), output_hidden_states=True).hidden_states[-1]
    assert torch.allclose(mine, its, atol=0.05)  # what is kept of a text is bfloat16
    yes, no = model._yes, model._no
    weight = language_model.get_output_embeddings().weight
    with torch.no_grad():
        odds = model.logits(media, torch.tensor([0]), ["Did the agent pick it up?"])
    assert odds.item() == pytest.approx((its[0, -1] @ (weight[yes] - weight[no])).item(), abs=0.05)


def test_only_the_trained_parts_are_saved_and_come_back(tmp_path: Path) -> None:
    model, again = detector(), detector(seed=1)
    assert not any(name.startswith("model") for name in model.trained_state())
    model.temperature = 2.0
    model.save(tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_size < 1_000_000
    assert read_config(tmp_path)["temperature"] == 2.0
    again.load(tmp_path)
    for name, tensor in again.trained_state().items():
        assert torch.equal(tensor, model.trained_state()[name].half().float()), name
    other = baseline()
    other.save(tmp_path / "plain")
    assert not any("teller" in name for name in load_file(tmp_path / "plain/model.safetensors"))
    third = baseline(seed=1)
    third.load(tmp_path / "plain")
    shown, asked = clips(1), [["Did the red agent?"]]
    assert third.answer(shown, asked)[0] == pytest.approx(other.answer(shown, asked)[0], abs=0.01)
    with pytest.raises(BadInput, match=r"of another detector: .* does not fit"):
        other.load(tmp_path)
    start_from(other, tmp_path)
    assert torch.equal(other.encoder.latents, again.encoder.latents)


@pytest.mark.parametrize("model", detectors(), ids=["detector", "baseline"])
def test_training_starts_from_all_of_one_built_alike(
    model: SuccessDetector, tmp_path: Path
) -> None:
    heads = AuxiliaryHeads(16)
    model.save(tmp_path)
    save_training_weights(tmp_path, model, heads)
    again, fresh = (
        (baseline(seed=1) if model.only_training else detector(seed=1)),
        AuxiliaryHeads(16),
    )
    start_from(again, tmp_path)
    load_training_weights(tmp_path, again, fresh)
    for name, tensor in model.trained_state().items():
        assert torch.equal(tensor.half().float(), again.trained_state()[name]), name
    assert torch.equal(fresh.scene.weight, heads.scene.weight.half().float())
    (tmp_path / "training.safetensors").write_bytes(b"no")
    with pytest.raises(BadInput, match="cannot be read"):
        load_training_weights(tmp_path, again, fresh)
    wide = BaselineDetector(BaselineConfig(("a",), 32))
    with pytest.raises(BadInput, match="has another size"):
        start_from(wide, tmp_path)


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no detector"):
        read_config(tmp_path)
    detector().save(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(BadInput, match="cannot be read"):
        detector().load(tmp_path)
    config = (
        (tmp_path / "config.json").read_text().replace(f'"version": {VERSION}', '"version": 99')
    )
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(BadInput, match=f"version 99, not {VERSION}"):
        read_config(tmp_path)


@pytest.mark.parametrize("model", detectors(), ids=["detector", "baseline"])
def test_questions_that_cannot_be_asked(model: SuccessDetector) -> None:
    for text, message in (("", "an empty question"), ("did it? " * 90, "has at most 128")):
        with pytest.raises(BadInput, match=message):
            model.answer(clips(1), [[text]])


def test_a_model_with_too_few_layers_is_refused() -> None:
    with pytest.raises(BadInput, match="2 gates need more layers than the 2 of tiny"):
        FlamingoDetector(tiny_model("llama"), tiny_tokenizer(), FlamingoConfig("tiny"))
    with pytest.raises(BadInput, match="the layers of 'GPT2LMHeadModel' are not known"):
        FlamingoDetector(tiny_model("gpt2"), tiny_tokenizer(), SMALL)


def test_clips_are_shown_as_they_are_or_shrunk() -> None:
    frames = clips(3)[2]
    shown = prepare(frames)
    assert not shown[:5].any()
    assert np.array_equal(shown[5:, :24, :40], frames) and not shown[5:, 24:].any()
    large = np.full((1, 128, 100, 3), 200, np.uint8)
    assert (prepare(large)[7, :, :50] == 200).all() and not prepare(large)[7, :, 50:].any()
    room = np.full((1, 80, 72, 3), 9, np.uint8)
    assert prepare(room).shape == (8, 80, 80, 3)


@pytest.mark.parametrize("tile", [6, 7, 8, 9, 12, 32])
def test_the_cells_of_a_grid_are_found_and_made_as_large_as_patches(tile: int) -> None:
    from envs import make_worlds

    worlds = make_worlds("playground", 1)
    worlds.reset(0, 5)
    size = 8 * worlds.world(0).width
    rng = np.random.default_rng(0)
    room = np.stack([worlds.frame(0, tile)] * 2)
    noisy = np.clip(room + rng.normal(0, 12, room.shape), 0, 255).astype(np.uint8)
    assert cell_size(room) == cell_size(noisy) == tile
    assert not prepare(room)[:, size:].any() and prepare(room)[7, size - 8 : size].any()
    assert cell_size(rng.integers(0, 256, (3, 48, 48, 3), np.uint8)) is None
    assert cell_size(np.full((1, 48, 48, 3), 9, np.uint8)) is None


def test_a_rim_around_a_picture_does_not_matter() -> None:
    """So that pictures of different sizes can be judged together."""
    torch.manual_seed(0)
    encoder = baseline().encoder
    frames = torch.from_numpy(np.stack([c[-1][:24, :24] for c in clips(3)]))
    near = encoder.encode_frames(frames)
    far = encoder.encode_frames(torch.nn.functional.pad(frames, (0, 0, 0, 16, 0, 16)))
    assert near.vectors.shape == far.vectors.shape == (3, 3, 16)
    assert near.where.shape[1] == 9 and far.where.shape[1] == 25


def lesson(n: int = 24) -> ClipDataset:
    """Bright clips, of which "Did it?" is true, and dark ones."""
    made = []
    for k in range(n):
        frames = np.full((2, 16, 16, 3), 220 if k % 2 else 20, np.uint8)
        asked = (
            QuestionAnswer("Did it?", "go to", bool(k % 2)),
            QuestionAnswer("Did the red agent?", "go to", k % 2 == 0),
        )
        note = FrameAnnotation("solid red ring" if k % 2 else "", agent=(4, 4), front=(12, 4))
        made.append(Clip(frames, asked, "the red agent" if k % 2 else "it", (note, note)))
    return ClipDataset.from_clips(made)


def items_apart(n: int) -> ClipDataset:
    """Clips that mostly show different items, each with two questions about its own."""
    made = []
    for k in range(n):
        name = str(ALL_ITEMS[k % len(ALL_ITEMS)])
        asked = tuple(
            QuestionAnswer(f"Did it {verb} the {name}?", "go to", verb == "see")
            for verb in ("see", "lift")
        )
        annotations = (FrameAnnotation(in_sight=(name,)),)
        made.append(Clip(np.full((1, 16, 16, 3), 9, np.uint8), asked, "", annotations))
    return ClipDataset.from_clips(made)


def trained(
    model: SuccessDetector,
    dataset: ClipDataset,
    config: DetectorTrainingConfig,
    heads: AuxiliaryHeads | None = None,
    resume: TrainingCheckpoint | None = None,
) -> StepRecorder:
    recorder = StepRecorder()
    learner = DetectorLearner(model, dataset, config, heads)
    frames = [FrameStage(learner)] if config.frame_steps else []
    Trainer([*frames, ClipStage(learner)], [recorder]).train(resume)
    return recorder


@pytest.mark.parametrize(("make", "steps"), [(detector, 45), (baseline, 70)])
def test_it_learns_what_depends_on_picture_and_question(
    make: type[SuccessDetector], steps: int
) -> None:
    model = make()
    dataset = lesson()
    config = DetectorTrainingConfig(steps, batch=8, learning_rate=5e-3, tune_vision=True)
    losses = trained(model, dataset, config).column("loss")
    assert sum(losses[-5:]) / 5 < 0.3 < losses[0]
    bright, dark = dataset.frames[1, 6:], dataset.frames[0, 6:]
    asked = ["Did it?", "Did the red agent?"]
    found = model.answer([bright, dark], [asked, asked])
    assert found[0][0] > 0.5 > found[0][1] and found[1][0] < 0.5 < found[1][1]


@pytest.mark.parametrize("make", [detector, baseline])
def test_training_resumes_exactly(make: type[SuccessDetector]) -> None:
    whole = make()
    config = DetectorTrainingConfig(3, 4, 8)
    checkpoints = trained(whole, lesson(), config).checkpoints
    for step in (3, 5):
        other = make(5)  # type: ignore[arg-type]
        trained(other, lesson(), config, resume=checkpoints[step - 1])
        for name, tensor in whole.trained_state().items():
            assert torch.equal(tensor, other.trained_state()[name]), name


def test_the_vision_encoder_learns_what_frames_show_and_is_then_frozen() -> None:
    model, heads = baseline(), AuxiliaryHeads(16)
    config = DetectorTrainingConfig(4, 32, 8, 3e-3)
    recorder = trained(model, lesson(), config, heads)
    losses = recorder.column("loss")
    assert losses[31] < 0.3 * losses[0]
    before = recorder.checkpoints[31].stage_state
    frozen = [n for n in model.trained_state() if n.startswith(("encoder.stem", "encoder.blocks"))]
    for name in frozen:
        assert torch.equal(before[f"model.{name}"], model.trained_state()[name]), name
    assert not torch.equal(before["model.encoder.time"], model.encoder.time)
    bright, dark = (torch.from_numpy(lesson(2).frames[k, 6:]) for k in (1, 0))
    with torch.no_grad():
        shapes = [
            heads.attribute_logits(model.encoder.encode_frames(f).vectors)[2].argmax(-1)
            for f in (bright, dark)
        ]
    assert (shapes[0] == 1 + SHAPES.index("ring")).all() and (shapes[1] == 0).all()


def test_frames_without_annotations_teach_no_vision_encoder() -> None:
    frames = [np.full((1, 16, 16, 3), v, np.uint8) for v in (9, 99)]
    made = [Clip(f, (QuestionAnswer("Did it?", "go to", f.max() > 50),)) for f in frames]
    with pytest.raises(BadInput, match="do not tell what their frames show"):
        trained(baseline(), ClipDataset.from_clips(made), DetectorTrainingConfig(1, 1, 2))


def test_yes_and_no_count_the_same_and_kinds_by_their_weights() -> None:
    """Worked out by hand: at logit 0 a loss is log 2, at log 3 it is log 4/3 for yes and log 4 for
    no."""
    logits = torch.tensor([0.0, math.log(3), math.log(3), 0.0])
    answers = torch.tensor([1.0, 1.0, 1.0, 0.0])
    weights = torch.tensor([1.0, 1.0, 2.0, 5.0])
    yes = (math.log(2) + math.log(4 / 3) + 2 * math.log(4 / 3)) / 4
    no = math.log(2)
    assert answer_loss(logits, answers, weights).item() == pytest.approx((yes + no) / 2)
    # A batch with one answer only is its weighted mean.
    assert answer_loss(logits[:3], answers[:3], weights[:3]).item() == pytest.approx(yes)
    wrong = answer_loss(logits[1:2], torch.zeros(1), weights[:1]).item()
    assert wrong == pytest.approx(math.log(4))


def test_the_total_loss_has_all_parts_by_their_weights() -> None:
    losses = ClipLosses(*(torch.tensor(x) for x in (1.0, 2.0, 3.0)))
    config = DetectorTrainingConfig(1, auxiliary=0.5, captions=0.1)
    assert losses.total(config).item() == pytest.approx(1 + 0.5 * 2 + 0.1 * 3)
    # And a step learns from that total: another weight gives other weights.
    moved = []
    for auxiliary in (0.0, 1.0):
        model = baseline()
        trained(model, lesson(), DetectorTrainingConfig(1, batch=8, auxiliary=auxiliary))
        moved.append({n: t.clone() for n, t in model.trained_state().items()})
    assert any(not torch.equal(moved[0][n], moved[1][n]) for n in moved[0] if "mixer" in n)


def test_captions_and_cross_clip_negatives_fade_until_half_of_the_steps() -> None:
    assert [fading(k, 8) for k in (0, 1, 2, 3, 4, 5, 7)] == [1, 0.75, 0.5, 0.25, 0, 0, 0]
    n = 400
    config = DetectorTrainingConfig(8, batch=n, cross_clip_negatives=1.0)
    stage = ClipStage(DetectorLearner(baseline(), items_apart(n), config))
    captioned, negatives = [], []
    for k in range(8):
        _, questions, with_caption = stage.batch(k)
        captioned.append(with_caption.mean())
        negatives.append(np.mean([len(q) - 2 for q in questions]))
    assert captioned[:4] == pytest.approx([0.5, 0.375, 0.25, 0.125], abs=0.08)
    assert negatives[0] > 0.9
    assert negatives[:4] == pytest.approx(
        [negatives[0] * x for x in (1, 0.75, 0.5, 0.25)], abs=0.08
    )
    assert captioned[4:] == negatives[4:] == [0, 0, 0, 0]
    without = DetectorTrainingConfig(8, batch=n, captions=0.0)
    stage = ClipStage(DetectorLearner(baseline(), items_apart(n), without))
    assert not stage.batch(0)[2].any() and {len(q) for q in stage.batch(0)[1]} == {2}


def test_data_from_which_nothing_can_be_learned_is_refused() -> None:
    frames = np.zeros((1, 16, 16, 3), np.uint8)
    yes, no = QuestionAnswer("Did it?", "go to", True), QuestionAnswer("Did it?", "go to", False)
    with pytest.raises(BadInput, match="both answers are needed; here all are yes"):
        ClipDataset.from_clips([Clip(frames, (yes,))])
    with pytest.raises(BadInput, match="clip 0 has labels that contradict each other"):
        ClipDataset.from_clips([Clip(frames, (yes, no))])


def test_the_temperature_is_what_makes_the_answers_likeliest() -> None:
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 2, 20_000)
    true = rng.random(20_000) < 1 / (1 + np.exp(-odds))
    assert calibrate(1 / (1 + np.exp(-3 * odds)), true) == pytest.approx(3, rel=0.1)


RING, TEE, EX = "solid red ring", "striped blue tee", "solid grey ex"
# Three frames: one without annotation; a red ring, with a white mark, by a wall on a blue floor;
# then it is held.
ANNOTATIONS = (
    FrameAnnotation(RING, "white", beside_wall=True, floor="blue"),
    FrameAnnotation(TEE, held=RING),
)
OUTCOME = ClipOutcome(
    (ClipEvent("examine", RING, 1), ClipEvent("pick up", RING, 2), ClipEvent("pick up", EX, 3)),
    faced=TEE,
    held=RING,
)


def attributes_of_frames() -> np.ndarray:
    questions = (question(), QuestionAnswer("Has it?", "go to", False))
    clip = Clip(np.full((3, 16, 16, 3), 9, np.uint8), questions, annotations=ANNOTATIONS)
    return ClipDataset.from_clips([clip]).targets.attributes[0]


def question(*items: str, condition: Attribute | None = None) -> QuestionAnswer:
    return QuestionAnswer("Did it?", "go to", True, 0, QuestionSubject(items, condition=condition))


def test_which_named_item_is_faced_and_held() -> None:
    attributes = attributes_of_frames()
    targets = named_item_targets(attributes, question(TEE, RING))
    assert targets[-3:].tolist() == [[-1, -1], [2, 0], [1, 2]]
    assert named_item_targets(attributes, question())[-2:].tolist() == [[0, 0], [0, 0]]
    # Of a question that is nothing but text, the text names the items.
    text = QuestionAnswer(f"Did it pick up the {TEE} and then the {RING}?", "order", True)
    assert np.array_equal(named_item_targets(attributes, text), targets)


@pytest.mark.parametrize(
    ("condition", "targets"),
    [
        (Attribute(BESIDE_WALL), [1, 0]),
        (Attribute(IN_CORNER), [0, 0]),
        (Attribute(FLOOR, "blue"), [1, 0]),
        (Attribute(FLOOR, "red"), [0, 0]),
        (Attribute(MARK, "white"), [1, -1]),  # of the tee no mark has been seen
        (Attribute(MARK, "orange"), [0, -1]),
        (Attribute("nice"), [-1, -1]),
        (None, [-1, -1]),
    ],
)
def test_whether_a_condition_holds_of_what_is_faced(
    condition: Attribute | None, targets: list[int]
) -> None:
    asked = question(RING, TEE, condition=condition)
    assert condition_targets(attributes_of_frames(), asked).tolist() == [-1] * 6 + targets


def test_what_was_done_to_the_named_items() -> None:
    # Gone to, examined, picked up; the ex is no more held at the end.
    every = event_targets(OUTCOME, question(RING, EX, TEE))
    assert every.tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 0]]
    assert event_targets(OUTCOME, question(EX)).tolist() == [[0, 0, 0], [-1] * 3, [-1] * 3]
    assert event_targets(None, question(RING)).tolist() == [[-1] * 3] * 3
    before = ClipOutcome((ClipEvent("examine", EX), *[ClipEvent("pick up", EX)] * 2), held=RING)
    assert event_targets(before, question(EX, RING))[:2].tolist() == [[0, 1, 0], [0, 0, 0]]


def test_auxiliary_logits_that_are_right_cost_nothing() -> None:
    attributes = attributes_of_frames()
    asked = question(RING, TEE, condition=Attribute(BESIDE_WALL))
    items = torch.from_numpy(named_item_targets(attributes, asked)).long()
    condition = torch.from_numpy(condition_targets(attributes, asked)).float()
    events = torch.from_numpy(event_targets(OUTCOME, asked)).float()
    right = AuxiliaryLogits(
        20.0 * torch.nn.functional.one_hot(items.clamp(min=0), 4)[None].float(),
        20 * (2 * condition - 1)[None],
        20 * (2 * events - 1)[None],
    )
    clip = ([attributes], [OUTCOME], [asked])
    assert auxiliary_loss(right, *clip).item() == pytest.approx(0, abs=1e-6)
    for k, part in enumerate(right):
        wrong = AuxiliaryLogits(*(-p if j == k else p for j, p in enumerate(right)))
        assert auxiliary_loss(wrong, *clip).item() > 10, part.shape
    unknown = np.full_like(attributes, -1)
    assert auxiliary_loss(right, [unknown], [None], [asked]).item() == 0


def test_borrowed_questions_name_nothing_that_the_clip_shows() -> None:
    names = ["solid red ring", "solid blue ring", "striped red tee"]
    made = []
    for k, name in enumerate(names):
        asked = tuple(
            QuestionAnswer(f"Did it {verb} the {name}?", "go to", verb == "see")
            for verb in ("see", "lift")
        )
        annotations = (FrameAnnotation(in_sight=(name, names[0])),)
        made.append(Clip(np.full((1, 16, 16, 3), 9 + k, np.uint8), asked, "", annotations))
    dataset = ClipDataset.from_clips(made)
    rng, seen = np.random.default_rng(0), set()
    for _ in range(60):
        for k, asked in enumerate(cross_clip_negatives(dataset, np.arange(3), 0.9, rng)):
            own = asked in dataset.questions[k]
            seen.add((k, own))
            assert own or (
                not asked.answer and not any(n in asked.text for n in (names[0], names[k]))
            )
    assert {(0, False), (1, False), (2, False), (0, True)} <= seen
    assert cross_clip_negatives(dataset, np.arange(3), 0.0, rng)[1] in dataset.questions[1]


def clear_detector() -> FlamingoDetector:
    """A detector whose trained weights and head are large enough to tell tokens and clips apart."""
    model = detector()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in (model.mixer, model.gates, model.reads):
            for p in module.parameters():
                p.add_(0.3 * torch.randn(p.shape, generator=generator))
        model._language.head.weight.mul_(20)
    model.eval()
    return model


def compared_with(model: FlamingoDetector, text: str, media: torch.Tensor) -> torch.Tensor:
    """What the gates see of one clip beside a text without padding."""
    read = model.reads(model._language.read([model.tokens(text)]))
    compared: torch.Tensor = model.mixer(
        read, torch.zeros(read.shape[:2], dtype=torch.bool), media
    )[1]
    assert not torch.allclose(compared, media, atol=0.1)
    return compared


@torch.no_grad()
def test_the_caption_loss_token_by_token() -> None:
    """Each token of a caption is predicted from those before it, beside what the question "What
    happened?" made of the clip; all tokens count the same."""
    model = clear_detector()
    language = model._language
    media = torch.randn(2, 4 + 8 * 3, 16, generator=torch.Generator().manual_seed(1))
    captions, which = ["The agent did it.", "Red.", "The red agent did it the agent."], [1, 0, 0]
    costs = []
    for caption, k in zip(captions, which, strict=True):
        text = model.tokens(f"{TELL} {caption}")
        compared = compared_with(model, TELL, media[k : k + 1])
        hidden = language.hidden(compared, language.read([text]))[0]
        log_p = language.head(hidden).float().log_softmax(-1)
        first = len(model.tokens(TELL))
        costs += [-float(log_p[place - 1, text[place]]) for place in range(first, len(text))]
    loss = model.caption_loss(media, torch.tensor(which), captions)
    assert loss.item() == pytest.approx(np.mean(costs), rel=1e-4)
    assert np.std(costs) > 0.1


@torch.no_grad()
def test_the_logits_question_by_question() -> None:
    """The last token's logit of "Yes" less that of "No", beside what its own question made of the
    clip, without padding."""
    model = clear_detector()
    language, weight = model._language, model._language.head.weight
    media = torch.randn(2, 4 + 8 * 3, 16, generator=torch.Generator().manual_seed(1))
    questions, which = ["Did it?", "Did the red agent do what the agent did?", "Red?"], [0, 0, 1]
    expected = []
    for question, k in zip(questions, which, strict=True):
        text = f"{question} Answer:"
        compared = compared_with(model, text, media[k : k + 1])
        end = language.hidden(compared, language.read([model.tokens(text)]))[0, -1]
        expected.append(float(end @ weight[model._yes] - end @ weight[model._no]))
    logits = model.logits(media, torch.tensor(which), questions)
    assert logits.tolist() == pytest.approx(expected, rel=1e-3, abs=1e-3)
    assert np.std(expected) > 0.1
