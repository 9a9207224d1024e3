"""Every command in the README and the tutorial is run, and so is their Python.

A ``python -m run`` command is run as it is written, with ``--episodes 2 --planner oracle`` and the
like appended (the last value of an option counts), so that it takes seconds and needs no language
model. Of ``make`` commands the recipe is taken from make itself; the one of ``make demo`` is run
shortened in the same way. ``make test`` cannot run itself: it is checked that it calls pytest.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from run.__main__ import parse
from tests.run.warm import Started

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
# Pages whose commands and Python are run as they stand there.
PAGES = ("README.md", "docs/tutorial.md", "docs/recipes.md", "docs/guides/models.md")
SITE = ["README.md", *(str(p.relative_to(ROOT)) for p in sorted((ROOT / "docs").rglob("*.md")))]


def commands_of(page: str) -> list[str]:
    """The commands in the ``sh`` blocks of a page."""
    return [
        line.strip()
        for block in re.findall(
            r"^```sh\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE
        )
        for line in block.replace("\\\n", " ").splitlines()
        if line.strip() and not line.startswith("#")
    ]


COMMANDS = commands_of("README.md")
TRAINED = "my/reporter"  # what one command of a page makes and the next takes
SHORT = {
    "episode": "--episodes 2 --planner oracle --actor scripted --video 0",
    "train-actor": (
        "--imitation-steps 1024 --ppo-steps 0 --worlds 32 --pool 2 --score-commands 2 --threads 1"
    ),
    "train-planner": (
        "--imitation-steps 1 --batch 2 --rl-steps 1 --groups 1 --members 2 --validate-every 0"
    ),
    "make-clips": "--clips 12 --test-clips 6",
    "train-detector": (
        "--steps 1 --frame-steps 1 --batch 2 --validate-every 0 --validation-clips 2 --threads 1"
    ),
    "score-detector": "--clips 4 --episodes 2 --splits test1 --threads 1",
    # An episode for each of the variants of search-2-5, which the tutorial names.
    "evaluate": "--planner oracle --actor scripted --tasks conditional --episodes 4",
    "check-engine": "--steps 50 --levels BabyAI-GoToLocal-v0",
}


def run(command: str, cwd: Path) -> str:
    """Run a command with this Python as ``python``; returns its last line."""
    words = shlex.split(command)
    if words[:3] == ["python", "-m", "run"]:
        status, out, err = Started(*words[3:], cwd=cwd).wait()
        assert status == 0, out + err
        return out.strip().splitlines()[-1]
    paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": paths, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip().splitlines()[-1]


def recipe(target: str) -> str:
    """What make would run, were nothing there yet."""
    return subprocess.run(
        ["make", "--always-make", "--dry-run", target],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def shortened(command: str) -> str:
    """A ``python -m run`` command that takes seconds."""
    (job,) = re.findall(r"-m run (\S+)", command)
    more = SHORT[job]
    if job == "evaluate" and "--tasks" in command:
        more = more.replace("--tasks conditional ", "")
    return f"{command} {more}"


def test_the_readme_has_commands() -> None:
    assert len(COMMANDS) >= 7
    assert {"make demo", "make test"} <= set(COMMANDS)
    assert all(c.startswith(("make ", "python -m run ")) for c in COMMANDS)


def test_the_readme_is_short() -> None:
    assert len(README.split()) <= 1000


def is_recipe(command: str) -> bool:
    return "--recipe" in command


@pytest.mark.parametrize(
    "command",
    dict.fromkeys(
        command.replace(TRAINED, "scripted")
        for page in PAGES
        for command in commands_of(page)
        if command.startswith("python -m run ") and not is_recipe(command)
    ),
)
def test_commands_run(command: str, tmp_path: Path) -> None:
    folder = tmp_path / run(shortened(command), tmp_path)
    assert folder.is_dir() and (folder / "summary.json").is_file()


@pytest.mark.parametrize(
    "command",
    dict.fromkeys(c for page in PAGES for c in commands_of(page) if is_recipe(c)),
)
def test_recipes_that_are_named_are_there(command: str) -> None:
    """The recipes themselves take minutes; tests/run/recipes runs small ones."""
    from run.recipes.recipe import read_recipe
    from run.recipes.runner import RecipeSettings

    words = shlex.split(command)
    settings = parse(words[3], RecipeSettings, words[4:])
    if settings.recipe != "list":
        assert read_recipe(settings.recipe, words[3]).stages


def test_make_demo_runs(tmp_path: Path) -> None:
    lines = recipe("demo").splitlines()
    (line,) = [line for line in lines if "-m run episode" in line]
    assert "--planner parley-135m" in line and "--actor learned" in line
    assert "--video 1" in line and any("pip install" in line for line in lines)
    command = line.replace(".venv/bin/python", "python")
    folder = tmp_path / run(f"{command} --episodes 1 --planner oracle --actor scripted", tmp_path)
    assert list((folder / "videos").glob("*.mp4"))


def test_make_test_runs_all_checks() -> None:
    text = recipe("test")
    for tool in ("ruff check", "ruff format --check", "mypy", "lint-imports", "-m pytest"):
        assert tool in text
    assert "'.[dev,api,docs,label]'" in text and "--constraint constraints.txt" in text
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.mark.parametrize(
    ("page", "code"),
    [
        pytest.param(page, code, id=f"{page}-{k}")
        for page in PAGES
        for k, code in enumerate(
            re.findall(
                r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE
            )
        )
    ],
)
def test_the_python_of_a_page_runs(page: str, code: str, tmp_path: Path) -> None:
    if page == "README.md":
        assert sum(bool(line.strip()) for line in code.splitlines()) <= 10
    (tmp_path / "example.py").write_text(code)
    assert run("python example.py", tmp_path)


def test_what_is_said_of_adding_ones_own_works(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "extending.md").read_text()
    files = re.findall(r"^```\w+ (\S+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(files) == 4
    for name, content in files:
        (tmp_path / name).write_text(content)
    commands = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    rates = []
    for command in "".join(commands).splitlines():
        more = "--video 0" if "run episode" in command else ""
        folder = tmp_path / run(f"{command} {more}", tmp_path)
        summary = json.loads((folder / "summary.json").read_text())
        assert summary["n_errors"] == 0
        rates.append(summary["success_rate"])
    # Who picks up what is named first does what must not be done.
    assert len(rates) == 5 and rates[1:] == [1, 1, 0, 1]


def test_the_tables_of_commands_and_parts_are_complete() -> None:
    from agents.actor import ACTORS, make_actor
    from agents.planner.registry import PLANNERS, make_planner
    from agents.planner.shipped import shipped
    from agents.reporter import REPORTERS, make_reporter
    from envs import TASKS
    from models.language.weights import packaged
    from run.__main__ import COMMANDS as JOBS

    page = (ROOT / "docs" / "commands.md").read_text()
    for make, name in (
        (make_planner, "oracle"),
        (make_reporter, "scripted"),
        (make_actor, "human"),
    ):
        make(name)
    for job in JOBS:
        assert f"`python -m run {job}`" in page
    for name in (*PLANNERS, *packaged(), *shipped(), *ACTORS, *REPORTERS):
        assert f"`{name}`" in page, name
    for task in TASKS:
        assert task in ("command", "instruction") or f"`{task}`" in page, task


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    reference = (tmp_path / "reference" / "parley.html").read_text()
    assert "load_detector" in reference and "planner_from" in reference
    assert "--imitation-steps" in (tmp_path / "reference" / "cli.html").read_text()


def test_the_citation_names_both_papers() -> None:
    import yaml

    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    assert [r["url"][-10:] for r in cited["references"]] == ["2302.00763", "2303.07280"]


def test_the_image_copies_what_is_there() -> None:
    copied = re.findall(r"^COPY (.*) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    packages = {"envs", "models", "agents", "rewards", "run", "parley", "recipes"}
    names = {name for line in copied for name in line.split()}
    assert packages <= names and all((ROOT / name).exists() for name in names)


def test_links_to_files_lead_somewhere() -> None:
    cards = ("agents", "rewards")
    pages = [*SITE, "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"]
    pages += [str(p.relative_to(ROOT)) for room in cards for p in (ROOT / room).rglob("README.md")]
    for page in pages:
        text = re.sub(
            r"^```.*?^```$", "", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE
        )
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            if not target.startswith("http"):
                assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"
