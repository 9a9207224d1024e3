"""Chat templates: a prompt as a language model that was tuned for conversations reads it.

The prompt becomes the user's message, and its last line (``Planner:``, ``Thought:``) begins the
model's own. So every prompt file works with and without a template.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envs.errors import BadInput, reason_of

if TYPE_CHECKING:  # of the Planners, those on servers need no transformers
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class ThoughtMarks:
    """The marks between which a model thinks by itself."""

    open: str
    close: str


# Where the template or the vocabulary of a model knows them, these are its own.
THOUGHT_MARKS = (
    ThoughtMarks("<think>", "</think>"),
    ThoughtMarks("<seed:think>", "</seed:think>"),
    ThoughtMarks("[THINK]", "[/THINK]"),
    ThoughtMarks("\u25c1think\u25b7", "\u25c1/think\u25b7"),
    ThoughtMarks("<|START_THINKING|>", "<|END_THINKING|>"),
    ThoughtMarks("<|begin_of_thought|>", "<|end_of_thought|>"),
)
_LABEL = re.compile(r"(?:\n|^)([A-Z][a-z]{2,15}:)$")
_PROBE = "A first line of words.\nAnd a second one."


class ChatTemplate:
    """The chat template of a tokenizer.

    Args:
        tokenizer: The tokenizer; one that has a template.

    Raises:
        BadInput: The template fails, or drops what it is given.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        special = sorted(map(str, tokenizer.all_special_tokens), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, filter(None, special))) or r"(?!)")
        text = self._applied(_PROBE)
        if _PROBE not in text:
            raise BadInput(
                "the chat template of the model drops what it is given; --chat off does without it"
            )
        self.marks = self._thought_marks(text)

    def opened(self, prompt: str, *, thinks: bool = False) -> str:
        """A prompt as the conversation up to where the model goes on.

        Args:
            prompt: The rendered prompt.
            thinks: Whether the model goes on with a thought between its own marks.
        """
        label = _LABEL.search(prompt)
        message = prompt[: label.start()] if label else prompt
        text = self._applied(self._special.sub(_spelled, message))
        if self.marks is not None:
            text = self._marked(text, self.marks, thinks)
        own = label[1] if label and not thinks else ""
        return text + own

    @staticmethod
    def label(prompt: str) -> str:
        """The label that a prompt ends with, such as ``Planner:``; empty where there is none."""
        label = _LABEL.search(prompt)
        return label[1] if label else ""

    def _marked(self, text: str, marks: ThoughtMarks, thinks: bool) -> str:
        """The text, with a thought begun, or with an empty one where none is wanted."""
        is_begun = text.rstrip().endswith(marks.open)
        if thinks:
            return text if is_begun else f"{text}{marks.open}\n"
        return f"{text}\n{marks.close}\n\n" if is_begun else text

    def _applied(self, message: str) -> str:
        try:
            text = self._tokenizer.apply_chat_template(
                [{"role": "user", "content": message}],
                tokenize=False,
                add_generation_prompt=True,
            )
        # Templates are programs of their own, which raise what they like.
        except Exception as error:
            raise BadInput(
                f"the chat template of the model fails: {reason_of(error)}; "
                "--chat off does without it"
            ) from error
        return str(text)

    def _thought_marks(self, text: str) -> ThoughtMarks | None:
        source = str(self._tokenizer.chat_template)
        vocabulary = self._tokenizer.get_vocab()
        for marks in THOUGHT_MARKS:
            if marks.open in text or marks.close in source or marks.close in vocabulary:
                return marks
        return None


def _spelled(special: re.Match[str]) -> str:
    """A special token that stands in a report or a task: as letters, which end no message."""
    return " ".join(special[0])
