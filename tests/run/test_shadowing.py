"""Where another package stands before one of ours, one sentence says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from run.shadowing import HOUSE, MARK, NEEDED, location, shadowed

ROOT = Path(__file__).parents[2]


def python(*args: str, cwd: Path, before: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, with Parley behind whatever else is found."""
    path = os.pathsep.join(str(p) for p in (before, ROOT) if p is not None)
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, *args], cwd=cwd, env=environment, capture_output=True, text=True
    )


def test_ours_are_all_found_and_marked() -> None:
    assert str(ROOT) == HOUSE
    assert shadowed([*NEEDED, "parley"]) is None
    assert location("envs") == str(ROOT / "envs")


@pytest.mark.parametrize("name", NEEDED)
def test_a_folder_of_the_users_is_named_by_import_parley(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    done = python("-c", "import parley", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: the folder {tmp_path / name} stands before Parley's package '{name}'; "
        f"rename it, or start Python from another folder; Parley's own is {ROOT / name}"
    )


@pytest.mark.parametrize("name", ["envs", "agents"])
def test_the_command_line_says_the_same(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text("")
    done = python("-m", "run", "episode", cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"error: the file {tmp_path / name}.py stands before Parley's")
    assert len(done.stderr.splitlines()) == 1


def test_an_installed_package_needs_another_environment(tmp_path: Path) -> None:
    site = tmp_path / "lib" / "site-packages"
    (site / "agents").mkdir(parents=True)
    (site / "agents" / "__init__.py").write_text("")
    done = python("-c", "import parley", cwd=tmp_path, before=site)
    last = done.stderr.splitlines()[-1]
    assert "another installed package 'agents' (openai-agents has one of that name)" in last
    assert str(site / "agents") in last and "an environment of its own" in last


def test_somebody_elses_parley_is_a_warning_of_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "parley").mkdir()
    (tmp_path / "parley" / "__init__.py").write_text("")
    done = python("-m", "run", "nonsense", cwd=tmp_path)
    warning, error = done.stderr.splitlines()
    assert warning.startswith(f"warning: the folder {tmp_path / 'parley'} stands before Parley's")
    assert error.startswith("error: unknown command 'nonsense'")


def test_a_package_that_was_overwritten_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = tmp_path / "shadowing_sample"
    ours.mkdir()
    monkeypatch.setattr("run.shadowing.HOUSE", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    (ours / "__init__.py").write_text("# somebody else's\n")
    sentence = shadowed(["shadowing_sample"])
    assert sentence is not None and "was overwritten by another distribution's" in sentence
    (ours / "__init__.py").write_text(MARK)
    assert shadowed(["shadowing_sample"]) is None


def test_a_package_that_is_not_there_is_missing() -> None:
    sentence = "Parley's package 'not_there_at_all' is missing: install parley-rl again"
    assert shadowed(["not_there_at_all"]) == sentence
