"""Options that had another name are understood, and said."""

from __future__ import annotations

import pytest

from run.storage import deprecations
from run.storage.deprecations import RenamedOption, current_arguments, current_settings


@pytest.fixture(autouse=True)
def _table(monkeypatch: pytest.MonkeyPatch) -> None:
    options = (RenamedOption("--old", "--new-name", ("evaluate",)), RenamedOption("--a", "--b"))
    monkeypatch.setattr(deprecations, "OPTIONS", options)
    monkeypatch.setattr(deprecations, "VALUES", {"--b": {"mean": "normalised"}})


def test_an_old_option_becomes_the_new_one_and_is_said() -> None:
    found, notices = current_arguments("evaluate", ["suite", "--old", "3", "--a=mean", "--c"])
    assert found == ["suite", "--new-name", "3", "--b=normalised", "--c"]
    assert [n.split()[0] for n in notices] == ["--old", "--a", "--b"]


def test_an_old_value_becomes_the_new_one_behind_its_option_alone() -> None:
    assert current_arguments("episode", ["--b", "mean"])[0] == ["--b", "normalised"]
    assert current_arguments("episode", ["--d", "mean"]) == (["--d", "mean"], [])


def test_an_option_of_another_command_stays_as_it_is() -> None:
    assert current_arguments("episode", ["--old", "3"]) == (["--old", "3"], [])


def test_settings_of_an_older_run_folder_get_their_new_names() -> None:
    stored = {"old": 3, "a": "mean", "language": {"a": "mean", "c": None}}
    expected = {"new_name": 3, "b": "normalised", "language": {"b": "normalised", "c": None}}
    assert current_settings("evaluate", stored) == expected
