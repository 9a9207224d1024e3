"""``python -m run check-engine``: a table, a summary, and an exit code that says what was found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from envs.batched import sameness
from run.__main__ import main
from tests.run.command import one_sentence


def _check(runs: Path, *options: str) -> tuple[int, dict[str, Any]]:
    code = main(["check-engine", "--steps", "30", "--runs-dir", str(runs), *options])
    (folder,) = (runs / "check-engine").glob("*")
    return code, json.loads((folder / "summary.json").read_text("utf-8"))


def test_levels_by_pattern(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    levels = ("MiniGrid-Empty-?x?-v0", "BabyAI-GoToObj-v0", "Rooms search", "search")
    code, summary = _check(tmp_path, "--levels", *levels, "--seed", "3")
    assert code == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(next((tmp_path / "check-engine").glob("*")))
    names = [r["level"] for r in summary["levels"]]
    assert names[:2] == ["BabyAI-GoToObj-v0", "MiniGrid-Empty-5x5-v0"]
    assert names[-1] == "Rooms search" and "Parley/SecretSearch-v0" in names
    assert (summary["command"], summary["seed"], summary["n"]) == ("check-engine", 3, len(names))
    assert (summary["n_errors"], summary["n_different"], summary["n_refused"]) == (0, 0, 0)
    assert summary["seconds"] > 0
    # 30 steps with a view of 7, and 3 each with three others.
    assert summary["steps"] == len(names) * 39
    views = [c["view"] for c in summary["levels"][0]["comparisons"]]
    assert views == [7, 3, 5, 9]
    assert all(c["difference"] is None for r in summary["levels"] for c in r["comparisons"])
    assert "BabyAI-GoToObj-v0" in said.err and f"{len(names)} levels" in said.err


def test_workers_find_the_same(tmp_path: Path) -> None:
    levels = ("--levels", "MiniGrid-Empty-5x5-v0", "MiniGrid-LavaGapS5-v0", "Rooms command")
    _, alone = _check(tmp_path / "alone", *levels)
    code, shared = _check(tmp_path / "shared", *levels, "--workers", "2")
    assert code == 0
    for found in (alone, shared):
        del found["seconds"]
        for level in found["levels"]:
            del level["seconds"]
    assert alone == shared


def test_a_difference_is_told_and_the_exit_code_is_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = sameness.Engine.step

    def wrong(engine: Any, actions: Any) -> None:
        right(engine, actions)
        engine.rewards[0] += engine.steps[0] == 7

    monkeypatch.setattr(sameness.Engine, "step", wrong)
    code, summary = _check(tmp_path, "--levels", "MiniGrid-Empty-5x5-v0")
    assert code == 1
    assert summary["n_different"] == 1 and summary["n_errors"] == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "differs: MiniGrid-Empty-5x5-v0: " in said and "step 7 (" in said
    assert "reward is 0" in said and "in MiniGrid, 1.0 here" in said


def test_a_level_that_breaks_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = sameness.compare

    def broken(level: str, *rest: Any, **settings: Any) -> sameness.Comparison:
        if "5x5" in level:
            raise RuntimeError("it broke")
        return right(level, *rest, **settings)

    monkeypatch.setattr(sameness, "compare", broken)
    code, summary = _check(tmp_path, "--levels", "MiniGrid-Empty-?x?-v0")
    assert code == 1 and summary["n_errors"] == 1 and summary["n"] == 2
    assert "RuntimeError: it broke" in " ".join(capsys.readouterr().err.split())


def test_what_the_engine_does_not_have_is_listed(tmp_path: Path) -> None:
    code, summary = _check(
        tmp_path, "--levels", "MiniGrid-Dynamic-Obstacles-5x5-*", "MiniGrid-Empty-5x5-v0"
    )
    assert (code, summary["n"], summary["n_refused"]) == (0, 1, 1)
    assert "DynamicObstaclesEnv.step" in summary["levels"][0]["refused"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--levels", "BabyAI-GoToLocl-v0"], "did you mean 'BabyAI-GoToLocal-v0'?"),
        (["--levels", "Nothing*"], "unknown level 'Nothing*'"),
        (["--levels", "MiniGrid-Dynamic-Obstacles-5x5-v0"], "DynamicObstaclesEnv.step"),
        (["--steps", "0"], "--steps must be"),
        (["--seed", "-1"], "--seed must be"),
        (["--workers", "0"], "--workers must be"),
        (["--steps", "many"], "--steps many is no whole number"),
    ],
)
def test_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert main(["check-engine", "--runs-dir", str(tmp_path), *options]) == 2
    assert said in one_sentence(capsys.readouterr().err)
    assert not list(tmp_path.iterdir())
