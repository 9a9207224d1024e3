"""``python -m run episode``: what it writes, that it repeats, and that nothing is lost."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from agents.dialogue import Decision, Dialogue
from agents.planner.options import PlannerOptions
from agents.planner.oracle import OraclePlanner
from agents.planner.registry import PLANNERS
from agents.protocols import TeamMember
from envs.errors import BadInput
from run.__main__ import main
from tests.run.command import CHEATS, episode, folders, lines, one_sentence, start, summary


@pytest.fixture
def planners() -> Iterator[None]:
    """Lets a test register Planners and takes them away again."""
    before = dict(PLANNERS)
    yield
    PLANNERS._things.clear()
    PLANNERS._things.update(before)


def test_the_oracle_and_the_scripted_actor_always_succeed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = episode(tmp_path, "--episodes", "10")
    found = summary(folder)
    assert found["command"] == "episode"
    assert (found["n"], found["n_errors"], found["success_rate"]) == (10, 0, 1.0)
    assert found["seconds"] > 0
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == str(folder)
    assert (
        sum(
            re.match(r"episode \d seed \d: success in 2 turns, \d+ steps$", o) is not None
            for o in out
        )
        == 10
    )


def test_a_line_tells_the_whole_episode(tmp_path: Path) -> None:
    line = lines(episode(tmp_path, "--episodes", "1", "--seed", "5"))[0]
    assert (line["episode"], line["seed"], line["ended"], line["error"]) == (0, 5, "success", None)
    first, second = line["turns"]
    assert first["command"].startswith("examine the ")
    assert first["said"] == f"{first['command'].capitalize()}."
    assert first["report"].startswith(f"I examined {first['command'][8:]}, it has secret property ")
    assert second["report"] == f"I picked up {second['command'][8:]}."
    assert re.fullmatch(r"If the .+ is good, pick up .+", line["task"])


def test_settings_of_the_task_are_numbers_words_and_lists(tmp_path: Path) -> None:
    options = ("--task", "babyai-mixed", "--episodes", "12", "--parallel", "12")
    given = ("--set", "kinds=go to, open", "--set", "distractors=0")
    folder = episode(tmp_path, *options, *given)
    found = lines(folder)
    assert {line["task"].split()[0] for line in found} == {"go", "open"}
    assert all(line["success"] for line in found)
    stored = json.loads((folder / "config.json").read_text())["set"]
    assert stored == ["kinds=go to, open", "distractors=0"]
    # A run goes on with its settings, whether they are said again or not.
    (folder / "episodes.jsonl").write_text("")
    resumed = ["episode", "--resume", str(folder), "--runs-dir", str(tmp_path)]
    assert main(resumed) == 0 and lines(folder) == found
    kinds = lines(episode(tmp_path, *options, "--set", 'kinds=["pick up"]'))
    assert {line["task"].split()[0] for line in kinds} == {"pick"}


def test_ten_episodes_are_ten_worlds(tmp_path: Path) -> None:
    found = lines(episode(tmp_path, "--episodes", "10"))
    assert len({line["task"] for line in found}) == 10
    assert sorted(line["seed"] for line in found) == list(range(10))


@pytest.mark.parametrize(
    "task", ["conditional", "search", "visual-conditional", "BabyAI-GoToLocal-v0"]
)
def test_two_runs_are_equal_and_another_seed_differs(tmp_path: Path, task: str) -> None:
    first, again, other = (
        lines(
            episode(tmp_path, "--task", task, "--episodes", "5", "--seed", seed, "--parallel", "2")
        )
        for seed in ("0", "0", "1")
    )
    assert first == again
    assert first != other
    # Episode 1 of seed 0 is episode 0 of seed 1.
    assert [line["task"] for line in first if line["seed"] == 1] == [
        line["task"] for line in other if line["seed"] == 1
    ]


def test_how_many_play_together_changes_nothing(tmp_path: Path) -> None:
    alone, together = (
        lines(episode(tmp_path, "--planner", "random", "--episodes", "6", "--parallel", p))
        for p in ("1", "6")
    )
    assert alone == sorted(together, key=lambda line: line["episode"])


def test_settings_reach_the_world_and_the_folder(tmp_path: Path) -> None:
    folder = episode(
        tmp_path,
        "--task",
        "search",
        "--n-items",
        "6",
        "--room-size",
        "10",
        "--items",
        "held-out",
        "--episodes",
        "2",
        "--name",
        "mine",
        "--reporter",
        "irrelevant",
        "--irrelevant-p",
        "1",
    )
    assert folder.name.endswith("-mine")
    config = json.loads((folder / "config.json").read_text())
    assert (config["n_items"], config["room_size"], config["items"]) == (6, 10, "held-out")
    assert (config["parallel"], config["irrelevant_p"], config["format"]) == (8, 1.0, 1)
    task = lines(folder)[0]["task"]
    assert task.count("the ") - task.count("the good one") == 6
    versions = json.loads((folder / "versions.json").read_text())
    assert versions["packages"]["numpy"] == np.__version__
    assert {"git_commit", "machine", "python"} <= set(versions)


def test_an_instruction_is_the_task(tmp_path: Path) -> None:
    folder = episode(tmp_path, "--instruction", "Pick up the striped red cross.", "--episodes", "2")
    assert {line["task"] for line in lines(folder)} == {"Pick up the striped red cross."}


def test_an_instruction_that_nobody_judges_is_counted_apart(tmp_path: Path) -> None:
    folder = episode(
        tmp_path,
        "--instruction",
        "Dance around the striped red cross.",
        "--planner",
        "random",
        "--episodes",
        "2",
        "--max-turns",
        "2",
    )
    found = summary(folder)
    assert (found["n"], found["n_unjudged"], found["n_errors"]) == (2, 2, 0)
    assert found["success_rate"] is None and found["success_ci95"] is None


class Breaks(OraclePlanner):
    """Breaks on every third seed, as a lost connection does."""

    def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]:
        return [
            Decision("", None, error=ConnectionError("the line is dead")) if d.seed % 3 == 0 else c
            for d, c in zip(dialogues, super().choose(dialogues), strict=True)
        ]


def test_what_broke_is_an_error_and_not_a_failure(
    tmp_path: Path, planners: None, capsys: pytest.CaptureFixture[str]
) -> None:
    PLANNERS.register("breaks")(Breaks)
    folder = episode(tmp_path, "--planner", "breaks", "--episodes", "6")
    found = summary(folder)
    assert (found["n"], found["n_errors"], found["n_success"]) == (6, 2, 4)
    assert found["success_rate"] == 1.0
    broken = [line for line in lines(folder) if line["error"]]
    assert {line["seed"] for line in broken} == {0, 3}
    assert all(line["success"] is None and "the line is dead" in line["error"] for line in broken)
    assert "warning: 2 of 6 episodes broke" in capsys.readouterr().err

    # Mended, only those two are played again.
    PLANNERS._things["breaks"] = OraclePlanner
    whole = [line for line in lines(folder) if not line["error"]]
    assert main(["episode", "--resume", str(folder)]) == 0
    assert lines(folder)[:4] == whole
    assert (summary(folder)["n"], summary(folder)["n_errors"]) == (6, 0)


def test_where_everything_broke_it_says_why(
    tmp_path: Path, planners: None, capsys: pytest.CaptureFixture[str]
) -> None:
    class Dead(TeamMember):
        def __init__(self, options: PlannerOptions) -> None:
            pass

        def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]:
            raise RuntimeError("out of luck")

    PLANNERS.register("dead")(Dead)
    assert main(["episode", *CHEATS, "--planner", "dead", "--runs-dir", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert "RuntimeError: out of luck" in one_sentence(said.err)
    (folder,) = folders(tmp_path)
    assert said.out.splitlines()[-1] == str(folder)
    assert summary(folder)["n_errors"] == 10 and summary(folder)["success_rate"] is None


def test_bad_input_in_mid_run_loses_nothing(
    tmp_path: Path, planners: None, capsys: pytest.CaptureFixture[str]
) -> None:
    class Refused(OraclePlanner):
        def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]:
            if dialogues[0].seed >= 4:
                raise BadInput("the server refuses the key")
            return super().choose(dialogues)

    PLANNERS.register("refused")(Refused)
    command = ["episode", *CHEATS, "--planner", "refused", "--runs-dir", str(tmp_path)]
    assert main([*command, "--parallel", "2"]) == 2
    (folder,) = folders(tmp_path)
    assert len(lines(folder)) == 4
    said = one_sentence(capsys.readouterr().err)
    assert "the server refuses the key" in said and f"--resume {folder}" in said


SLOW = """
import sys, time
from agents.planner.oracle import OraclePlanner
from agents.planner.registry import PLANNERS
import agents.actor.stepping as stepping
act = stepping.StepActor.execute
def slowly(*a, **k):
    time.sleep(0.02)
    return act(*a, **k)
