"""What must hold between files: no import cycles, no name twice, no command that imports another,
and no code but ``agents/grounding.py`` that reads the sentences of reports."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("envs", "models", "agents", "rewards", "run", "parley", "benchmarks")


@cache
def sources() -> dict[str, ast.Module]:
    """The syntax tree of each module of ``FOLDERS``, by its dotted name."""
    return {
        module_name(path): ast.parse(path.read_text("utf-8"))
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
    }


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.Module, modules: Mapping[str, object]) -> set[str]:
    """The modules among ``modules`` that a file imports, in functions and for type checkers too.

    ``from package import name`` imports the module ``package.name`` where there is one, otherwise
    the package. That an import of a module also runs its packages' ``__init__`` does not count.
    """
    targets: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            targets |= names & set(modules)
            if not names <= set(modules):
                targets.add(node.module)
    return targets & set(modules)


def cycles(graph: Mapping[str, set[str]]) -> list[tuple[str, ...]]:
    """The sets of modules that import each other, directly or through others (the strongly
    connected components of more than one node, and nodes that import themselves)."""
    reached = {start: _reachable(graph, start) for start in graph}
    groups = {
        tuple(sorted(b for b in reached[a] if a in reached[b])) for a in graph if a in reached[a]
    }
    return sorted(groups)


def _reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    edge = set(graph[start])
    while edge:
        seen |= edge
        edge = {after for module in edge for after in graph[module]} - seen
    return seen


def test_no_import_cycles() -> None:
    trees = sources()
    assert cycles({name: imports(tree, trees) for name, tree in trees.items()}) == []


def test_the_check_for_cycles_counts_imports_in_functions_and_for_type_checkers() -> None:
    above = ast.parse("from typing import TYPE_CHECKING\nimport b\nif TYPE_CHECKING:\n    import c")
    below = ast.parse("def f():\n    from a import g")
    third = ast.parse("from a import g")
    trees = {"a": above, "b": below, "c": third}
    graph = {name: imports(tree, trees) for name, tree in trees.items()}
    assert graph == {"a": {"b", "c"}, "b": {"a"}, "c": {"a"}}
    assert cycles(graph) == [("a", "b", "c")]
    assert cycles({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    trees = {"p": above, "p.q": below}
    assert imports(ast.parse("from p import q, r"), trees) == {"p", "p.q"}
    assert imports(ast.parse("from p import q"), trees) == {"p.q"}
    assert imports(ast.parse("import p.q"), trees) == {"p.q"}


def public_classes(trees: Mapping[str, ast.Module]) -> dict[str, list[str]]:
    """The modules that define each public class name, at any depth."""
    owners: dict[str, list[str]] = {}
    for module, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                owners.setdefault(node.name, []).append(module)
    return owners


def test_no_public_class_name_stands_twice() -> None:
    twice = {name: where for name, where in public_classes(sources()).items() if len(where) > 1}
    assert twice == {}


def test_the_check_for_class_names_sees_two_of_one_name() -> None:
    trees = {m: ast.parse("class Part:\n    pass\nclass _Own:\n    pass") for m in ("a", "b")}
    assert public_classes(trees) == {"Part": ["a", "b"]}


def test_no_command_imports_another() -> None:
    trees = sources()
    commands = {name for name in trees if name.startswith("run.commands.")}
    assert commands
    pairs = [(c, other) for c in commands for other in imports(trees[c], trees) & commands]
    assert pairs == []


# The only module that may take a report's sentences apart.
GROUNDING = "agents.grounding"
STRING_TESTS = {
    *("startswith", "endswith", "find", "rfind", "index", "count", "removeprefix", "removesuffix"),
    *("split", "rsplit", "splitlines", "partition", "rpartition"),
}
PATTERN_TESTS = {"search", "match", "fullmatch", "findall", "finditer", "split", "sub", "subn"}
# Functions of envs that find items and commands in a text.
PARSERS = {"find_items", "parse"}

# Other readers, each with its expression and why it may stay.
ALLOWED_READS = {
    # Rewrites the text of the prompt, for a language model to compare; decides nothing by it.
    "agents.planner.counterfactual": ["find_items(report)"],
    # Checks the wording of a Reporter's own sentence, on top of its facts.
    "agents.reporter.facts": ["report.text.startswith(opening)"],
}


def report_reads(tree: ast.Module) -> list[str]:
    """The expressions of a file that test or take apart the text of a report.

    A report is a name or an attribute called ``report``, an element of ``reports``, or a variable
    that was assigned one or that a loop over ``reports`` binds. Flagged are string tests on it,
    ``in`` with it on the right, and patterns and parsers (``PARSERS``) that it is handed to.
    Comparing whole reports, joining them and measuring them is free.
    """
    texts = {"report"} | {
        target.id
        for node in ast.walk(tree)
        for target, value in bindings(node)
        if isinstance(target, ast.Name) and _is_report(value, {"report"})
    }
    reads = [node for node in ast.walk(tree) if _reads(node, texts)]
    return [ast.unparse(node) for node in reads]


def bindings(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """What a node binds to what; a loop binds its variable to an element."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield target, node.value
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
        yield node.target, node.value
    elif isinstance(node, ast.For | ast.comprehension):
        yield node.target, ast.Subscript(node.iter, ast.Constant(0), ast.Load())


