"""Which folder may import which, and that what is imported is what is installed."""

from __future__ import annotations

import ast
import importlib.metadata
import itertools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import setuptools
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parents[1]
ROOMS = ("envs", "models", "agents", "rewards", "run", "parley")
MAY_IMPORT = {
    "envs": set(),
    "models": {"envs"},
    "agents": {"envs", "models"},
    "rewards": {"envs", "models"},
    "run": {"envs", "models", "agents", "rewards"},
    "parley": {"envs", "models", "agents", "rewards", "run"},
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def imported(room: str) -> Iterator[tuple[Path, str]]:
    """Every module name that the files of a room import, with the file."""
    for path in sorted((ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative import"
                yield path, node.module or ""


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_imports_only_what_it_may(room: str) -> None:
    for path, module in imported(room):
        top = module.split(".")[0]
        if top in ROOMS:
            assert top in MAY_IMPORT[room] | {room}, f"{path} imports {module}"


def test_import_linter_agrees() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 kept, 0 broken" in done.stdout


def name_of(requirement: str) -> str:
    return re.split(r"[<>=!~\[; ]", requirement)[0].lower().replace("_", "-")


@pytest.mark.parametrize("room", ROOMS)
def test_everything_imported_is_declared(room: str) -> None:
    extras = PROJECT["optional-dependencies"]
    optional = (extras[name] for name in ("api", "label", "pandas", "ray"))
    declared = {name_of(r) for rs in (PROJECT["dependencies"], *optional) for r in rs}
    provides = importlib.metadata.packages_distributions()
    for path, module in imported(room):
        top = module.split(".")[0]
        if top in ROOMS or top in sys.stdlib_module_names:
            continue
        names = {d.lower().replace("_", "-") for d in provides.get(top, [top])}
        assert names & declared, f"{path} imports {top}, which pyproject.toml does not declare"


def test_everything_declared_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", p) for p in pins)
    pinned = {name_of(p) for p in pins}
    extras = PROJECT["optional-dependencies"]
    for requirement in (*PROJECT["dependencies"], *itertools.chain(*extras.values())):
        assert name_of(requirement) in pinned, requirement
    assert "torch==2.13.0" in pins


def test_no_file_names_this_machine_or_a_registry() -> None:
    for name in ("README.md", "ARCHITECTURE.md", "Makefile", "constraints.txt", ".ci/run"):
        text = (ROOT / name).read_text()
        assert not re.search(r"/work/|/tmp/|/root/|index-url +\S|pypi|find-links +\S", text), name


def test_the_registries_import_nothing_that_they_name() -> None:
    code = (
        "import sys; import agents.actor, agents.planner.registry, agents.reporter; "
        "names = [*agents.actor.ACTORS._targets.values(), "
        "*agents.planner.registry.PLANNERS._targets.values(), "
        "*agents.reporter.REPORTERS._targets.values()]; "
        "print({'torch', *(n.partition(':')[0] for n in names)} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stdout + done.stderr


def test_the_wheel_has_every_file_of_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    distribution = setuptools.Distribution()
    distribution.parse_config_files(["pyproject.toml"])
    distribution.include_package_data = False  # else it would write a list of files
    build = distribution.get_command_obj("build_py")
    build.ensure_finalized()
    assert isinstance(build, build_py)
    # Where there are run folders beside them, these are not packed.
    assert {name.partition(".")[0] for name in build.packages} <= {*ROOMS, "recipes"}
    folders = {Path(name.replace(".", "/")) for name in build.packages}
    data = {Path(folder) / name for _, folder, _, names in build.data_files for name in names}
    for room in ROOMS:
        assert Path(room) / "py.typed" in data, room
        files = {p.relative_to(ROOT) for p in (ROOT / room).rglob("*") if p.is_file()}
        modules = {p for p in files if p.suffix == ".py" and p.parent in folders}
        wanted = {p for p in files if "__pycache__" not in p.parts}
        assert wanted - modules - data == set()
    recipes = {p.relative_to(ROOT) for p in ROOT.glob("recipes/*.yaml")}
    assert recipes - data == set()
