"""What a Planner said that was no command, and dialogues that outgrow its model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import pytest

import parley
from agents.actor import make_actor
from agents.dialogue import Decision, Dialogue
from agents.reporter import make_reporter
from agents.team import Team
from envs.errors import BadInput, ContextOverflow
from envs.tasks import make_worlds
from run.__main__ import main
from run.evaluation.fault_attribution import way_of_failure
from run.evaluation.statistics import summarise
from run.evaluation.understanding import (
    UnderstandingMonitor,
    is_alarming,
    misunderstandings,
    share_misunderstood,
)
from run.storage.records import EpisodeRecord, RunSummary, TurnRecord

NONE = Decision("Hm, let me see.", None, problem="names no command")
TWO = Decision("A or B.", None, problem="names different commands")


def clear() -> Decision:
    d = Dialogue("Pick up the red ball.", ("pick up",))
    return Decision("Pick up the red ball.", d.candidates()[0])


def record(turns: Sequence[TurnRecord], ended: str = "max_turns") -> EpisodeRecord:
    unparsed = sum(t.command is None for t in turns)
    return EpisodeRecord(0, 0, "", tuple(turns), False, ended, 3, unparsed, None, 1.0)


GOOD = TurnRecord("Pick up the red ball.", "pick up the red ball", "I did.")
BAD = TurnRecord("Hm.", None, "I did not understand that command.", problem="names no command")


def test_a_run_stops_above_the_share_once_there_are_twenty_decisions():
    monitor = UnderstandingMonitor(0.5)
    decisions = [clear()] * 9 + [NONE] * 8 + [TWO] * 3
    for decision in decisions[:-1]:
        monitor.on_decision(0, Dialogue("", ()), decision)
    with pytest.raises(BadInput) as error:  # 11 of 20
        monitor.on_decision(0, Dialogue("", ()), decisions[-1])
    assert str(error.value) == (
        "11 of the Planner's 20 decisions (55.0%) held no command: the reply names no command (8), "
        "names different commands (3); for example 'Hm, let me see.'; --max-misunderstood 1 goes "
        "on in spite of that"
    )


def test_half_is_not_above_half_and_nineteen_are_too_few():
    monitor = UnderstandingMonitor(0.5)
    for decision in [clear()] * 10 + [NONE] * 10:
        monitor.on_decision(0, Dialogue("", ()), decision)
    few, always = UnderstandingMonitor(0.5), UnderstandingMonitor(1)
    for k in range(60):
        always.on_decision(0, Dialogue("", ()), NONE)
        if k < 19:
            few.on_decision(0, Dialogue("", ()), NONE)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), True])
def test_a_share_is_checked(share):
    with pytest.raises(BadInput, match="share from 0 to 1"):
        UnderstandingMonitor(share)


def test_the_summary_counts_decisions_and_says_why():
    records = [record([GOOD] * 18), record([GOOD, BAD])]
    summary = summarise("episode", 0, records, 1)
    assert (summary.n_unparsed, summary.n_decisions) == (1, 20)
    assert share_misunderstood(summary) == 0.05 and not is_alarming(summary)
    assert misunderstandings(records) == (
        "1 of the Planner's 20 decisions (5.0%) held no command: the reply names no command (1); "
        "for example 'Hm.'"
    )
    more = summarise("episode", 0, [*records, record([BAD])], 1)
    assert is_alarming(more)
    assert misunderstandings([record([GOOD])]) == ""


def test_summaries_of_older_runs_stay_readable(tmp_path):
    summary = summarise("episode", 0, [record([GOOD])], 1)
    stored = summary.to_json()
    file = tmp_path / "summary.json"
    file.write_text(json.dumps(stored))
    assert RunSummary.read(file) == summary
    del stored["n_decisions"]
    file.write_text(json.dumps(stored))
    assert RunSummary.read(file) == dataclasses.replace(summary, n_decisions=None)
    assert TurnRecord.from_json(BAD.to_json()) == BAD
    assert "problem" not in GOOD.to_json()


class Outgrowing:
    """Decides well once, and has no room after that."""

    def begin(self, worlds: object) -> None:
        pass

    def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]:
        full = Decision("", None, error=ContextOverflow("no room"))
        return [full if d.turns else Decision(str(c := d.candidates()[0]), c) for d in dialogues]


def test_a_dialogue_that_outgrows_the_model_is_a_failure():
    team = Team(Outgrowing(), make_actor("scripted"), make_reporter("scripted"))
    for episode in team.play(make_worlds("search", 2), [1, 2]):
        assert (episode.ended, episode.success, episode.error) == ("context", False, None)
        assert "no room left" in episode.transcript()
    lost = record([GOOD], "context")
    assert way_of_failure(lost) == "no room"
    summary = summarise("episode", 0, [lost, dataclasses.replace(lost, success=True)], 1)
    assert (summary.success_rate, summary.n_errors) == (0.5, 0)


def test_playing_from_python_stops_and_goes_on():
    def mumble(text: str) -> str:
        return "Let me think about it."

    def played(most: float) -> int:
        return sum(
            1
            for _ in parley.play(
                planner=parley.planner_from(mumble),
                actor="scripted",
                episodes=4,
                max_turns=10,
                max_misunderstood=most,
            )
        )

    with pytest.raises(BadInput, match="held no command: the reply names no command"):
        played(0.5)
    assert played(1) == 4


def test_the_command_line_stops_keeps_what_is_written_and_resumes(tmp_path, capsys, monkeypatch):
    (tmp_path / "mumbling.py").write_text(
        "from agents.planner.function import FunctionPlanner\n"
        "class Mumbling(FunctionPlanner):\n"
        "    def __init__(self, options=None):\n"
        "        super().__init__(lambda text: 'Well, <b>I</b> do not know.')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    words = ["--planner", "mumbling:Mumbling", "--actor", "scripted", "--episodes", "6"]
    words += ["--max-turns", "4", "--parallel", "2", "--plain", "--runs-dir", str(tmp_path / "r")]
    assert main(["episode", *words]) == 2
    err = capsys.readouterr().err
    assert "held no command" in err and "--max-misunderstood 1" in err
    (folder,) = (tmp_path / "r" / "episode").iterdir()
    lines = (folder / "episodes.jsonl").read_text().splitlines()
    assert len(lines) == 4 and json.loads(lines[0])["turns"][0]["problem"] == "names no command"
    assert main(["episode", "--resume", str(folder), "--max-misunderstood", "1", "--plain"]) == 0
    assert len((folder / "episodes.jsonl").read_text().splitlines()) == 6
    assert "say more of its replies" in capsys.readouterr().err


def test_the_table_of_an_evaluation_has_a_column(tmp_path, capsys):
    def half(text: str) -> str:
        half.calls += 1
        return "Hm." if half.calls % 4 == 0 else "Examine the solid red ring."

    half.calls = 0
    result = parley.evaluate(
        "reasoning",
        planner=parley.planner_from(half),
        actor="scripted",
        tasks="search 2",
        episodes=4,
        max_turns=4,
        runs_dir=tmp_path,
        progress=False,
    )
    table = result.to_pandas()
    assert table["misunderstood"][0] == pytest.approx(0.25)
    assert "25.0%" in str(result) and "warning: 4 of the Planner's 16 decisions" in str(result)
    assert "25.0%" in result._repr_html_()
    assert "misunderstood" in (result.folder / "cells.csv").read_text().splitlines()[0]
