"""What a Planner said that was no command: counted, told loudly, and a reason to stop a run.

A language model whose replies cannot be read fails every episode, and so looks like a bad Planner.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from agents.dialogue import Decision, Dialogue
from agents.team import Callback
from envs.errors import BadInput
from run.display.live import say
from run.display.messages import warn
from run.storage.records import EpisodeRecord, RunSummary

WARN_ABOVE = 0.05  # of all decisions
STOP_ABOVE = 0.5
FIRST_DECISIONS = 20  # before a run can stop
_MOST_PROBLEMS = 3
_LONGEST_EXAMPLE = 80


class UnderstandingMonitor(Callback):
    """Stops a run whose Planner mostly says what is no command.

    Args:
        most: The share of decisions without a command above which the run stops, once there are
            `FIRST_DECISIONS`; 1 for never.
    """

    def __init__(self, most: float = STOP_ABOVE) -> None:
        self._most = check_share(most)
        self._n = 0
        self._problems: Counter[str] = Counter()
        self._example = ""

    def on_decision(self, i: int, dialogue: Dialogue, decision: Decision) -> None:
        """Count a decision.

        Raises:
            BadInput: Too many held no command.
        """
        self._n += 1
        if decision.command is not None:
            return
        self._problems[decision.problem or "names no command"] += 1
        self._example = self._example or decision.utterance
        n = self._problems.total()
        if self._n >= FIRST_DECISIONS and n > self._most * self._n:
            what = _sentence(n, self._n, self._problems, self._example)
            raise BadInput(f"{what}; --max-misunderstood 1 goes on in spite of that")


def check_share(most: object) -> float:
    """A share of decisions that an option gives. Raises BadInput where it is none."""
    if isinstance(most, bool) or not isinstance(most, int | float) or not 0 <= most <= 1:
        raise BadInput(f"--max-misunderstood must be a share from 0 to 1, not {most}")
    return float(most)


def share_misunderstood(summary: RunSummary) -> float | None:
    """The share of a run's decisions that held no command; None where it had none."""
    return summary.n_unparsed / summary.n_decisions if summary.n_decisions else None


def misunderstandings(records: Sequence[EpisodeRecord]) -> str:
    """A sentence about the replies that held no command; empty where there are none."""
    turns = [turn for record in records for turn in record.turns]
    lost = [turn for turn in turns if turn.command is None]
    if not lost:
        return ""
    problems = Counter(turn.problem or "names no command" for turn in lost)
    example = next((turn.utterance for turn in lost if turn.utterance), "")
    return _sentence(len(lost), len(turns), problems, example)


def is_alarming(summary: RunSummary) -> bool:
    """Whether so many decisions held no command that the results say little of the Planner."""
    return (share_misunderstood(summary) or 0.0) > WARN_ABOVE


def report_misunderstandings(summary: RunSummary, records: Sequence[EpisodeRecord]) -> None:
    """Say, after a run, how many decisions held no command and why: a warning where they are so
    many that the results say little of the Planner."""
    sentence = misunderstandings(records)
    if not sentence:
        return
    if is_alarming(summary):
        warn(f"{sentence}; these numbers say more of its replies than of what it can do")
    else:
        say(sentence)


def _sentence(n: int, of: int, problems: Counter[str], example: str) -> str:
    why = ", ".join(f"{problem} ({k})" for problem, k in problems.most_common(_MOST_PROBLEMS))
    # A reply may hold line breaks and a terminal's control codes.
    example = "".join(c if c.isprintable() else " " for c in example)
    shown = example if len(example) <= _LONGEST_EXAMPLE else f"{example[:_LONGEST_EXAMPLE]}…"
    what = f"{n} of the Planner's {of} decisions ({n / of:.1%}) held no command: the reply {why}"
    return f"{what}; for example '{shown}'" if shown else what
