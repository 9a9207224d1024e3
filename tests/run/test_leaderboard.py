"""``python -m run leaderboard``, and the page that is kept."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from run.__main__ import main
from run.commands.leaderboard import columns, overview, page, read_kept
from run.commands.report import command_of
from tests.run.command import one_sentence, summary

HOUSE = Path(__file__).parents[2]


def test_runs_are_kept_and_put_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["evaluate", "reasoning", "--cells", "conditional,search 4", "--episodes", "8"]
    made = []
    for team in (["--team", "cheats"], ["--planner", "random", "--seed", "3"]):
        assert main([*common, *team, "--runs-dir", str(tmp_path)]) == 0
        made.append(Path(capsys.readouterr().out.splitlines()[-1]))
    kept, out = tmp_path / "kept", tmp_path / "board" / "page.md"
    where = ["--kept", str(kept), "--out", str(out)]
    assert main(["leaderboard", "--keep", *map(str, made), *where]) == 0
    text = out.read_text()
    assert out.with_suffix(".png").stat().st_size > 5_000
    assert out.with_name("page-suites.png").stat().st_size > 5_000
    # All cells as one: of as many episodes each, the mean of their rates.
    rates = [c["success_rate"] for c in summary(made[1])["cells"].values()]
    row = next(x for x in text.splitlines() if x.startswith("| reasoning | 2 |"))
    assert "| **1.000** (0.81 to 1.00) |" in row and f"| {sum(rates) / 2:.3f} (" in row
    assert "| cell | chance | " in text and "cheats" in text and "**1.000** (" in text
    for folder in made:
        for cell in summary(folder)["cells"].values():
            assert f"{cell['success_rate']:.3f}" in text
    assert str(tmp_path) not in "".join(f.read_text() for f in kept.iterdir())
    # Kept again, it takes its own place.
    assert len(list(kept.iterdir())) == 2
    assert main(["leaderboard", "--keep", str(made[0]), *where]) == 0
    assert len(list(kept.iterdir())) == 2 and out.read_text() == text

    # Where each cell has its own team, no one team has them all.
    own = ["evaluate", "baselines", "--cells", "*al cheats,*ch cheats", "--episodes", "2"]
    assert main([*own, "--runs-dir", str(tmp_path)]) == 0
    folder = capsys.readouterr().out.splitlines()[-1]
    page_of = tmp_path / "board" / "own.md"
    assert main(["leaderboard", "--keep", folder, "--kept", str(kept), "--out", str(page_of)]) == 0
    more = page_of.read_text()
    assert "| cell | chance | as named |" in more
    assert "| conditional cheats | 0.50 | 1.000 (0.34 to 1.00) |" in more
    assert "| baselines |" not in more and row in more
    alone = ["--kept", str(tmp_path / "alone"), "--out", str(tmp_path / "alone.md")]
    assert main(["leaderboard", "--keep", folder, *alone]) == 0
    assert "All cells of a suite" not in (tmp_path / "alone.md").read_text()

    # The command that stands there makes the same run.
    commands = [command_of(json.loads((f / "config.json").read_text())) for f in made]
    assert all(f"`{c}`" in text for c in commands)
    assert "--team cheats" in commands[0] and "--planner" not in commands[0]
    again = shlex.split(commands[1].removeprefix("python -m run "))
    assert main([*again, "--runs-dir", str(tmp_path / "again")]) == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    assert summary(folder)["cells"] == summary(made[1])["cells"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "is no run that was kept"), ("{}", "it has no config"), ("[]", "it has no config")],
)
def test_what_was_not_kept_is_refused(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["leaderboard", "--kept", str(tmp_path)]) == 2
    assert "keep some with --keep" in one_sentence(capsys.readouterr().err)
    (tmp_path / "a.json").write_text(text)
    assert main(["leaderboard", "--kept", str(tmp_path)]) == 2
    assert said in one_sentence(capsys.readouterr().err)


def test_the_page_that_is_kept_is_made_of_the_runs_that_are_kept() -> None:
    runs = columns(read_kept(HOUSE / "docs" / "results"))
    kept = (HOUSE / "docs" / "leaderboard.md").read_text(encoding="utf-8")
    assert kept == page(runs, "leaderboard.png")
    readme = (HOUSE / "README.md").read_text(encoding="utf-8")
    assert "\n".join(overview(runs)) in readme


def test_who_played_some_cells_alone_is_not_the_best_of_a_suite() -> None:
    def run(name: str, *rates: float) -> dict[str, object]:
        cells = {
            f"cell {k}": {"success_rate": r, "success_ci95": (0, 1), "n": 4, "n_errors": 0}
            for k, r in enumerate(rates)
        }
        return {"name": name, "own": False, "suite": "s", "cells": cells}

    runs = [run("some", 1.0), run("all", 0.5, 0.75), run("also", 0.25, 0.5)]
    (row,) = overview(runs)[2:]
    some, every, also = row.split(" | ")[2:]
    assert some.startswith("1.000 (") and some.endswith("), of 1")
    assert every.startswith("**0.625** (") and also.startswith("0.375 (")
    (row,) = overview(runs[:2])[2:]
    assert "**" not in row  # alone, it is the best of nothing
    # A cell that was played for longer weighs no more, and makes the whole surer.
    runs[1]["cells"]["cell 1"]["n"] = 400
    (longer,) = overview(runs[:2])[2:]
    assert "0.625 (0.31 to 0.86)" in row and "0.625 (0.39 to 0.82)" in longer


def test_runs_of_some_cells_stand_with_the_others_of_their_team() -> None:
    def run(date: str, rate: float, *cells: str, seed: int = 0) -> dict[str, object]:
        numbers = {"success_rate": rate, "success_ci95": (0, 1), "chance": None}
        return {
            "name": "small",
            "own": False,
            "config": {"suite": "worlds", "seed": seed},
            "cells": {c: {**numbers, "n": 4, "n_errors": 0} for c in cells},
            **{"date": date, "commit": "abc", "seconds": 1, "n": 4 * len(cells), "n_errors": 0},
        }

    whole = run("2026-01-02", 0.25, "room 8", "room 16", "mine")
    late, same_day = run("2026-01-03", 0.5, "room 16"), run("2026-01-02", 0.75, "mine", "room 6")
    early, apart = run("2026-01-01", 1.0, "room 8"), run("2026-01-03", 1.0, "room 8", seed=1)
    # Later versions have more settings, which are left open.
    late["config"] |= {"pace": None, "language": {"look": None}}
    whole["config"] |= {"language": {}}
    same_day["config"] |= {"language": {}}
    early["config"] |= {"language": {}}
    both, other = columns([late, same_day, whole, apart, early])
    rates = {c: numbers["success_rate"] for c, numbers in both["cells"].items()}
    # In the order of the suite, whatever it does not know last.
    assert list(rates.items()) == [
        ("room 6", 0.75),
        ("room 8", 0.25),
        ("room 16", 0.5),
        ("mine", 0.75),
    ]
    assert both["runs"] == [(early, 0), (whole, 1), (same_day, 2), (late, 1)]
    assert other["runs"] == [(apart, 1)]
    text = page([both, other], "x.png")
    assert "2026-01-02, 1 s; 1 of its 3 cells stand here: `" in text
    assert "2026-01-03, 1 s: `" in text