stepping.StepActor.execute = slowly
from run.__main__ import main
sys.exit(main())
"""


def test_a_killed_run_goes_on_to_the_same_lines(tmp_path: Path) -> None:
    settings = ("--task", "search", "--episodes", "24", "--parallel", "5", "--seed", "7")
    whole = episode(tmp_path / "whole", *settings)
    rng = np.random.default_rng(int(time.time()))
    process = start("episode", *CHEATS, "--runs-dir", str(tmp_path), *settings, code=SLOW)
    # Killed after some lines at whatever moment, three times over.
    for attempt in range(4):
        deadline = time.monotonic() + 30
        enough = attempt * 5 + int(rng.integers(1, 6))
        while time.monotonic() < deadline and process.poll() is None:
            files = list(tmp_path.glob("episode/*/episodes.jsonl"))
            if files and files[0].read_bytes().count(b"\n") >= enough:
                time.sleep(float(rng.uniform(0, 0.05)))
                break
            time.sleep(0.005)
        process.kill()
        process.communicate()
        (folder,) = folders(tmp_path)
        before = (folder / "episodes.jsonl").read_bytes()
        if attempt == 3:
            break
        process = start("episode", "--resume", str(folder), code=SLOW)
    assert 0 < before.count(b"\n") < 24, "killed too late to show anything"
    # And a line that the kill has cut in two.
    (folder / "episodes.jsonl").write_bytes(before + before[:100])
    assert main(["episode", "--resume", str(folder)]) == 0
    assert (folder / "episodes.jsonl").read_bytes().startswith(before)
    assert lines(folder) == lines(whole)
    ours, theirs = summary(folder), summary(whole)
    assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}


def test_resuming_a_finished_run_repeats_nothing(tmp_path: Path) -> None:
    folder = episode(tmp_path, "--episodes", "3")
    before = (folder / "episodes.jsonl").read_bytes()
    assert main(["episode", "--resume", str(folder)]) == 0
    assert (folder / "episodes.jsonl").read_bytes() == before


def test_an_interrupt_says_how_to_go_on(
    tmp_path: Path, planners: None, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted(OraclePlanner):
        def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]:
            if dialogues[0].seed >= 2:
                raise KeyboardInterrupt
            return super().choose(dialogues)

    PLANNERS.register("interrupted")(Interrupted)
    command = ["episode", *CHEATS, "--planner", "interrupted", "--runs-dir", str(tmp_path)]
    assert main([*command, "--parallel", "2"]) == 130
    (folder,) = folders(tmp_path)
    assert len(lines(folder)) == 2
    assert f"python -m run episode --resume {folder}" in capsys.readouterr().err


def test_a_reader_who_goes_does_not_stop_the_run(tmp_path: Path) -> None:
    process = start("episode", *CHEATS, "--runs-dir", str(tmp_path), "--parallel", "1")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(30) == 0 and process.stderr.read() == ""
    process.stderr.close()
    (folder,) = folders(tmp_path)
    assert summary(folder)["n"] == 10 and summary(folder)["n_errors"] == 0
