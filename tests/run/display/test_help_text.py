"""Help texts fit into 80 columns."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from run.__main__ import COMMANDS, GROUPS, main
from run.display.help_text import FIRST_GROUP, SECOND_GROUP, regrouped, wrapped


@pytest.mark.parametrize("name", COMMANDS)
def test_no_line_of_a_page_is_wider_than_80_columns(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = []
    for columns in ("40", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        assert main(["help", name]) == 0
        pages.append(capsys.readouterr().out)
    assert pages[0] == pages[1]
    assert [line for line in pages[0].splitlines() if len(line) > 80] == []
    assert f"\n{FIRST_GROUP}:\n" in pages[0]


# Of these commands all options are usual.
FEW = ("report", "leaderboard", "curves")


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in FEW])
def test_the_usual_options_exist_and_come_first(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = COMMANDS[name]
    usual = getattr(importlib.import_module(command.module), command.settings).USUAL
    assert main([name, "--help"]) == 0
    first, _, second = capsys.readouterr().out.partition(f"\n{SECOND_GROUP}:\n")
    assert second
    for option in usual:
        assert f"\n  --{option} " in first or f"\n  --{option}\n" in first, option


def test_the_overview_lists_every_command_in_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help"]) == 0
    page = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert command.group in GROUPS
        assert f"\n  {name} " in page
    assert max(map(len, page.splitlines())) <= 80


def test_the_version_names_parley_and_torch() -> None:
    code = (
        "import sys; from run.__main__ import main; main(['--version']); "
        "assert 'torch' not in sys.modules"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.startswith("parley 0.") and "torch 2." in out.stdout


def test_a_docstring_is_filled_but_lists_and_commands_keep_their_lines() -> None:
    text = (
        "One two\nthree.\n\nA list:\n  a: first,\n    second\n  b\n\nExamples:\n"
        "  python -m run evaluate --planner one --tasks two\n"
    )
    assert wrapped(text, 30) == (
        "One two three.\n\nA list:\n  a: first, second\n  b\n\nExamples:\n"
        "  python -m run evaluate \\\n      --planner one \\\n      --tasks two"
    )


def test_rows_of_a_frame_become_entries() -> None:
    frame = (
        "usage: x\n\n╭─ options ────╮\n│ -h, --help  show │\n│ --a INT     First text, │\n"
        "│             goes on. │\n│ --long {one,two,three}    │\n│             Second. │\n╰──╯\n"
    )
    assert regrouped(frame, ["a"]) == (
        "options:\n"
        "  -h, --help              show\n"
        "  --a INT                 First text, goes on.\n\n"
        "more options:\n"
        "  --long {one,two,three}  Second."
    )
