"""Ways to hold a server's reply to one of the commands, and a probe whether they hold.

Servers that do not know a parameter ignore it (vLLM from 0.12 on ignores the old
``guided_choice``, with status 200). So each way is tried once with words that no model would say by
itself.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agents.planner.server.client import ChatClient, ConstraintRefused, Hopeless
from envs.errors import BadInput

log = logging.getLogger(__name__)
Parameters = dict[str, Any]
_PROBE_WORDS = ("quorvex-17", "blimdax-42")


def _schema(choices: Sequence[str]) -> Parameters:
    schema = {
        "type": "object",
        "properties": {"command": {"type": "string", "enum": list(choices)}},
        "required": ["command"],
        "additionalProperties": False,
    }
    named = {"name": "command", "strict": True, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def _grammar(choices: Sequence[str]) -> Parameters:
    return {"grammar": "root ::= " + " | ".join(json.dumps(c) for c in choices)}


# OpenAI, vLLM, SGLang, llama.cpp, Ollama; vLLM from 0.12 on; vLLM before; llama.cpp; SGLang.
WAYS: Mapping[str, Callable[[Sequence[str]], Parameters]] = {
    "response_format": _schema,
    "structured_outputs": lambda choices: {"structured_outputs": {"choice": list(choices)}},
    "guided_choice": lambda choices: {"guided_choice": list(choices)},
    "grammar": _grammar,
    "regex": lambda choices: {"regex": "|".join(f"({_escaped(c)})" for c in choices)},
}


def _escaped(text: str) -> str:
    return "".join(c if c.isalnum() or c == " " else f"\\{c}" for c in text)


def working_constraint(client: ChatClient, instructions: str, text: str) -> str:
    """The first way that a server keeps to, tried on a dialogue.

    Args:
        client: Asks the server.
        instructions: What the system says.
        text: What the user says.

    Raises:
        BadInput: The server keeps to none of them, or cannot be asked.
    """
    why: list[str] = []
    for name, parameters in WAYS.items():
        try:
            constraint = parameters(_PROBE_WORDS)
            response = client.complete(instructions, text, seed=None, constraint=constraint)
        except ConstraintRefused as error:
            why.append(f"refuses {error.name}")
            continue
        except Hopeless:
            raise
        except BadInput as error:
            why.append(f"fails with {name} ({error})")
            continue
        if sum(word in response.reply.text for word in _PROBE_WORDS) == 1:
            if why:
                log.warning("the server at %s %s; %s works", client.where, ", ".join(why), name)
            return name
        why.append(f"ignores {name}")
    raise BadInput(
        f"the server at {client.where} cannot be held to a choice: it {', '.join(why)}; "
        "--choice text reads free replies"
    )
