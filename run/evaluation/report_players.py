"""The episodes that a report shows step by step."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agents.dialogue import kind_of_scores
from envs.errors import BadInput
from run.evaluation.results import EvaluationRun
from run.storage.records import EpisodeRecord, TurnRecord

if TYPE_CHECKING:
    import numpy as np

    from run.evaluation.replay import ReplayedEpisode

CANDIDATES = 5  # shown for each decision


@dataclass(frozen=True)
class CandidateBar:
    """A candidate of a decision, with its probability in percent."""

    text: str
    percent: float


@dataclass(frozen=True)
class PlayerTurn:
    """A turn as the page shows it."""

    thought: str
    utterance: str
    report: str
    scores: Sequence[CandidateBar]
    kind: str


@dataclass(frozen=True)
class EpisodePlayer:
    """An episode as the page shows it.

    Attributes:
        task: The task sentence.
        opening: What was reported before the first command.
        success: Whether it succeeded.
        ended: How it ended.
        where: Which episode of which run it is.
        turns: Its turns.
        frames: Pictures of the room, as base64 PNG.
        turn_frames: For each turn, the number of the frame at which it began.
    """

    task: str
    opening: str
    success: bool
    ended: str
    where: str
    turns: Sequence[PlayerTurn]
    frames: Sequence[str]
    turn_frames: Sequence[int]


def episode_players(runs: Sequence[EvaluationRun], n: int) -> list[EpisodePlayer]:
    """``n`` episodes, shared by the runs: of each the first failures, task by task in turn, then
    successes."""
    players = []
    for k, run in enumerate(runs):
        most = n // len(runs) + (k < n % len(runs))
        players += [p for p in (_player(run, r) for r in _chosen(run, most)) if p is not None]
    return players


def _chosen(run: EvaluationRun, n: int) -> list[EpisodeRecord]:
    chosen: list[EpisodeRecord] = []
    played = [record for record in run.episodes if record.error is None and record.turns]
    for success in (False, True):
        by_task: dict[str, list[EpisodeRecord]] = {}
        for record in played:
            if bool(record.success) is success:
                by_task.setdefault(record.key[0], []).append(record)
        for rank in range(max(map(len, by_task.values()), default=0)):
            if len(chosen) >= n:
                break
            chosen += [records[rank] for records in by_task.values() if rank < len(records)]
    return chosen[:n]


def _player(run: EvaluationRun, record: EpisodeRecord) -> EpisodePlayer | None:
    """The player of an episode; None where its suite is not here any more, or has no such task."""
    replayed = _replayed(run, record)
    if replayed is None:
        return None
    differs = "" if replayed.same else "; it came out differently when it was played again"
    return EpisodePlayer(
        record.task,
        record.opening,
        bool(record.success),
        record.ended,
        f"{run.name}, {record.task_name}, seed {record.seed}{differs}",
        [_turn(turn) for turn in record.turns],
        [_png(frame) for frame in replayed.frames()],
        list(replayed.turns),
    )


def _turn(turn: TurnRecord) -> PlayerTurn:
    best = sorted(turn.scores.items(), key=lambda item: -item[1])[:CANDIDATES]
    bars = [CandidateBar(text, round(100 * math.exp(min(0.0, score)), 1)) for text, score in best]
    return PlayerTurn(turn.thought, turn.utterance, turn.report, bars, kind_of_scores(turn.scores))


def _replayed(run: EvaluationRun, record: EpisodeRecord) -> ReplayedEpisode | None:
    from envs.tasks import make_worlds
    from run.evaluation.jobs import actor_and_reporter
    from run.evaluation.replay import replay
    from run.evaluation.suites import find_suite

    config = run.config
    try:
        suite = find_suite(str(config["suite"]))
        variants = {(task.name, v.label): v for task in suite.tasks for v in task.variants}
        variant = variants[record.key]
        items = {"items": config["items"] or suite.items} if variant.has_items else {}
        worlds = make_worlds(variant.environment, 1, **{**variant.settings, **items})
        acts, reports = (
            str(variant.team.get(part, config[part])) for part in ("actor", "reporter")
        )
        actor, reporter = actor_and_reporter(variant, acts, reports)
        limits = int(config["max_turns"]), int(config["command_steps"])
        (replayed,) = replay([record], worlds, actor, reporter, *limits)
    except (BadInput, KeyError, TypeError, ValueError):
        return None
    return replayed


def _png(frame: np.ndarray) -> str:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(frame).quantize(64).save(out, "png", optimize=True)
    return base64.b64encode(out.getvalue()).decode()
