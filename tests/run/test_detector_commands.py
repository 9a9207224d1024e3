"""``make-clips``, ``train-detector`` and ``score-detector``, in small."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from envs import make_worlds
from envs.batched.cameras import Camera
from envs.batched.worlds import BatchedWorlds
from envs.commands import Command, CommandWatch
from envs.errors import BadInput
from envs.items import HELD_OUT_ITEMS, find_items
from rewards.success_vqa.clips import Clip, read_clips
from rewards.success_vqa.labels import Label
from rewards.success_vqa.loading import load_detector
from rewards.success_vqa.questions import VERBS, ItemEvent, QuestionSpec
from rewards.success_vqa.scoring import balanced_accuracy
from run.__main__ import main
from run.clips.behaviours import OTHER, TRAINING, record_rollouts
from run.clips.splits import SPLITS
from tests.agents.tiny import tiny_model, tiny_tokenizer
from tests.run.warm import in_two_processes, kill_when
from tests.tiny_vision import small

TUNE = [
    *("--steps", "4", "--batch", "4", "--validate-every", "2", "--validation-clips", "8"),
    *("--threads", "1", "--checkpoint-seconds", "0", "--device", "cpu"),
]
BASELINE = [*TUNE, "--frame-steps", "5", "--width", "16"]
TRAIN = [*BASELINE, "--gates", "1", "--every", "1"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    runs = ["--runs-dir", str(folder / "runs")]
    made = ["make-clips", "--clips", "60", "--test-clips", "24", "--out", str(folder / "data")]
    assert main([*made, *runs]) == 0
    return folder / "data"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "tiny"
    tiny_model("llama").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def clips(data: Path, split: str) -> list[Clip]:
    return list(read_clips(data, split))


def test_splits_are_balanced_and_have_no_world_in_common(data: Path) -> None:
    seen: dict[int, str] = {}
    for split in SPLITS:
        made = clips(data, split)
        assert len(made) == (60 if split == "train" else 24)
        answers = [a.answer for c in made for a in c.questions]
        assert abs(np.mean(answers) - 0.5) < 0.12, split
        for kind in VERBS:
            answers = [a.answer for c in made for a in c.questions if a.kind == kind]
            assert abs(sum(answers) - len(answers) / 2) <= 2, (split, kind)
        for clip in made:
            assert seen.setdefault(clip.seed, split) == split
            assert len(clip.annotations) == len(clip.frames) == len(clip.steps)


def test_what_training_never_has_is_in_its_test_alone(data: Path) -> None:
    def words(split: str) -> str:
        return " ".join(a.text for c in clips(data, split) for a in c.questions)

    held_out = {str(i) for i in HELD_OUT_ITEMS}
    shown = {n for c in clips(data, "train") for a in c.annotations for n in a.in_sight}
    assert not shown & held_out
    assert {n for c in clips(data, "test3") for a in c.annotations for n in a.in_sight} <= held_out
    assert "grab" in words("test3") and "grab" not in words("train")
    assert {c.behaviour for c in clips(data, "train")} <= set(TRAINING)
    assert {c.behaviour for c in clips(data, "test2")} <= set(OTHER)
    assert {c.camera.split()[0] for c in clips(data, "test4")} == {"above"}
    assert "above" not in {c.camera.split()[0] for c in clips(data, "train")}
    assert not {c.look for c in clips(data, "train")} & {c.look for c in clips(data, "test5")}


def test_false_questions_are_near_misses(data: Path) -> None:
    """Something else was done to the item, another in one word is meant, or the other order."""
    verbs, orders, words = 0, 0, 0
    for clip in clips(data, "train"):
        yes = [a for a in clip.questions if a.answer]
        for a in (a for a in clip.questions if not a.answer):
            named = [str(i) for i in find_items(a.text)]
            faces = {a.faced for a in clip.annotations} | {a.held for a in clip.annotations}
            verbs += a.kind in VERBS and named[0] in faces
            orders += a.kind == "order" and set(named) <= faces
            words += any(
                len(set(n.split()) & set(m.split())) == 2
                for n in named
                for y in yes
                for m in map(str, find_items(y.text))
            )
    assert verbs > 5 and orders > 1 and words > 5


def test_the_order_split_asks_the_same_of_both_orders(data: Path) -> None:
    made = clips(data, "test6")
    pairs: dict[tuple[int, str], list[bool]] = {}
    for clip in made:
        (asked,) = clip.questions
        pairs.setdefault((clip.seed, asked.text), []).append(asked.answer)
    assert all(sorted(answers) == [False, True] for answers in pairs.values())
    assert len({c.behaviour for c in made}) == 3


def test_the_same_seed_makes_the_same_clips(data: Path, tmp_path: Path) -> None:
    again = ["make-clips", "--test-clips", "24", "--splits", "test2", "--out"]
    place = tmp_path / "clips"
    assert main([*again, str(place), "--runs-dir", str(tmp_path / "runs")]) == 0
    for one, other in zip(clips(data, "test2"), clips(place, "test2"), strict=True):
        assert one.questions == other.questions and np.array_equal(one.frames, other.frames)


def test_answers_agree_with_minigrids_own_watch() -> None:
    """Of clips of whole episodes: what the reel says is what CommandWatch says in MiniGrid."""
    worlds = make_worlds("playground", 24, batched=True, alike=0.5)
    assert isinstance(worlds, BatchedWorlds)
    names = [*TRAINING, *OTHER]
    reels = record_rollouts(
        worlds, range(24), [(TRAINING | OTHER)[names[i % len(names)]] for i in range(24)]
    )
    answered = set()
    for reel in reels:
        happened = reel.between(0, reel.trajectory.n_steps)
        for item in reel.items:
            for verb in ("go to", "examine", "pick up"):
                watch = CommandWatch(Command(verb, item))
                bare = make_worlds("playground", 1, alike=0.5)
                bare.reset(0, reel.seed)
                for action in reel.trajectory.actions:
                    bare.step(np.array([action]), np.array([True]))
                    watch.update(bare.world(0), bare.events[0])
                said = happened.answer(QuestionSpec((ItemEvent(verb, item),))) is not None
                assert said == watch.done, (reel.phases, verb, str(item))
                answered.add(said)
    assert answered == {True, False}


def test_cameras_show_the_room_from_where_they_are() -> None:
    worlds = make_worlds("playground", 1, batched=True)
    assert isinstance(worlds, BatchedWorlds)
    (reel,) = record_rollouts(worlds, [3], [TRAINING["two deeds"]])
    view = Camera("view", 8).frames(reel.trajectory)
    above = Camera("above", 8).frames(reel.trajectory)
    bare = worlds.world(0)
    assert np.array_equal(view[-1], bare.get_frame(tile_size=8, agent_pov=True))
    carried = bare.carrying
    assert carried is not None
    x, y = reel.trajectory.poses[-1, :2]
    assert not np.array_equal(above[-1], bare.get_frame(tile_size=8))
    # What is carried shows under the agent, in its own view as from above.
    bare.grid.set(int(x), int(y), carried)
    assert np.array_equal(above[-1], bare.get_frame(tile_size=8))
    # The agent's tile, wherever it is, is in the middle of what follows it.
    follow = Camera("follow", 8, 5).frames(reel.trajectory)
    tile = above[-1, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8]
    assert np.array_equal(follow[-1, 16:24, 16:24], tile)
    for t in range(len(reel.trajectory)):
        x, y, direction = reel.trajectory.poses[t]
        ahead = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)][direction])
        middle = np.array([8 * y + 4, 8 * x + 4])
        for camera, agent, front in (
            (Camera("above", 8), middle, middle + 8 * ahead),
            (Camera("follow", 8, 5), np.array([20, 20]), 20 + 8 * ahead),
            (Camera("view", 8), np.array([52, 28]), np.array([44, 28])),
        ):
            found = camera.agent_pixels(reel.trajectory)
            assert found[0][t].tolist() == agent.tolist(), (camera, t)
            assert found[1][t].tolist() == front.tolist(), (camera, t)


def test_train_and_score_and_resume_after_sigkill(
    data: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = ["--runs-dir", str(tmp_path / "runs")]
    command = ["train-detector", "--data", str(data), "--base", str(base), *TRAIN]
    other = ["train-detector", "--data", str(data), "--model", "baseline", *BASELINE]
    assert main([*command, *runs]) == 0
    whole = Path(capsys.readouterr().out.strip().splitlines()[-1])
    there = tmp_path / "killed"
    killed = kill_when(there, has_state, *command, "--runs-dir", str(there))
    assert main(["train-detector", "--resume", str(killed)]) == 0
    one = load_file(whole / "checkpoints" / "final" / "model.safetensors")
    resumed = load_file(killed / "checkpoints" / "final" / "model.safetensors")
    assert all((one[n] == resumed[n]).all() for n in one) and len(one) == len(resumed)

    assert main([*other, *runs, "--name", "base"]) == 0
    baseline = Path(capsys.readouterr().out.strip().splitlines()[-1])
    final = [str(f / "checkpoints" / "final") for f in (whole, baseline)]
    for folder, name in zip(final, ("mine", "plain"), strict=True):
        Path(folder).rename(tmp_path / name)
    score = ["score-detector", "--data", str(data), "--splits", "test1", "test6"]
    judged = ["--detectors", str(tmp_path / "mine"), str(tmp_path / "plain"), "--episodes", "8"]
    assert main([*score, *judged, *runs]) == 0
    folder = Path(capsys.readouterr().out.strip().splitlines()[-1])
    summary = json.loads((folder / "summary.json").read_text())
    assert set(summary["splits"]) == {"test1", "test6"}
    for split in ("test1", "test6"):
        for name in ("mine", "plain"):
            found = summary["splits"][split][name]
            assert found["n"] == sum(len(c.questions) for c in clips(data, split))
            mean = (found["tpr"] + found["tnr"]) / 2
            assert found["balanced_accuracy"] == pytest.approx(mean, abs=1e-3)
            low, high = found["ci95"]
            assert low <= found["balanced_accuracy"] <= high
    assert set(summary["episode_rules"]) == {"mine", "plain"}
    assert (folder / "plots" / "splits.png").stat().st_size > 10_000

    # What people answered takes the place of the truth, here its opposite.
    labels = tmp_path / "labels.jsonl"
    given = [
        Label(split, k, c.seed, a.text, "no" if a.answer else "yes", "anna")
        for split in ("train", "test1")
        for k, c in enumerate(clips(data, split)[:20])
        for a in c.questions[:1]
    ]
    labels.write_text("".join(x.line() for x in given))
    says = ["--labels", str(labels), "--episodes", "0", "--detectors", str(tmp_path / "plain")]
    scored = ["score-detector", "--data", str(data), *says, *runs]
    assert main([*scored, "--splits", "test1"]) == 0
    folder = Path(capsys.readouterr().out.strip().splitlines()[-1])
    found = json.loads((folder / "summary.json").read_text())["splits"]["test1"]
    assert found["clips"] == found["plain"]["n"] == 20
    assert main([*scored, "--splits", "test2"]) == 2
    assert "no labels for the split 'test2'" in capsys.readouterr().err
    few = ["--labels", str(labels), "--frame-steps", "1", "--steps", "1"]
    assert main([*other, *few, *runs]) == 0
    folder = Path(capsys.readouterr().out.strip().splitlines()[-1])
    assert json.loads((folder / "summary.json").read_text())["n"] == 20


def test_a_vision_language_model_is_tuned(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in small():
        part.save_pretrained(tmp_path / "vlm")
    runs = ["--runs-dir", str(tmp_path / "runs")]
    tune = ["train-detector", "--model", "vision-language", "--base", str(tmp_path / "vlm")]
    one = [*tune, "--data", str(data), *TUNE, "--rank", "2", "--learning-rate", "0.01"]
    assert main([*one, *runs, "--out", str(tmp_path / "tuned")]) == 0
    assert (tmp_path / "tuned" / "model.safetensors").stat().st_size < 50_000
    (clip,) = clips(data, "test1")[:1]
    shown, asked = [clip.frames], [[clip.questions[0].text]]
    plain, tuned = (load_detector(str(tmp_path / n), "cpu") for n in ("vlm", "tuned"))
    assert plain.answer(shown, asked)[0] != pytest.approx(tuned.answer(shown, asked)[0], abs=1e-3)
    folder = Path(capsys.readouterr().out.strip().splitlines()[-1])
    curve = (folder / "curve.csv").read_text().splitlines()
    assert len(curve) == 1 + 4
    again = ["--init", str(tmp_path / "tuned"), "--out", str(tmp_path / "again"), "--steps", "0"]
    assert main([*one, *runs, *again]) == 0
    same = (load_file(tmp_path / n / "model.safetensors") for n in ("tuned", "again"))
    for one_, other in zip(*(found.items() for found in same), strict=True):
        assert one_[0] == other[0] and (one_[1] == other[1]).all()


def test_two_processes_train_one_baseline(data: Path, tmp_path: Path) -> None:
    command = ["train-detector", "--model", "baseline", "--data", str(data), *BASELINE]
    runs = ["--runs-dir", str(tmp_path), "--steps", "2", "--frame-steps", "2"]
    out = in_two_processes(*command, *runs)
    (folder,) = (tmp_path / "train-detector").iterdir()
    assert out.split() == [str(folder)]
    assert len((folder / "curve.csv").read_text().splitlines()) == 1 + 4
    assert set(json.loads((folder / "summary.json").read_text())["validation"]) == {"4"}
    assert len(load_file(folder / "checkpoints" / "final" / "model.safetensors")) > 50


def has_state(folder: Path) -> bool:
    return (folder / "checkpoints" / "state.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["make-clips", "--splits", "test9"], "unknown split 'test9'"),
        (["make-clips", "--questions", "nowhere.toml"], "cannot be read"),
        (["train-detector", "--data", "nowhere"], "no split 'train' in 'nowhere'; it has none"),
        (["train-detector", "--share", "0"], "--share must be above 0"),
        (["score-detector", "--detectors", "detecter"], "did you mean 'detector'"),
        (
            ["score-detector", "--detectors", "./a/mine/final", "./b/mine"],
            "two detectors are called 'mine'",
        ),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--runs-dir", str(tmp_path)]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.glob("*/*")), "a folder was left behind"


def test_a_checkpoint_with_another_language_model_is_refused(base: Path, tmp_path: Path) -> None:
    from rewards.success_vqa.detector import FlamingoConfig, FlamingoDetector
    from rewards.success_vqa.loading import load_trained

    small = FlamingoConfig(str(base), 16, 1, 4, gates=1, every=1)
    judge = FlamingoDetector(tiny_model("llama"), tiny_tokenizer(), small)
    judge.save(tmp_path / "mine")
    assert load_trained(tmp_path / "mine").config == small
    config = (tmp_path / "mine" / "config.json").read_text()
    (tmp_path / "mine" / "config.json").write_text(config.replace('"gates": 1', '"gates": 2'))
    with pytest.raises(BadInput, match="of another detector"):
        load_trained(tmp_path / "mine")


def test_find_items_reads_what_questions_name(data: Path) -> None:
    for clip in clips(data, "test3"):
        assert all(find_items(a.text) for a in clip.questions)


@pytest.mark.parametrize("name", ["detector", "baseline"])
def test_the_shipped_weights_judge_as_well_as_they_did(name: str, data: Path) -> None:
    made = clips(data, "test1")
    texts = [[a.text for a in c.questions] for c in made]
    sure = np.concatenate(load_detector(name, "cpu").answer([c.frames for c in made], texts))
    true = np.array([a.answer for c in made for a in c.questions])
    assert balanced_accuracy(sure > 0.5, true) > 0.85
