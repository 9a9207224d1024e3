"""The dialogue: all that the Planner ever sees.

``Dialogue.world`` and ``Dialogue.seed`` are book-keeping: the place of the episode in its batch,
for privileged parts such as the oracle, and the episode's own seed, for parts that draw at random.
Neither is ever put into a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from agents.grounding import ground, named_items
from agents.messages import NOTHING, Report
from envs.attributes import CARRIED, LOCKED
from envs.commands import Command, all_commands
from envs.events import Event
from envs.items import COLOURS, Item

TASK, PLANNER, REPORTER = "Task", "Planner", "Reporter"
NOT_UNDERSTOOD = Report("I did not understand that command.")


def one_line(text: str) -> str:
    """A text as one line, so that a report or a task can never pretend to be another turn."""
    return " ".join(text.split())


@dataclass(frozen=True)
class Turn:
    """One command and its report. ``said`` is the Planner's text; ``command`` is None where that
    text is no command."""

    said: str
    command: Command | None
    report: Report

    def with_text(self, text: str) -> Turn:
        """The turn with another text for a report, and the facts of that text."""
        return replace(self, report=ground(text, self.command))


def script(task: str, opening: Report, turns: Sequence[Turn]) -> list[tuple[str, str]]:
    """The task sentence and all texts of a dialogue in their order, as (speaker, text)."""
    lines = [(TASK, task)]
    if opening.text:
        lines.append((REPORTER, opening.text))
    for turn in turns:
        lines += [(PLANNER, turn.said), (REPORTER, turn.report.text)]
    return lines


@dataclass(frozen=True)
class Dialogue:
    """The task sentence and the turns so far, with the verbs that the Actor understands.

    ``opening`` is the report before the first command; most Reporters have none.
    """

    task: str
    verbs: tuple[str, ...]
    turns: tuple[Turn, ...] = ()
    world: int = 0
    seed: int = 0
    opening: Report = NOTHING

    def add(self, turn: Turn) -> Dialogue:
        return replace(self, turns=(*self.turns, turn))

    def items(self) -> tuple[Item, ...]:
        """The items named in the task and in the reports, in order of first mention."""
        return named_items(self.task, self.opening.text, *(t.report.text for t in self.turns))

    def candidates(self) -> tuple[Command, ...]:
        """Every command that can be made from the items named so far, and from nothing else.

        Once a report states that a door is locked, keys can be picked up too: those of all colours,
        since which one fits is for the Planner to work out.
        """
        commands = all_commands(self.items(), self.verbs)
        if self._has_locked_door() and "pick up" in self.verbs:
            keys = all_commands([Item("key", c) for c in COLOURS], ("pick up",))
            commands = tuple(dict.fromkeys((*commands, *keys)))
        return commands

    def _has_locked_door(self) -> bool:
        return any(
            fact.predicate == LOCKED and fact.holds and fact.subject.shape == "door"
            for turn in self.turns
            for fact in turn.report.facts
        )

    def reported(self) -> frozenset[Item]:
        """The items that a report says were examined. Commands do not count, as they do for the
        oracle's ``examined``: a report may be missing, late, or of a command that failed."""
        return frozenset[Item]().union(*(t.report.done_items("examine") for t in self.turns))

    def stuck(self, n: int) -> Command | None:
        """The command of each of the last ``n`` turns, if all of them had the same report."""
        last = {(t.command, t.report.text) for t in self.turns[-n:]}
        if n < 1 or len(self.turns) < n or len(last) > 1:
            return None
        return self.turns[-1].command

    def picked_up(self) -> Command | None:
        """The last command, if it was to pick something up and the report says that it was."""
        last = self.turns[-1] if self.turns else None
        if last is None or last.command is None or last.command.verb != "pick up":
            return None
        item = last.command.item
        carried = any(
            f.predicate == CARRIED and f.holds and f.subject == item for f in last.report.facts
        )
        return last.command if carried or item in last.report.done_items("pick up") else None

    def alike(self) -> dict[Command, int]:
        """For each command, the length of its trailing run of identical reports. Other commands may
        have come between."""
        runs: dict[Command, int] = {}
        last: dict[Command, str] = {}
        for turn in self.turns:
            if turn.command is not None:
                same = last.get(turn.command) == turn.report.text
                runs[turn.command] = runs[turn.command] + 1 if same else 1
                last[turn.command] = turn.report.text
        return runs


@dataclass(frozen=True)
class TokenCost:
    """The tokens of a decision: ``context`` counts the whole prompt, ``read`` what was not in the
    KV cache, candidates included, and ``said`` what was generated."""

    context: int = 0
    read: int = 0
    said: int = 0

    def __add__(self, other: TokenCost) -> TokenCost:
        return TokenCost(
            self.context + other.context, self.read + other.read, self.said + other.said
        )


@dataclass(frozen=True)
class Decision:
    """A Planner's decision for one dialogue.

    ``said`` is its text; ``command`` is None where that is no command. ``scores`` maps the
    candidates' sentences to their log-probabilities, where the Planner scored candidates.
    ``cost`` is set by language models that run in this process. Where ``error`` is set the Planner
    failed for this dialogue, and the other fields mean nothing.
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
    is the ground truth of whether the command was carried out.
    """

    command: Command
    steps: int
    events: tuple[Event, ...]
    done: bool
    ended: str
