"""The detector as a function of frames and a question, as a judge, and as a reward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

import parley


class Brightness:
    """Answers with the mean brightness of the last frame, and keeps what it was shown."""

    def __init__(self) -> None:
        self.clips: list[np.ndarray] = []

    def answer(
        self, clips: Sequence[np.ndarray], questions: Sequence[Sequence[str]], batch: int = 64
    ) -> list[np.ndarray]:
        self.clips += clips
        return [np.full(len(q), c[-1].mean() / 255) for c, q in zip(clips, questions, strict=True)]


CLIP = np.arange(12, dtype=np.uint8)[:, None, None, None] * np.full((1, 8, 8, 3), 20, np.uint8)


def test_one_question_has_one_answer_and_several_have_a_list() -> None:
    detector = parley.Detector(Brightness())
    p = detector(CLIP[:3], "Is it bright?")
    assert type(p) is float and p == pytest.approx(40 / 255)
    assert detector(CLIP[:3], ["Is it bright?", "Is it?"]) == [p, p]
    assert detector(CLIP[:3], []) == []


def test_frames_may_be_arrays_or_pictures_and_many() -> None:
    model = Brightness()
    detector = parley.Detector(model)
    pictures = [Image.fromarray(f).convert("L") for f in CLIP[:3]]
    for frames in (CLIP[:3], list(CLIP[:3]), pictures, CLIP):
        detector(frames, "Is it bright?")
    for clip in model.clips[:3]:
        np.testing.assert_array_equal(clip, CLIP[:3])
    # Of many, 8 are seen, the first and the last among them.
    assert model.clips[3][:, 0, 0, 0].tolist() == [0, 40, 60, 100, 120, 160, 180, 220]


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([], "not [0]"),
        (CLIP[0], "put a single picture into a list"),
        (CLIP.astype(float), "float64"),
        (CLIP[..., :1], "not [12, 8, 8, 1] uint8"),
        ([CLIP[0], CLIP[0, :4]], "several sizes"),
        ("clip.mp4", "'clip.mp4'"),
        (3, "not 3"),
        ([None], "not [1] object"),
    ],
)
def test_what_is_no_clip_is_refused_in_one_sentence(frames: Any, words: str) -> None:
    with pytest.raises(parley.BadInput) as problem:
        parley.Detector(Brightness())(frames, "Is it bright?")
    assert str(problem.value).startswith("frames must be [time, height, width, 3] uint8")
    assert words in str(problem.value) and "\n" not in str(problem.value)


def test_other_bad_input() -> None:
    detector = parley.Detector(Brightness())
    with pytest.raises(parley.BadInput, match="a question must be a text, not 3"):
        detector(CLIP, [3])  # type: ignore[list-item]
    with pytest.raises(parley.BadInput, match="has no method answer"):
        parley.Detector(object())  # type: ignore[arg-type]
    with pytest.raises(parley.BadInput, match="unknown detector 'detecto'; did you mean"):
        parley.load_detector("detecto")
    (episode,) = parley.play(planner="random", actor="scripted", episodes=1, max_turns=1)
    with pytest.raises(parley.BadInput, match="play it with frames=True"):
        detector.judge(episode)


def test_it_judges_an_episode_by_its_frames_and_its_task() -> None:
    asked: list[str] = []

    class Asked(Brightness):
        def answer(
            self, clips: Sequence[np.ndarray], questions: Sequence[Sequence[str]], batch: int = 64
        ) -> list[np.ndarray]:
            asked.extend(questions[0])
            return super().answer(clips, questions, batch)

    model = Asked()
    (episode,) = parley.play("search", planner="oracle", actor="scripted", episodes=1, frames=True)
    p = parley.Detector(model).judge(episode)
    assert episode.frames is not None
    assert p == pytest.approx(episode.frames[-1].mean() / 255)
    assert asked == [parley.task_question(episode.task)]


def test_it_is_a_worlds_reward() -> None:
    detector = parley.Detector(Brightness())
    env = detector.reward_wrapper(parley.make("search", n_items=2, max_steps=2))
    env.reset(seed=0)
    assert env.step(0)[1] == 0.0
    _, reward, _, truncated, info = env.step(0)
    assert truncated and 0 < float(reward) < 1 and info["true_reward"] == 0
    with pytest.raises(parley.BadInput, match="threshold must be between 0 and 1"):
        detector.reward_wrapper(parley.make("search"), threshold=2)
