"""Suites as YAML files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envs.errors import BadInput, unknown
from run.evaluation.suites.tasks import Suite, Task, Variant
from run.evaluation.teams import check_team, find_team

# Keys that have had another name: old files are still read.
RENAMED_KEYS = {"cells": "tasks", "parts": "variants"}
_KEYS = ("about", "items", "tasks")


def read_suite(file: Path) -> Suite:
    """The suite in a YAML file: ``about``, ``items``, and ``tasks``, each with ``variants``.

    A variant has a ``task``, the environment; it may have a ``reporter`` (a name and its options),
    ``actor_fails`` (a probability), ``team`` (a name, or its settings) and ``label``; all other
    keys are settings of the environment. Keys that all variants of a task share can stand in the
    task. ``cells`` and ``parts``, the former names of ``tasks`` and ``variants``, are read too.

    Raises:
        BadInput: In one sentence, for any other file.
    """
    import yaml

    try:
        content = _load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise BadInput(f"the suite '{file}' cannot be read: {error}") from error
    if not isinstance(content, _MappingWithLines):
        raise BadInput(f"'{file}' is no suite: it has no tasks")
    old_keys: set[str] = set()
    content = _under_current_names(content, "cells", old_keys)
    described = content.get("tasks")
    if not isinstance(described, _MappingWithLines) or not described:
        raise BadInput(f"'{file}' is no suite: it has no tasks")
    for key in content:
        if key not in _KEYS:
            line = content.lines[key]
            raise unknown(f"key in line {line} of the suite '{file}'", str(key), _KEYS)
    tasks = tuple(
        _read_task(str(name), task, f"{file}', line {described.lines[name]}", old_keys)
        for name, task in described.items()
    )
    items = content.get("items", "held-out")
    if items not in ("train", "held-out", "all"):
        raise BadInput(f"the suite '{file}' has items '{items}', not train, held-out or all")
    notices = tuple(
        f"the key '{old}' of the suite '{file}' is now called '{new}'; the old name will go"
        for old, new in RENAMED_KEYS.items()
        if old in old_keys
    )
    about = str(content.get("about", "")).strip()
    return Suite(tasks, items, about=about, notices=notices)


class _MappingWithLines(dict[Any, Any]):
    """A mapping of a YAML file, with the line of each of its keys."""

    lines: dict[Any, int]


def _load(text: str) -> Any:
    """The content of a YAML file: plain values, and mappings with their lines."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> _MappingWithLines:
        content = _MappingWithLines(loader.construct_mapping(node, deep=True))
        content.lines = {}
        for key, _ in node.value:
            content.lines[loader.construct_object(key, deep=True)] = key.start_mark.line + 1
        return content

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    return yaml.load(text, Loader)  # a safe loader: plain values only


def _under_current_names(
    content: _MappingWithLines, old: str, old_keys: set[str]
) -> _MappingWithLines:
    """A mapping whose key ``old`` has its current name; ``old_keys`` collects keys that did not."""
    new = RENAMED_KEYS[old]
    if old not in content or new in content:
        return content
    old_keys.add(old)
    renamed = _MappingWithLines({new if k == old else k: v for k, v in content.items()})
    renamed.lines = {new if k == old else k: line for k, line in content.lines.items()}
    return renamed


def _read_task(name: str, content: Any, place: str, old_keys: set[str]) -> Task:
    where = f"task '{name}' of the suite '{place}"
    if not isinstance(content, _MappingWithLines) or "," in name:
        raise BadInput(f"{where} is not described, or has a comma in its name")
    content = _under_current_names(content, "parts", old_keys)
    common = {k: v for k, v in content.items() if k not in ("floor", "chance", "variants")}
    described = content.get("variants", [{}])
    if not isinstance(described, list) or not described:
        raise BadInput(f"the variants of {where} are no list of settings")
    if not all(isinstance(variant, dict) for variant in described):
        raise BadInput(f"the variants of {where} are no list of settings")
    variants = tuple(_read_variant(name, {**common, **v}, where, len(described)) for v in described)
    labels = [variant.label for variant in variants]
    if len(set(labels)) < len(labels):
        raise BadInput(f"two variants of {where} have one label; give each its label")
    rates: dict[str, float | None] = {}
    for key in ("floor", "chance"):
        value = content.get(key)
        if value is not None and not (isinstance(value, int | float) and 0 <= value <= 1):
            raise BadInput(f"the {key} of {where} is no number from 0 to 1")
        rates[key] = None if value is None else float(value)
    return Task(name, variants, rates["floor"], rates["chance"])


def _read_variant(task: str, content: Mapping[str, Any], where: str, n: int) -> Variant:
    settings = dict(content)
    environment = settings.pop("task", None)
    if not isinstance(environment, str):
        raise BadInput(f"a variant of {where} has no task")
    label = settings.pop("label", None)
    reporter = settings.pop("reporter", None)
    fails = settings.pop("actor_fails", 0.0)
    team = settings.pop("team", {})
    team = find_team(team) if isinstance(team, str) else check_team(team, f"the team of {where}")
    if reporter is not None:
        if isinstance(reporter, str):
            reporter = {"name": reporter}
        if not isinstance(reporter, dict) or not isinstance(reporter.get("name"), str):
            raise BadInput(f"the reporter of {where} has no name")
        reporter = (reporter["name"], {k: v for k, v in reporter.items() if k != "name"})
    if not isinstance(fails, int | float) or not 0 <= fails <= 1:
        raise BadInput(f"actor_fails of {where} is no probability")
    if label is None:
        words = " ".join(
            f"{k} {v}" for k, v in content.items() if k not in ("task", "reporter", "team")
        )
        label = task if n == 1 else f"{environment} {words}".strip()
    has_items = not environment.lower().startswith(("babyai", "minigrid"))
    return Variant(
        str(label), environment, settings, reporter, float(fails), has_items, team, where
    )
