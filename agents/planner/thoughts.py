"""Thoughts: what a language model writes for itself before it answers, set apart from the answer.

Models mark their thoughts in many ways: ``<think>…</think>`` (DeepSeek, Qwen), ``[THINK]…[/THINK]``
(Mistral), ``◁think▷…◁/think▷`` (Kimi), ``<|START_THINKING|>…<|END_THINKING|>`` (Cohere),
``<|begin_of_thought|>…<|end_of_thought|>``, channels (``<|channel|>analysis<|message|>…``, the
harmony format of gpt-oss). What they have in common is recognised: a mark that names thinking
opens, the same with a slash or an "end" closes.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_WORDS = (
    "think|thinks|thinking|thought|thoughts|reason|reasoning|reflect|reflection|scratchpad|analysis"
    "|rationale|cot|chain_of_thought|monologue|inner_monologue|deliberation|plan|planning"
)
# In square brackets, other words are headings.
_BRACKETED = "think|thinking|thought|thoughts"
# <think>, </think>, <seed:think>, <|begin_of_thought|>, <|END_THINKING|>, [THINK], ◁/think▷
_MARK = re.compile(
    rf"(?:<\|?|◁)\s*(/)?(?:[\w-]{{1,16}}:)?(end_?(?:of_?)?|(?:start|begin)_?(?:of_?)?)?"
    rf"(?:{_WORDS})(?:\s[^<>\n]{{0,80}})?\s*(?:\|?>|▷)"
    rf"|\[\s*(/)?(?:{_BRACKETED})\s*\]",
    re.IGNORECASE,
)
_CHANNEL = re.compile(
    r"(?:<\|start\|>\w*)?<\|channel\|>([^<]{0,80})(?:<\|constrain\|>\w*)?<\|message\|>", re.I
)
_CHANNEL_END = re.compile(r"<\|(?:end|return|call)\|>", re.I)


class Parts(NamedTuple):
    """A reply's text in two: the thought, and the answer around it. ``is_open`` says that a thought
    was begun and never ended, so that nothing behind it is an answer."""

    thought: str
    answer: str
    is_open: bool = False


def split_thought(text: str) -> Parts:
    """Set the thoughts in a reply's text apart from the answer.

    A closing mark without an opening one ends a thought that began with the text: chat templates
    often write the opening mark themselves. Takes time linear in the length.
    """
    channels = list(_CHANNEL.finditer(text))
    if channels:
        return _by_channel(text, channels)
    thoughts: list[str] = []
    answers: list[str] = []
    depth, start = 0, 0
    for mark in _MARK.finditer(text):
        closes = bool(mark[1] or mark[3]) or (mark[2] or "").lower().startswith("end")
        piece = text[start : mark.start()]
        if closes and depth == 0:
            # All that came before was a thought, opened by the template.
            thoughts += [*answers, piece]
            answers.clear()
        else:
            (thoughts if depth else answers).append(piece)
            depth = max(depth - 1, 0) if closes else depth + 1
        start = mark.end()
    (thoughts if depth else answers).append(text[start:])
    return Parts(_joined(thoughts), _joined(answers), is_open=depth > 0)


def _by_channel(text: str, channels: list[re.Match[str]]) -> Parts:
    thoughts: list[str] = []
    answers = [text[: channels[0].start()]]
    is_open = False
    for k, channel in enumerate(channels):
        stop = channels[k + 1].start() if k + 1 < len(channels) else len(text)
        end = _CHANNEL_END.search(text, channel.end(), stop)
        content = text[channel.end() : end.start() if end else stop]
        name = channel[1].lower()
        # A commentary is a preamble for the user, unless it goes to a tool: then it is a call.
        is_answer = "final" in name or "to=" in name
        (answers if is_answer else thoughts).append(content)
        is_open = not is_answer and end is None and k + 1 == len(channels)
    return Parts(_joined(thoughts), _joined(answers), is_open)


def _joined(pieces: list[str]) -> str:
    return "\n".join(stripped for p in pieces if (stripped := p.strip()))
