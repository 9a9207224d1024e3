"""Candidates scored by a server's log-probabilities.

llama.cpp's own server says for any text how probable some next tokens are. That is what the
constrained score needs: at each node of the candidates' trie the probabilities of the tokens that
continue one of them (``models/language/candidate_trie.py``). A bias that lifts just these tokens
leaves their ratio as it is, and makes them the ones that the server lists.

Servers that echo a prompt with its log-probabilities (vLLM, SGLang) give the mean log-probability
of each candidate's tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from agents.dialogue import one_line
from envs.errors import BadInput
from models.language.candidate_trie import build_trie
from models.language.formats import ScoringRule
from models.language.tokens import common_prefix

_LIFT = 100.0  # in logits: all probability goes to the lifted tokens


class ServerScorer(Protocol):
    """Scores candidates behind a text, and goes on with a text."""

    rule: ScoringRule

    def scores(self, text: str, candidates: Sequence[str]) -> list[float]:
        """The score of each candidate behind the text."""

    def go_on(self, text: str, most_tokens: int, stop: Sequence[str]) -> tuple[str, int]:
        """What the model goes on with, and the number of its tokens."""


class LlamaCppScorer:
    """Constrained scores by llama.cpp's server.

    Args:
        http: Sends the requests.
        root: The server's address without ``/v1``.
        concurrency: Requests at the same time.
    """

    rule: ScoringRule = "constrained"

    def __init__(self, http: Any, root: str, concurrency: int) -> None:
        self._http = http
        self._root = root
        self._pool = ThreadPoolExecutor(concurrency)

    def scores(self, text: str, candidates: Sequence[str]) -> list[float]:
        context, *whole = [self._tokens(t) for t in (text, *(text + c for c in candidates))]
        shared = min(common_prefix(context, w) for w in whole)
        tails = [tuple(w[shared:]) for w in whole]
        trie = build_trie(context[shared - 1], tails, "constrained")
        prompts = [context[:shared]]
        for parent, token in zip(trie.parents[1:], trie.tokens[1:], strict=True):
            prompts.append([*prompts[parent], token])
        branches = self._pool.map(lambda n: self._next(prompts[n], trie.children[n]), trie.scored)
        logp = dict(zip(trie.scored, branches, strict=True))
        return [
            sum(logp[node][token] for node, token in zip(path, tail, strict=False) if node in logp)
            for path, tail in zip(trie.paths, tails, strict=True)
        ]

    def go_on(self, text: str, most_tokens: int, stop: Sequence[str]) -> tuple[str, int]:
        answer = self._post(
            "/completion",
            {
                "prompt": text,
                "n_predict": most_tokens,
                "temperature": 0,
                "stop": list(stop),
                "cache_prompt": True,
            },
        )
        n = answer.get("tokens_predicted")
        return str(answer.get("content", "")), n if isinstance(n, int) else 0

    def _next(self, prompt: Sequence[int], tokens: Sequence[int]) -> dict[int, float]:
        """The log-probability of each of these tokens behind a prompt, where only they can come."""
        answer = self._post(
            "/completion",
            {
                "prompt": list(prompt),
                "n_predict": 1,
                "n_probs": len(tokens),
                "post_sampling_probs": True,
                "samplers": ["temperature"],
                "temperature": 1.0,
                "logit_bias": [[token, _LIFT] for token in tokens],
                "cache_prompt": True,
            },
        )
        try:
            listed = answer["completion_probabilities"][0]["top_probs"]
            probabilities = {int(entry["id"]): float(entry["prob"]) for entry in listed}
        except (KeyError, IndexError, TypeError, ValueError):
            raise BadInput(f"the server at {self._root} lists no probabilities") from None
        # What is too improbable to be listed has underflowed.
        least = math.log(5e-324)
        logp = {t: math.log(p) if (p := probabilities.get(t, 0.0)) > 0 else least for t in tokens}
        if max(logp.values()) == least:
            raise BadInput(f"the server at {self._root} lists none of the commands' tokens")
        return logp

    def _tokens(self, text: str) -> list[int]:
        answer = self._post("/tokenize", {"content": text, "add_special": True})
        tokens = answer.get("tokens")
        if not isinstance(tokens, list) or not all(isinstance(t, int) for t in tokens):
            raise BadInput(f"the server at {self._root} does not say what a text's tokens are")
        return tokens

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return _post(self._http, f"{self._root}{path}", body)


class EchoScorer:
    """Length-normalised scores by a server that echoes prompts with their log-probabilities.

    Args:
        http: Sends the requests.
        base: The server's address.
        model: The model's name.
        headers: Those of each request.
        concurrency: Requests at the same time.
    """

    rule: ScoringRule = "length-normalised"

    def __init__(
        self, http: Any, base: str, model: str, headers: dict[str, str], concurrency: int
    ) -> None:
        self._http = http
        self._url = f"{base.rstrip('/')}/completions"
        self._model = model
        self._headers = headers
        self._pool = ThreadPoolExecutor(concurrency)

    def scores(self, text: str, candidates: Sequence[str]) -> list[float]:
        return list(self._pool.map(lambda c: self._score(text, c), candidates))

    def go_on(self, text: str, most_tokens: int, stop: Sequence[str]) -> tuple[str, int]:
        answer = self._post({"prompt": text, "max_tokens": most_tokens, "stop": list(stop)})
        usage = answer.get("usage")
        n = usage.get("completion_tokens", 0) if isinstance(usage, dict) else 0
        try:
            return str(answer["choices"][0]["text"]), int(n)
        except (KeyError, IndexError, TypeError, ValueError):
            raise BadInput(f"the server at {self._url} answered without a text") from None

    def _score(self, text: str, candidate: str) -> float:
        answer = self._post(
            {"prompt": text + candidate, "max_tokens": 1, "echo": True, "logprobs": 1}
        )
        try:
            listed = answer["choices"][0]["logprobs"]
            pairs = list(zip(listed["text_offset"], listed["token_logprobs"], strict=True))
        except (KeyError, IndexError, TypeError, ValueError):
            raise BadInput(f"the server at {self._url} does not echo log-probabilities") from None
        end = len(text) + len(candidate)
        own = [p for at, p in pairs if len(text) <= at < end and isinstance(p, int | float)]
        if not own:
            raise BadInput(f"the server at {self._url} does not echo log-probabilities")
        return sum(own) / len(own)

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        request = {"model": self._model, "temperature": 0, **body}
        return _post(self._http, self._url, request, self._headers)


def find_scorer(http: Any, base: str, model: str, key: str, concurrency: int) -> ServerScorer:
    """The way to score candidates over a server.

    Raises:
        BadInput: The server has none.
    """
    root = base.rstrip("/").removesuffix("/v1")
    try:
        props = _get(http, f"{root}/props")
        if isinstance(props, dict) and "default_generation_settings" in props:
            return LlamaCppScorer(http, root, concurrency)
    except BadInput:
        pass
    scorer = EchoScorer(http, base, model, {"Authorization": f"Bearer {key}"}, concurrency)
    try:
        scorer.scores("One two", [" three four"])
    except BadInput as error:
        raise BadInput(
            f"the server at {base} cannot score commands: it is no llama.cpp server and "
            f"echoes no log-probabilities ({error}); --choice server or text does without"
        ) from error
    return scorer


def _get(http: Any, url: str) -> Any:
    return _json(url, lambda: http.get(url))


def _post(
    http: Any, url: str, body: dict[str, Any], headers: dict[str, str] | None = None
) -> dict[str, Any]:
    answer = _json(url, lambda: http.post(url, json=body, headers=headers))
    if not isinstance(answer, dict):
        raise BadInput(f"the server at {url} answered with no object")
    return answer


def _json(url: str, send: Any) -> Any:
    from agents.planner.server.transport import http_library

    try:
        response = send()
    except http_library().HTTPError as error:
        why = str(error) or type(error).__name__
        raise BadInput(f"the server at {url} cannot be asked: {why}") from error
    if response.status_code != 200:
        text = one_line(response.text)[:200]
        raise BadInput(f"the server at {url} answered with status {response.status_code}: {text}")
    try:
        return response.json()
    except (ValueError, RecursionError):
        raise BadInput(f"the server at {url} answered with malformed JSON") from None
