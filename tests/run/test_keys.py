"""Keys never reach the disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from agents.dialogue import Decision, Dialogue
from agents.planner.oracle import OraclePlanner
from agents.planner.registry import PLANNERS
from run.__main__ import main
from tests.run.command import CHEATS, episode

KEY = "sk-very-secret-0123456789"


def test_a_key_in_an_error_is_blotted_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Quotes(OraclePlanner):
        def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]:
            decisions = super().choose(dialogues)
            wrong = Decision("", None, error=PermissionError(f"401: wrong key {KEY}"))
            return [wrong if d.seed == 0 else c for d, c in zip(dialogues, decisions, strict=True)]

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setitem(PLANNERS._things, "quotes", Quotes)
    folder = episode(tmp_path, "--planner", "quotes", "--episodes", "2")
    assert "401: wrong key ***" in (folder / "episodes.jsonl").read_text()
    for file in folder.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes()


def test_a_key_among_the_settings_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    command = ["episode", *CHEATS, "--runs-dir", str(tmp_path)]
    assert main([*command, "--base-url", f"http://host/{KEY}/v1"]) == 2
    assert KEY not in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
