"""A server's response as a reply, whatever shape it has."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from agents.dialogue import TokenCost, one_line
from agents.planner.replies import Reply
from agents.planner.reply_structures import ToolCall
from envs.errors import BadInput

_THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking")
_DEEPEST = 50  # levels of a stored reply


class Response(NamedTuple):
    """A reply, what it cost, and the name under which the model answered."""

    reply: Reply
    cost: TokenCost | None
    model: str


def read_response(body: bytes, where: str) -> Response:
    """The reply in the body of a chat completion.

    Raises:
        BadInput: It does not have the shape that the protocol demands.
    """
    try:
        data = json.loads(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise BadInput(f"the server at {where} answered with bytes that are no UTF-8") from None
    except (ValueError, RecursionError):
        raise BadInput(f"the server at {where} answered with malformed JSON") from None
    choices = data.get("choices") if isinstance(data, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise BadInput(f"the server at {where} answered without a message{_told(data)}")
    message = choices[0].get("message")
    if not isinstance(message, dict) or not isinstance(
        message.get("content"), str | list | type(None)
    ):
        raise BadInput(f"the server at {where} answered without a message")
    text, thought = _content(message.get("content"))
    thoughts = [thought, *(_text(message.get(key)) for key in _THOUGHT_KEYS)]
    finish = choices[0].get("finish_reason")
    reply = Reply(
        text,
        # Some servers give the same thought under two names.
        "\n".join(dict.fromkeys(t for t in thoughts if t)),
        _calls(message),
        _text(message.get("refusal")) or ("" if finish != "content_filter" else "content filter"),
        cut=finish == "length",
    )
    return Response(reply, _cost(data.get("usage")), str(data.get("model") or ""))


def reason_of(body: object) -> tuple[str, str | None]:
    """A server's own reason for an error, and the parameter that it names; empty where none is."""
    if isinstance(body, list) and body:
        body = body[0]
    if isinstance(body, dict):
        error = body.get("error", body)
        if isinstance(error, dict):
            text = error.get("message") or error.get("detail") or error.get("msg") or ""
            parameter = error.get("param")
            if not isinstance(text, str):
                text = json.dumps(text)
            return text, parameter if isinstance(parameter, str) else None
        return str(error), None
    return (body if isinstance(body, str) else ""), None


def stored(response: Response) -> str:
    """A response as text for the cache."""
    cost = None if response.cost is None else vars(response.cost)
    return json.dumps([vars(response.reply), cost, response.model])


def restored(text: str) -> Response | None:
    """The response that `stored` made; None for another text."""
    try:
        reply, cost, model = json.loads(text)
        calls = tuple(ToolCall(*call) for call in reply.pop("calls"))
        return Response(
            Reply(**reply, calls=calls), None if cost is None else TokenCost(**cost), str(model)
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _content(content: Any) -> tuple[str, str]:
    """The text of a message's content, and the thoughts in it where it comes in parts."""
    if isinstance(content, str):
        return content, ""
    texts: list[str] = []
    thoughts: list[str] = []
    for part in content or ():
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            kind = str(part.get("type", "text"))
            if "think" in kind or "reason" in kind:
                thoughts += [_text(part.get(key)) for key in (*_THOUGHT_KEYS, "text", "summary")]
            elif isinstance(part.get("text"), str):
                texts.append(part["text"])
    return "".join(texts), "\n".join(t for t in thoughts if t)


def _text(value: Any, depth: int = 0) -> str:
    """The text in a field that should be one, but may hold it in parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and depth < _DEEPEST:
        return "\n".join(t for v in value if (t := _text(v, depth + 1)))
    if isinstance(value, dict) and depth < _DEEPEST:
        return _text(value.get("text") or value.get("content"), depth + 1)
    return ""


def _calls(message: dict[str, Any]) -> tuple[ToolCall, ...]:
    calls = message.get("tool_calls")
    entries = list(calls) if isinstance(calls, list) else []
    if message.get("function_call") is not None:
        entries.append({"function": message["function_call"]})
    made = []
    for entry in entries:
        function = entry.get("function", entry) if isinstance(entry, dict) else None
        if isinstance(function, dict):
            arguments = function.get("arguments", function.get("input", ""))
            text = arguments if isinstance(arguments, str) else json.dumps(arguments)
            made.append(ToolCall(str(function.get("name", "")), text))
    return tuple(made)


def _cost(usage: Any) -> TokenCost | None:
    if not isinstance(usage, dict):
        return None

    def number(data: Any, key: str) -> int:
        value = data.get(key) if isinstance(data, dict) else None
        return value if type(value) is int and value >= 0 else 0

    context, written = number(usage, "prompt_tokens"), number(usage, "completion_tokens")
    cached = number(usage.get("prompt_tokens_details"), "cached_tokens")
    thought = number(usage.get("completion_tokens_details"), "reasoning_tokens")
    return TokenCost(context, max(context - cached, 0), max(written - thought, 0), thought)


def _told(data: Any) -> str:
    """What a body without a message says instead."""
    reason, _ = reason_of(data) if isinstance(data, dict) else ("", None)
    return f": {one_line(reason)[:200]}" if isinstance(data, dict) and reason else ""
