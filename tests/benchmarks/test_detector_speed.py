"""benchmarks/detector_speed.py: one short run of it as a user starts it."""

from __future__ import annotations

import json
from pathlib import Path

from rewards.success_vqa.baseline import BaselineConfig, BaselineDetector
from tests.run.warm import Started

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "detector_speed.py"


def test_a_short_run_writes_all_it_promises(tmp_path: Path) -> None:
    BaselineDetector(BaselineConfig(("did", "the", "agent"), 16, 1, 4)).save(tmp_path / "small")
    options = ["--detectors", str(tmp_path / "small"), "--batches", "1", "4", "--rounds", "1"]
    given = [*options, "--threads", "1", "--out", str(tmp_path / "out")]
    status, out, err = Started(*given, cwd=tmp_path, script=SCRIPT).wait()
    assert status == 0, err
    (found,) = json.loads(out.splitlines()[-1]).values()
    rounds = json.loads((tmp_path / "out" / "results.json").read_text())[str(tmp_path / "small")]
    for n in ("1", "4"):
        ours, plain, limit = (rounds[n][k] for k in ("ours", "plain", "limit"))
        assert len(ours) == len(plain) == len(limit) == 1
        assert found[n]["clips_per_second"] == round(ours[0], 3) > 0
        assert found[n]["times_plain"] == round(ours[0] / plain[0], 2)
        assert found[n]["share_of_limit"] == round(ours[0] / limit[0], 3)
    assert (tmp_path / "out" / "table.md").read_text().count("small") == 2
