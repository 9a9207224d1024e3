"""benchmarks/env_speed.py: its reckoning, and one short run of it as a user starts it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.env_contenders import measure
from benchmarks.env_speed import LEVELS, Row, SpeedSetting, ratios

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "env_speed.py"


def _row(contender: str, worlds: int = 1024, threads: int = 1, *, rate: float, **what: str) -> Row:
    setting = SpeedSetting(
        what.get("observation", "images"), what.get("level", LEVELS[0]), threads, worlds
    )
    return Row(setting, contender, (rate, 3 * rate, 2 * rate))  # the median is twice the rate


def test_ratios_are_of_medians_at_1024_worlds_and_one_thread() -> None:
    found = ratios(
        [
            _row("parley", rate=600.0),
            _row("minigrid", rate=2.0),
            _row("parley", 64, rate=7.0),
            _row("minigrid", threads=2, rate=7.0),
            _row("xland", 64, rate=7.0),
            _row("parley", rate=50.0, observation="frames"),
            _row("minigrid", rate=10.0, observation="frames"),
            _row("parley", rate=40.0, observation="frames", level=LEVELS[1]),
            _row("minigrid", rate=10.0, observation="frames", level=LEVELS[1]),
        ]
    )
    assert found["empty_vs_minigrid"] == 300.0
    assert found["rgb_vs_minigrid"] == 4.0
    assert found["empty_vs_xland"] is None and found["doorkey_vs_minigrid"] is None


def test_a_measurement_counts_the_whole_of_its_last_block() -> None:
    def block() -> int:
        time.sleep(0.02)
        return 100

    assert 500 < measure(block, seconds=0.03) <= 5000  # 2 blocks of at least 0.02 seconds


def test_a_short_run_says_what_it_skipped(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    bare = tmp_path / "python"  # an interpreter without any package, so without JAX
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    short = "--worlds 1024 --threads 1 --rounds 2 --seconds 0.01 --skip frames"
    done = subprocess.run(
        [sys.executable, SCRIPT, *short.split(), "--peers-python", bare, "--out", tmp_path],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["empty_vs_minigrid"] > 20 and last["doorkey_vs_minigrid"] > 20
    assert last["empty_vs_xland"] is None and last["doorkey_vs_navix"] is None
    assert "xland: skipped, jax is missing" in done.stdout
    assert "pip install xminigrid" in done.stdout
    (folder,) = (tmp_path / "env-speed").iterdir()
    assert (folder / "plot.png").stat().st_size > 10_000
    with open(folder / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    measured = [(row["level"], row["contender"], row["n"]) for row in rows]
    assert measured == [(x, y, "2") for x in LEVELS for y in ("parley", "minigrid", "copy")]
    assert all(float(r["lowest"]) <= float(r["median"]) <= float(r["highest"]) for r in rows)


def test_more_threads_than_cores_are_refused_in_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--threads", "4096"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "--threads 4096: only" in done.stderr
