"""Teams by name or file, and cells that bring their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agents.actor import make_actor
from agents.planner.shipped import shipped
from agents.reporter import make_reporter
from envs.errors import BadInput
from models.language.weights import packaged
from run.__main__ import main
from run.commands.evaluate import EvaluateSettings
from run.evaluation.suites import find_suite
from run.evaluation.teams import check_team, find_team, team_names, with_named_team, with_team
from tests.run.command import lines, one_sentence, summary


@pytest.mark.parametrize("name", team_names())
def test_teams_that_come_with_parley_name_parts_that_there_are(name: str) -> None:
    team = find_team(name)
    assert team["planner"] in {"oracle", "random", *packaged(), *shipped()}
    make_actor(team["actor"])
    make_reporter(team["reporter"])


def test_a_team_takes_the_place_of_what_was_not_asked_for() -> None:
    args = with_named_team(EvaluateSettings(episodes=7, planner="oracle"), "oracle")
    assert (args.planner, args.actor, args.reporter, args.episodes) == (
        *("oracle", "scripted", "scripted"),
        7,
    )
    with pytest.raises(BadInput, match="--planner oracle, but team 'small' has parley-135m"):
        with_named_team(EvaluateSettings(planner="oracle"), "small")
    mine = with_team(EvaluateSettings(), {"planner": "random", "examples": 4, "temperature": 0.5})
    assert (mine.planner, mine.language.examples, mine.language.temperature) == ("random", 4, 0.5)
    assert mine.actor == EvaluateSettings().actor


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (3, "has no planner, actor or reporter"),
        ({"planer": "oracle"}, "did you mean 'planner'?"),
        ({"planner": 3}, "planner of it cannot be 3"),
        ({"examples": True}, "examples of it cannot be True"),
        ({"decide": "guess"}, "decide of it cannot be 'guess'"),
        ({"planner": "antigravity:it"}, "files bring no code"),
        ({"seed": 3}, "unknown setting of it 'seed'"),
    ],
)
def test_what_is_no_team_is_refused(found: Any, said: str) -> None:
    with pytest.raises(BadInput, match=said.replace("?", r"\?")):
        check_team(found, "it")


def test_a_team_in_a_file_plays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("planner: oracle\nreporter: thorough\nexamples: 2\nadapter: some/where\n")
    run = ["evaluate", "--tasks", "conditional", "--episodes", "2", "--runs-dir", str(tmp_path)]
    assert main([*run, "--team", str(mine)]) == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    config = json.loads((folder / "config.json").read_text())
    assert (config["planner"], config["reporter"]) == ("oracle", "thorough")
    assert config["language"]["examples"] == 2 and config["language"]["adapter"] == "some/where"
    assert main([*run, "--team", "smal"]) == 2
    assert "did you mean 'small'?" in one_sentence(capsys.readouterr().err)
    mine.write_text("planner: [")
    assert main([*run, "--team", str(mine)]) == 2
    assert "cannot be read" in one_sentence(capsys.readouterr().err)


def test_tasks_bring_their_own_planner_actor_and_reporter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = tmp_path / "own.yaml"
    suite.write_text(
        "tasks:\n"
        "  blind: {task: conditional, team: {planner: random, reporter: silent}}\n"
        "  seeing: {task: conditional, team: oracle}\n"
        "  mine: {task: conditional}\n"
    )
    assert [t.variants[0].team.get("planner") for t in find_suite(str(suite)).tasks] == [
        *("random", "oracle"),
        None,
    ]
    run = ["evaluate", str(suite), "--planner", "oracle", "--episodes", "6"]
    made = []
    for workers in ("1", "2"):
        assert main([*run, "--workers", workers, "--runs-dir", str(tmp_path / workers)]) == 0
        made.append(Path(capsys.readouterr().out.splitlines()[-1]))
    one, two = map(lines, made)
    assert one == two
    rates = {name: c["success_rate"] for name, c in summary(made[0])["cells"].items()}
    assert rates["seeing"] == rates["mine"] == 1 > rates["blind"]
    said = {
        name: {t["report"] for x in one if x["cell"] == name for t in x["turns"]} for name in rates
    }
    assert len(said["blind"]) == 1 and len(said["seeing"]) > 6


def test_every_task_of_scale_has_its_planner() -> None:
    suite = find_suite("scale")
    planners = {
        (v.team["planner"], v.team.get("examples")) for t in suite.tasks for v in t.variants
    }
    assert {p for p, _ in planners} == {*packaged(), "parley-135m"}
    assert {e for p, e in planners if p == "smollm2-135m"} == {0, 2, 4, 8, 16}
