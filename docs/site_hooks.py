"""Hooks of the documentation's site: pages made from the commands, links that leave the pages."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MARK = "<!-- command line -->"
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put the help of all commands where it belongs, and unlink what is no page of the site."""
    if MARK in markdown:
        markdown = markdown.replace(MARK, command_line())
    here = (ROOT / "docs" / page.file.src_path).parent

    def unlinked(found: re.Match[str]) -> str:
        text, target = found.group(1), found.group(2)
        if "://" in target or target.startswith("mailto:"):
            return found.group(0)
        place = (here / target).resolve()
        if place.is_relative_to(ROOT / "docs") and place.is_file():
            return found.group(0)
        inside = place.relative_to(ROOT) if place.is_relative_to(ROOT) else Path(target)
        return f"{text} (`{inside}`)" if text != str(inside) else f"`{inside}`"

    return LINK.sub(unlinked, markdown)


def command_line() -> str:
    """The help of every command."""
    from run.__main__ import COMMANDS, main

    parts = []
    for name in COMMANDS:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            main([name, "--help"])
        parts.append(f"## {name}\n\n```text\n{printed.getvalue().rstrip()}\n```")
    return "\n\n".join(parts)
