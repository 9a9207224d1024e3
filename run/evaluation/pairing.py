"""The same episodes played by two teams, counted task by task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from run.storage.records import EpisodeRecord

EpisodeKey = tuple[str, str, int]
"""Task, variant and seed: the same world in every run."""


@dataclass(frozen=True)
class PairCounts:
    """Episodes that two teams have both played without breaking.

    Attributes:
        both: How many both have won.
        first_only: How many only the first has won.
        second_only: How many only the second has won.
        neither: How many nobody has won.
    """

    both: int = 0
    first_only: int = 0
    second_only: int = 0
    neither: int = 0

    @property
    def n(self) -> int:
        """How many pairs there are."""
        return self.both + self.first_only + self.second_only + self.neither

    def __add__(self, other: PairCounts) -> PairCounts:
        return PairCounts(
            self.both + other.both,
            self.first_only + other.first_only,
            self.second_only + other.second_only,
            self.neither + other.neither,
        )


def paired_outcomes(
    first: Iterable[EpisodeRecord], second: Iterable[EpisodeRecord]
) -> dict[str, PairCounts]:
    """The pairs of episodes by task, in the order of the first team's; tasks without any are left
    out."""
    mine, theirs = _successes(first), _successes(second)
    by_task: dict[str, PairCounts] = {}
    for key, success in mine.items():
        if key in theirs:
            pair = PairCounts(
                both=int(success and theirs[key]),
                first_only=int(success and not theirs[key]),
                second_only=int(theirs[key] and not success),
                neither=int(not success and not theirs[key]),
            )
            by_task[key[0]] = by_task.get(key[0], PairCounts()) + pair
    return by_task


def all_tasks(by_task: Mapping[str, PairCounts]) -> PairCounts:
    """The pairs of all tasks together."""
    return sum(by_task.values(), PairCounts())


def _successes(episodes: Iterable[EpisodeRecord]) -> dict[EpisodeKey, bool]:
    """Whether each episode that was judged succeeded."""
    return {
        (*record.key, record.seed): record.success
        for record in episodes
        if record.error is None and record.success is not None
    }
