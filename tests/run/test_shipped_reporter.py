"""The shipped Reporter, with the real models, so that it can't rot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agents.reporter.learned import SHIPPED
from models.language.weights import cache_folder
from run.__main__ import main


def test_it_is_small_and_says_how_it_was_made() -> None:
    assert (SHIPPED / "model.safetensors").stat().st_size < 25e6
    assert "python -m run train-reporter" in (SHIPPED / "README.md").read_text()


def test_a_planner_succeeds_by_what_it_sees(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    team = ["--planner", "parley-visible", "--reporter", "learned"]
    cells = ["--tasks", "visual conditional", "--episodes", "6", "--parallel", "6"]
    # The model's cache as it is, so that it is not converted once more.
    more = ["--seed", "300000000", "--cache", str(cache_folder()), "--runs-dir", str(tmp_path)]
    assert main(["evaluate", "reporter", *team, *cells, *more]) == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    found = json.loads((folder / "summary.json").read_text())
    assert found["success_rate"] >= 0.75 and found["reports_true"] >= 0.9, found
    lines = [json.loads(x) for x in (folder / "episodes.jsonl").read_text().splitlines()]
    assert all(len(x["reports_true"]) == len(x["turns"]) for x in lines)
