"""Evaluating from Python: recorded as the command records it, with objects and functions too."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import parley
from agents.planner.oracle import OraclePlanner
from agents.planner.random import RandomPlanner
from run.__main__ import main
from run.evaluation.statistics import mcnemar
from tests.parley import planners

ROOT = Path(__file__).parents[2]
SEARCH: dict[str, Any] = {"tasks": "search-2-5", "episodes": 4}


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, Any]:
    return {**SEARCH, "runs_dir": tmp_path}


def nothing(dialogue: str) -> str:
    return "Pick up the solid red ring."


def lines(folder: Path) -> list[dict[str, Any]]:
    episodes = map(json.loads, (folder / "episodes.jsonl").read_text().splitlines())
    return [{k: v for k, v in episode.items() if k != "seconds"} for episode in episodes]


def test_the_result_is_that_of_the_command(runs: dict[str, Any], tmp_path: Path) -> None:
    result = parley.evaluate(planner="random", **runs)
    args = ["evaluate", "--planner", "random", "--tasks", "search-2-5", "--episodes", "4"]
    assert main([*args, "--runs-dir", str(tmp_path / "other")]) == 0
    (other,) = (tmp_path / "other" / "evaluate").iterdir()
    assert lines(result.folder) == lines(other) and len(lines(other)) == 4
    summary = json.loads((other / "summary.json").read_text())
    assert result.success_rate == summary["success_rate"]
    assert result.interval == tuple(summary["success_ci95"])
    (task,) = result.tasks
    assert (task.task, task.n, task.errors) == ("search-2-5", 4, 0)
    assert (task.success, task.interval) == (result.success_rate, result.interval)
    assert task.floor == 0.98
    assert (result.folder / "cells.csv").is_file()
    again = parley.EvaluationResult.read(result.folder)
    assert (str(again), again.episodes) == (str(result), list(result.episodes))


def test_a_result_is_a_table(runs: dict[str, Any]) -> None:
    result = parley.evaluate(planner="oracle", **runs)
    text = str(result)
    assert text.startswith("planner · oracle\n") and "\x1b" not in text
    assert "search-2-5" in text and "1.000" in text and "0.510 to 1.000" in text
    assert "oracle" in repr(result) and "\n" not in repr(result)
    page = result._repr_html_()
    assert page.count("<tr>") == 3 and "<td>search-2-5</td>" in page
    assert page.count("<td>") == 2 * page.count("<th>")


def test_pandas_is_optional(runs: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    result = parley.evaluate(planner="oracle", **runs)
    pandas = pytest.importorskip("pandas")
    frame = result.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.to_dict("records")[0] | {"turns": 0} == {
        **{"task": "search-2-5", "n": 4, "errors": 0, "success": 1.0, "turns": 0},
        "misunderstood": 0.0,
        **{"low": pytest.approx(0.5101, abs=1e-4), "high": 1.0, "floor": 0.98, "chance": None},
    }
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(parley.BadInput, match="pip install pandas"):
        result.to_pandas()


def test_a_function_is_scored_and_named(runs: dict[str, Any]) -> None:
    result = parley.evaluate(planner=nothing, **runs)
    assert (result.success_rate, result.n, result.n_errors) == (0.0, 4, 0)
    config = json.loads((result.folder / "config.json").read_text())
    assert config["planner"] == result.planner == "python:nothing"
    assert result.folder.name.endswith("-planner-nothing")
    assert all(e.turns[0].utterance == "Pick up the solid red ring." for e in result.episodes)


def test_objects_and_functions_play_every_part(runs: dict[str, Any]) -> None:
    told: list[str] = []

    def reporter(rollout: parley.ObservedRollout) -> str:
        told.append(rollout.true_report)
        return rollout.true_report

    result = parley.evaluate(
        planner=OraclePlanner(), actor=parley.load_actor("scripted"), reporter=reporter, **runs
    )
    assert result.success_rate == 1.0 and len(told) == sum(len(e.turns) for e in result.episodes)
    config = json.loads((result.folder / "config.json").read_text())
    names = [config[part] for part in ("planner", "actor", "reporter")]
    assert names == ["python:OraclePlanner", "python:ScriptedActor", "python:reporter"]


def test_episodes_that_break_are_errors_and_the_others_go_on(runs: dict[str, Any]) -> None:
    asked: list[str] = []

    def planner(dialogue: str) -> str:
        asked.append(dialogue)
        if dialogue.split("\n")[0] == asked[0].split("\n")[0]:
            raise RuntimeError("no quota left")
        return "Pick up the solid red ring."

    with pytest.warns(RuntimeWarning, match="1 of 4 episodes broke"):
        result = parley.evaluate(planner=planner, **runs)
    assert (result.n, result.n_errors, result.success_rate) == (4, 1, 0.0)
    (error,) = [e.error for e in result.episodes if e.error]
    assert "no quota left" in error and "in planner" in error
    assert "1 of 4 episodes broke, the first with: RuntimeError: no quota left" in str(result)
    # Even where none is left, the result says so.
    with pytest.warns(RuntimeWarning, match="4 of 4 episodes broke"):
        result = parley.evaluate(planner=lambda text: 1 / 0, **runs)  # type: ignore[arg-type,return-value]
    assert (result.n_errors, result.success_rate, result.interval) == (4, None, None)


def test_an_interrupted_run_goes_on_with_the_same_object(runs: dict[str, Any]) -> None:
    calls: list[str] = []

    def mine(dialogue: str) -> str:
        calls.append(dialogue)
        if len(calls) == 30:
            raise KeyboardInterrupt
        return "Pick up the solid red ring."

    with pytest.raises(KeyboardInterrupt):
        parley.evaluate(planner=mine, parallel=1, **runs)
    (folder,) = (runs["runs_dir"] / "evaluate").iterdir()
    assert len(lines(folder)) == 1
    with pytest.raises(parley.BadInput, match="'python:mine' was an object of Python"):
        parley.evaluate(resume=folder)
    with pytest.raises(parley.BadInput, match="these differ: --planner python:nothing"):
        parley.evaluate(resume=folder, planner=nothing)
    assert main(["evaluate", "--resume", str(folder)]) == 2
    with pytest.raises(parley.BadInput, match=r"these differ: --episodes 3 \(there 4"):
        parley.evaluate(resume=folder, planner=mine, episodes=3)
    result = parley.evaluate(resume=folder, planner=mine)
    assert (result.folder, result.n) == (folder, 4)
    assert len(calls) == 30 + 3 * 20


def test_two_results_are_compared_episode_by_episode(runs: dict[str, Any]) -> None:
    both = {**runs, "tasks": ["search-2-5", "conditional"], "episodes": 8}
    oracle, chance = (parley.evaluate(planner=name, **both) for name in ("oracle", "random"))
    rows = oracle.compare(chance)
    assert [row.task for row in rows] == ["conditional", "search-2-5", "all"]
    lost = sum(e.success is False for e in chance.episodes)
    whole = rows[-1]
    assert (whole.n, whole.won, whole.lost, whole.first) == (16, lost, 0, 1.0)
    assert (whole.second, whole.p) == (1 - lost / 16, mcnemar(lost, 0))
    assert lost > 0 and len(str(rows).splitlines()) == 4
    with pytest.raises(parley.BadInput, match="no episode in common"):
        oracle.compare(parley.evaluate(planner="random", **{**both, "seed": 100}))


def test_workers_play_objects_that_can_travel(runs: dict[str, Any]) -> None:
    one = parley.evaluate(planner=planners.first_item, parallel=2, **runs)
    two = parley.evaluate(planner=planners.first_item, parallel=2, workers=2, **runs)
    assert lines(one.folder) == lines(two.folder)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_script_needs_no_guard(workers: int, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import parley\n"
        f"result = parley.evaluate(planner='oracle', tasks='search-2-5', episodes=4, "
        f"parallel=2, workers={workers})\n"
        "print(result.success_rate)\n"
    )
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1.0\n", "")
    assert len(list((tmp_path / "runs" / "evaluate").iterdir())) == 1


def test_objects_that_cannot_travel_are_refused(
    runs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(parley.BadInput, match="cannot be sent to other processes"):
        parley.evaluate(planner=lambda text: text, workers=2, **runs)
    monkeypatch.setattr(nothing, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "nothing", nothing, raising=False)
    with pytest.raises(parley.BadInput, match="'nothing' is defined in this script or notebook"):
        parley.evaluate(planner=nothing, workers=2, **runs)
    assert not (runs["runs_dir"] / "evaluate").exists()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"planner": 3}, "3 is no Planner"),
        ({"planner": RandomPlanner}, "RandomPlanner is a class"),
        ({"actor": nothing}, "is no Actor: it has no method"),
        ({"suite": "plannr"}, "unknown suite 'plannr'; did you mean 'planner'"),
        ({"tasks": ["serch-2-5"]}, "did you mean 'search-2-5'"),
        ({"tasks": 3}, "tasks must be names of tasks, not 3"),
        ({"tasks": []}, "tasks must be names of tasks, not []"),
        ({"episodes": 0}, "episodes must be at least 1"),
        ({"planer": "oracle"}, "unknown option 'planer'; did you mean 'planner'"),
        ({"temprature": 1}, "unknown option 'temprature'; did you mean 'temperature'"),
        ({"planner": nothing, "decide": "score"}, "the option decide is for a planner that is"),
        ({"planner": "random", "decide": "generate"}, "decide has no effect here"),
        ({"address": "auto"}, "only --engine ray has a cluster"),
        ({"planner": "human"}, "nobody plays a whole suite by hand"),
        ({"resume": "nowhere"}, "'nowhere' is no run folder"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    given: dict[str, Any], sentence: str, runs: dict[str, Any]
) -> None:
    with pytest.raises(parley.BadInput) as problem:
        parley.evaluate(**{"planner": "oracle", **runs, **given})
    assert sentence in str(problem.value) and "\n" not in str(problem.value)
    assert os.listdir(runs["runs_dir"]) == []


def test_nothing_is_printed_where_there_is_no_terminal(
    runs: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    result = parley.evaluate(planner="oracle", **runs)
    parley.evaluate(resume=result.folder)
    random = parley.evaluate(team="random", attribute_faults=1, **runs)
    assert random.planner == "random" and random.summary.faults is not None
    assert random.summary.faults.all.parts == {"planner": 1}
    assert capfd.readouterr() == ("", "")
    parley.evaluate(planner="oracle", progress=True, **runs)
    assert "search-2-5" in capfd.readouterr().err


def test_it_works_where_streams_are_no_files_as_in_a_notebook(
    runs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    # What rich asks to find out whether it is in a notebook.
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    results: list[parley.EvaluationResult] = []

    def cell() -> None:
        results.append(parley.evaluate(planner="oracle", progress=True, **runs))

    thread = threading.Thread(target=cell)
    thread.start()
    thread.join()
    assert results[0].success_rate == 1.0
    assert "search-2-5" in err.getvalue() and out.getvalue() == ""
    assert "search-2-5" in str(results[0])
