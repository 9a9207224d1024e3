"""The live view: the world in colour beside the dialogue as it grows; and plain lines instead."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from agents.dialogue import PLANNER, REPORTER, TASK, THOUGHT, Decision, Dialogue, script
from agents.episode import Episode
from envs.errors import BadInput
from envs.events import Event
from envs.worlds import Worlds
from run.display.outcome import EventLog, is_unjudged, what_happened
from run.display.rooms import HalfBlocks, letters, shows_pictures, small_frame
from run.display.state import DisplayState, EpisodeDisplay, verdict
from run.storage.records import EpisodeRecord

STYLE = {
    TASK: "bold yellow",
    THOUGHT: "italic bright_black",
    PLANNER: "bold bright_blue",
    REPORTER: "bold green",
}
PAUSE = 0.06
# For how many steps' time a decision, a report and the end of an episode are shown.
DECISION, REPORT, END = 10, 8, 20
BARS = 5


def say(text: str) -> None:
    """Print a line. A reader who has gone (``| head``) does not stop the run.

    Raises BadInput where standard output cannot be written for any other reason.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # For what is printed from now on, and for Python's own flush at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise BadInput(f"cannot write to standard output: {error.strerror or error}") from error


class RunningScore:
    """The score of the whole run so far."""

    def __init__(self, n: int, records: Sequence[EpisodeRecord]) -> None:
        self.n = n
        self.done = len(records)
        self.judged = sum(record.success is not None for record in records)
        self.successes = sum(record.success is True for record in records)
        self.errors = 0

    def add(self, episode: Episode) -> None:
        self.done += 1
        self.judged += episode.success is not None
        self.successes += episode.success is True
        self.errors += episode.error is not None

    def __str__(self) -> str:
        text = f"{self.successes} of {self.judged} succeeded" if self.judged else ""
        return f"{text}, {self.errors} broke".lstrip(", ") if self.errors else text


class PlainLines(DisplayState):
    """A line for each episode as it ends, and with ``verbose`` its dialogue before it."""

    def __init__(self, indices: Sequence[int], skip: frozenset[int], verbose: bool) -> None:
        super().__init__()
        self.indices = indices
        self.skip = skip
        self.verbose = verbose
        self._log = EventLog()

    def on_begin(self, worlds: Worlds, dialogues: Sequence[Dialogue]) -> None:
        super().on_begin(worlds, dialogues)
        self._log.on_begin(worlds, dialogues)

    def on_step(self, worlds: Worlds) -> None:
        self._log.on_step(worlds)

    def on_end(self, i: int, episode: Episode) -> None:
        if self.indices[i] not in self.skip:
            say_end(self.indices[i], episode, self._log.of(i), self.verbose)


def say_end(index: int, episode: Episode, events: Sequence[Event], verbose: bool) -> None:
    """Print how an episode ended, where nobody judged it what happened, and with ``verbose`` its
    dialogue before that."""
    if verbose:
        for who, text in script(episode.task, episode.opening, episode.turns):
            say(f"{who}: {text}" if who == TASK else f"  {who}: {text}")
    why = "" if episode.error is None else f": {episode.error.strip().splitlines()[-1]}"
    if is_unjudged(episode):
        why = f": {what_happened(events)}"
    say(f"episode {index} seed {episode.seed}: {verdict(episode)}{why}")


