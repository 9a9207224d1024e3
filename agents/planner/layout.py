"""How a dialogue becomes the text that a language model goes on with.

A prompt file, perhaps in the model's chat template, perhaps with a thought before the command. A
model that thinks by itself does so between its own marks; any other is shown worked thoughts in the
prompt file and writes its own on one line.
"""

from __future__ import annotations

from pathlib import Path

from agents.dialogue import Dialogue, one_line
from agents.planner.chat import ChatTemplate, ThoughtMarks
from agents.planner.prompt import DEFAULT, THOUGHTS, Prompt
from envs.errors import BadInput


class PromptLayout:
    """A prompt file with or without a chat template and thoughts.

    Args:
        prompt: The user's prompt file, or the one that the model was trained with; None for the
            default.
        n_examples: The number of worked examples in it.
        chat: The model's chat template; None for the bare prompt.
        thinks: Whether a thought comes before each command.

    Raises:
        BadInput: The prompt cannot be used, or has no place for the thoughts of a model that does
            not think by itself.
    """

    def __init__(
        self, prompt: Path | None, n_examples: int, chat: ChatTemplate | None, thinks: bool
    ) -> None:
        self.chat = chat
        self.thinks = thinks
        self.marks: ThoughtMarks | None = chat.marks if chat is not None and thinks else None
        needs_place = thinks and self.marks is None
        self.prompt = Prompt(prompt or (THOUGHTS if needs_place else DEFAULT), n_examples)
        if needs_place and not self.prompt.has_thoughts:
            raise BadInput(
                f"prompt file '{self.prompt.file}' has no place for thoughts: it does not use "
                "'thought' (thoughts.jinja shows how)"
            )

    def before_thought(self, dialogue: Dialogue, dropped: int = 0) -> str:
        """The text behind which the model thinks."""
        return self._opened(self.prompt.render(dialogue, dropped))

    def _opened(self, text: str) -> str:
        """A rendered prompt, in the chat template where there is one."""
        return text if self.chat is None else self.chat.opened(text, thinks=self.marks is not None)

    def before_command(self, dialogue: Dialogue, dropped: int = 0, thought: str = "") -> str:
        """The text behind which the command comes; it begins with that before the thought.

        Args:
            dialogue: The dialogue.
            dropped: How many of the first examples are left out.
            thought: The thought, for a model that thinks.
        """
        without = self.prompt.render(dialogue, dropped)
        before = self._opened(without)
        if not self.thinks:
            return before
        if self.marks is not None:
            label = ChatTemplate.label(without)
            return f"{before}{thought.strip()}\n{self.marks.close}\n\n{label}"
        whole = self.prompt.render(dialogue, dropped, one_line(thought))
        if not whole.startswith(without):
            raise BadInput(
                f"prompt file '{self.prompt.file}' puts something else before the thought once it "
                "is there"
            )
        return before + whole[len(without) :]

    def thought_end(self, text: str) -> int | None:
        """How many characters of what has been generated are the thought; None while it goes on."""
        if self.marks is not None:
            at = text.find(self.marks.close)
            return at if at >= 0 else None
        return line_end(text)


def line_end(text: str) -> int | None:
    """How many characters of what has been generated are the first line with words; None while it
    goes on."""
    at = text.find("\n", len(text) - len(text.lstrip()))
    return at if at >= 0 else None
