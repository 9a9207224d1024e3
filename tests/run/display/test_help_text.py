"""Help texts fit into 80 columns."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from agents.actor.registry import ACTORS
from agents.planner.registry import PLANNERS
from agents.planner.shipped import known_models
from agents.reporter.registry import REPORTERS
from rewards.success_vqa.clips import SPLITS
from run.__main__ import COMMANDS, GROUPS, main
from run.display.help_text import FIRST_GROUP, SECOND_GROUP, regrouped, wrapped
from run.evaluation.suites import suite_names
from run.evaluation.teams import team_names


@pytest.mark.parametrize("name", COMMANDS)
def test_no_line_of_a_page_is_wider_than_80_columns(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = []
    for columns in ("40", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        assert main(["help", name]) == 0
        pages.append(capsys.readouterr().out)
    assert pages[0] == pages[1]
    assert [line for line in pages[0].splitlines() if len(line) > 80] == []
    assert f"\n{FIRST_GROUP}:\n" in pages[0]


# Of these commands all options are usual.
FEW = ("report", "leaderboard", "curves")


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in FEW])
def test_the_usual_options_exist_and_come_first(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = COMMANDS[name]
    usual = getattr(importlib.import_module(command.module), command.settings).USUAL
    assert main([name, "--help"]) == 0
    first, _, second = capsys.readouterr().out.partition(f"\n{SECOND_GROUP}:\n")
    assert second
    for option in usual:
        assert f"\n  --{option} " in first or f"\n  --{option}\n" in first, option


def _choices() -> Iterator[tuple[str, str]]:
    """Each command with options that are names, and each name."""
    tasks = ("conditional", "search", "visual-conditional", "babyai-mixed")
    for names, commands in (
        (tasks, ["episode"]),
        ((*PLANNERS, *known_models()), ["episode"]),
        (ACTORS, ["episode"]),
        (REPORTERS, ["episode"]),
        (suite_names(), ["evaluate"]),
        (team_names(), ["evaluate"]),
        ({*PLANNERS, *known_models()} - {"human"}, ["evaluate"]),
        (SPLITS, ["make-clips", "score-detector", "label"]),
    ):
        yield from ((command, name) for command in commands for name in names)


def test_every_choice_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    pages: dict[str, str] = {}
    for command, name in _choices():
        if command not in pages:
            assert main([command, "--help"]) == 0
            about = re.compile("\n(?:arguments|options):\n")
            pages[command] = about.split(capsys.readouterr().out, maxsplit=1)[1]
        text = " ".join(pages[command].split())
        assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text), (command, name)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_has_nothing_that_only_a_programmer_reads(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    page = capsys.readouterr().out
    assert "None" not in page and "(default: False)" not in page and "[PATH" not in page
    assert "\n  --config FILE " in page
    assert "Plannersignore" not in page and "reads and decides" not in page


def test_the_overview_lists_every_command_in_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help"]) == 0
    page = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert command.group in GROUPS
        assert f"\n  {name} " in page
    assert max(map(len, page.splitlines())) <= 80


def test_the_version_names_parley_and_torch() -> None:
    code = (
        "import sys; from run.__main__ import main; main(['--version']); "
        "assert 'torch' not in sys.modules"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.startswith("parley 0.") and "torch 2." in out.stdout


def test_a_docstring_is_filled_but_lists_and_commands_keep_their_lines() -> None:
    text = (
        "One two\nthree.\n\nA list:\n  a: first,\n    second\n  b\n\nExamples:\n"
        "  python -m run evaluate --planner one --tasks two\n"
    )
    assert wrapped(text, 30) == (
        "One two three.\n\nA list:\n  a: first, second\n  b\n\nExamples:\n"
        "  python -m run evaluate \\\n      --planner one \\\n      --tasks two"
    )


def test_rows_of_a_frame_become_entries() -> None:
    frame = (
        "usage: x\n\n╭─ options ────╮\n│ -h, --help  show │\n│ --a INT     First text, │\n"
        "│             goes on. │\n│ --long {one,two,three}    │\n│             Second. │\n╰──╯\n"
    )
    assert regrouped(frame, ["a"]) == (
        "options:\n"
        "  -h, --help              show\n"
        "  --a INT                 First text, goes on.\n\n"
        "more options:\n"
        "  --long {one,two,three}  Second."
    )


FORMS = ("a run folder of {}", "a folder of weights", "a hub id", "module:Class")
PART_OPTIONS = {
    "train-planner": ("episode planner", "evaluate planner", "train-reporter planner"),
    "train-actor": (
        *("episode actor", "evaluate actor", "train-planner actor", "train-reporter actor"),
        "train-actor init",
    ),
    "train-reporter": ("episode reporter", "evaluate reporter", "train-reporter init"),
    "train-detector": (
        *("score-detector detectors", "train-actor reward", "train-planner reward"),
        *("train-reporter detector", "train-detector init"),
    ),
}


@pytest.mark.parametrize(
    ("command", "option", "trainer"),
    [(*o.split(), trainer) for trainer, options in PART_OPTIONS.items() for o in options],
)
def test_whatever_names_a_part_takes_the_same_forms(
    command: str, option: str, trainer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    found = re.search(rf"\n  --{option}\s(.*?)(?=\n  -|\n\S|\Z)", capsys.readouterr().out, re.S)
    assert found is not None
    text = " ".join(found[1].split())
    # Training starts from weights, which no class of the user's is.
    for form in FORMS[:3] if option == "init" else FORMS:
        assert form.format(trainer) in text, text
    assert ("openai:MODEL" in text and ".gguf file" in text) == (trainer == "train-planner")
