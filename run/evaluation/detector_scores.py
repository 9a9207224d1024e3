"""Scores of success detectors: on the splits of a data set of clips, and on longer episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from envs.batched.worlds import BatchedWorlds
from envs.tasks import make_worlds
from envs.trajectory import evenly
from rewards.reward import QuestionAnswerer, command_question
from rewards.success_vqa.clips import Clip
from rewards.success_vqa.questions import ItemEvent, QuestionSpec
from rewards.success_vqa.scoring import RULES, DetectorScore, score, score_by
from run.clips.behaviours import TRAINING, record_rollouts
from run.clips.splits import first_seed
from run.display.progress import ProgressBar

EPISODE_CLIP = 7  # steps that a clip of a longer episode covers

RuleScores = Mapping[str, DetectorScore]
"""A detector's scores on longer episodes, by the rule that joins its answers about their clips."""


@dataclass(frozen=True)
class GroupedScores:
    """A detector's scores on a split: of all questions, and by group of questions.

    Attributes:
        all: Of all questions.
        by_kind: By kind of question.
        by_behaviour: By the behaviour that the clip shows.
        by_length: By the number of the clip's frames.
    """

    all: DetectorScore
    by_kind: Mapping[str, DetectorScore]
    by_behaviour: Mapping[str, DetectorScore]
    by_length: Mapping[str, DetectorScore]

    def groups(self) -> Mapping[str, DetectorScore]:
        """The scores by the name of the group; ``all`` is that of all questions."""
        return {"all": self.all} | {**self.by_kind, **self.by_behaviour, **self.by_length}

    def to_json(self) -> dict[str, object]:
        """The scores as they stand in ``summary.json``."""
        return self.all.to_json() | {
            f"by_{grouping}": {name: s.to_json() for name, s in scores.items()}
            for grouping, scores in (
                ("kind", self.by_kind),
                ("behaviour", self.by_behaviour),
                ("length", self.by_length),
            )
        }


@dataclass(frozen=True)
class SplitScores:
    """The scores of several detectors, by name, on a split of ``clips`` clips."""

    clips: int
    detectors: Mapping[str, GroupedScores]

    def to_json(self) -> dict[str, object]:
        """The scores as they stand in ``summary.json``."""
        return {"clips": self.clips, **{n: s.to_json() for n, s in self.detectors.items()}}


@dataclass(frozen=True)
class ClipQuestions:
    """All questions about some clips.

    Attributes:
        clips: The clips.
        clip: ``[N]``, the number of each question's clip.
        place: ``[N]``, each question's place among those of its clip.
        true: ``[N] bool``, the true answers.
    """

    clips: Sequence[Clip]
    clip: np.ndarray
    place: np.ndarray
    true: np.ndarray

    @classmethod
    def of(cls, clips: Sequence[Clip]) -> ClipQuestions:
        """The questions of clips, clip by clip."""
        pairs = [(k, p) for k, clip in enumerate(clips) for p in range(len(clip.questions))]
        return cls(
            clips,
            np.array([k for k, _ in pairs]),
            np.array([p for _, p in pairs]),
            np.array([clips[k].questions[p].answer for k, p in pairs]),
        )

    def score(self, probabilities: np.ndarray) -> GroupedScores:
        """How good answers are: ``[N]``, the probability of yes for each question."""
        of_each = [self.clips[k] for k in self.clip]
        kinds = [c.questions[p].kind for c, p in zip(of_each, self.place, strict=True)]
        columns = (probabilities, self.true, self.clip)

        def by(names: Sequence[str]) -> Mapping[str, DetectorScore]:
            return {name: s.rounded() for name, s in score_by(names, *columns).items()}

        return GroupedScores(
            score(*columns).rounded(),
            by(kinds),
            by([c.behaviour for c in of_each]),
            by([f"{len(c.frames)} frames" for c in of_each]),
        )


def answer_clips(
    detector: QuestionAnswerer, clips: Sequence[Clip], batch: int, bar: ProgressBar, title: str
) -> np.ndarray:
    """A detector's probabilities of yes, ``[N]``, for all questions about some clips.

    Args:
        detector: The detector.
        clips: The clips with their questions.
        batch: How many clips are in a batch.
        bar: Shows how many clips are done.
        title: Describes the work beside the bar.
    """
    probabilities: list[np.ndarray] = []
    for first in range(0, len(clips), batch):
        some = clips[first : first + batch]
        texts = [[question.text for question in clip.questions] for clip in some]
        probabilities += detector.answer([clip.frames for clip in some], texts, batch)
        bar.update(title, first + len(some))
    return np.concatenate(probabilities)


def score_episodes(
    detectors: Mapping[str, QuestionAnswerer], episodes: int, batch: int
) -> dict[str, RuleScores]:
    """Score detectors on episodes that are longer than a clip, by the two rules of the paper.

    Each episode consists of one command, and is cut into clips of ``EPISODE_CLIP`` steps.

    Args:
        detectors: The detectors by name.
        episodes: How many episodes are played.
        batch: How many clips are in a batch.
    """
    settings = {"room_size": 8, "n_items": 4, "alike": 0.5, "max_steps": 10_000}
    worlds = make_worlds("playground", episodes, batched=True, **settings)
    assert isinstance(worlds, BatchedWorlds)
    first = first_seed("test1", 0) + 50_000_000  # in test1's range, but unused by its clips
    names = ("learned", "scripted", "interrupted", "wandering")
    plans = [TRAINING[names[i % len(names)]] for i in range(episodes)]
    clips, texts, episode_of, true = [], [], [], []
    for i, rollout in enumerate(record_rollouts(worlds, range(first, first + episodes), plans)):
        last = rollout.trajectory.n_steps
        command = rollout.phases[-1].command
        spec = QuestionSpec((ItemEvent(command.verb, command.item),))
        true.append(rollout.between(0, last).answer(spec) is not None)
        for start in range(0, max(last, 1), EPISODE_CLIP):
            steps = evenly(start, min(start + EPISODE_CLIP, last))
            clips.append(rollout.trajectory.frames(steps))
            texts.append([command_question(command)])
            episode_of.append(i)
    scores: dict[str, RuleScores] = {}
    for name, detector in detectors.items():
        yes = np.concatenate(detector.answer(clips, texts, batch)) > 0.5
        answers: list[list[bool]] = [[] for _ in range(episodes)]
        for i, answer in zip(episode_of, yes, strict=True):
            answers[i].append(bool(answer))
        scores[name] = {
            rule: score(
                np.array([decide(each) for each in answers], float),
                np.array(true),
                np.arange(episodes),
            ).rounded()
            for rule, decide in RULES.items()
        }
    return scores
