"""The dialogue: all that the Planner ever sees.

``Dialogue.world`` and ``Dialogue.seed`` are book-keeping: the place of the episode in its batch,
for the cheats, and the episode's own seed, for parts that draw at random. Neither is ever put
into a prompt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from envs.commands import Command, all_commands
from envs.events import Event
from envs.items import COLOURS, Item, find_items

_DONE = {
    verb: re.compile(rf"(?<!not )\b{past} (?:the|an?) ([^.,;\n]*)", re.IGNORECASE)
    for verb, past in (("examine", "examined"), ("pick up", "picked up"))
}
_LOCKED = re.compile(r"\bdoor\b[^.]*\bis locked\b")
TASK, PLANNER, REPORTER = "Task", "Planner", "Reporter"
NOT_UNDERSTOOD = "I did not understand that command."


def one_line(text: str) -> str:
    """A text as one line, so that a report or a task can never pretend to be another turn."""
    return " ".join(text.split())


@dataclass(frozen=True)
class Turn:
    """One command and its report. ``command`` is None where what was said is no command."""

    said: str
    command: Command | None
    report: str


def script(task: str, opening: str, turns: Sequence[Turn]) -> list[tuple[str, str]]:
    """All that was said as (who, text), in its order."""
    said = [(TASK, task)]
    if opening:
        said.append((REPORTER, opening))
    for turn in turns:
        said += [(PLANNER, turn.said), (REPORTER, turn.report)]
    return said


@dataclass(frozen=True)
class Dialogue:
    """The task sentence and the turns so far, with the verbs that the Actor understands.

    ``opening`` is what was reported before the first command; mostly nothing is.
    """

    task: str
    verbs: tuple[str, ...]
    turns: tuple[Turn, ...] = ()
    world: int = 0
    seed: int = 0
    opening: str = ""

    def add(self, turn: Turn) -> Dialogue:
        return replace(self, turns=(*self.turns, turn))

    def items(self) -> tuple[Item, ...]:
        """The items named in the task and in the reports, in order of first mention."""
        return find_items("\n".join([self.task, self.opening, *(t.report for t in self.turns)]))

    def candidates(self) -> tuple[Command, ...]:
        """Every command that can be made from the items named so far, and from nothing else.

        Once a report says that a door is locked, keys can be picked up too: those of all colours,
        since which one fits is for the Planner to work out.
        """
        commands = all_commands(self.items(), self.verbs)
        if any(_LOCKED.search(t.report) for t in self.turns) and "pick up" in self.verbs:
            keys = all_commands([Item("key", c) for c in COLOURS], ("pick up",))
            commands = tuple(dict.fromkeys((*commands, *keys)))
        return commands

    def reported(self) -> frozenset[Item]:
        """The items that a report says were examined. Commands do not count, as they do for the
        oracle's ``examined``: a report may be missing, late, or of a command that failed."""
        return _done("examine", "\n".join(t.report for t in self.turns))

    def stuck(self, n: int) -> Command | None:
        """The command of each of the last ``n`` turns, if all of them had the same report."""
        last = {(t.command, t.report) for t in self.turns[-n:]}
        if n < 1 or len(self.turns) < n or len(last) > 1:
            return None
        return self.turns[-1].command

    def picked_up(self) -> Command | None:
        """The last command, if it was to pick something up and the report says that it was."""
        last = self.turns[-1] if self.turns else None
        if last is None or last.command is None or last.command.verb != "pick up":
            return None
        return last.command if last.command.item in _done("pick up", last.report) else None

    def alike(self) -> dict[Command, int]:
        """How many of the last times that a command was said got one and the same report, for each
        that was said; other commands may have come between."""
        found: dict[Command, int] = {}
        last: dict[Command, str] = {}
        for turn in self.turns:
            if turn.command is not None:
                same = last.get(turn.command) == turn.report
                found[turn.command] = found[turn.command] + 1 if same else 1
                last[turn.command] = turn.report
        return found


def _done(verb: str, reports: str) -> frozenset[Item]:
    """The items of which reports say that this was done with them."""
    said = _DONE[verb].findall(reports)
    return frozenset(item for name in said for item in find_items(name)[:1])


@dataclass(frozen=True)
class TokenCost:
    """What a decision took, in tokens: ``context`` is all that the model had before it, ``read``
    what was read for it anew (the rest had been read before), candidates included, and ``said``
    what it said."""

    context: int = 0
    read: int = 0
    said: int = 0

    def __add__(self, other: TokenCost) -> TokenCost:
        return TokenCost(
            self.context + other.context, self.read + other.read, self.said + other.said
        )


@dataclass(frozen=True)
class Decision:
    """What a Planner decided for one dialogue.

    ``said`` is its text; ``command`` is None where that is no command. ``scores`` maps the
    candidates' sentences to their length-normalised log-probability, where the Planner scored.
    ``cost`` is known of language models that run here. ``error`` is set, and nothing else holds,
    where the Planner itself broke for this dialogue.
    """

    said: str
    command: Command | None
    scores: Mapping[str, float] = field(default_factory=dict)
    error: Exception | None = None
    cost: TokenCost | None = None


@dataclass(frozen=True)
class Rollout:
    """The Actor's low-level steps for one command.

    ``ended`` says why it ended: ``done`` (the Actor said so), ``episode`` or ``budget``. ``done``
    is the truth of whether the command was carried out.
    """

    command: Command
    steps: int
    events: tuple[Event, ...]
    done: bool
    ended: str
