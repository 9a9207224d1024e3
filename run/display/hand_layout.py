"""The layout of the screen for playing by hand: rows and columns for a terminal of any size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.text import Text

from agents.dialogue import PLANNER, REPORTER, TASK, THOUGHT
from envs.worlds import Worlds
from run.display.rooms import RoomDrawing, draw_room
from run.display.state import EpisodeDisplay

# Colours that can be read on a dark and on a light background.
STYLE = {TASK: "bold", THOUGHT: "italic", PLANNER: "bold magenta", REPORTER: "bold green"}
LEAST_WORDS = 22  # columns for the dialogue beside the room


@dataclass(frozen=True)
class Question:
    """What the person is asked, at the bottom of the screen.

    Attributes:
        head: Who is asked what, in one line.
        choices: What can be chosen, or what is to be known; as many columns as fit.
        line: What has been typed; None where nothing is typed.
        note: A message: why a line was not understood, what a key does.
        keys: The keys.
        first: The number of the first choice to show, where there is no room for all.
        alone: Whether the choices take the place of the room and the dialogue.
    """

    head: str
    choices: Sequence[str] = ()
    line: str | None = None
    note: str = ""
    keys: str = ""
    first: int = 0
    alone: bool = False


class HandPage:
    """The whole screen: title and task, the room beside the legend and the dialogue, the question.

    Args:
        title: Stands in the first line.
        display: The episode.
        worlds: The worlds of the episode's group; None where the person has hidden the room.
        question: What the person is asked.
    """

    def __init__(
        self, title: str, display: EpisodeDisplay, worlds: Worlds | None, question: Question
    ) -> None:
        self.title = title
        self.display = display
        self.worlds = worlds
        self.question = question
        self.more = False
        """Whether some of the choices are not shown, known once the page has been rendered."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = console.size
        task, *dialogue = self.display.script()
        about = wrapped(console, [task], width, max(2, height // 3))
        q = self.question
        hint = Text(plain(console, q.keys), "dim").wrap(console, width)
        keys = _cut(console, hint, 2 if height >= 20 else 1)
        note = _cut(console, Text(plain(console, q.note), "bold").wrap(console, width), 2)
        note = note if q.note else []
        line = [] if q.line is None else [self._line(console, q.line, width)]
        rest = height - 2 - len(about) - len(note) - len(line) - len(keys)
        if rest < 0:  # what is typed is needed most
            rest, keys = rest + len(keys), []
        columns, choices = self._choices(console, width)
        # The room first, but for some of the choices.
        least = 0 if q.alone else max(rest - 4, min(5, rest - 2), 0)
        if self.worlds is None:
            least = min(least, rest // 3)
        else:
            least = min(least, self.worlds.world(self.display.dialogue.world).height)
        n = max(min(len(choices), rest - least), 0)
        first = min(q.first // columns, max(len(choices) - n, 0))
        self.more = n < len(choices)
        head = plain(console, q.head)
        if self.more and q.choices:
            last = min((first + n) * columns, len(q.choices))
            about_choices = f"{first * columns + 1} to {last} of {len(q.choices)}, PgDn"
            who, colon, asked = head.partition(": ")
            head = f"{who} ({about_choices}){colon}{asked}"
        middle = max(rest - n, 0)
        room, title = self._room(console, width, middle)
        if q.alone:
            room, dialogue = None, []
        rows = [
            _bar(console, title, width),
            *console.render_lines(_joined(about), options.update(width=width, height=len(about))),
            *self._middle(console, room, dialogue, width, middle),
            _bar(console, head, width),
        ]
        for text in (*choices[first : first + n], *note, *line, *keys):
            text.truncate(width)
            rows += console.render_lines(text, options.update(width=width, no_wrap=True))[:1]
        for row in rows[: height - 1]:
            yield from row
            yield Segment.line()
        if len(rows) >= height:
            yield from rows[height - 1]

    def _choices(self, console: Console, width: int) -> tuple[int, list[Text]]:
        """The choices in as many columns as fit, and that number."""
        texts = [plain(console, c) for c in self.question.choices]
        if not texts:
            return 1, []
        widest = max(map(len, texts)) + 2
        columns = min(max(width // widest, 1), len(texts))
        rows = [
            Text("".join(t.ljust(widest) for t in texts[k : k + columns]).rstrip(), no_wrap=True)
            for k in range(0, len(texts), columns)
        ]
        return columns, rows

    def _line(self, console: Console, typed: str, width: int) -> Text:
        """What is typed, its end where it is too long, with a cursor."""
        shown = plain(console, typed)
        if len(shown) > width - 4:
            shown = shown[len(shown) - (width - 4) :]
        return Text.assemble(("> ", "bold"), shown, (" ", "reverse"), no_wrap=True)

    def _room(self, console: Console, width: int, rows: int) -> tuple[RoomDrawing | None, str]:
        if self.worlds is None:
            return None, f"{self.title}, room hidden (Tab)"
        columns = max(width - max(LEAST_WORDS, width * 2 // 5), 8)
        room = draw_room(self.worlds, self.display.dialogue.world, console, columns, rows)
        return room, f"{room.note}, {self.title}" if room.note else self.title

    def _middle(
        self,
        console: Console,
        room: RoomDrawing | None,
        dialogue: Sequence[tuple[str, str]],
        width: int,
        height: int,
    ) -> list[list[Segment]]:
        """The room beside its legend and the last lines of the dialogue."""
        left = 0 if room is None else room.width + 2
        beside = width - left
        legend: list[Text] = []
        if room is not None and room.legend:
            names = Text(", ").join(room.legend)
            legend = _cut(console, names.wrap(console, beside), max(height // 2, 1))
        words = wrapped(console, dialogue, beside, max(height - len(legend), 0), last=True)
        rows = []
        for k, text in enumerate([*legend, *words, *[Text()] * height][:height]):
            row: list[Segment] = []
            if room is not None:
                drawn = room.lines[k] if k < len(room.lines) else Text()
                if isinstance(drawn, Text):
                    drawn = _segments(console, drawn, room.width)
                row = [*drawn, Segment("  ")]
            rows.append([*row, *_segments(console, text, beside)])
        return rows


def plain(console: Console, text: str) -> str:
    """Text that cannot move the cursor and that the terminal can show: texts may come from a model
    or a server."""
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return shown.encode(console.encoding, "replace").decode(console.encoding)


def wrapped(
    console: Console,
    lines: Sequence[tuple[str, str]],
    width: int,
    rows: int,
    last: bool = False,
) -> list[Text]:
    """Lines of (speaker, text) in at most so many rows: the first of them, or the ``last``."""
    texts: list[Text] = []
    for who, words in lines:
        line = Text.assemble((f"{who}: ", STYLE[who]), plain(console, words))
        texts += line.wrap(console, max(width, 1))
    if last:
        return texts[max(len(texts) - rows, 0) :]
    return _cut(console, texts, rows)


def _cut(console: Console, lines: Iterable[Text], rows: int) -> list[Text]:
    """The first so many lines, the last of which says that there were more."""
    texts = list(lines)
    kept = texts[:rows]
    if len(texts) > rows and kept:
        kept[-1].truncate(max(len(kept[-1]) - 4, 0))
        kept[-1].append(" ...")
    return kept


def _joined(lines: Sequence[Text]) -> Text:
    return Text("\n").join(lines)


def _bar(console: Console, text: str, width: int) -> list[Segment]:
    line = Text(plain(console, text), "reverse", no_wrap=True)
    line.truncate(width, overflow="ellipsis" if console.encoding.startswith("utf") else "crop")
    line.pad_right(width - len(line))
    return _segments(console, line, width)


def _segments(console: Console, text: Text, width: int) -> list[Segment]:
    options = console.options.update(width=max(width, 1), no_wrap=True, overflow="crop")
    return console.render_lines(text, options, pad=True)[0]
