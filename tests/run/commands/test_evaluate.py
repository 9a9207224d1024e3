"""``python -m run evaluate``: the suites, what it writes, and that nothing is lost."""

from __future__ import annotations

import csv
import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import binomtest

from agents.dialogue import Decision, Dialogue
from agents.planner.options import PlannerOptions
from agents.planner.oracle import OraclePlanner
from agents.planner.registry import PLANNERS
from run.__main__ import main
from run.commands.evaluate import EvaluateSettings
from run.evaluation.settings import MAX_SEED
from run.evaluation.suites import SUITES, find_suite
from tests.agents.tiny import tiny_model, tiny_tokenizer
from tests.run.command import lines, one_sentence, start, summary

FEW = ("--tasks", "search-2-5,babyai open", "--episodes", "10")


def folders(runs: Path) -> set[Path]:
    return set((runs / "evaluate").glob("*"))


def evaluate(runs: Path, *options: str, planner: str = "oracle") -> Path:
    """Play cells and return the run's folder."""
    before = folders(runs)
    assert main(["evaluate", "--planner", planner, "--runs-dir", str(runs), *options]) == 0
    (made,) = folders(runs) - before
    return made


def by_seed(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run; in the file they stand in the order in which episodes ended."""
    return sorted(lines(folder), key=lambda line: line["seed"])


@pytest.mark.parametrize("suite", [*SUITES, "language", "reasoning", "worlds"])
def test_the_oracles_always_succeed_in_every_task(suite: str, tmp_path: Path) -> None:
    tasks = find_suite(suite).tasks
    episodes = 1 + max(len(task.variants) for task in tasks)
    folder = evaluate(tmp_path, suite, "--episodes", str(episodes), "--parallel", "2")
    found = summary(folder)
    assert list(found["cells"]) == [task.name for task in tasks]
    for task in tasks:
        score = found["cells"][task.name]
        numbers = (score["n"], score["n_errors"], score["success_rate"])
        assert numbers == (episodes, 0, 1.0), task.name
        assert score["floor"] == task.floor
        assert list(score["parts"]) == [variant.label for variant in task.variants]
        shares = [part["n"] for part in score["parts"].values()]
        assert sum(shares) == episodes and max(shares) - min(shares) <= 1
        assert shares == sorted(shares, reverse=True)
    seeds = [line["seed"] for line in lines(folder)]
    assert len(set(seeds)) == len(seeds) == found["n"]


def test_the_suites_are_what_they_say() -> None:
    planner, validation = find_suite("planner"), find_suite("planner-validation")
    assert [task.name for task in planner.tasks] == [
        *("conditional", "search-2-5", "search-6-10", "irrelevant", "visual-conditional"),
        *("paraphrases", "property-words", "and", "or", "not", "two-deciders", "order"),
        *("babyai go to", "babyai pick up", "babyai put next to", "babyai pick up then go to"),
        "babyai open",
    ]
    sizes = [v.settings["n_items"] for task in planner.tasks[1:3] for v in task.variants]
    assert sizes == list(range(2, 11))
    assert all(task.floor is not None for task in planner.tasks)
    for name in ("phrasings", "words"):
        asked = [
            {
                word
                for task in suite.tasks
                for v in task.variants
                for word in v.settings.get(name, ())
            }
            for suite in (planner, validation)
        ]
        assert asked[0] and asked[1] and not asked[0] & asked[1]
    assert (planner.items, validation.items) == ("held-out", "train")
    # Whatever the seed, no variant runs into the next, and no suite into another or into training.
    firsts = [
        suite.seed(task, variant, seed)
        for seed, suite in ((0, planner), (MAX_SEED, planner), (0, validation))
        for task in suite.tasks
        for variant in task.variants
    ]
    assert firsts == sorted(firsts) and len(set(firsts)) == len(firsts)
    last = validation.tasks[-1]
    assert validation.seed(last, last.variants[-1], MAX_SEED) < 990_000_000


def test_settings_and_seeds_reach_the_worlds(tmp_path: Path) -> None:
    found = by_seed(evaluate(tmp_path, *FEW, "--seed", "3"))
    assert [line["part"] for line in found[:10]] == [
        f"search {n}" for n in (2, 2, 2, 3, 3, 3, 4, 4, 5, 5)
    ]
    for k, line in enumerate(found[:10]):
        n = int(line["part"].split()[1])
        assert line["task"].count(" the ") == n + 1  # "Pick up the good one."
        assert line["seed"] == 3 + 1_000_000 + 10_000 * (n - 2) + line["episode"]
        assert line["episode"] == [0, 1, 2, 0, 1, 2, 0, 1, 0, 1][k]
    assert all(line["task"].startswith("open the ") for line in found[10:])
    assert found[10]["seed"] == 3 + 16_000_000 and found[-1]["seed"] == 3 + 16_010_004
    # The same worlds without the other cell, whatever else is played at the same time.
    alone = evaluate(
        tmp_path, "--tasks", "babyai open", "--episodes", "10", "--seed", "3", "--parallel", "1"
    )
    assert by_seed(alone) == found[10:]


def test_the_irrelevant_task_talks_and_the_others_do_not(tmp_path: Path) -> None:
    found = lines(evaluate(tmp_path, "--tasks", "conditional,irrelevant", "--episodes", "20"))
    for line in found:
        line["talks"] = any(turn["report"].count(".") > 1 for turn in line["turns"])
    talking = {line["cell"] for line in found if line["talks"]}
    assert talking == {"irrelevant"}


class Shaky(OraclePlanner):
    """Breaks on some seeds and keeps silent, and so fails, on others."""

    def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]:
        return [
            self._shaken(d, c) for d, c in zip(dialogues, super().choose(dialogues), strict=True)
        ]

    def _shaken(self, dialogue: Dialogue, choice: Decision) -> Decision:
        if dialogue.seed % 5 == 1:
            return Decision("", None, error=ConnectionError("the line is dead"))
        return Decision("Hm.", None) if dialogue.seed % 3 == 0 else choice


@pytest.fixture
def shaky() -> Iterator[str]:
    before = dict(PLANNERS)
    PLANNERS.register("shaky")(Shaky)
    yield "shaky"
    PLANNERS._things.clear()
    PLANNERS._things.update(before)


def expected(found: Sequence[dict[str, Any]]) -> tuple[Any, ...]:
    """What ``summary.json`` must say of these lines, counted in another way."""
    whole = [line for line in found if line["error"] is None]
    good = sum(line["ended"] == "success" for line in whole)
    interval = binomtest(good, len(whole)).proportion_ci(method="wilson")
    return (
        len(found),
        len(found) - len(whole),
        pytest.approx(good / len(whole)),
        pytest.approx([interval.low, interval.high]),
    )


def test_the_numbers_follow_from_the_lines(
    tmp_path: Path, shaky: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = evaluate(tmp_path, *FEW, "--max-turns", "4", planner=shaky)
    said = capsys.readouterr()
    found, numbers = lines(folder), summary(folder)
    keys = ("n", "n_errors", "success_rate", "success_ci95")
    assert (numbers["command"], numbers["seed"], numbers["suite"]) == ("evaluate", 0, "planner")
    assert tuple(numbers[key] for key in keys) == expected(found)
    assert 0 < numbers["n_errors"] < 10 and 0 < numbers["success_rate"] < 1
    assert f"warning: {numbers['n_errors']} of 20 episodes broke" in said.err
    for name, cell in numbers["cells"].items():
        its = [line for line in found if line["cell"] == name]
        assert tuple(cell[key] for key in keys) == expected(its)
        turns = [len(line["turns"]) for line in its if line["error"] is None]
        assert cell["turns"] == pytest.approx(sum(turns) / len(turns))
        for label, part in cell["parts"].items():
            ends = [line["ended"] for line in its if line["part"] == label]
            judged = [end == "success" for end in ends if end != "error"]
            assert part["n"] == len(ends)
            assert part["success_rate"] == pytest.approx(sum(judged) / len(judged))
    # Groups of up to 8 play at once: the longest of each group counts.
    raw = [json.loads(x) for x in (folder / "episodes.jsonl").read_text().splitlines()]
    parts = {(line["cell"], line["part"]) for line in raw}
    longest = [max(x["seconds"] for x in raw if (x["cell"], x["part"]) == p) for p in parts]
    assert numbers["seconds"] == pytest.approx(sum(longest), abs=0.001)

    with open(folder / "cells.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        cell = numbers["cells"][row["cell"]]
        assert float(row["success_rate"]) == cell["success_rate"]
        assert [float(row["low"]), float(row["high"])] == cell["success_ci95"]
        assert (int(row["n"]), float(row["floor"])) == (cell["n"], cell["floor"])
        assert row["cell"] in said.out and f"{cell['success_rate']:.3f}" in said.out
    assert len(rows) == 2
    assert (folder / "plots" / "cells.png").read_bytes().startswith(b"\x89PNG")
    assert said.out.splitlines()[-1] == str(folder)


def test_what_broke_is_played_again(tmp_path: Path, shaky: str) -> None:
    folder = evaluate(tmp_path, *FEW, "--max-misunderstood", "1", planner=shaky)
    assert summary(folder)["n_errors"] > 0
    PLANNERS._things["shaky"] = OraclePlanner
    assert main(["evaluate", "--resume", str(folder)]) == 0
    assert (summary(folder)["n"], summary(folder)["n_errors"]) == (20, 0)


SLOW = """
import sys, time
import agents.actor.stepping as stepping
act = stepping.StepActor.execute
def slowly(*a, **k):
    time.sleep(0.05)
    return act(*a, **k)
stepping.StepActor.execute = slowly
from run.__main__ import main
sys.exit(main())
"""


def test_a_killed_run_goes_on_to_the_same_lines(tmp_path: Path) -> None:
    settings = ("--tasks", "conditional,search-2-5", "--episodes", "14", "--parallel", "3")
    whole = evaluate(tmp_path / "whole", *settings)
    command = ("--planner", "oracle", "--runs-dir", str(tmp_path), *settings)
    process = start("evaluate", *command, code=SLOW)
    for enough in (4, 17):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.poll() is None:
            files = list(tmp_path.glob("evaluate/*/episodes.jsonl"))
            if files and files[0].read_bytes().count(b"\n") >= enough:
                break
            time.sleep(0.005)
        process.kill()
        process.communicate()
        (folder,) = folders(tmp_path)
        before = (folder / "episodes.jsonl").read_bytes()
        if enough == 4:
            process = start("evaluate", "--resume", str(folder), code=SLOW)
    assert 17 <= before.count(b"\n") < 28, "killed too late to show anything"
    # And a line that the kill has cut in two.
    (folder / "episodes.jsonl").write_bytes(before + before[:100])
    assert main(["evaluate", "--resume", str(folder)]) == 0
    assert (folder / "episodes.jsonl").read_bytes().startswith(before)
    assert lines(folder) == lines(whole)
    ours, theirs = summary(folder), summary(whole)
    assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}
    # Nothing is left to do, and other settings are refused.
    after = (folder / "episodes.jsonl").read_bytes()
    assert main(["evaluate", "--resume", str(folder)]) == 0
    assert (folder / "episodes.jsonl").read_bytes() == after


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["planer"], "did you mean 'planner'?"),
        (["--tasks", "conditional,serch-2-5"], "did you mean 'search-2-5'?"),
        (["--tasks", "search-6-10", "--episodes", "4"], "task 'search-6-10' has 5 variants"),
        (["--tasks", "and", "--episodes", "10001"], "has seeds for 10000"),
        (["--episodes", "0"], "--episodes must be at least 1, not 0"),
        (["--parallel", "0"], "--parallel"),
        (["--seed", "400000001"], "--seed must be between 0 and 400000000"),
        (["planner-validation", "--items", "all"], "--items train, not all"),
        (["--planner", "oracel"], "did you mean 'oracle'?"),
        (["--actor", "scriptd"], "did you mean 'scripted'?"),
        (["--reporter", "iRrelevant"], "did you mean 'irrelevant'?"),
        (["--actor", "human"], "python -m run episode"),
        (["--resume", "/nowhere"], "'/nowhere' is no run folder"),
    ],
)
def test_bad_input_is_one_sentence(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--planner", "oracle", "--runs-dir", str(tmp_path), *options]) == 2
    assert said in one_sentence(capsys.readouterr().err)
    assert not folders(tmp_path), "a folder was left behind"


def test_settings_say_which_number_format_auto_was_and_a_run_goes_on_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stored(folder: Path) -> Any:
        return json.loads((folder / "config.json").read_text())["language"]["dtype"]

    model = tmp_path / "tiny"
    tiny_model("llama").save_pretrained(model)
    tiny_tokenizer().save_pretrained(model)
    few = ("--tasks", "conditional", "--episodes", "2", "--max-turns", "2", "--parallel", "1")
    fast = {"bfloat16": torch.bfloat16, "float32": torch.float32}
    for name, dtype in fast.items():
        monkeypatch.setattr("models.language.loading.faster_on_cpu", lambda dtype=dtype: dtype)
        folder = evaluate(tmp_path, *few, planner=str(model))
        assert stored(folder) == name
    monkeypatch.setattr("models.language.loading.faster_on_cpu", lambda: torch.bfloat16)
    whole = by_seed(folder)
    kept = [line for line in (folder / "episodes.jsonl").open() if '"episode": 0' in line]
    (folder / "episodes.jsonl").write_text("".join(kept))
    assert main(["evaluate", "--resume", str(folder)]) == 0
    scores = [[turn["scores"] for turn in line["turns"]] for line in by_seed(folder)]
    assert scores == [[turn["scores"] for turn in line["turns"]] for line in whole]
    # Nothing is computed for those that are no language model.
    assert stored(evaluate(tmp_path, *few)) == "auto"


def test_a_run_goes_on_with_its_own_settings_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = evaluate(tmp_path, "--tasks", "conditional", "--episodes", "2")
    capsys.readouterr()
    for options, said in (
        (["--episodes", "3"], "--episodes 3 (there 2)"),
        (["--tasks", "and"], "--tasks and (there conditional)"),
        (["--items", "train"], "--items train (there held-out)"),
    ):
        assert main(["evaluate", "--resume", str(folder), *options]) == 2
        assert said in one_sentence(capsys.readouterr().err)
    assert main(["episode", "--resume", str(folder)]) == 2
    assert "a run folder of 'evaluate', not of 'episode'" in capsys.readouterr().err


def test_every_option_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--help"]) == 0
    page = capsys.readouterr().out
    names = [f.name for cls in (EvaluateSettings, PlannerOptions) for f in dataclasses.fields(cls)]
    assert "[SUITE]" in page
    for name in set(names) - {"language", "suite"}:
        assert f"--{name.replace('_', '-')} " in page, name
    assert "Examples:" in page and "(default: held-out)" in page
    words = " ".join(page.split())
    for name in SUITES:
        assert f"{name}: {', '.join(task.name for task in find_suite(name).tasks)}" in words
