"""Help texts: at most 80 columns wide, the usual options first and the others below."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

WIDTH = 80
INDENT, OPTION_COLUMN = 2, 26
FIRST_GROUP, SECOND_GROUP = "options", "more options"
NO_BREAK = "\u00a0"
_FRAME = "╭╰─"


@dataclass
class Entry:
    """An option as the help lists it: ``--seed INT`` and its text."""

    option: str
    text: str = ""

    @property
    def name(self) -> str:
        """``seed`` for ``--seed INT``, ``help`` for ``-h, --help``."""
        found = re.search(r"--([\w-]+)", self.option)
        return found.group(1) if found else self.option

    def lines(self) -> Iterator[str]:
        """Its lines in the help."""
        head = " " * INDENT + self.option
        width = WIDTH - OPTION_COLUMN
        # A short default stays on one line.
        text = re.sub(rf"\(default: .{{1,{width - 12}}}\)$", _unbroken, self.text)
        parts = textwrap.wrap(text, width, break_on_hyphens=False)
        parts = [part.replace(NO_BREAK, " ") for part in parts]
        if len(head) <= OPTION_COLUMN - 2 and parts:
            yield head.ljust(OPTION_COLUMN) + parts.pop(0)
        else:
            yield from textwrap.wrap(
                head, WIDTH, subsequent_indent=" " * 2 * INDENT, break_on_hyphens=False
            )
        yield from (" " * OPTION_COLUMN + part for part in parts)


def _unbroken(found: re.Match[str]) -> str:
    return found.group().replace(" ", NO_BREAK)


def wrapped(text: str, width: int = WIDTH) -> str:
    """A docstring with its paragraphs, lists and examples fitted to a width.

    Lines that begin with a blank are items of a list; the rows of an item that are indented more
    than its first belong to it. A command is continued with a backslash, so that it can still be
    copied into a shell.
    """
    return "\n\n".join(
        "\n".join(line for item in _items(block) for line in _filled(item, width))
        for block in re.split(r"\n\s*\n", text.strip("\n"))
    )


def _items(block: str) -> Iterator[str]:
    """The paragraphs and items of a list in a block, each on one line."""
    item, indent = "", 0
    for line in block.splitlines():
        here = len(line) - len(line.lstrip())
        continues = item and not item.endswith(":") and (here > indent or here == indent == 0)
        if continues or (item and indent and here > indent):
            item += f" {line.strip()}"
            continue
        if item:
            yield item
        item, indent = line.rstrip(), here
    yield item


def _filled(item: str, width: int) -> list[str]:
    if len(item) <= width:
        return [item]
    indent = item[: len(item) - len(item.lstrip())]
    if not (indent and item.lstrip().startswith(("python ", "parley ", "torchrun "))):
        rest = f"{indent}  " if indent else ""
        return textwrap.wrap(item, width, subsequent_indent=rest, break_on_hyphens=False)
    lines = [""]
    pieces = re.split(r" (?=--\w)", item)
    if max(len(piece.strip()) for piece in pieces) + len(indent) + 6 > width:
        pieces = re.split(r" (?=\S)", item.strip())
        lines = [indent]
    for piece in pieces:
        if lines[-1].strip() and len(lines[-1]) + len(piece) + 3 > width:
            lines[-1] += " \\"
            lines.append(f"{indent}    {piece}")
        else:
            lines[-1] += f" {piece}" if lines[-1].strip() else piece
    return lines


def regrouped(help_text: str, usual: Collection[str], more: Sequence[Entry] = ()) -> str:
    """Tyro's help as plain text, with the options in two groups.

    Args:
        help_text: As tyro prints it, with a frame around each group of options.
        usual: The names of the options of the first group, such as ``seed``; empty for all.
        more: Options that tyro does not know; they end the first group.

    Returns:
        Positional arguments and options.
    """
    groups: dict[str, list[Entry]] = {"arguments": [], FIRST_GROUP: [], SECOND_GROUP: []}
    for title, entries in _frames(help_text.splitlines()):
        for entry in map(_plain, entries):
            if title.startswith("positional"):
                groups["arguments"].append(entry)
            elif not usual or entry.name in usual or entry.name == "help":
                groups[FIRST_GROUP].append(entry)
            else:
                groups[SECOND_GROUP].append(entry)
    groups[FIRST_GROUP].extend(more)
    parts = []
    for title, entries in groups.items():
        if entries:
            rows = [line for entry in entries for line in entry.lines()]
            parts.append("\n".join([f"{title}:", *rows]))
    return "\n\n".join(parts)


def _frames(lines: Sequence[str]) -> Iterator[tuple[str, list[Entry]]]:
    """The title and the entries of each frame."""
    title = ""
    entries: list[Entry] = []
    for line in lines:
        if line.startswith("╭"):
            title, entries = line.strip(_FRAME + "╮ "), []
        elif line.startswith("╰"):
            yield title, entries
        elif line.startswith("│"):
            _add(entries, line[2:].rstrip("│").rstrip())


def _add(entries: list[Entry], row: str) -> None:
    """Add a row of a frame to its entries."""
    if not row or set(row) == {"─"}:
        return
    if row.startswith(" "):
        if entries:
            entries[-1].text = f"{entries[-1].text} {row.strip()}".strip()
        return
    if not entries and row[0].isalpha():
        return  # what a group of options is about
    option, _, text = row.partition("  ")
    if entries and not row.startswith(("-", "[")) and not entries[-1].text:
        entries[-1].option += row.strip()  # an option with so many choices that they take two rows
        return
    entries.append(Entry(option, text.strip()))


def _plain(entry: Entry) -> Entry:
    """An entry without what only a programmer reads: ``{None}|PATH`` and ``(default: None)``."""
    text = re.sub(r" ?\(default: (None|False|True|''|)\)$", "", entry.text)
    return Entry(_simple(entry.option), text)


def _simple(text: str) -> str:
    """``PATH...`` in place of ``[PATH [PATH ...]]``, and ``PATH`` in place of ``{None}|PATH``."""
    text = text.replace("{None}|", "")
    return re.sub(r"\[+([A-Z]+) \[\1 \.\.\.\]+", r"\1...", text)


def wrapped_usage(help_text: str) -> str:
    """The first line of tyro's help, fitted to the width."""
    line = _simple(help_text.partition("\n")[0].replace("[-h] ", "").rstrip())
    return "\n".join(textwrap.wrap(line, WIDTH, subsequent_indent=" " * 7, break_on_hyphens=False))
