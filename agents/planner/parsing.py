"""Parsing: a language model's output as a decision."""

from __future__ import annotations

from agents.dialogue import Decision, Dialogue, one_line
from envs.commands import Command
from envs.errors import BadInput

SPEAKER = "planner:"
DRESSING = " -*`\"'"
LONGEST = 200  # characters of the output that are kept


def parse_decision(text: str, dialogue: Dialogue) -> Decision:
    """The decision in a text's first line that is not empty.

    ``command`` is a command of the grammar whose verb the Actor knows, or None. Quotation marks,
    a list's dash, and a "Planner:" that the model repeats are not counted.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    utterance = one_line(lines[0])[:LONGEST] if lines else ""
    plain = utterance.strip(DRESSING)
    if plain.lower().startswith(SPEAKER):
        plain = plain[len(SPEAKER) :].strip(DRESSING)
    try:
        command = Command.parse(plain)
    except BadInput:
        return Decision(utterance, None)
    return Decision(utterance, command if command.verb in dialogue.verbs else None)
