"""``python -m run leaderboard``: stored results of evaluate, side by side."""

from __future__ import annotations

import glob
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from run.evaluation.leaderboard import columns_of, leaderboard_page
from run.evaluation.leaderboard_plots import leaderboard_pictures
from run.evaluation.results import EvaluationRun, KeptResult, read_results
from run.storage.overwriting import check_free, write_files
from run.storage.unused import refuse


@dataclass(frozen=True)
class LeaderboardSettings:
    """Put results of evaluate side by side: a table for each suite, and plots.

    A result is a small JSON file: the scores of a run's tasks, its settings, commit and date. The
    page, in Markdown, gives for each number the command that made it, with commit, seed and number
    of episodes. Runs of some of a suite's tasks, by one team with one seed, share a column with the
    team's other runs; where two runs have the same task, the newer one counts.

    Examples:
      python -m run leaderboard
      python -m run leaderboard --add runs/evaluate/20260102-030405-reasoning-parley-135m
      python -m run leaderboard --results my/results --out my/board.md
    """

    results: Path = Path("docs/results")
    """Folder of the results."""
    add: tuple[Path, ...] = ()
    """Run folders of evaluate to add to the results, each in place of an older run of the same
    command."""
    out: Path | None = None
    """The page, by default leaderboard.md beside the folder of the results, where an older one is
    replaced. Its plots, of whole suites and of the tasks, teams and Planners apart, are written
    beside it."""
    force: bool = False
    """Replace what is at --out already."""

    def refuse_unused(self, given: Collection[str]) -> None:
        """Raise BadInput for an option that is given and that this run does not use."""
        refuse(given, {} if self.out else {"force": "the page at its usual place is renewed"})


def leaderboard(settings: LeaderboardSettings) -> Path:
    """Write the page and return its path.

    Raises:
        BadInput: A run or a result cannot be read, or the page cannot be written.
    """
    page = settings.out or settings.results.absolute().parent / "leaderboard.md"
    if settings.out is not None:
        for path in (page, *page.parent.glob(f"{glob.escape(page.stem)}-*.png")):
            check_free(path, settings.force)
    added = [KeptResult.of(EvaluationRun.read(path)) for path in settings.add]
    for result in added:
        result.write(settings.results)
    columns = columns_of(read_results(settings.results))
    text = leaderboard_page(columns, page.stem)
    write_files(
        {
            page: lambda file: file.write_text(text, encoding="utf-8"),
            **leaderboard_pictures(columns, page),
        }
    )
    print(page)
    return page
