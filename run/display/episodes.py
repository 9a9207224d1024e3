"""What the command ``episode`` shows: episodes while they are played, their videos, a summary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console

from agents.team import Callback
from run.display.live import PAUSE, HumanView, LiveView, PlainLines, RunningScore, say
from run.display.video import VideoCallback
from run.storage.folder import RunFolder
from run.storage.records import EpisodeRecord, RunSummary

GroupDisplay = Callable[[Sequence[int], frozenset[int]], list[Callback]]
"""Makes the callbacks that show a group, of the numbers of its episodes and of those to skip."""


@dataclass(frozen=True)
class DisplayOptions:
    """How the episodes of a run are shown.

    Attributes:
        title: Stands above every picture.
        plain: Whether to print lines even where a terminal could show the live view.
        verbose: Whether plain lines include the dialogues.
        human_actor: Whether a person acts, who must see the world before each step.
        pause: How long the live view shows each step, in seconds; None for the default.
    """

    title: str
    plain: bool = False
    verbose: bool = False
    human_actor: bool = False
    pause: float | None = None


@contextmanager
def episode_display(
    options: DisplayOptions, episodes: int, finished: Sequence[EpisodeRecord]
) -> Iterator[GroupDisplay]:
    """The live view in a terminal with colour, otherwise a line for each episode.

    Args:
        options: How the episodes are shown.
        episodes: How many episodes the run has.
        finished: The records of those that a resumed run has already played.
    """
    console = Console()
    # The half blocks of the live view need colour.
    if options.plain or not console.is_terminal or console.color_system is None:
        human: list[Callback] = [HumanView(console)] if options.human_actor else []
        yield lambda indices, skip: [*human, PlainLines(indices, skip, options.verbose)]
        return
    pause = PAUSE if options.pause is None else options.pause
    with LiveView(console, options.title, RunningScore(episodes, finished), pause) as view:
        yield lambda indices, skip: [view.group(indices, skip)]


def missing_videos(
    indices: Sequence[int], n_videos: int, folder: RunFolder, title: str
) -> VideoCallback:
    """Makes the videos of a group's episodes that do not exist yet.

    Args:
        indices: The numbers of the group's episodes.
        n_videos: How many of the run's episodes, from the first on, have a video.
        folder: The run folder.
        title: Stands in every picture.
    """
    paths = {}
    for place, i in enumerate(indices):
        path = folder.path / "videos" / f"episode-{i:04d}"
        if i < n_videos and not path.with_name(f"{path.name}.mp4").exists():
            paths[place] = folder.part("videos", path.name)
    return VideoCallback(paths, title)


def print_success(summary: RunSummary) -> None:
    """Print a run's success rate with its interval, and the mean length of its episodes."""
    if summary.success_rate is None or summary.success_ci95 is None:
        say(f"{summary.n} episodes, none of them judged")
        return
    low, high = summary.success_ci95
    judged = summary.n - summary.n_errors - summary.n_unjudged
    say(
        f"success in {summary.n_success} of {judged} episodes: {summary.success_rate:.3f} "
        f"(95 % interval {low:.3f} to {high:.3f}), {summary.mean_turns:.1f} turns and "
        f"{summary.mean_steps:.1f} steps on average"
    )
