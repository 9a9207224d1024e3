"""Single keys, at a pseudo-terminal."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from run.display.keyboard import END, RESIZED, Keyboard

pty = pytest.importorskip("pty")
termios = pytest.importorskip("termios")


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A pseudo-terminal: where a person types, and where a program reads."""
    typing, reading = pty.openpty()
    yield typing, reading
    for fd in (typing, reading):
        with contextlib.suppress(OSError):
            os.close(fd)


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        (b"a\r", ["a", "enter"]),
        (b"\x1b[A\x1bOB\x1b[1;5C\x1b[D", ["up", "down", "right", "left"]),
        (b"\x1b[5~\x1b[6~", ["page up", "page down"]),
        (b"\x7f\x08\x15\x17\x04\t", ["backspace"] * 2 + ["clear line", "delete word", END, "tab"]),
        ("é€".encode(), ["é", "€"]),
        # What is no key of ours, or no text at all, is passed over.
        (b"\xff\xfe\x00\x01\x1b[99;99H\x1b[3~\x1bfz", ["z"]),
        (b"\x1b\x1b[Az", ["escape", "up", "z"]),
    ],
)
def test_keys(terminal: tuple[int, int], typed: bytes, keys: list[str]) -> None:
    typing, reading = terminal
    with Keyboard(reading) as keyboard:
        os.write(typing, typed)
        assert [keyboard.read() for _ in keys] == keys


def test_escape_alone_is_a_key(terminal: tuple[int, int]) -> None:
    typing, reading = terminal
    with Keyboard(reading) as keyboard:
        os.write(typing, b"\x1b")
        assert keyboard.read() == "escape"


def test_a_new_size_is_a_key(terminal: tuple[int, int]) -> None:
    _, reading = terminal
    termios.tcsetwinsize(reading, (24, 80))
    with Keyboard(reading) as keyboard:
        termios.tcsetwinsize(reading, (15, 40))
        assert keyboard.read() == RESIZED


def test_the_mode_is_restored_even_after_an_error(terminal: tuple[int, int]) -> None:
    _, reading = terminal
    before = termios.tcgetattr(reading)
    with pytest.raises(ZeroDivisionError), Keyboard(reading):
        assert termios.tcgetattr(reading) != before
        raise ZeroDivisionError
    assert termios.tcgetattr(reading) == before


def test_a_terminal_that_is_gone_ends_the_input(terminal: tuple[int, int]) -> None:
    typing, reading = terminal
    with Keyboard(reading) as keyboard:
        os.close(typing)
        with pytest.raises(EOFError):
            keyboard.read()
