"""The three uses that the package's docstring shows: at most ten lines each, and they run."""

from __future__ import annotations

from pathlib import Path

import pytest

import parley

DOCUMENTATION = parley.__doc__ or ""


def code_of(block: str) -> str:
    """The indented lines of a part of the docstring."""
    lines = ["import parley"]
    for line in block.splitlines():
        if line and not line.startswith("    "):
            break
        lines.append(line.removeprefix("    "))
    return "\n".join(lines)


BLOCKS = [code_of(b) for b in DOCUMENTATION.split("    import parley\n")[1:]]


@pytest.mark.parametrize("block", BLOCKS, ids=["play", "evaluate", "detector"])
def test_ten_lines_are_enough(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len([line for line in block.splitlines() if line]) <= 10
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(block, "parley.__doc__", "exec"), names)
    said = capsys.readouterr().out
    if "planner(dialogue" in block:
        assert said.count("Ended: ") == 3 and "Planner: Pick up the " in said
    elif "evaluate" in block:
        assert "search-2-5" in said and "only first" in said
        assert len(list((tmp_path / "runs" / "evaluate").iterdir())) == 2
    else:
        assert [line.split()[1] in ("True", "False") for line in said.splitlines()] == [True] * 3
        assert names["reward"] == 0.0


def test_all_three_are_there() -> None:
    assert len(BLOCKS) == 3
