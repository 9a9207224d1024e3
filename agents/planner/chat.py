"""Chat templates: a prompt as a language model that was tuned for conversations reads it.

The prompt becomes the user's message, and its last line (``Planner:``, ``Thought:``) begins the
model's own. So every prompt file works with and without a template.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from envs.errors import BadInput

# How models mark what they think, where their template or vocabulary knows the marks.
THOUGHT_MARKS = (
    ("<think>", "</think>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("\u25c1think\u25b7", "\u25c1/think\u25b7"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
)
_LABEL = re.compile(r"(?:\n|^)([A-Z][a-z]{2,15}:)$")
_PROBE = "A first line of words.\nAnd a second one."


@dataclass(frozen=True)
class ThoughtMarks:
    """The marks between which a model thinks by itself."""

    open: str
    close: str


class ChatTemplate:
    """The chat template of a tokenizer.

    Args:
        tokenizer: The tokenizer; one that has a template.
        name: The model's name in error messages.

    Raises:
        BadInput: The template fails, or drops what it is given.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, name: str = "the model") -> None:
        self._tokenizer = tokenizer
        self._name = name
        special = sorted(map(str, tokenizer.all_special_tokens), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, filter(None, special))) or r"(?!)")
        text = self._applied(_PROBE)
        if _PROBE not in text:
            raise BadInput(
                f"the chat template of {name} drops what it is given; --chat off does without it"
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
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            raise BadInput(
                f"the chat template of {self._name} fails: {reason}; --chat off does without it"
            ) from error
        return str(text)

    def _thought_marks(self, text: str) -> ThoughtMarks | None:
        source = str(self._tokenizer.chat_template)
        vocabulary = self._tokenizer.get_vocab()
        for opening, closing in THOUGHT_MARKS:
            if opening in text or closing in source or closing in vocabulary:
                return ThoughtMarks(opening, closing)
        return None


def _spelled(special: re.Match[str]) -> str:
    """A special token that stands in a report or a task: as letters, which end no message."""
    return " ".join(special[0])
