"""Grammar: what a language model has written, as a decision."""

from __future__ import annotations

from agents.dialogue import Decision, Dialogue, one_line
from envs.commands import Command
from envs.errors import BadInput

SPEAKER = "planner:"
DRESSING = " -*`\"'"
LONGEST = 200  # characters that are kept of what was said


def parse_decision(text: str, dialogue: Dialogue) -> Decision:
    """The decision in a text's first line that is not empty.

    ``command`` is a command of the grammar whose verb the Actor knows, or None. Quotation marks,
    a list's dash, and a "Planner:" that the model repeats are not counted.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    said = one_line(lines[0])[:LONGEST] if lines else ""
    plain = said.strip(DRESSING)
    if plain.lower().startswith(SPEAKER):
        plain = plain[len(SPEAKER) :].strip(DRESSING)
    try:
        command = Command.parse(plain)
    except BadInput:
        return Decision(said, None)
    return Decision(said, command if command.verb in dialogue.verbs else None)
