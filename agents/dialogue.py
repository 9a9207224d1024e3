"""The dialogue: all that the Planner ever sees.

``Dialogue.world`` and ``Dialogue.seed`` are book-keeping: the index of the episode in its batch,
for privileged components such as the oracle, and the episode's own seed, for components that draw
random numbers. Neither is ever put into a prompt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from agents.grounding import ground, named_items
from agents.messages import NOTHING, Report
from envs.attributes import CARRIED, LOCKED, SECRET_PROPERTY
from envs.commands import Command, all_commands
from envs.events import Event
from envs.items import COLOURS, Item

TASK, PLANNER, REPORTER, THOUGHT = "Task", "Planner", "Reporter", "Thought"
NOT_UNDERSTOOD = Report("I did not understand that command.")


def one_line(text: str) -> str:
    """A text as one line, so that a report or a task can never pretend to be another turn."""
    return " ".join(text.split())


@dataclass(frozen=True)
class Turn:
    """One command and its report.

    Attributes:
        utterance: The Planner's text.
        command: The command that the text stands for; None where it is no command.
        report: What the Reporter answered.
        thought: What the Planner thought before, where it thinks.
    """

    utterance: str
    command: Command | None
    report: Report
    thought: str = ""

    def with_text(self, text: str) -> Turn:
        """The turn with another report: this text, and the facts that it states."""
        return replace(self, report=ground(text, self.command))


def script(task: str, opening: Report, turns: Sequence[Turn]) -> list[tuple[str, str]]:
    """A dialogue as the (speaker, text) pairs of a transcript, in order.

    Args:
        task: The task sentence.
        opening: The report before the first command; left out where it is empty.
        turns: The turns so far.
    """
    lines = [(TASK, task)]
    if opening.text:
        lines.append((REPORTER, opening.text))
    for turn in turns:
        if turn.thought:
            lines.append((THOUGHT, turn.thought))
        lines += [(PLANNER, turn.utterance), (REPORTER, turn.report.text)]
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

    def examined_items(self) -> frozenset[Item]:
        """The items that reports call examined, or whose secret property they state.

        Unlike in the oracle's ``examined``, a command alone does not count: its report may be
        missing, late, or say that the command failed.
        """
        reports = [turn.report for turn in self.turns]
        with_property = {
            fact.subject
            for report in reports
            for fact in report.facts
            if fact.predicate == SECRET_PROPERTY
        }
        return frozenset(with_property).union(*(r.done_items("examine") for r in reports))

    def repeated_command(self, n: int) -> Command | None:
        """The command of each of the last ``n`` turns, if all of them had the same report."""
        last = {(t.command, t.report.text) for t in self.turns[-n:]}
        if n < 1 or len(self.turns) < n or len(last) > 1:
            return None
        return self.turns[-1].command

    def held_command(self) -> Command | None:
        """The last command, if it was to pick something up and the report says that it was."""
        last = self.turns[-1] if self.turns else None
        if last is None or last.command is None or last.command.verb != "pick up":
            return None
        item = last.command.item
        carried = any(
            f.predicate == CARRIED and f.holds and f.subject == item for f in last.report.facts
        )
        return last.command if carried or item in last.report.done_items("pick up") else None

    def trailing_identical_reports(self) -> dict[Command, int]:
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
    """How many tokens a decision took.

    Attributes:
        context: Tokens of the whole prompt.
        read: Tokens that were not in the KV cache, those of the candidates included.
        generated: Tokens of the command that was generated or chosen.
        thought: Tokens of the thought before it.
    """

    context: int = 0
    read: int = 0
    generated: int = 0
    thought: int = 0

    def __add__(self, other: TokenCost) -> TokenCost:
        return TokenCost(
            self.context + other.context,
            self.read + other.read,
            self.generated + other.generated,
            self.thought + other.thought,
        )


@dataclass(frozen=True)
class Decision:
    """A Planner's decision for one dialogue.

    Attributes:
        utterance: The Planner's text.
        command: The command that the text stands for; None where it is no command.
        scores: The log-probability of each candidate's sentence, where candidates were scored.
        error: Why the Planner failed for this dialogue; the other fields then mean nothing.
        cost: The tokens used, for language models that run in this process.
        thought: What a language model wrote before it decided. It is shown and kept, and never
            becomes a command.
        problem: Why a reply holds no command, as the rest of a sentence: ``names no command``.
    """

    utterance: str
    command: Command | None
    scores: Mapping[str, float] = field(default_factory=dict)
    error: Exception | None = None
    cost: TokenCost | None = None
    thought: str = ""
    problem: str = ""


def kind_of_scores(scores: Mapping[str, float]) -> str:
    """What the exponential of a decision's scores is.

    Args:
        scores: The score of every candidate, a natural logarithm.

    Returns:
        ``probability`` where those of all candidates sum to one (constrained scoring), otherwise
        ``probability per token`` (length-normalised).
    """
    whole = sum(math.exp(min(score, 0.0)) for score in scores.values())
    return "probability" if abs(whole - 1) < 1e-3 else "probability per token"


@dataclass(frozen=True)
class Rollout:
    """The Actor's low-level steps for one command.

    Attributes:
        command: The command.
        steps: The number of low-level steps.
        events: What happened in the world (ground truth).
        done: Whether the command was carried out (ground truth).
        ended: Why the rollout ended: ``done`` (the Actor's own action), ``episode`` or ``budget``.
    """

    command: Command
    steps: int
    events: tuple[Event, ...]
    done: bool
    ended: str
