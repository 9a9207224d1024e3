"""The help pages: complete, and fast to come."""

from __future__ import annotations

import dataclasses

import pytest

from agents.planner.options import PlannerOptions
from run.__main__ import COMMANDS, main
from run.commands.episode import EpisodeSettings
from tests.run.command import start


def test_every_option_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["episode", "--help"]) == 0
    page = capsys.readouterr().out
    names = [f.name for cls in (EpisodeSettings, PlannerOptions) for f in dataclasses.fields(cls)]
    for name in set(names) - {"language"}:
        assert f"--{name.replace('_', '-')} " in page, name
    assert "Examples:" in page and "(default: parley-135m)" in page
    assert "{train,held-out,all}" in page


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_page(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"usage: python -m run {name}" in capsys.readouterr().out


def test_help_loads_no_heavy_library() -> None:
    code = (
        "import sys; from run.__main__ import main; main(['episode', '--help']); "
        "print([m for m in ('torch', 'transformers', 'scipy.stats') if m in sys.modules])"
    )
    out, err = start(code=code).communicate(timeout=30)
    assert out.splitlines()[-1] == "[]", err


def test_a_reader_who_has_had_enough_sees_no_error() -> None:
    process = start("train-planner", "--help")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() == 1