class LiveView:
    """The screen of a run; ``group`` makes the callback of one group of episodes.

    A context manager: the last picture stays on the screen when it closes.
    """

    def __init__(
        self, console: Console, title: str, score: RunningScore, pause: float = PAUSE
    ) -> None:
        self.console = console
        self.title = title
        self.score = score
        self.pause = pause
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("episode"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[score]}"),
            TextColumn("time left"),
            TimeRemainingColumn(),
            console=console,
        )
        self._bar = self.progress.add_task("", total=score.n, completed=score.done, score=score)
        self.live: Live | None = None

    def __enter__(self) -> LiveView:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the screen as it is and go on below it."""
        if self.live is not None:
            self.live.stop()
            self.live = None

    def group(self, indices: Sequence[int], skip: frozenset[int]) -> LiveGroup:
        return LiveGroup(self, indices, skip)

    def show(self, picture: RenderableType, steps: int) -> None:
        """Put a picture on the screen, for the time of so many steps."""
        # Started only now: what a Planner prints while it loads comes before.
        if self.live is None:
            self.live = Live(console=self.console, auto_refresh=False)
            self.live.start()
        self.live.update(Group(picture, self.progress), refresh=True)
        time.sleep(self.pause * steps)

    def count(self, episode: Episode) -> None:
        self.score.add(episode)
        self.progress.update(self._bar, completed=self.score.done, score=self.score)


class LiveGroup(DisplayState):
    """Shows the first episode of a group, and when that has ended the next one that still goes
    on."""

    def __init__(self, view: LiveView, indices: Sequence[int], skip: frozenset[int]) -> None:
        super().__init__()
        self.view = view
        self.indices = indices
        self.skip = skip
        self.shown = 0
        # Whether the episode that is shown has been seen to act; if not, nothing waits for it.
        self._seen = True

    def on_decision(self, i: int, dialogue: Dialogue, decision: Decision) -> None:
        super().on_decision(i, dialogue, decision)
        if i == self.shown:
            self._seen = True
            self._show(DECISION)

    def on_step(self, worlds: Worlds) -> None:
        if self.shown in self.pending:
            self._show(1)

    def on_report(self, i: int, dialogue: Dialogue) -> None:
        super().on_report(i, dialogue)
        if i == self.shown and self._seen:
            self._show(REPORT)

    def on_end(self, i: int, episode: Episode) -> None:
        super().on_end(i, episode)
        self.pending.discard(i)
        if self.indices[i] not in self.skip:
            self.view.count(episode)
        if i == self.shown:
            self._show(END if self._seen else 0)
            left = [k for k in self.dialogues if k not in self.ended]
            if left:
                self.shown, self._seen = left[0], False

    def _show(self, steps: int) -> None:
        # An episode whose world could not even begin has nothing to show.
        if self.worlds is not None and self.shown in self.dialogues:
            self.view.show(self._picture(self.worlds), steps)

    def _picture(self, worlds: Worlds) -> RenderableType:
        i, console = self.shown, self.view.console
        # The right column needs 38 characters, the frame and the progress bar some rows.
        pixels = small_frame(worlds, i, console.width - 38 - 8, console.height - 7)
        display = self.display(i)
        style = "dim"
        if display.episode is not None:
            style = {True: "bold green", False: "bold red", None: "bold"}[display.episode.success]
        left = Group(HalfBlocks(pixels), Text(display.status(), style))
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(width=max(pixels.shape[1], 16))
        table.add_column(ratio=1)
        height = math.ceil(len(pixels) / 2) + 1
        width = console.width - max(pixels.shape[1], 16) - 8
        table.add_row(left, self._words(display, width, height))
        n, going = len(self.indices), len([k for k in self.dialogues if k not in self.ended])
        title = f"{self.view.title} · episode {self.indices[i]}"
        if n > 1:
            title += f" · {going} of {n} still going"
        return Panel(table, title=title, title_align="left", border_style="bright_black")

    def _words(self, display: EpisodeDisplay, width: int, height: int) -> RenderableType:
        """The task, as many of the dialogue's last lines as there is room for, and the scores, in
        at most ``height`` rows."""
        bars = self._bars(display)
        room = height - (0 if bars is None else bars.row_count + 2)
        blocks = []
        for who, text in display.script():
            block = Text.assemble((f"{who}: ", STYLE[who]), text)
            blocks.append((block, len(block.wrap(self.view.console, max(width, 10)))))
        room -= blocks[0][1]
        shown: list[Text] = []
        for block, lines in reversed(blocks[1:]):
            if lines > room:
                break
            room -= lines
            shown.insert(0, block)
        words: list[RenderableType] = [blocks[0][0], *shown]
        if bars is not None:
            words += [Text(f"\nBest candidates, {display.kind_of_scores}", "dim"), bars]
        return Group(*words)

    @staticmethod
    def _bars(display: EpisodeDisplay) -> Table | None:
        best = display.best(BARS)
        if not best:
            return None
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        table.add_column(width=10)
        table.add_column(width=4)
        for sentence, score, chosen in best:
            p = math.exp(min(score, 0.0))
            filled = round(10 * p)
            style = "bold bright_blue" if chosen else "dim"
            bar = Text("█" * filled, style) + Text("·" * (10 - filled), "dim")
            table.add_row(Text(sentence, style if chosen else ""), bar, Text(f"{p:.2f}", style))
        return table


class HumanView(DisplayState):
    """Prints the world before each step, so that a human Actor sees what to do."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def on_decision(self, i: int, dialogue: Dialogue, decision: Decision) -> None:
        super().on_decision(i, dialogue, decision)
        self._print(i)

    def on_step(self, worlds: Worlds) -> None:
        for i in sorted(self.pending):
            if not worlds.over[i]:
                self._print(i)

    def _print(self, i: int) -> None:
        assert self.worlds is not None
        if not shows_pictures(self.console):
            say(letters(self.worlds, i))
            return
        frame = small_frame(self.worlds, i, self.console.width, self.console.height - 4)
        self.console.print(HalfBlocks(frame))