def _is_report(node: ast.expr, texts: set[str]) -> bool:
    if isinstance(node, ast.Subscript):
        name = _name(node.value)
        return name == "reports" or name.endswith("_reports") or _is_report(node.value, texts)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in ("lower", "strip") and _is_report(node.func.value, texts)
    if isinstance(node, ast.Attribute) and node.attr == "text":
        return _is_report(node.value, texts)
    return _name(node) in texts


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def _reads(node: ast.AST, texts: set[str]) -> bool:
    if isinstance(node, ast.Compare):
        return any(
            isinstance(test, ast.In | ast.NotIn) and _is_report(right, texts)
            for test, right in zip(node.ops, node.comparators, strict=True)
        )
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    if (
        isinstance(function, ast.Attribute)
        and function.attr in STRING_TESTS
        and _is_report(function.value, texts)
    ):
        return True
    arguments = [part for a in node.args for part in ast.walk(a) if isinstance(part, ast.expr)]
    return _name(function) in PATTERN_TESTS | PARSERS and any(
        _is_report(part, texts) for part in arguments
    )


def test_only_grounding_reads_the_sentences_of_reports() -> None:
    reads = {
        name: found
        for name, tree in sources().items()
        if name.split(".")[0] in ("agents", "run") and name != GROUNDING
        if (found := report_reads(tree))
    }
    assert reads == ALLOWED_READS


@pytest.mark.parametrize(
    "line",
    [
        "turn.report.startswith('It ')",
        "'good' in report",
        "FAILED not in dialogue.turns[-1].report",
        "re.search('is (.*)', t.report)",
        "_SEEN.fullmatch(turns[0].report)",
        "first, rest = report.split(', ')",
        "re.findall('a', '\\n'.join(t.report for t in turns))",
        "find_items('\\n'.join([task, *(t.report for t in turns)]))",
        "any('good' in r for r in reports)",
        "x = reports[k]\nx.partition(':')",
        "for text in reports:\n    text.lower().endswith('.')",
        "turn.report.text.split()",
    ],
)
def test_the_check_sees_what_reads_a_report(line: str) -> None:
    assert report_reads(ast.parse(line))


@pytest.mark.parametrize(
    "line",
    [
        "turn.report == last.report",
        "prompt = f'{said} -> {report}'",
        "len(report) > 3 and report",
        "(t.command, t.report) in turns",
        "'report' in settings",
        "re.search('x', task)",
        "reports.append(report)",
        "settings.name.startswith('report')",
    ],
)
def test_the_check_lets_reports_be_passed_on(line: str) -> None:
    assert report_reads(ast.parse(line)) == []


PROCESS_STATE_AROUND_IMPORTS = """
import importlib, json, os, sys, threading
import numba, torch

def state():
    return {
        "environment": dict(os.environ),
        "threads": sorted(t.name for t in threading.enumerate()),
        "torch": [torch.get_num_threads(), torch.get_num_interop_threads()],
        "numba": [numba.get_num_threads(), numba.config.CACHE_DIR],
    }

before = state()
for module in sys.argv[1:]:
    importlib.import_module(module)
print(json.dumps([before, state()]))
"""


def test_importing_our_modules_changes_nothing_in_the_process() -> None:
    modules = [m for m in sources() if not m.startswith("benchmarks") and "__main__" not in m]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GRADIO_"))}
    done = subprocess.run(
        [sys.executable, "-c", PROCESS_STATE_AROUND_IMPORTS, *modules],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    before, after = json.loads(done.stdout)
    by_libraries = {"PYGAME_HIDE_SUPPORT_PROMPT", "TORCHINDUCTOR_CACHE_DIR"}  # minigrid, peft
    for name in by_libraries - before["environment"].keys():
        after["environment"].pop(name, None)
    assert after == before
