"""Answers in a place of their own: tool calls, JSON, tags, function-call syntax, labels."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from agents.verbs import PUT_BASE, VERB_FORMS
from envs.commands import VERBS, Command
from envs.errors import BadInput
from envs.items import Item

_MOST_OBJECTS = 50
_DEEPEST = 8
# Keys and labels that hold what the model thought, or what it did not choose.
_ASIDE_KEYS = re.compile(
    r"thought|think|reason|rationale|explanation|analysis|why|plan|option|candidate|alternative"
    r"|history|considered|rejected|previous|last_|observation|report|task|instruction|confidence"
    r"|after|later|available|possible|fallback|description|comment|note|context|goal|avoid|not_"
)
_TARGET_KEYS = re.compile(r"target|beside|next_to|reference|destination|second|to$")
_LABEL = (
    r"(?:(?:the|my|your|best|correct|chosen|single) )*(?:(?P<final>final|conclusive) )?(?:next )?"
    r"(?:(?:final|best|correct|chosen|next) )*"
    r"(?:answer|command|action|choice|decision|selection|move|step|response|output|planner|assistant"
    r"|i choose|i pick|i select|i issue)"
)
_STATED = re.compile(
    rf"^[\W_]*(?:(?:so|thus|therefore|hence),? )?{_LABEL}(?: (?:is|would be|should be|will be))?"
    r"[\W_]*?[:=\u2192][\W_]*?\n?\s*(?P<value>\S[^\n]*)",
    re.IGNORECASE | re.MULTILINE,
)
_INLINE = re.compile(
    rf"\b{_LABEL} (?:is|would be|should be|will be)(?: to)?:?\s+(?P<value>[^\n]+)", re.IGNORECASE
)
_BOXED = re.compile(r"\\boxed\s*\{+(?:\\text\w*\s*\{)?([^{}\n]{1,300})\}")
_TAGGED = re.compile(
    r"<(?P<tag>(?:final_?)?(?:answer|command|action|choice|decision|output|response|next_command"
    r"|next_action|planner|result))\b[^<>]{0,80}>(?P<value>.{1,600}?)</(?P=tag)>",
    re.IGNORECASE | re.DOTALL,
)
_RESPONSE = re.compile(r"<\|START_(?:RESPONSE|ACTION)\|>(.{1,2000}?)(?:<\|END_|\Z)", re.DOTALL)
_XML_CALL = re.compile(
    r"<(?:function|invoke|tool)(?:=|\s+name=)\"?([\w.]{1,40})\"?\s*>(.{0,2000}?)(?:</|\Z)"
    r"(?:function|invoke|tool)",
    re.IGNORECASE | re.DOTALL,
)
_XML_ARGUMENT = re.compile(
    r"<(?:parameter|argument|arg)(?:=|\s+name=)\"?([\w.]{1,40})\"?\s*>(.{0,300}?)</", re.DOTALL
)
_CALL = re.compile(r"\b([A-Za-z_][\w.]{1,40})\s*\(([^()\n]{1,300})\)")
_QUOTED = re.compile(r"(?:([A-Za-z_]\w*)\s*=\s*)?(?:\"([^\"]*)\"|'([^']*)')|([^,=]+)")


class ToolCall(NamedTuple):
    """A call of a tool: its name, and its arguments as the text that came, mostly JSON."""

    name: str
    arguments: str


def structured_commands(
    text: str, calls: Iterable[ToolCall], read: Callable[[str], list[Command]]
) -> list[Command]:
    """The commands of tool calls, and of JSON, XML calls and function calls in a text.

    Args:
        text: The reply's text.
        calls: Its tool calls.
        read: Reads the commands of a text that stands alone.
    """
    commands: list[Command] = []
    for call in calls:
        fields = _fields(_decoded(call.arguments), 0) or [("", call.arguments)]
        commands += _of_fields([("name", call.name), *fields], read)
    for value in _values(text):
        entries = value if isinstance(value, list) else [value]
        for entry in entries:
            commands += _of_fields(_fields(entry, 0), read)
    for name, body in _XML_CALL.findall(text):
        commands += _of_fields([("name", name), *_XML_ARGUMENT.findall(body)], read)
    for name, arguments in _CALL.findall(text):
        if _verb(name) is not None or _is_caller(name):
            named = [(m[0], m[1] or m[2] or m[3]) for m in _QUOTED.findall(arguments)]
            commands += _of_fields([("name", name), *named], read)
    return commands


def stated_answers(text: str) -> tuple[list[str], list[str]]:
    """The answers that are called final, and all that are marked as one by a tag or a label."""
    final = _BOXED.findall(text)
    answers = [*_RESPONSE.findall(text)]
    for m in _TAGGED.finditer(text):
        (final if m["tag"].lower().startswith("final") else answers).append(m["value"])
    for pattern in (_STATED, _INLINE):
        for m in pattern.finditer(re.sub(r"[*_`]{2,}|`", "", text)):
            (final if m["final"] else answers).append(m["value"])
    return final, answers


def _values(text: str) -> Iterator[Any]:
    """The JSON objects and arrays in a text, also those written as Python's."""
    decoder = json.JSONDecoder()
    position, n = 0, 0
    while n < _MOST_OBJECTS and (found := re.search(r"[{\[]", text[position:])):
        position += found.start()
        n += 1
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            value, end = _as_python(text, position)
        if isinstance(value, dict | list):
            yield value
        position = max(end, position + 1)


