"""What a server understands, found out from what it refuses.

Servers differ in the parameters of a request: some want ``max_completion_tokens`` for
``max_tokens``, some take only their own temperature, some know no seed. A refusal (status 400 or
422) names the parameter, in a field of its own or in its sentence; the request is then changed and
sent again, and what was learnt is kept for all later requests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Literal

LIMITS = ("max_tokens", "max_completion_tokens")
MOST_CHANGES = 8


@dataclass(frozen=True)
class Capabilities:
    """How requests to a server are written.

    Attributes:
        refused_limits: The parameters for the limit of tokens that were refused.
        temperature: Which temperature is sent: the one that is wanted, none, or 1, which some
            servers insist on.
        seed: Whether a seed is sent.
        effort: Whether the reasoning effort is sent.
        system: Whether instructions go into a message of the system's own.
        refused: What else was refused, such as a kind of constraint.
    """

    refused_limits: tuple[str, ...] = ()
    temperature: Literal["wanted", "none", "one"] = "wanted"
    seed: bool = True
    effort: bool = True
    system: bool = True
    refused: tuple[str, ...] = ()

    @property
    def limit(self) -> str | None:
        """The parameter that limits the tokens of a reply; None where all were refused."""
        return next((name for name in LIMITS if name not in self.refused_limits), None)

    def request(
        self,
        *,
        limit: int,
        temperature: float,
        seed: int | None,
        effort: str,
    ) -> dict[str, Any]:
        """The parameters of a request, as far as the server takes them."""
        parameters: dict[str, Any] = {}
        if self.limit is not None:
            parameters[self.limit] = limit
        if self.temperature != "none":
            parameters["temperature"] = temperature if self.temperature == "wanted" else 1
        if self.seed and seed is not None:
            parameters["seed"] = seed
        if self.effort and effort != "default":
            parameters["reasoning_effort"] = effort
        return parameters

    def messages(self, instructions: str, text: str) -> list[dict[str, str]]:
        """The instructions and the text of a dialogue as messages."""
        if instructions and self.system:
            return [
                {"role": "system", "content": instructions},
                {"role": "user", "content": text},
            ]
        whole = f"{instructions}\n\n{text}" if instructions else text
        return [{"role": "user", "content": whole}]


def adjusted(
    capabilities: Capabilities, sent: dict[str, Any], reason: str, parameter: str | None
) -> Capabilities | None:
    """The capabilities after a refusal; None where it names nothing that can be left out.

    Args:
        capabilities: Those of the refused request.
        sent: The refused request.
        reason: The server's sentence.
        parameter: The parameter that the server names in a field of its own.
    """
    optional = {
        name: position
        for name in _optional(sent)
        if (position := _named(name, reason, parameter)) is not None
    }
    # What the server names first is what it does not want; it may go on to say what it wants.
    for name in sorted(optional, key=optional.__getitem__):
        if name in LIMITS:
            return replace(capabilities, refused_limits=(*capabilities.refused_limits, name))
        if name == "temperature":
            if capabilities.temperature == "one":
                return None
            return replace(capabilities, temperature="none" if "temperature" in sent else "one")
        if name == "seed":
            return replace(capabilities, seed=False)
        if name == "reasoning_effort":
            return replace(capabilities, effort=False)
        if name == "system":
            return replace(capabilities, system=False)
        return replace(capabilities, refused=(*capabilities.refused, name))
    return None


def _optional(sent: dict[str, Any]) -> list[str]:
    """The names of what may be left out of a request."""
    names = [k for k in sent if k not in ("model", "messages", "extra_body")]
    names += list(sent.get("extra_body", {}))
    if "temperature" not in sent:
        names.append("temperature")  # which may be missed as well
    if any(m["role"] == "system" for m in sent.get("messages", ())):
        names.append("system")
    return names


def _named(name: str, reason: str, parameter: str | None) -> int | None:
    """Where a refusal names a parameter; None where it does not."""
    if parameter and re.split(r"[.\[]", parameter)[0] == name:
        return -1
    words = {
        "response_format": r"response_format|json_schema|json schema|structured output",
        "system": r"system[ _](?:role|message|prompt)|role.{0,20}system|roles must alternate",
        "temperature": r"temperature",
        "reasoning_effort": r"reasoning[ _.]?effort|\breasoning\b",
    }.get(name, rf"(?<![a-z_]){re.escape(name)}(?![a-z_])")
    match = re.search(words, reason, re.IGNORECASE)
    return match.start() if match else None
