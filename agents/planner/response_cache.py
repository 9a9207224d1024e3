"""The response cache: servers' responses on disk, so that no request is paid for twice."""

from __future__ import annotations

import sqlite3
import zlib
from pathlib import Path
from typing import Any

import diskcache

from models.language.weights import writing

BYTES = 1 << 30


class JSONOnlyDisk(diskcache.JSONDisk):
    """diskcache's JSON store, and nothing else.

    JSONDisk alone would still unpickle what a row marks as pickle, and a cache folder may come
    from anywhere.
    """

    def get(self, key: Any, raw: Any) -> Any:
        if not raw:
            raise ValueError("a pickled key is not read")
        return super().get(key, raw)

    def fetch(self, mode: int, filename: Any, value: Any, read: Any) -> Any:
        if mode == diskcache.core.MODE_PICKLE:
            raise ValueError("a pickled value is not read")
        return super().fetch(mode, filename, value, read)


class ResponseCache:
    """Responses by request. Raises BadInput for a folder that cannot be used.

    Once open, it only saves time: an entry that is damaged, or that does not fit on the disk, is
    requested from the server again.
    """

    def __init__(self, folder: Path) -> None:
        with writing(folder):
            self._cache = diskcache.Cache(str(folder), disk=JSONOnlyDisk, size_limit=BYTES)

    def get(self, request: str) -> str | None:
        """The response to a request; None where there is none."""
        try:
            response = self._cache.get(request)
        except (ValueError, OSError, zlib.error, sqlite3.Error, diskcache.Timeout):
            return None
        return response if isinstance(response, str) else None

    def store(self, request: str, response: str) -> bool:
        """Store a response; False where it could not be written."""
        try:
            return bool(self._cache.set(request, response))
        except (OSError, sqlite3.Error, diskcache.Timeout):
            return False
