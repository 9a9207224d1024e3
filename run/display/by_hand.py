"""Playing by hand: the screen that asks a person who is the Planner, the Actor or the Reporter."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import FrameType, TracebackType

from minigrid.core.actions import Actions
from rich.console import Console
from rich.control import Control
from rich.screen import Screen

from agents.by_hand import NotACommand, read_command
from agents.dialogue import Decision, Dialogue, Rollout
from agents.episode import Episode
from agents.messages import Report
from envs.commands import Command
from envs.errors import BadInput
from envs.events import Event
from envs.worlds import Worlds
from run.display.hand_layout import HandPage, Question
from run.display.keyboard import END, RESIZED, Keyboard
from run.display.live import say_end
from run.display.outcome import EventLog, what_happened
from run.display.rooms import name_in_legend
from run.display.state import DisplayState, verdict

ACTIONS = {
    "left": Actions.left,
    "a": Actions.left,
    "right": Actions.right,
    "d": Actions.right,
    "up": Actions.forward,
    "w": Actions.forward,
    " ": Actions.toggle,
    "e": Actions.toggle,
    "t": Actions.toggle,
    "p": Actions.pickup,
    "o": Actions.drop,
    "x": Actions.done,
    "enter": Actions.done,
}
ACTOR_KEYS = (
    "arrows or a w d: turn and go",
    "space: examine or open",
    "p: pick up",
    "o: drop",
    "x: command is done",
)
ACTOR_HINT = "arrows  space: examine/open  p: pick up  o: drop  x: done  ?: help  q: quit"
HELP = (
    "A Planner gives commands, an Actor carries them out step by step, a Reporter says what came "
    "of it. You play one of them or several.",
    "Planner: type the number of a command, or move to one with the arrows, then Enter gives it. "
    "Or type a command of your own. Until Enter, u takes the choice back. A Planner model sees "
    "the task and the dialogue, never the room: Tab hides the room for an honest game.",
    f"Actor: {'; '.join(ACTOR_KEYS)}. Before it picks something up you are asked, since a wrong "
    "item may end the episode. A step that was taken counts and cannot be taken back.",
    "Reporter: type what the Planner is to read; Enter alone gives the true report that is shown.",
    "In a line: Backspace, Ctrl-W for a word, Ctrl-U for all of it. PgUp and PgDn show other "
    "choices. q quits (Ctrl-D while you type); episodes that have ended are kept.",
)


class HandScreen(DisplayState):
    """One screen for all that a person plays: a callback of the loop, and its prompter.

    A context manager; the terminal is restored whatever ends the context.

    Args:
        console: The terminal.
        keyboard: Its keys.
        title: Stands in the first line.
        episodes: How many episodes the run has.
        pause: How long a step that somebody else takes is shown, in seconds.
    """

    def __init__(
        self, console: Console, keyboard: Keyboard, title: str, episodes: int, pause: float
    ) -> None:
        super().__init__()
        self.console = console
        self.keyboard = keyboard
        self.title = title
        self.episodes = episodes
        self.pause = pause
        self.indices: Sequence[int] = ()
        self.skip: frozenset[int] = frozenset()
        self._events = EventLog()
        self._shown = 0
        self._hidden = False
        self._more = False
        self._open = ExitStack()
        self._ended: list[tuple[int, Episode, Sequence[Event]]] = []

    def __enter__(self) -> HandScreen:
        with ExitStack() as stack:
            stack.enter_context(self.keyboard)
            before = signal.signal(signal.SIGTERM, _leave)
            stack.callback(signal.signal, signal.SIGTERM, before)
            stack.enter_context(self.console.screen(hide_cursor=True))
            self._open = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()
        # What was on the screen is gone with it.
        for index, episode, events in self._ended:
            say_end(index, episode, events, verbose=True)

    def group(self, indices: Sequence[int], skip: frozenset[int]) -> HandScreen:
        """This screen as the callback of a group of episodes, of which some are not shown."""
        self.indices, self.skip = indices, skip
        self.decisions.clear()
        self.pending.clear()
        self.ended.clear()
        return self

    # The loop.

    def on_begin(self, worlds: Worlds, dialogues: Sequence[Dialogue]) -> None:
        super().on_begin(worlds, dialogues)
        self._events.on_begin(worlds, dialogues)
        if dialogues:
            self._watch(dialogues[0].world, 0)

    def on_decision(self, i: int, dialogue: Dialogue, decision: Decision) -> None:
        super().on_decision(i, dialogue, decision)
        self._watch(i, 1)

    def on_step(self, worlds: Worlds) -> None:
        self._events.on_step(worlds)
        if self._shown in self.pending:
            self._watch(self._shown, 1)

    def on_report(self, i: int, dialogue: Dialogue) -> None:
        super().on_report(i, dialogue)
        self._watch(i, 1)

    def on_end(self, i: int, episode: Episode) -> None:
        super().on_end(i, episode)
        self.pending.discard(i)
        if self.indices[i] in self.skip or i not in self.dialogues:
            return
        self._shown = i
        events = self._events.of(i)
        self._ended.append((self.indices[i], episode, events))
        how = verdict(episode)
        said = [what_happened(events)]
        if episode.error is not None:
            said.append(episode.error.strip().splitlines()[-1])
        last = self.indices[i] + 1 >= self.episodes
        self._until(
            ("enter", " "),
            lambda: Question(
                f"The end: {how}",
                keys=f"Enter: {'leave' if last else 'next episode'}  q: quit",
                note="; ".join(said),
            ),
        )

    # The prompter.

    def command(self, dialogue: Dialogue) -> Command:
        self._shown = dialogue.world
        self.dialogues[dialogue.world] = dialogue
        candidates = dialogue.candidates()
        line, chosen, note, first = "", 0, "", 0
        while True:
            choices = [f"{n}{'>' if n == chosen else ' '} {c}" for n, c in enumerate(candidates, 1)]
            how = "Enter: give it  u: undo" if line else "number, or type a command"
            keys = f"{how}  ?: help  q: quit  Tab: hide room"
            key = self._ask(
                Question(
                    "Planner: your command? A Planner model never sees the room",
                    choices,
                    line,
                    note,
                    keys,
                    first,
                )
            )
            note = ""
            typing = bool(line) and not chosen
            number = line.isdecimal() and typing
            if key == "enter" and line:
                try:
                    command = read_command(line, dialogue)
                except NotACommand as problem:
                    note = str(problem)
                    continue
                if not number:
                    return command
                chosen, line = int(line), command.sentence()
                first = chosen - 1
            elif key in ("up", "down") and candidates:
                step = 1 if key == "down" else -1
                chosen = (chosen + step - (chosen == 0 and step < 0) - 1) % len(candidates) + 1
                line = candidates[chosen - 1].sentence()
                first = chosen - 1
            elif key in ("page down", "page up"):
                first = _paged(first, key, len(candidates), self._more)
            elif chosen and key in ("u", "backspace", "clear line", "delete word", "escape"):
                line, chosen = "", 0
            elif not typing and key.isdecimal() and key.isascii() and len(candidates) <= 9:
                if 1 <= int(key) <= len(candidates):
                    chosen, line = int(key), candidates[int(key) - 1].sentence()
                    first = chosen - 1
                else:
                    note = f"there is no candidate {key}; the numbers are 1 to {len(candidates)}"
            elif not typing and self._common(key):
                pass
            elif key in (END, "?", "tab"):
                self._common(key)
            elif len(key) == 1 and (typing or key != " "):
                line, chosen = ("" if chosen else line) + key, 0
            else:
                line = edited(line, key)

    def action(self, worlds: Worlds, i: int, command: Command) -> int:
        self._shown, self.worlds = i, worlds
        note, taking = "", False
        while True:
            world = worlds.world(i)
            front = world.grid.get(*world.front_pos)
            ahead = "nothing" if front is None else name_in_legend(front)
            held = "nothing" if world.carrying is None else name_in_legend(world.carrying)
            asked = f"pick up the {ahead}? p or Enter: yes, any other key: no" if taking else note
            key = self._ask(
                Question(
                    f"Actor: {command.sentence()}",
                    (f"ahead: {ahead}", f"you carry: {held}"),
                    None,
                    asked,
                    ACTOR_HINT,
                )
            )
            note = ""
            if taking:
                if key in ("p", "enter"):
                    return int(Actions.pickup)
                # The picture may have changed its size; the question stands.
                taking = key == RESIZED
                continue
            action = ACTIONS.get(key.lower() if len(key) == 1 else key)
            if action == Actions.pickup and front is not None and front.can_pickup():
                taking = True
            elif action == Actions.pickup and front is not None:
                note = f"nobody can pick up the {ahead}"
            elif action is not None:
                return int(action)
            elif key == "u":
                note = "a step that was taken counts and cannot be taken back"
            elif not self._common(key) and key not in (RESIZED, "escape"):
                note = f"the key {key!r} does nothing here; ? shows the keys"

    def report(self, rollout: Rollout, dialogue: Dialogue, default: Report) -> str:
        self._shown = dialogue.world
        line = ""
        while True:
            key = self._ask(
                Question(
                    f"Reporter: what came of it? ({rollout.command})",
                    (),
                    line,
                    f"Enter alone: {default.text}",
                    "Enter: send  Backspace: correct  Tab: room  ?: help  Ctrl-D: quit",
                )
            )
            if key == "enter":
                return line
            if key in (END, "tab") or (key == "?" and not line):
                self._common(key)
            elif len(key) == 1:
                line += key
            else:
                line = edited(line, key)

    # The screen.

    def _common(self, key: str) -> bool:
        """Do what a key does everywhere; False if it is none of these."""
        if key in ("q", END):
            self._quit()
        elif key in ("?", "h"):
            self._help()
        elif key == "tab":
            self._hidden = not self._hidden
        else:
            return False
        return True

    def _quit(self) -> None:
        counted = "" if self._shown in self.ended else " This episode is not counted."
        key = self._ask(
            Question(
                f"Quit?{counted}",
                note="Episodes that have ended are kept, and the run can be resumed.",
                keys="y: quit  any other key: go on",
            )
        )
        if key in ("y", "Y", END):
            raise KeyboardInterrupt

    def _help(self) -> None:
        first = 0
        while True:
            width = max(self.console.width, 20)
            lines = [line for text in HELP for line in (*_folded(text, width - 1), "")]
            question = Question(
                "Help", lines, keys="any key: back  PgDn: more", first=first, alone=True
            )
            key = self._ask(question)
            if key == RESIZED:
                continue
            if key not in ("page down", "page up"):
                return
            first = _paged(first, key, len(lines), self._more)

    def _until(self, keys: Sequence[str], question: Callable[[], Question]) -> None:
        while (key := self._ask(question())) not in keys:
            self._common(key)

    def _watch(self, i: int, steps: int) -> None:
        """Show somebody else's turn, for the time of so many steps."""
        self._shown = i
        self._draw(Question(self.display(i).status(), keys="Ctrl-C: quit"))
        time.sleep(self.pause * steps)

    def _ask(self, question: Question) -> str:
        """Show a question and wait for the next key."""
        self._draw(question)
        try:
            return self.keyboard.read()
        except EOFError:
            raise BadInput("the terminal in which a human plays was closed") from None

    def _draw(self, question: Question) -> None:
        i = self._shown
        title = f"episode {self.indices[i] + 1} of {self.episodes}, step {self.display(i).step}"
        title += f", {self.title}"
        worlds = None if self._hidden else self.worlds
        page = HandPage(title, self.display(i), worlds, question)
        with self.console:  # in one piece, so that it does not flicker
            self.console.control(Control.home())
            self.console.print(Screen(page), end="")
        self._more = page.more


def edited(line: str, key: str) -> str:
    """A line after a key that is no character."""
    if key == "backspace":
        return line[:-1]
    if key == "delete word":
        return line.rstrip().rpartition(" ")[0]
    return "" if key in ("clear line", "escape") else line


def _paged(first: int, key: str, n: int, more: bool) -> int:
    """The first choice to show after a key that turns the page."""
    if not more:
        return 0
    return max(min(first + (4 if key == "page down" else -4), n - 1), 0)


def _folded(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines


def _leave(number: int, frame: FrameType | None) -> None:
    """On SIGTERM: end as an exception does, so that the terminal is restored."""
    sys.exit(128 + number)