def _as_python(text: str, start: int) -> tuple[Any, int]:
    """A dictionary in single quotes, or with a comma too many: literals, nothing is run."""
    end = text.find("}", start) + 1
    if text[start] != "{" or not 0 < end - start <= 2000:
        return None, start + 1
    try:
        return ast.literal_eval(text[start:end]), end
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None, start + 1


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _fields(value: Any, depth: int, key: str = "") -> list[tuple[str, str]]:
    """The texts in a value with their keys, in order, without what lies under a key set aside."""
    if depth > _DEEPEST:
        return []
    if isinstance(value, str):
        inner = _decoded(value) if value.lstrip().startswith(("{", "[")) else None
        return _fields(inner, depth + 1, key) if inner is not None else [(key, value)]
    if isinstance(value, dict):
        return [
            field
            for k, v in value.items()
            if not _ASIDE_KEYS.search(str(k).lower())
            for field in _fields(v, depth + 1, str(k))
        ]
    if isinstance(value, list):
        return [field for v in value for field in _fields(v, depth + 1, key)]
    return []


def _of_fields(
    fields: list[tuple[str, str]], read: Callable[[str], list[Command]]
) -> list[Command]:
    """The commands that the texts of an object are, or the one that they are parts of."""
    whole = [command for _, text in fields for command in read(text)]
    if whole:
        return whole
    verbs = [v for key, text in fields for word in (text, key) if (v := _verb(word))]
    items = [(key, item) for key, text in fields if (item := _item(text)) is not None]
    if not verbs or not items:
        return []
    targets = [item for key, item in items if _TARGET_KEYS.search(key.lower())]
    others = [item for key, item in items if not _TARGET_KEYS.search(key.lower())]
    if verbs[0] != "put":
        return [Command(verbs[0], item) for item in others or targets]
    pair = [*others, *targets]
    return [Command("put", pair[0], pair[1])] if len(pair) == 2 else []


def _verb(word: str) -> str | None:
    """The verb that a name stands for: ``pick_up``, ``PickUp``, ``actor.pick_up``, ``grab``."""
    word = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", word.rsplit(".", 1)[-1])
    word = " ".join(re.split(r"[\s_-]+", word.lower().strip()))
    word = {"pickup": "pick up", "goto": "go to"}.get(word, word)
    if word in VERBS:
        return word
    for forms in VERB_FORMS:
        if re.fullmatch(forms.base, word):
            return forms.name
    return "put" if re.fullmatch(rf"(?:{PUT_BASE})(?: next to| beside)?", word) else None


def _is_caller(name: str) -> bool:
    """Whether a function of this name takes the whole command."""
    return bool(re.search(r"act|command|execute|answer|choose|send|do$|say", name.lower()))


def _item(text: str) -> Item | None:
    try:
        return Item.parse(text.strip(" .\"'`").replace("_", " "))
    except BadInput:
        return None
