"""Single keys of a terminal, without waiting for Enter."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import select
import sys
import time
from types import TracebackType
from typing import Any

try:
    import termios
    import tty
except ImportError:  # Windows
    HAS_TERMIOS = False
else:
    HAS_TERMIOS = True

RESIZED = "resized"
END = "end of input"  # Ctrl-D
_ESCAPE_WAIT = 0.05  # seconds in which the rest of an escape sequence comes
_LOOK = 0.2  # seconds between two looks at the terminal's size
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[ -~]|[^\[O\x1b])")
_BEGUN = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|O)?")
_FINAL = {"A": "up", "B": "down", "C": "right", "D": "left"}
_TILDE = {"5": "page up", "6": "page down"}
_CONTROL = {
    "\r": "enter",
    "\n": "enter",
    "\t": "tab",
    "\x7f": "backspace",
    "\b": "backspace",
    "\x04": END,
    "\x15": "clear line",
    "\x17": "delete word",
    "\x1b": "escape",
}


class Keyboard:
    """Reads single keys while its context is open; the terminal's mode is then restored.

    Ctrl-C raises KeyboardInterrupt as ever.

    Args:
        fd: The terminal's file descriptor.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._mode: list[Any] | None = None
        # What cannot be decoded is no key.
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")
        self._pending = ""
        self._size: os.terminal_size | None = None

    @staticmethod
    def is_possible() -> bool:
        """Whether standard input and output are a terminal whose keys can be read here."""
        if not HAS_TERMIOS or os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
            return False
        try:
            return os.isatty(sys.stdin.fileno()) and os.isatty(sys.stdout.fileno())
        except (AttributeError, OSError, ValueError):  # none, no file, closed
            return False

    def __enter__(self) -> Keyboard:
        self._size = os.get_terminal_size(self.fd)
        self._mode = termios.tcgetattr(self.fd)
        tty.setcbreak(self.fd)
        mode = termios.tcgetattr(self.fd)
        # Ctrl-Z would leave the shell with this mode, Ctrl-S would stop the screen.
        mode[0] &= ~termios.IXON
        mode[6][termios.VSUSP] = b"\0"
        termios.tcsetattr(self.fd, termios.TCSANOW, mode)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._mode is not None:
            with contextlib.suppress(termios.error):  # the terminal may be gone
                termios.tcsetattr(self.fd, termios.TCSADRAIN, self._mode)
            self._mode = None

    def read(self) -> str:
        """The next key: a character, or a name such as ``up``, ``enter`` or ``backspace``;
        ``RESIZED`` once the terminal's size has changed.

        Raises:
            EOFError: The terminal is gone.
        """
        while True:
            while self._pending:
                key = self._next()
                if key:
                    return key
            if select.select([self.fd], [], [], _LOOK)[0]:
                self._fill()
            elif self._has_new_size():
                return RESIZED

    def _fill(self) -> None:
        try:
            data = os.read(self.fd, 4096)
        except OSError:
            data = b""
        if not data:
            raise EOFError
        self._pending += self._decoder.decode(data)

    def _next(self) -> str:
        """Take the next key out of what is pending; empty where it is none of ours."""
        if self._pending[0] == "\x1b":
            until = time.monotonic() + _ESCAPE_WAIT
            # The terminal sends a sequence at once, but it may come in two pieces.
            while _BEGUN.fullmatch(self._pending):
                wait = max(until - time.monotonic(), 0)
                if not select.select([self.fd], [], [], wait)[0]:
                    break
                self._fill()
            if match := _SEQUENCE.match(self._pending):
                self._pending = self._pending[match.end() :]
                return _named(match.group())
            begun = _BEGUN.match(self._pending)
            assert begun is not None
            self._pending = self._pending[begun.end() :]
            return "escape" if begun.group() == "\x1b" else ""
        char, self._pending = self._pending[0], self._pending[1:]
        return _CONTROL.get(char, char if char.isprintable() else "")

    def _has_new_size(self) -> bool:
        size = os.get_terminal_size(self.fd)
        changed = self._size is not None and size != self._size
        self._size = size
        return changed


def _named(sequence: str) -> str:
    """The key of an escape sequence; empty where it is none of ours."""
    if sequence.endswith("~"):
        return _TILDE.get(re.split(r"[;~]", sequence[2:])[0], "")
    return _FINAL.get(sequence[-1], "") if sequence[1] in "[O" else ""
