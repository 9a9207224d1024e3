"""HTTP that ends: a response has a deadline and a largest size, whatever the server sends."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator
from typing import Any

MOST_BYTES = 8_000_000


def http_library() -> Any:
    """The HTTP library that the openai client is built on: httpx, or its successor."""
    import openai

    client = next(c for c in openai.DefaultHttpxClient.__mro__[1:] if c.__name__ == "Client")
    return importlib.import_module(client.__module__.partition(".")[0])


def bounded_client(deadline: float, most_bytes: int = MOST_BYTES) -> Any:
    """An HTTP client whose responses end, and that follows no redirection.

    Args:
        deadline: Seconds from a request to the end of its response; then the library's ReadTimeout.
        most_bytes: The largest response; beyond it the library's ReadError, whose message says so.
    """
    http: Any = http_library()

    class Stream(http.SyncByteStream):
        def __init__(self, inner: Any, until: float) -> None:
            self._inner = inner
            self._until = until

        def __iter__(self) -> Iterator[bytes]:
            n = 0
            for chunk in self._inner:
                n += len(chunk)
                if n > most_bytes:
                    raise http.ReadError(too_long(most_bytes))
                if time.monotonic() > self._until:
                    raise http.ReadTimeout("the response has no end")
                yield chunk

        def close(self) -> None:
            self._inner.close()

    class Transport(http.HTTPTransport):
        def handle_request(self, request: Any) -> Any:
            until = time.monotonic() + deadline
            response = super().handle_request(request)
            response.stream = Stream(response.stream, until)
            return response

    return http.Client(transport=Transport(), timeout=deadline, follow_redirects=False)


def too_long(most_bytes: int) -> str:
    """What is said of a response beyond the largest size."""
    return f"its response is longer than {most_bytes:,} bytes"


def is_too_long(error: BaseException | None) -> bool:
    """Whether an error of a request is that its response was too long."""
    return error is not None and "response is longer than" in str(error)
