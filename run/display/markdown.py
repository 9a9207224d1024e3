"""Tables as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """The lines of a table. A bar within a cell, which would end it, becomes a slash."""
    return [
        f"| {' | '.join(str(value).replace('|', '/') for value in row)} |"
        for row in (head, ["---"] * len(head), *rows)
    ]
