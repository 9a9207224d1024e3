"""``python -m run leaderboard``, and the page that is kept."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from run.__main__ import main
from run.display.palette import colour, marker
from run.evaluation.leaderboard import (
    MOST_ROWS,
    LeaderboardColumn,
    column_names,
    columns_of,
    leaderboard_page,
    overview,
    pages_of_panels,
    sections,
)
from run.evaluation.leaderboard_plots import leaderboard_pictures
from run.evaluation.results import KeptResult, evaluate_command, read_results
from run.storage.records import TaskScore
from tests.run.command import one_sentence, summary

HOUSE = Path(__file__).parents[3]


def test_runs_are_kept_and_put_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["evaluate", "reasoning", "--tasks", "conditional,search 4", "--episodes", "8"]
    made = []
    for team in (["--team", "oracle"], ["--planner", "random", "--seed", "3"]):
        assert main([*common, *team, "--runs-dir", str(tmp_path)]) == 0
        made.append(Path(capsys.readouterr().out.splitlines()[-1]))
    kept, out = tmp_path / "kept", tmp_path / "board" / "page.md"
    where = ["--results", str(kept), "--out", str(out)]
    assert main(["leaderboard", "--add", *map(str, made), *where]) == 0
    text = out.read_text()
    assert out.with_name("page-teams.png").stat().st_size > 5_000
    assert out.with_name("page-suites.png").stat().st_size > 5_000
    # All tasks as one: of as many episodes each, the mean of their rates.
    rates = [c["success_rate"] for c in summary(made[1])["cells"].values()]
    row = next(x for x in text.splitlines() if x.startswith("| reasoning | 2 |"))
    # Floor and ceiling stand last, and nobody competes with them.
    assert row.endswith(" 1.000 (0.81 to 1.00) |") and f"| {sum(rates) / 2:.3f} (" in row
    assert "| task | chance | random | oracle |" in text and "**" not in text
    for folder in made:
        for cell in summary(folder)["cells"].values():
            assert f"{cell['success_rate']:.3f}" in text
    assert str(tmp_path) not in "".join(f.read_text() for f in kept.iterdir())
    # Kept again, it takes its own place.
    assert len(list(kept.iterdir())) == 2
    assert main(["leaderboard", "--add", str(made[0]), *where]) == 2
    assert "exists already" in capsys.readouterr().err and out.read_text() == text
    assert main(["leaderboard", "--add", str(made[0]), *where, "--force"]) == 0
    assert len(list(kept.iterdir())) == 2 and out.read_text() == text

    # Where each cell has its own team, no one team has them all.
    own = ["evaluate", "baselines", "--tasks", "*al cheats,*ch cheats", "--episodes", "2"]
    assert main([*own, "--runs-dir", str(tmp_path)]) == 0
    folder = capsys.readouterr().out.splitlines()[-1]
    page_of = tmp_path / "board" / "own.md"
    assert (
        main(["leaderboard", "--add", folder, "--results", str(kept), "--out", str(page_of)]) == 0
    )
    more = page_of.read_text()
    assert "| task | chance | as named |" in more
    assert "| conditional cheats | 0.50 | 1.000 (0.34 to 1.00) |" in more
    assert "| baselines |" not in more and row in more
    alone = ["--results", str(tmp_path / "alone"), "--out", str(tmp_path / "alone.md")]
    assert main(["leaderboard", "--add", folder, *alone]) == 0
    assert "All tasks of a suite" not in (tmp_path / "alone.md").read_text()

    # The command that stands there makes the same run.
    commands = [evaluate_command(json.loads((f / "config.json").read_text())) for f in made]
    assert all(f"`{c}`" in text for c in commands)
    assert "--team oracle" in commands[0] and "--planner" not in commands[0]
    again = shlex.split(commands[1].removeprefix("python -m run "))
    assert main([*again, "--runs-dir", str(tmp_path / "again")]) == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    assert summary(folder)["cells"] == summary(made[1])["cells"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "is no result of evaluate"), ("{}", "it has no config"), ("[]", "it has no config")],
)
def test_a_file_that_is_no_result_is_refused(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["leaderboard", "--results", str(tmp_path)]) == 2
    assert "add some with --add" in one_sentence(capsys.readouterr().err)
    (tmp_path / "a.json").write_text(text)
    assert main(["leaderboard", "--results", str(tmp_path)]) == 2
    assert said in one_sentence(capsys.readouterr().err)


def test_the_page_that_is_kept_is_made_of_the_runs_that_are_kept() -> None:
    columns = columns_of(read_results(HOUSE / "docs" / "results"))
    docs = HOUSE / "docs"
    kept = (docs / "leaderboard.md").read_text(encoding="utf-8")
    assert kept == leaderboard_page(columns, "leaderboard")
    results = (docs / "results.md").read_text(encoding="utf-8")
    for section in sections(columns):
        assert "\n".join(overview(section.columns)) in results
    # The README has the means of some teams, which stand there too.
    readme = (HOUSE / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| (\d+) \| (.*0\.\d{3}.*)$", readme, re.MULTILINE)
    assert len(rows) == 7
    for suite, n, rest in rows:
        (kept_row,) = re.findall(rf"^\| {suite} \| {n} \| .*$", results, re.MULTILINE)
        assert set(re.findall(r"[01]\.\d{3}", rest)) <= set(re.findall(r"[01]\.\d{3}", kept_row))


def test_the_pictures_that_are_kept_are_those_of_the_page() -> None:
    docs = HOUSE / "docs"
    named = re.findall(r"!\[[^]]+\]\(([^)]+)\)", (docs / "leaderboard.md").read_text("utf-8"))
    assert sorted(named) == sorted(f.name for f in docs.glob("leaderboard*.png"))
    for name in named:
        with Image.open(docs / name) as picture:
            assert picture.width <= 1_600 and picture.height <= 1_400


def test_pictures_have_room_for_any_number_of_suites_tasks_and_players(tmp_path: Path) -> None:
    score = TaskScore(0.5, (0.4, 0.6), 10, 0)
    sizes = (1, 45, 30, 90)
    players = [f"player {k}" for k in range(9)]
    columns = [
        LeaderboardColumn(f"s{s}", name, False, {f"task {t}": score for t in range(n)}, ())
        for s, n in enumerate(sizes)
        for name in (*players, "random", "oracle")
    ]
    (section,) = sections(columns)
    for stacks in pages_of_panels(columns):
        assert 1 <= len(stacks) <= 2
        assert all(sum(len(tasks) for _, tasks in stack) <= MOST_ROWS for stack in stacks)
    dealt = [
        (title.removesuffix(", continued"), task)
        for stacks in pages_of_panels(columns)
        for stack in stacks
        for title, tasks in stack
        for task in tasks
    ]
    assert dealt == [(f"s{s}", f"task {t}") for s, n in enumerate(sizes) for t in range(n)]
    assert len({(colour(k), marker(k)) for k in range(50)}) == 50
    assert column_names(columns)[-2:] == ["random", "oracle"]
    pictures = leaderboard_pictures(columns[:22], tmp_path / "p.md")
    names = ["p-suites.png", "p-planners.png", "p-planners-2.png"]
    assert [file.name for file in pictures] == names
    for file, write in pictures.items():
        write(file)
        with Image.open(file) as picture:
            assert picture.width <= 1_600 and picture.height <= 1_400
    assert section.slug == "planners"


def test_every_result_has_the_name_that_its_command_gives_it() -> None:
    for file in (HOUSE / "docs" / "results").glob("*.json"):
        assert KeptResult.read(file).file_name() == file.name


def test_who_played_some_tasks_alone_is_not_the_best_of_a_suite() -> None:
    def column(name: str, *rates: float, n: int = 4) -> LeaderboardColumn:
        """``n`` episodes of the last task, 4 of the others."""
        numbers = [4] * (len(rates) - 1) + [n]
        scores = [TaskScore(r, (0, 1), k, 0) for r, k in zip(rates, numbers, strict=True)]
        tasks = {f"task {k}": score for k, score in enumerate(scores)}
        return LeaderboardColumn("s", name, False, tasks, ())

    some = column("some", 1.0)
    columns = [some, column("all", 0.5, 0.75), column("also", 0.25, 0.5)]
    (row,) = overview(columns)[2:]
    every, also, first = row.split(" | ")[2:]
    # It stands last, though its rate is the highest.
    assert first.startswith("1.000 (") and first.endswith("), of 1 |")
    assert every.startswith("**0.625** (") and also.startswith("0.375 (")
    (row,) = overview(columns[:2])[2:]
    assert "**" not in row  # alone, it is the best of nothing
    # A task that was played for longer weighs no more, and makes the whole surer.
    (longer,) = overview([some, column("all", 0.5, 0.75, n=400)])[2:]
    assert "0.625 (0.31 to 0.86)" in row and "0.625 (0.39 to 0.82)" in longer


def test_runs_of_some_tasks_stand_with_the_others_of_their_team() -> None:
    def result(date: str, rate: float, *tasks: str, seed: int = 0, **config: object) -> KeptResult:
        scores = {task: TaskScore(rate, (0, 1), 4, 0) for task in tasks}
        settings = {"suite": "worlds", "team": "small", "seed": seed, **config}
        return KeptResult(settings, "abc", date, 4 * len(tasks), 0, 1, scores)

    none: dict[str, object] = {}
    whole = result("2026-01-02", 0.25, "room 8", "room 16", "mine", language=none)
    # Later versions have more settings, which are left open.
    late = result("2026-01-03", 0.5, "room 16", pace=None, language={"look": None})
    same_day = result("2026-01-02", 0.75, "mine", "room 6", language=none)
    early = result("2026-01-01", 1.0, "room 8", language=none)
    apart = result("2026-01-03", 1.0, "room 8", seed=1)
    both, other = columns_of([late, same_day, whole, apart, early])
    rates = {task: score.success_rate for task, score in both.tasks.items()}
    # In the order of the suite, whatever it does not know last.
    assert list(rates.items()) == [
        ("room 6", 0.75),
        ("room 8", 0.25),
        ("room 16", 0.5),
        ("mine", 0.75),
    ]
    assert both.results == [(early, 0), (whole, 1), (same_day, 2), (late, 1)]
    assert other.results == [(apart, 1)]
    text = leaderboard_page([both, other], "x")
    assert "2026-01-02, 1 s; 1 of its 3 tasks are shown here: `" in text
    assert "2026-01-03, 1 s: `" in text


def test_a_team_under_its_former_name_shares_its_column(tmp_path: Path) -> None:
    for k, team in enumerate(("cheats", "oracle")):
        score = {"n": 4, "n_errors": 0, "success_rate": 1.0, "success_ci95": [0.5, 1.0]}
        cells = {f"task {k}": {**score, "floor": None, "chance": None}}
        about = {"commit": "", "date": "2026-01-02", "n": 4, "n_errors": 0, "seconds": 1}
        config = {"suite": "worlds", "cells" if k else "tasks": f"task {k}", "team": team}
        text = json.dumps({"config": config, **about, "cells": cells})
        (tmp_path / f"{k}.json").write_text(text)
    (column,) = columns_of(read_results(tmp_path))
    assert column.name == "oracle" and list(column.tasks) == ["task 0", "task 1"]
