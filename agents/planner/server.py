"""The server Planner: any language model behind an OpenAI-compatible server.

vLLM, llama.cpp, Ollama and hosted services all speak this protocol. The model is asked to choose
among the commands, answers in free text, and the grammar parses it: whatever comes back is a
command of the grammar or none.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from agents.dialogue import Decision, Dialogue
from agents.planner.options import PlannerOptions
from agents.planner.prompt import CHAT, Prompt
from agents.planner.random import no_candidates
from agents.planner.replies import read_reply
from agents.protocols import TeamMember
from envs.errors import BadInput
from models.language.weights import cache_folder

KEY = "OPENAI_API_KEY"
LOCAL_KEY = "none"  # the client requires a key, local servers do not
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 20.0

log = logging.getLogger(__name__)


class ServerPlanner(TeamMember):
    """Requests each dialogue's next command from a server's model, several requests at a time.

    Repeated requests are answered from a cache on disk. A request that fails for good makes its
    own decision an error and leaves the others as they are. Raises BadInput where the optional
    packages are missing, and where there is neither a key nor a server's address.
    """

    def __init__(self, model: str, options: PlannerOptions | None = None) -> None:
        options = PlannerOptions() if options is None else options
        try:
            import openai
            import tenacity

            from agents.planner.response_cache import ResponseCache
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
        self.prompt = Prompt(options.prompt or CHAT, options.examples or 0)
        try:
            self._client = openai.OpenAI(
                api_key=key or LOCAL_KEY,
                base_url=options.base_url,
                timeout=options.timeout,
                max_retries=0,  # tenacity does that, and says so
            )
        # The client's URL parser has errors of its own for addresses that are none.
        except Exception as error:
            raise BadInput(f"'{options.base_url}' is no address of a server: {error}") from error
        self._responses = ResponseCache((options.cache or cache_folder()) / "replies")
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_worth_retrying),
            stop=tenacity.stop_after_attempt(options.retries + 1),
            wait=tenacity.wait_random_exponential(FIRST_WAIT_S, LONGEST_WAIT_S),
            before_sleep=tenacity.before_sleep_log(log, logging.INFO),
            reraise=True,
        )

    def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]:
        """One decision for each dialogue, in their order."""
        with ThreadPoolExecutor(self.options.concurrency) as pool:
            return list(pool.map(self._decide, dialogues))

    def _decide(self, dialogue: Dialogue) -> Decision:
        if not dialogue.candidates():
            return no_candidates(dialogue)
        try:
            text = self._request(self.prompt.render(dialogue), dialogue.seed)
        except BadInput as error:
            return Decision("", None, error=error)
        return read_reply(text, dialogue)

    def _request(self, prompt: str, episode_seed: int) -> str:
        """The model's response. Raises BadInput, in one sentence, where there is none."""
        from openai import OpenAIError

        request: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": self.options.temperature,
            "max_tokens": self.options.max_new_tokens,
        }
        if self.options.temperature > 0:
            request["seed"] = (self.options.seed * 1_000_003 + episode_seed) % (1 << 31)
        where = str(self._client.base_url)
        key = json.dumps({"server": where, **request}, sort_keys=True)
        cached = self._responses.get(key)
        if cached is not None:
            return cached
        try:
            response = self._retrying.copy()(self._client.chat.completions.create, **request)
        except OpenAIError as error:
            raise BadInput(_problem(where, error, self.options)) from error
        # JSON that cannot be read comes up from the client as it is.
        except ValueError as error:
            raise BadInput(f"the server at {where} answered with malformed JSON") from error
        message = _message(response)
        if message is None:
            raise BadInput(f"the server at {where} answered without a message")
        self._responses.store(key, message)
        return message


def _message(response: Any) -> str | None:
    """The text in a response; None where it does not have the shape that the protocol demands."""
    try:
        text = response.choices[0].message.content
    except (AttributeError, IndexError, TypeError, KeyError):
        return None
    return text if isinstance(text, str) else None


def _worth_retrying(error: BaseException) -> bool:
    """Whether a retry may help: busy (429), broken (5xx), out of reach or too slow."""
    from openai import APIConnectionError, APIStatusError

    if isinstance(error, APIStatusError):
        return error.status_code == 429 or error.status_code >= 500
    return isinstance(error, APIConnectionError)


def _problem(where: str, error: Exception, options: PlannerOptions) -> str:
    """One sentence about a request that failed for good. It never holds the key."""
    from openai import APIConnectionError, APIStatusError, APITimeoutError

    tries = f"after {options.retries + 1} tries" if options.retries else "at the first try"
    if isinstance(error, APITimeoutError):
        return f"the server at {where} did not answer within {options.timeout:g} s ({tries})"
    if isinstance(error, APIConnectionError):
        return f"the server at {where} cannot be reached ({tries})"
    if isinstance(error, APIStatusError):
        if error.status_code in (401, 403):
            return f"the server at {where} refuses the key in {KEY} ({error.status_code})"
        if error.status_code == 404:
            return f"the server at {where} knows no such model or address (404)"
        again = f" ({tries})" if _worth_retrying(error) else ""
        return f"the server at {where} answered with status {error.status_code}{again}"
    return f"the server at {where} gave no usable answer ({type(error).__name__})"
