"""What the command ``episode`` shows: episodes while they are played, their videos, a summary."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console

from agents.by_hand import PlayedByHand
from agents.team import Callback
from run.display.by_hand import HandScreen
from run.display.keyboard import Keyboard
from run.display.live import PAUSE, HumanView, LiveView, PlainLines, RunningScore, say
from run.display.messages import note
from run.display.rooms import shows_pictures
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
        by_hand: Whether a person plays any part of the team.
        pause: How long the live view shows each step, in seconds; None for the default.
    """

    title: str
    plain: bool = False
    verbose: bool = False
    human_actor: bool = False
    by_hand: bool = False
    pause: float | None = None


@contextmanager
def episode_display(
    options: DisplayOptions,
    episodes: int,
    finished: Sequence[EpisodeRecord],
    parts: Sequence[object] = (),
) -> Iterator[GroupDisplay]:
    """The live view in a terminal with colour, otherwise a line for each episode. A person plays in
    a screen of their own, or, without a terminal, line by line at standard input.

    Args:
        options: How the episodes are shown.
        episodes: How many episodes the run has.
        finished: The records of those that a resumed run has already played.
        parts: The parts of the team; those that a person plays ask through the screen.
    """
    console = Console()
    pause = PAUSE if options.pause is None else options.pause
    if options.by_hand and not options.plain:
        if Keyboard.is_possible():
            keyboard = Keyboard(sys.stdin.fileno())
            with HandScreen(console, keyboard, options.title, episodes, pause) as screen:
                for part in parts:
                    if isinstance(part, PlayedByHand):
                        part.prompter = screen
                yield lambda indices, skip: [screen.group(indices, skip)]
            return
        note("no terminal: a person is asked line by line at standard input")
    # The half blocks of the live view need colour.
    plain = options.plain or options.by_hand
    if plain or not console.is_terminal or not shows_pictures(console):
        human: list[Callback] = [HumanView(console)] if options.human_actor else []
        yield lambda indices, skip: [*human, PlainLines(indices, skip, options.verbose)]
        return
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
