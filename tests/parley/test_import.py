"""``import parley`` is quick, and everything it names is there."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import parley

ROOT = Path(__file__).parents[2]


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_loads_nothing_heavy_and_takes_no_time() -> None:
    heavy = {"torch", "transformers", "numpy", "gymnasium", "rich", "tyro", "yaml", "minigrid"}
    code = (
        "import sys, time; t = time.perf_counter(); import parley; "
        "seconds = time.perf_counter() - t; names = dir(parley); "
        f"print(sorted({heavy} & set(sys.modules)), seconds < 0.3, 'evaluate' in names)"
    )
    assert run_python(code) == "[] True True\n"


@pytest.mark.parametrize("name", parley.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(parley, name) is not None
    assert name in dir(parley)


def test_type_checkers_see_the_same_names() -> None:
    source = (ROOT / "parley" / "__init__.py").read_text()
    imported = source[source.index("if TYPE_CHECKING:") : source.index("__version__ =")]
    for name in set(parley.__all__) - {"__version__"}:
        module = parley._MODULES[name]
        line = imported[imported.index(f"from {module} import") :].split("\n    from ")[0]
        assert name in line, name
    assert set(parley._MODULES) | {"__version__"} == set(parley.__all__)


def test_an_unknown_name_is_an_attribute_error_as_in_any_module() -> None:
    with pytest.raises(AttributeError, match="module 'parley' has no attribute 'plya'"):
        parley.plya  # noqa: B018


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (project["name"], project["version"]) == ("parley-rl", parley.__version__)
