"""The shipped adapter, scored with the real model, so that it can't rot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agents.planner.adapter import read_about
from agents.planner.processor_registry import default_processors, parse_processors
from agents.planner.shipped import shipped
from models.language.adapters import WEIGHTS
from models.language.weights import cache_folder, packaged
from run.__main__ import main


def test_it_is_small_and_says_what_it_is_for() -> None:
    assert list(shipped()) == ["parley-135m", "parley-visible"]
    for folder in shipped().values():
        assert (folder / WEIGHTS).stat().st_size < 15e6
        about = read_about(folder)
        assert about.base in packaged() and (about.scoring, about.examples) == ("constrained", 2)
        assert "python -m run train-planner" in (folder / "README.md").read_text()
    processors = {name: read_about(folder).processors for name, folder in shipped().items()}
    default = default_processors("constrained")
    assert processors == {
        "parley-135m": parse_processors("default,exploration-threshold:0.4,contrastive:6", default),
        "parley-visible": default,
    }


def test_it_plans_with_items_that_it_never_saw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = ["--tasks", "conditional,search-2-5,paraphrases,babyai open", "--episodes", "16"]
    more = ["--planner", "parley-135m", "--parallel", "16", "--seed", "300000000"]
    # The model's cache as it is, so that it is not converted once more.
    more += ["--cache", str(cache_folder())]
    assert main(["evaluate", *cells, *more, "--runs-dir", str(tmp_path)]) == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    found = json.loads((folder / "summary.json").read_text())["cells"]
    rates = {name: cell["success_rate"] for name, cell in found.items()}
    assert rates["conditional"] >= 0.9 and rates["search-2-5"] >= 0.9, rates
    assert rates["paraphrases"] >= 0.7 and rates["babyai open"] >= 0.8, rates
