"""Worker processes that start quickly."""

from __future__ import annotations

import multiprocessing
import sys
from multiprocessing.context import BaseContext

_loaded: dict[str, None] = {}


def processes(*modules: str) -> BaseContext:
    """A multiprocessing context whose processes share no state with this one.

    On Linux they are forked from a server that has loaded ``modules``, and those of earlier calls,
    and does nothing else, so no thread and no lock is forked. Modules that are named after the
    first process was made are loaded by each process itself. Environment variables are, for all
    processes, those at the time of the first. On other systems each process is spawned.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    _loaded.update(dict.fromkeys(modules))
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([*_loaded])
    return server
