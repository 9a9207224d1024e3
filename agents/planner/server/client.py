"""Requests to a server: negotiated, bounded, repeated where that may help, never repeated twice."""

from __future__ import annotations

import json
import logging
import os
import threading
from typing import Any

from agents.dialogue import one_line
from agents.planner.options import PlannerOptions
from agents.planner.server.capabilities import MOST_CHANGES, Capabilities, adjusted
from agents.planner.server.response import Response, read_response, reason_of, restored, stored
from agents.planner.server.transport import is_too_long
from envs.errors import BadInput, ContextOverflow
from models.language.weights import cache_folder

KEY = "OPENAI_API_KEY"
LOCAL_KEY = "none"  # the client requires a key, local servers do not
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 20.0
LONGEST_REASON = 300
_VERSION = 2  # of what the cache holds

log = logging.getLogger(__name__)


class Hopeless(BadInput):
    """A request that no other request of the run can fare better than: a wrong key or address."""


class ChatClient:
    """Chat completions of one model of one server.

    Args:
        model: The model's name.
        options: How to ask.

    Raises:
        BadInput: The optional packages are missing, or there is neither a key nor an address.
    """

    def __init__(self, model: str, options: PlannerOptions) -> None:
        try:
            import openai
            import tenacity

            from agents.planner.response_cache import ResponseCache
            from agents.planner.server.transport import bounded_client
        except ImportError as error:
            raise BadInput(
                f"planner 'openai:{model}' needs the package {error.name}; install it with: "
                "pip install 'parley-rl[api]'"
            ) from error
        key = os.environ.get(KEY)
        if not key and not options.base_url:
            raise BadInput(
                f"planner 'openai:{model}' needs a key in the environment variable {KEY}, or the "
                "address of a server in --base-url"
            )
        self.model = model
        self.options = options
        self.capabilities = Capabilities()
        self._lock = threading.Lock()
        self._negotiating = threading.Lock()
        self._has_answered = False
        self._told_model = False
        self.key = key or LOCAL_KEY
        try:
            self.http = bounded_client(options.timeout)
            self._client = openai.OpenAI(
                api_key=self.key,
                base_url=options.base_url,
                timeout=options.timeout,
                max_retries=0,  # tenacity does that, and says so
                http_client=self.http,
            )
        # The client's URL parser has errors of its own for addresses that are none.
        except Exception as error:
            raise BadInput(f"'{options.base_url}' is no address of a server: {error}") from error
        self.where = str(self._client.base_url)
        self._responses = ResponseCache((options.cache or cache_folder()) / "replies")
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_worth_retrying),
            stop=tenacity.stop_after_attempt(options.retries + 1),
            wait=tenacity.wait_random_exponential(FIRST_WAIT_S, LONGEST_WAIT_S),
            before_sleep=tenacity.before_sleep_log(log, logging.INFO),
            reraise=True,
        )

    def complete(
        self,
        instructions: str,
        text: str,
        *,
        seed: int | None,
        constraint: dict[str, Any] | None = None,
    ) -> Response:
        """The model's response to a dialogue.

        Args:
            instructions: What the system says.
            text: What the user says.
            seed: The seed of sampling.
            constraint: Parameters of the request that hold the reply to a choice.

        Raises:
            BadInput: There is none; `Hopeless` where no other request will fare better.
        """
        options = self.options
        wanted = {
            "version": _VERSION,
            "server": self.where,
            "model": self.model,
            "instructions": instructions,
            "text": text,
            "limit": options.max_new_tokens + options.think,
            "think": options.think,
            "temperature": options.temperature,
            "seed": seed if options.temperature > 0 else None,
            "effort": options.effort,
            "constraint": constraint,
        }
        key = json.dumps(wanted, sort_keys=True)
        cached = self._responses.get(key)
        if cached is not None and (response := restored(cached)) is not None:
            return response
        response = None
        if not self._has_answered:
            # The first request finds out for all others how to ask.
            with self._negotiating:
                if not self._has_answered:
                    response = self._negotiated(instructions, text, wanted, constraint)
        if response is None:
            response = self._negotiated(instructions, text, wanted, constraint)
        self._check_model(response.model)
        self._responses.store(key, stored(response))
        return response

    def _negotiated(
        self,
        instructions: str,
        text: str,
        wanted: dict[str, Any],
        constraint: dict[str, Any] | None,
    ) -> Response:
        """Send a request, written as the server takes it; what it refuses is changed."""
        from openai import APIStatusError, OpenAIError

        for _ in range(MOST_CHANGES):
            before = self.capabilities
            request = {
                "model": self.model,
                "messages": before.messages(instructions, text),
                **before.request(
                    limit=wanted["limit"],
                    temperature=wanted["temperature"],
                    seed=wanted["seed"],
                    effort=wanted["effort"],
                ),
            }
            if constraint is not None:
                request["extra_body"] = constraint
            try:
                raw = self._retrying.copy()(
                    self._client.chat.completions.with_raw_response.create, **request
                )
                body = raw.http_response.content
            except APIStatusError as error:
                if error.status_code in (400, 422) and self._adjust(before, request, error):
                    continue
                raise self._problem(error) from error
            except OpenAIError as error:
                raise self._problem(error) from error
            # The client's own parser raises what it likes.
            except (ValueError, RecursionError) as error:
                raise BadInput(
                    f"the server at {self.where} answered with malformed JSON"
                ) from error
            response = read_response(body, self.where)
            self._has_answered = True
            return response
        raise BadInput(f"the server at {self.where} refuses every way to ask it")

    def _adjust(self, before: Capabilities, request: dict[str, Any], error: Any) -> bool:
        """Change how requests are written, after a refusal; whether there was something to."""
        reason, parameter = reason_of(_body(error))
        after = adjusted(before, request, reason, parameter)
        if after is None:
            return False
        with self._lock:
            if self.capabilities != before:  # another thread has learnt it meanwhile
                return True
            self.capabilities = after
        new = set(after.refused) - set(before.refused)
        if new:
            raise ConstraintRefused(new.pop(), self._own_words(reason))
        self._say_dropped(before, after, reason)
        return True

    def _say_dropped(self, before: Capabilities, after: Capabilities, reason: str) -> None:
        """Where an option has no effect on this server, say so."""
        dropped = [n for n in ("seed", "effort") if getattr(before, n) and not getattr(after, n)]
        # Without a temperature of its own the model samples, so that a second run may differ.
        if before.temperature == "wanted" != after.temperature:
            dropped.append("temperature")
        if dropped or after.limit is None:
            what = dropped[0] if dropped else "limit of tokens"
            log.warning(
                "the server at %s does not take the %s, which has no effect: %s",
                self.where,
                what,
                self._own_words(reason),
            )

    def _check_model(self, answered: str) -> None:
        a, b = answered.lower(), self.model.lower()
        if not a or a in b or b in a:
            return
        with self._lock:
            if self._told_model:
                return
            self._told_model = True
        log.warning(
            "the server at %s was asked for the model '%s' and answers as '%s'",
            self.where,
            self.model,
            answered[:80],
        )

    def _own_words(self, reason: str) -> str:
        """A server's reason on one line, shortened, without the key."""
        text = one_line(reason)
        if self.key != LOCAL_KEY:
            text = text.replace(self.key, "…")
        return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}…"

    def _problem(self, error: Exception) -> BadInput:
        """One sentence about a request that failed for good. It never holds the key."""
        from openai import APIConnectionError, APIStatusError, APITimeoutError

        options, where = self.options, self.where
        tries = f"after {options.retries + 1} tries" if options.retries else "at the first try"
        if isinstance(error, APITimeoutError):
            return BadInput(
                f"the server at {where} did not answer within {options.timeout:g} s ({tries})"
            )
        if isinstance(error, APIConnectionError):
            if is_too_long(error.__cause__):
                return BadInput(f"the server at {where} did not stop: {error.__cause__}")
            return Hopeless(f"the server at {where} cannot be reached ({tries})")
        if not isinstance(error, APIStatusError):
            return BadInput(f"the server at {where} gave no usable answer ({type(error).__name__})")
        reason, _ = reason_of(_body(error))
        why = f": {self._own_words(reason)}" if reason.strip() else ""
        if error.status_code in (401, 403):
            return Hopeless(
                f"the server at {where} refuses the key in {KEY} ({error.status_code}){why}"
            )
        if error.status_code == 404:
            return Hopeless(f"the server at {where} knows no such model or address (404){why}")
        if error.status_code in (400, 413, 422) and _is_overflow(reason):
            return ContextOverflow(f"the dialogue is too long for the model at {where}{why}")
        again = f" ({tries})" if _worth_retrying(error) else ""
        return BadInput(
            f"the server at {where} answered with status {error.status_code}{again}{why}"
        )


class ConstraintRefused(BadInput):
    """The server refuses a way to hold its replies to a choice."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name


def _body(error: Any) -> object:
    """What a server sent with an error."""
    body = error.body
    if body is None:
        try:
            body = json.loads(error.response.content)
        except (ValueError, RecursionError):
            body = error.response.content[:2000].decode("utf-8", "replace")
    return body


def _is_overflow(reason: str) -> bool:
    text = reason.lower()
    return "context" in text and any(w in text for w in ("exceed", "length", "long", "maximum"))


def _worth_retrying(error: BaseException) -> bool:
    """Whether a retry may help: busy (429), broken (5xx), out of reach or too slow."""
    from openai import APIConnectionError, APIStatusError

    if isinstance(error, APIStatusError):
        return error.status_code == 429 or error.status_code >= 500
    return isinstance(error, APIConnectionError) and not is_too_long(error.__cause__)
