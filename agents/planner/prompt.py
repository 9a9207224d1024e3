"""Prompts: Jinja files that turn a dialogue into the text that a language model goes on with."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from agents.dialogue import Dialogue, Turn, one_line
from agents.messages import Report
from agents.planner.options import SERVER, PlannerOptions
from agents.protocols import Actor
from envs.commands import VERBS, Command
from envs.errors import BadInput
from envs.items import MINIGRID_SHAPES, find_items

FOLDER = Path(__file__).parent / "prompts"
DEFAULT = FOLDER / "dialogue.jinja"
CHAT = FOLDER / "chat.jinja"
MOVES = FOLDER / "moves.jinja"
THOUGHTS = FOLDER / "thoughts.jinja"
# Those that an adapter can be trained with, by name.
PROMPTS = {name: FOLDER / f"{name}.jinja" for name in ("dialogue", "short")}
# A key or door of a colour that no world has is as strange as a star.
_STRANGE = re.compile(rf"\b(orange|pink|brown) ({'|'.join(MINIGRID_SHAPES)})\b", re.IGNORECASE)


class PromptTurn(NamedTuple):
    """A turn as templates see it: ``said`` is the Planner's text, ``report`` the report's,
    ``thought`` what the Planner thought before it, mostly nothing."""

    said: str
    command: Command | None
    report: str
    thought: str


class Prompt:
    """One prompt file, rendered in a sandbox, since a user's file may come from anywhere.

    Raises BadInput where there is no such file, where it is no Jinja file, where it leaves the
    task or the turns out, and where an item of its own could occur in a world.
    """

    def __init__(self, file: Path, n_examples: int) -> None:
        self.file = file
        self.n_examples = n_examples
        try:
            self.source = file.read_text(encoding="utf-8")
            jinja = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
            self._template = jinja.from_string(self.source)
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"prompt file '{file}' cannot be read: {_why(error)}") from error
        except TemplateError as error:
            raise BadInput(f"prompt file '{file}' is no Jinja file: {error}") from error
        self._check()

    @property
    def has_thoughts(self) -> bool:
        """Whether it has a place for thoughts."""
        return "thought" in self.source

    def render(self, dialogue: Dialogue, dropped: int = 0, thought: str | None = None) -> str:
        """The text of a dialogue, without its first ``dropped`` examples.

        A prompt with thoughts ends where the next thought begins; given that ``thought``, it ends
        behind it, where the command begins.

        White space at the end is taken away: a model goes on with " Examine", and a space or a
        new line of its own before it would be one too many.
        """
        try:
            text = self._template.render(
                task=one_line(dialogue.task),
                verbs=dialogue.verbs,
                opening=one_line(dialogue.opening.text),
                turns=[
                    PromptTurn(
                        one_line(t.utterance),
                        t.command,
                        one_line(t.report.text),
                        one_line(t.thought),
                    )
                    for t in dialogue.turns
                ],
                candidates=[c.sentence() for c in dialogue.candidates()],
                n_examples=self.n_examples,
                dropped=dropped,
                thought=None if thought is None else one_line(thought),
            )
        # A sandboxed template can raise whatever Python's operators raise.
        except (TemplateError, ArithmeticError, TypeError, ValueError, LookupError) as error:
            raise BadInput(f"prompt file '{self.file}' cannot be filled in: {error}") from error
        return text.rstrip()

    def _check(self) -> None:
        empty = Dialogue("", VERBS)
        turn = Turn("<said>", None, Report("<report>"))
        for dialogue in (empty, empty.add(turn)):
            for item in find_items(_STRANGE.sub("star", self.render(dialogue))):
                raise BadInput(
                    f"the examples in prompt file '{self.file}' name the '{item}', which could "
                    "occur in an episode; use words that no world has, like 'dotted orange star'"
                )
        text = self.render(Dialogue("<task>", VERBS, (turn,)))
        for word in ("<task>", "<said>", "<report>"):
            if word not in text:
                raise BadInput(f"prompt file '{self.file}' leaves the {word[1:-1]} out")


def prompted(options: PlannerOptions, actor: Actor, planner: str) -> PlannerOptions:
    """The options with the prompt for single moves, where the Actor takes these.

    A server's model keeps its own prompt, which lists the possible commands.

    Args:
        options: The Planner's options; a prompt set there is kept.
        actor: The Actor of the team.
        planner: The Planner's name.
    """
    if actor.verbs is None or options.prompt is not None or planner.startswith(SERVER):
        return options
    return replace(options, prompt=MOVES)


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
