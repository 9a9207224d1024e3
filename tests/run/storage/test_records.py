"""Records of runs: what older versions have stored is read, and written as it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from agents.dialogue import TokenCost
from envs.errors import BadInput
from run.__main__ import main
from run.evaluation.results import EvaluationRun, KeptResult, evaluate_command
from run.storage.folder import RunFolder
from run.storage.records import EpisodeRecord, RunSummary, read_episodes

# A run of evaluate as it was before suites had tasks and variants.
STORED = Path(__file__).with_name("evaluate_format_1")
HOUSE = Path(__file__).parents[3]


def test_what_was_stored_is_written_as_it_was(tmp_path: Path) -> None:
    records = read_episodes(STORED / "episodes.jsonl", needs_task=True)
    assert len(records) == 4 and records[0].tokens is not None
    assert {record.key[0] for record in records} == {"room 12", "actor fails 0.2"}
    assert all(len(r.turns) == len(r.reports_true or ()) for r in records)
    with RunFolder.new(tmp_path, "evaluate", "again", {}) as folder:
        for record in records:
            folder.append(record)
        folder.write_json("summary.json", RunSummary.read(STORED / "summary.json").to_json())
    for name in ("episodes.jsonl", "summary.json"):
        assert (folder.path / name).read_bytes() == (STORED / name).read_bytes()


def test_a_stored_run_is_under_the_current_names(tmp_path: Path) -> None:
    run = EvaluationRun.read(STORED)
    assert run.config["tasks"] == "room 12,actor fails 0.2" and run.config["attribute_faults"] == 1
    assert run.config["team"] == "vision-reporter"
    assert run.summary.faults is not None and run.summary.faults.all.parts == {"planner": 1}
    assert "--tasks 'room 12,actor fails 0.2'" in evaluate_command(run.config)
    result = KeptResult.of(run)
    result.write(tmp_path)
    assert KeptResult.read(tmp_path / result.file_name()).tasks.keys() == run.tasks.keys()


def test_a_report_of_a_stored_run_and_the_rest_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "stored"
    shutil.copytree(STORED, folder)
    assert main(["report", str(folder), "--players", "1"]) == 0
    page = (folder / "report.html").read_text("utf-8")
    assert page.count('class="player"') == 1 and "Parts at fault" in page
    assert main(["evaluate", "--resume", str(folder), "--team", "cheats"]) == 2
    assert "--team oracle (there vision-reporter)" in capsys.readouterr().err


WHOLE: dict[str, Any] = {
    "episode": 3,
    "seed": 5,
    "task": "Examine the solid red ring.",
    "turns": [{"said": "Hm.", "command": None, "report": "I do not understand."}],
    "success": None,
    "ended": "error",
    "steps": 0,
    "unparsed": 1,
    "error": "Traceback …",
    "seconds": 1,
}


def test_optional_keys_may_be_missing() -> None:
    record = EpisodeRecord.from_json(WHOLE)
    assert (record.tokens, record.reports_true, record.opening) == (None, None, "")
    assert record.key == ("", "") and record.turns[0].scores == {}
    turns = [{**WHOLE["turns"][0], "scores": {}}]
    assert record.to_json() == {**WHOLE, "turns": turns}
    more = {"opening": "I see a wall.", "tokens": {"context": 3, "read": 2, "said": 1}}
    record = EpisodeRecord.from_json({**WHOLE, **more})
    assert record.tokens == TokenCost(3, 2, 1)
    keys = list(record.to_json())
    assert keys[:4] == ["episode", "seed", "task", "opening"] and keys[-1] == "tokens"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": "five"}, "its seed is 'five'"),
        ({"steps": True}, "its steps is True"),
        ({"success": 1}, "its success is 1"),
        ({"turns": [{"said": "Hm."}]}, "it has no command"),
        ({"turns": [3]}, "damaged"),
        ({"tokens": {"context": 3, "bread": 2}}, "bread"),
    ],
)
def test_a_damaged_line_is_named_with_its_file(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "episodes.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in (WHOLE, {**WHOLE, **change})))
    with pytest.raises(BadInput, match=r"line 2 of .*episodes\.jsonl is damaged") as error:
        read_episodes(file)
    assert message in str(error.value)


@pytest.mark.parametrize("key", WHOLE)
def test_what_every_line_has_must_be_there(key: str, tmp_path: Path) -> None:
    file = tmp_path / "episodes.jsonl"
    file.write_text(json.dumps({k: v for k, v in WHOLE.items() if k != key}))
    with pytest.raises(BadInput, match=f"it has no {key}"):
        read_episodes(file)


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "stored"
    shutil.copytree(STORED, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "format": 2}))
    with pytest.raises(BadInput, match=r"another version of Parley \(format 2, this one is 1\)"):
        EvaluationRun.read(folder)


def test_a_damaged_summary_is_named(tmp_path: Path) -> None:
    file = tmp_path / "summary.json"
    stored = json.loads((STORED / "summary.json").read_text())
    del stored["n_errors"]
    file.write_text(json.dumps(stored))
    with pytest.raises(BadInput, match=r"summary\.json' is damaged: it has no n_errors"):
        RunSummary.read(file)


def test_all_kept_results_are_read_and_keep_their_scores() -> None:
    for file in (HOUSE / "docs" / "results").glob("*.json"):
        stored = json.loads(file.read_text("utf-8"))
        assert KeptResult.read(file).to_json()["cells"] == stored["cells"], file.name
