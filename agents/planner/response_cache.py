"""The response cache: server answers, kept on disk, so that nothing is paid for twice."""

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
    """Texts by the request that they answer. Raises BadInput for a folder that cannot be used.

    Once open, it only saves time: what is broken in it, or no longer fits on the disk, is asked
    of the server again.
    """

    def __init__(self, folder: Path) -> None:
        with writing(folder):
            self._cache = diskcache.Cache(str(folder), disk=JSONOnlyDisk, size_limit=BYTES)

    def get(self, request: str) -> str | None:
        try:
            known = self._cache.get(request)
        except (ValueError, OSError, zlib.error, sqlite3.Error, diskcache.Timeout):
            return None
        return known if isinstance(known, str) else None

    def keep(self, request: str, reply: str) -> bool:
        """Whether it could be kept."""
        try:
            return bool(self._cache.set(request, reply))
        except (OSError, sqlite3.Error, diskcache.Timeout):
            return False
