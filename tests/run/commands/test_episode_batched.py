"""A run of many episodes is played on the batched engine, and nobody can tell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from envs.batched.worlds import BatchedWorlds
from run.commands import episode as command


@pytest.mark.parametrize("task", ["search", "babyai-mixed"])
def test_the_lines_are_the_same(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds, lines = [], []
    made = command.make_worlds

    def noted(*args: object, **settings: object) -> object:
        worlds = made(*args, **settings)  # type: ignore[arg-type]
        kinds.append(isinstance(worlds, BatchedWorlds))
        return worlds

    monkeypatch.setattr(command, "make_worlds", noted)
    for many in (command.BATCHED_FROM, 10):
        monkeypatch.setattr(command, "BATCHED_FROM", many)
        args = command.EpisodeSettings(
            task=task, planner="oracle", actor="scripted", episodes=10, runs_dir=tmp_path
        )
        folder = command.episode(args)
        found = [json.loads(line) for line in (folder / "episodes.jsonl").open()]
        lines.append([{k: v for k, v in line.items() if k != "seconds"} for line in found])
    assert kinds == [False, True]
    assert lines[0] == lines[1] and len(lines[0]) == 10
