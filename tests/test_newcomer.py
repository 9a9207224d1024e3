"""The newcomer's list: what it says of our own lines is so."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest

from run.__main__ import COMMANDS, parse
from run.recipes.runner import RecipeSettings

PAGE = (Path(__file__).parents[1] / "docs" / "newcomer.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if re.match(r"\| \d+ \|", line)
]


def test_there_are_thirty_and_none_takes_more_lines_here() -> None:
    assert [int(row[0]) for row in ROWS] == list(range(1, 31))
    for row in ROWS:
        theirs = re.match(r"\d+", row[4])
        assert row[4] == "\N{EN DASH}" or (theirs and int(row[3]) <= int(theirs.group())), row[1]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_our_lines_are_read(row: list[str]) -> None:
    (text,) = re.findall(r"^`(.*)`$", row[2])
    if text.startswith(("make ", "pip ")):
        assert int(row[3]) == 1
    elif text.startswith("python -m run"):
        assert int(row[3]) == 1
        words = shlex.split(text)[3:]
        if words and words[0] != "help":
            command = COMMANDS[words[0]]
            cls = getattr(importlib.import_module(command.module), command.settings)
            rest = [w for w in words[1:] if w != "--recipe"] if "--recipe" in words else words[1:]
            if "--recipe" in words:
                assert parse(words[0], RecipeSettings, words[1:]).recipe == rest[-1]
            else:
                assert parse(words[0], cls, rest)
        elif words:
            assert words[1] in COMMANDS
    else:
        statements = ast.parse(text).body
        assert len(statements) == int(row[3])
        for node in ast.walk(ast.parse(text)):
            named = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            if named and node.value.id == "parley":
                assert hasattr(importlib.import_module("parley"), node.attr)
            if isinstance(node, ast.ImportFrom):
                assert hasattr(importlib.import_module(str(node.module)), node.names[0].name)
