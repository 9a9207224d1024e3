"""``python -m run report``: results of evaluate, as one page that needs no server."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import tyro

from envs.errors import BadInput
from run.evaluation.report_page import EvaluationReport
from run.evaluation.results import EvaluationRun
from run.storage.overwriting import check_free, write_files
from run.storage.settings import at_least
from run.storage.unused import refuse


@dataclass(frozen=True)
class ReportSettings:
    """Show the results of evaluate: one HTML page, and its tables as Markdown.

    The page needs no other file. It has success by task with 95 % intervals, plots, differences
    between runs on the same episodes with an exact test (McNemar), the parts at fault for failures
    (of runs made with --attribute-faults), what an episode costs, and a player for some episodes,
    failures first: the room, the dialogue and the candidates' scores, step by step. For these the
    Actor repeats the recorded commands; no language model is needed.

    Examples:
      python -m run report runs/evaluate/20260102-030405-planner-parley-135m
      python -m run report runs/evaluate/*-mine --compare runs/evaluate/*-other --out both.html
      python -m run report RUN --players 0
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders of evaluate; the others are compared with the first."""
    compare: tuple[Path, ...] = ()
    """More run folders, which are added to the others."""
    out: Path | None = None
    """The page, by default report.html in the first run's folder. The Markdown file is written
    beside it."""
    force: bool = False
    """Replace what is at --out already."""
    players: int = 6
    """Number of episodes to show step by step, shared by the runs."""
    title: str = "Parley"
    """Title of the page."""

    def refuse_unused(self, given: Collection[str]) -> None:
        """Raise BadInput for an option that is given and that this run does not use."""
        refuse(given, {} if self.out else {"force": "the report in a run folder is always renewed"})

    def __post_init__(self) -> None:
        at_least(self, {"players": 0})
        if not self.runs:
            raise BadInput("name at least one run folder of evaluate")


def report(settings: ReportSettings) -> Path:
    """Write the page and return its path.

    Raises:
        BadInput: A run cannot be read, or the page cannot be written.
    """
    if settings.out is not None:
        check_free(settings.out, settings.force)
        check_free(settings.out.with_suffix(".md"), settings.force)
    runs = [EvaluationRun.read(path) for path in (*settings.runs, *settings.compare)]
    page = EvaluationReport.of(runs, settings.title, settings.players)
    out = settings.out or settings.runs[0] / "report.html"
    html, markdown = page.html(), page.markdown()
    write_files(
        {
            out: lambda file: file.write_text(html, encoding="utf-8"),
            out.with_suffix(".md"): lambda file: file.write_text(markdown, encoding="utf-8"),
        }
    )
    print(out)
    return out
