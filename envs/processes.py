"""Processes beside this one that start quickly."""

from __future__ import annotations

import multiprocessing
import sys
from multiprocessing.context import BaseContext

_loaded: dict[str, None] = {}


def processes(*modules: str) -> BaseContext:
    """What makes processes that have nothing of this one's state.

    On Linux they are forked from a server in which ``modules``, and those of earlier calls, are
    loaded, once for all of them, and nothing else happens: no thread and no lock is forked. What a
    call names after the first process was made, each process loads itself, and environment
    variables are for all of them what they were then. Elsewhere each process starts from nothing.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    _loaded.update(dict.fromkeys(modules))
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([*_loaded])
    return server
