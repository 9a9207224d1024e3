"""``python -m run train-solo``, in small, and what it sees."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

from agents.solo import MOST_ITEMS, SIZE, SoloExtractor, SoloVecEnv, success, task_numbers
from envs import make_worlds
from envs.batched import Engine, Rooms
from envs.items import find_items
from run.__main__ import main
from tests.run.command import one_sentence


def test_a_short_run_writes_all_it_promises(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ["--steps", "1024", "--worlds", "8", "--evaluate-every", "512", "--batch", "256"]
    few = ["--score-episodes", "20", "--evaluate-episodes", "8", "--room-size", "6"]
    run = ["train-solo", *short, *few, "--epochs", "1", "--threads", "1"]
    made = []
    for name in ("one", "two"):
        assert main([*run, "--runs-dir", str(tmp_path), "--name", name]) == 0
        made.append(Path(capsys.readouterr().out.splitlines()[-1]))
    rows = [list(csv.DictReader((f / "curve.csv").open())) for f in made]
    assert [r["steps"] for r in rows[0]] == ["512", "1024"]
    assert sum(r["held_out"] != "" for r in rows[0]) == 2
    # The same seed makes the same run.
    assert [{**r, "seconds": ""} for r in rows[0]] == [{**r, "seconds": ""} for r in rows[1]]
    summary = json.loads((made[0] / "summary.json").read_text())
    assert summary["n"] == 20 and summary["steps"] == 1024
    assert 0 <= summary["success_ci95"][0] <= summary["success_rate"] <= 1
    assert (made[0] / "plots" / "curve.png").stat().st_size > 5_000
    assert main([*run, "--n-items", "1"]) == 2
    assert "between 3 and 10" in one_sentence(capsys.readouterr().err)


def test_it_sees_what_the_same_world_shows_and_what_its_task_names() -> None:
    engine = Engine(Rooms("search", n_items=(3,), show_marks=True), 4, seed=3)
    vectors = SoloVecEnv(engine)
    seen = np.asarray(vectors.reset())
    assert seen.shape == (4, SIZE) and seen.dtype == np.uint8
    for i in range(4):
        named = find_items(engine.mission(i))
        assert (seen[i, :147].reshape(7, 7, 3) == engine.images[i]).all()
        assert (seen[i, 148:] == task_numbers(engine.mission(i))).all()
        shapes = seen[i, 148:].reshape(MOST_ITEMS, 3)[:, 0]
        assert (shapes[:3] > 0).all() and len(named) == 3 and not shapes[3:].any()
    # An item's codes in the view are those in the task: MiniGrid's own observation says so too.
    worlds = make_worlds("search", 1, n_items=3)
    worlds.reset(0, 1)
    codes = task_numbers(worlds.tasks[0]).reshape(-1, 3)[:3]
    kinds = {tuple(c) for c in worlds.images[0].reshape(-1, 3)[:, :2]}
    full = {tuple(c) for c in worlds.world(0).grid.encode().reshape(-1, 3)[:, :2]}
    assert kinds and {(int(k), int(c)) for k, c, _ in codes} <= {(int(a), int(b)) for a, b in full}


def test_the_last_view_of_an_episode_is_of_its_own_task() -> None:
    engine = Engine(Rooms("conditional", max_steps=3), 8, seed=1)
    vectors = SoloVecEnv(engine)
    before = np.asarray(vectors.reset())[:, 148:]
    for _ in range(3):
        vectors.step_async(np.zeros(8, int))
        seen, _, over, infos = vectors.step_wait()
    assert over.all()
    for i in range(8):
        assert (infos[i]["terminal_observation"][148:] == before[i]).all()
        assert infos[i]["TimeLimit.truncated"]
    assert (np.asarray(seen)[:, 148:] != before).any()


def test_what_is_scored_are_the_episodes_that_are_asked_for() -> None:
    rooms = Rooms("conditional", max_steps=20)
    model = PPO(
        "MlpPolicy",
        SoloVecEnv(Engine(rooms, 4)),
        n_steps=8,
        batch_size=8,
        seed=0,
        policy_kwargs={"features_extractor_class": SoloExtractor, "net_arch": []},
    )
    with torch.no_grad():
        model.policy.action_net.bias[3] = 100.0  # always picks up
    engine = Engine(rooms, 64, seed=5, autoreset=False)
    engine.reset(5)
    won = success(model, engine)
    assert won.shape == (64,) and not won.all()
    # Who begins in front of the right item has won, and nobody else.
    assert (engine.steps[won] == 1).all()
