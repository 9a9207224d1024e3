"""A plain function as the Planner: the text of the dialogue in, the text of a command out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from agents.dialogue import PLANNER, Decision, Dialogue, script
from agents.planner.prompt import CHAT, PROMPTS, Prompt
from agents.planner.replies import read_reply
from agents.protocols import TeamMember
from envs.errors import BadInput, unknown, whole_number

TRANSCRIPT = "transcript"
PlannerFunction = Callable[[str], str]


class FunctionPlanner(TeamMember):
    """Asks a function for each command, one dialogue at a time.

    The function is given the dialogue as text. What it returns is read as a language model's
    output is: the first line that is not empty, which may be a command such as ``Examine the solid
    red ring.`` Anything else is a turn without a step, which is reported back. Where the function
    raises, or returns no text, that episode ends as an error with the traceback.

    Args:
        function: The function, or any object that can be called.
        prompt: What the function reads. ``transcript``: the lines ``Task: …``, ``Planner: …``,
            ``Reporter: …`` of the dialogue and a last ``Planner:``; ``chat``: instructions, the
            dialogue, and a list of all commands that are possible now; ``dialogue`` or ``short``:
            the prompts that a language model goes on with; or a Jinja file.
        examples: The number of worked examples in the prompt, for those that have any.
        threads: How many dialogues are asked about at the same time.

    Raises:
        BadInput: The function cannot be called, or there is no such prompt.
    """

    def __init__(
        self,
        function: PlannerFunction,
        *,
        prompt: str | Path = TRANSCRIPT,
        examples: int = 0,
        threads: int = 1,
    ) -> None:
        if not callable(function):
            raise BadInput(f"{function!r} is no function; a Planner's takes a text and returns one")
        self.function = function
        self.threads = whole_number("threads", threads, 1)
        whole_number("examples", examples, 0)
        self._prompt = None if prompt == TRANSCRIPT else Prompt(_prompt_file(prompt), examples)

    def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]:
        """One decision for each dialogue, in their order."""
        if self.threads == 1 or len(dialogues) == 1:
            return [self._decide(d) for d in dialogues]
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(self._decide, dialogues))

    def _decide(self, dialogue: Dialogue) -> Decision:
        try:
            text = self.function(self.text(dialogue))
            if not isinstance(text, str):
                raise TypeError(f"{name_of(self.function)} returned {text!r}, which is no text")
        except Exception as error:
            return Decision("", None, error=error)
        return read_reply(text, dialogue)

    def text(self, dialogue: Dialogue) -> str:
        """What the function is given for a dialogue."""
        if self._prompt is not None:
            return self._prompt.render(dialogue)
        lines = script(dialogue.task, dialogue.opening, dialogue.turns)
        return "\n".join([*(f"{who}: {text}" for who, text in lines), f"{PLANNER}:"])


def name_of(thing: object) -> str:
    """What to call a function or an object: its own name, else that of its class."""
    return str(getattr(thing, "__name__", None) or type(thing).__name__)


def _prompt_file(prompt: str | Path) -> Path:
    named = {**PROMPTS, "chat": CHAT}
    if isinstance(prompt, str) and prompt in named:
        return named[prompt]
    if not Path(prompt).is_file():
        raise unknown("prompt", str(prompt), (TRANSCRIPT, *named))
    return Path(prompt)
