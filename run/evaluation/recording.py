"""Episodes are recorded as they end, and those of a killed run are read back."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

from agents.dialogue import Decision, Dialogue, TokenCost
from agents.episode import Episode
from agents.team import Callback
from run.display.live import say
from run.storage.folder import RunFolder
from run.storage.records import EpisodeRecord, TurnRecord, read_episodes


class RecordSink(Protocol):
    """Where records of episodes go: a run folder, or a list."""

    def append(self, record: EpisodeRecord, /) -> None:
        """Keep a record. A run folder raises BadInput where it cannot be written."""
        ...


class EpisodeRecorder(Callback):
    """Records each episode of a group as it ends, except those that were recorded before."""

    def __init__(
        self,
        sink: RecordSink,
        indices: Sequence[int],
        done: Collection[int],
        records: list[EpisodeRecord],
        key: tuple[str, str] | None = None,
    ) -> None:
        """Record a group.

        Args:
            sink: Where records go.
            indices: The numbers of the group's episodes.
            done: The numbers of episodes that have a record already.
            records: New records are appended to this list too.
            key: In an evaluation, the names of the task and the variant.
        """
        self.sink = sink
        self.indices = indices
        self.done = frozenset(done)
        self.records = records
        self.key = key
        self.reports_true: Mapping[int, Sequence[bool]] | None = None
        """For each world of the group, whether its reports are true, where that is known."""
        self._scores: dict[int, list[Mapping[str, float]]] = {i: [] for i in range(len(indices))}
        self._problems: dict[int, list[str]] = {i: [] for i in range(len(indices))}
        self._costs: dict[int, TokenCost] = {}
        self._began = time.monotonic()

    def on_decision(self, i: int, dialogue: Dialogue, decision: Decision) -> None:
        self._scores[i].append({text: round(s, 6) for text, s in decision.scores.items()})
        self._problems[i].append(decision.problem)
        if decision.cost is not None:
            self._costs[i] = self._costs.get(i, TokenCost()) + decision.cost

    def on_end(self, i: int, episode: Episode) -> None:
        if self.indices[i] in self.done:
            return
        checked = self.reports_true
        task_name, variant = self.key or (None, None)
        record = EpisodeRecord(
            episode=self.indices[i],
            seed=episode.seed,
            task=episode.task,
            turns=tuple(
                TurnRecord(
                    turn.utterance,
                    None if turn.command is None else str(turn.command),
                    turn.report.text,
                    scores,
                    turn.thought,
                    problem,
                )
                # The last decision has no turn where the episode broke.
                for turn, scores, problem in zip(
                    episode.turns, self._scores[i], self._problems[i], strict=False
                )
            ),
            success=episode.success,
            ended=episode.ended,
            steps=episode.steps,
            unparsed=episode.unparsed,
            error=episode.error,
            seconds=round(time.monotonic() - self._began, 3),
            opening=episode.opening.text,
            tokens=self._costs.get(i),
            reports_true=None if checked is None else tuple(checked.get(i, ())),
            task_name=task_name,
            variant=variant,
        )
        self.sink.append(record)
        self.records.append(record)


def finished_episodes(folder: RunFolder, needs_task: bool = False) -> list[EpisodeRecord]:
    """The records of all episodes that need not be played again.

    Those of episodes that broke are taken out of the file.

    Args:
        folder: The run folder.
        needs_task: Whether each record must name a suite's task and variant.

    Raises:
        BadInput: A line of the file is damaged.
    """
    records = read_episodes(folder.lines_file, needs_task)
    whole = [record for record in records if record.error is None]
    if len(whole) < len(records):
        say(f"{len(records) - len(whole)} episodes that broke are played again")
        folder.keep_lines([record.error is None for record in records])
    return whole


def missing_groups(episodes: int, size: int, done: Collection[int]) -> Iterator[range]:
    """The groups of consecutive episodes of which some are not done.

    Always whole groups: a language model's last digits depend on its batch.

    Args:
        episodes: How many episodes there are.
        size: How many are played together.
        done: The numbers of those that are done.
    """
    for start in range(0, episodes, size):
        indices = range(start, min(start + size, episodes))
        if not all(i in done for i in indices):
            yield indices
