"""benchmarks/actor_training.py: its reckoning, and one short run of it as a user starts it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from benchmarks.actor_training import LEVEL, Contender, Flat, TurnMeasurement, Words, flat, summary
from envs.batched import Engine, Pool
from tests.run.warm import Started

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "actor_training.py"


def _contender(name: str, *turns: tuple[int, float, float]) -> Contender:
    nothing: Any = None
    made = Contender(name, nothing, lambda: 0.0)
    made.turns += [
        TurnMeasurement(steps, seconds, seconds / 2, 0.0, p) for steps, seconds, p in turns
    ]
    return made


def test_the_ratio_is_of_medians_over_the_rounds_and_the_target_is_counted_from_the_start() -> None:
    ours = _contender("ours", (400, 2, 0.2), (900, 3, 0.5), (100, 1, 0.96), (1, 1, 0.0))
    sb3 = _contender("sb3", (20, 2, 0.0), (10, 1, 0.1), (30, 3, 0.2))
    found = summary([ours, sb3], rounds=3)
    assert found["steps_ratio"] == 20.0 and found["steps_ratio_cpu"] == 20.0
    assert found["seconds_to_95_ours"] == 6.0 and found["seconds_to_95_sb3"] is None
    assert summary([ours], rounds=3)["steps_ratio"] is None


def test_the_engine_and_minigrid_show_a_learner_the_same_vector() -> None:
    pool = Pool.draw(LEVEL, 3, 0)
    words = Words(pool.missions)
    engine = Engine(pool, 3)
    engine.reset()
    engine.place(np.arange(3))
    seen = flat(engine, np.stack([words.bag(m) for m in pool.missions]))
    world = Flat(gym.make(LEVEL), words)
    for seed in range(3):
        first, _ = world.reset(seed=seed)
        assert world.observation_space.contains(first)
        np.testing.assert_array_equal(first, seen[seed])


def test_a_short_run_writes_all_it_promises(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    short = (
        "--contenders ours sb3 engine --race ours --rounds 1 --turn 0.01 --minutes 0.0001 "
        "--worlds 16 --baseline-worlds 2 --layouts 8 --episodes 4 --baseline-epochs 1"
    )
    given = [*short.split(), "--out", str(tmp_path)]
    status, out, err = Started(*given, cwd=tmp_path, script=SCRIPT).wait()
    assert status == 0, err
    found = json.loads(out.splitlines()[-1])
    assert found["steps_ratio"] > 0 and found["steps_ratio_recurrent"] is None
    (folder,) = (tmp_path / "actor-training").iterdir()
    rows = list(csv.DictReader((folder / "table.csv").open(encoding="utf-8")))
    assert [row["contender"] for row in rows] == ["ours", "sb3", "engine"]
    assert (folder / "plot.png").stat().st_size > 0
    assert json.loads((folder / "summary.json").read_text("utf-8")) == found
    assert "| ours | 16 |" in (folder / "table.md").read_text("utf-8")


def test_a_wrong_number_is_refused_in_one_line(tmp_path: Path) -> None:
    asked = ["--rounds", "0", "--out", str(tmp_path)]
    status, _, err = Started(*asked, cwd=tmp_path, script=SCRIPT).wait()
    assert status == 2 and err == "--rounds must be 1 or more\n"
