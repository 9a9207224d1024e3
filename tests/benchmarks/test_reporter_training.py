"""benchmarks/reporter_training.py: one short run of it as a user starts it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agents.reporter.network import ReporterConfig, ReporterNetwork
from rewards.success_vqa.baseline import BaselineConfig, BaselineDetector
from tests.agents.tiny import tiny_model, tiny_tokenizer
from tests.run.warm import Started

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "reporter_training.py"


def test_a_short_run_writes_all_it_promises(tmp_path: Path) -> None:
    BaselineDetector(BaselineConfig(("did", "the", "agent"), 16, 1, 4)).save(tmp_path / "judge")
    tiny_model("llama").save_pretrained(tmp_path / "tiny")
    tiny_tokenizer().save_pretrained(tmp_path / "tiny")
    config = ReporterConfig(str(tmp_path / "tiny"), 16, 1, 4, gates=1, every=1)
    ReporterNetwork(tiny_model("llama"), tiny_tokenizer(), config).save(tmp_path / "mine")
    parts = ["--reporter", str(tmp_path / "mine"), "--planner", "oracle"]
    size = ["--groups", "1", "--members", "4", "--alone", "1", "--rounds", "1", "--threads", "1"]
    judge = ["--detector", str(tmp_path / "judge"), "--out", str(tmp_path / "out")]
    given = [*parts, *size, *judge]
    status, out, err = Started(*given, cwd=tmp_path, script=SCRIPT).wait()
    assert status == 0, err
    found = json.loads(out.splitlines()[-1])
    rounds = json.loads((tmp_path / "out" / "results.json").read_text())
    (together,), (alone,) = (rounds["episodes_per_second"][k] for k in ("together", "alone"))
    assert found["times"] == round(together / alone, 2) and found["together"] == round(together, 3)
    (shares,) = rounds["shares"]
    assert sum(shares.values()) == pytest.approx(1) and all(s > 0 for s in shares.values())
    assert "| sampling |" in (tmp_path / "out" / "table.md").read_text()
