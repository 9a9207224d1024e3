"""A recipe: stages of commands that together make weights, in a YAML file."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import math
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from envs.errors import BadInput, unknown
from run.storage.config_file import key_lines, no_setting, read_yaml, settings_from

FOLDER = Path(__file__).resolve().parents[2] / "recipes"
REFERENCE = re.compile(r"\$\{([^}]*)\}")
# The commands of stages, with what the next stage takes of their run folder.
STAGE_COMMANDS = ("make-clips", "train-actor", "train-planner", "train-reporter", "train-detector")
KEYS = ("about", "command", "makes", "cost", "results", "stages")
STAGE_KEYS = ("name", "command", "settings")
COST_KEYS = ("minutes", "cores", "memory_gb", "disk_gb")
RESULT_KEYS = ("what", "recipe", "shipped", "n", "command")
# What the recipe's run decides for its stages.
RUN_SETTINGS = ("out", "resume", "runs_dir", "name", "force")


@dataclass(frozen=True)
class RecipeStage:
    """One stage: a command and its settings.

    ``settings`` are by the names of the command's options; ``${stage}`` in a value stands for the
    weights (of make-clips: the data set) that an earlier stage has made. ``line`` is where it
    begins in the file.
    """

    name: str
    command: str
    settings: Mapping[str, Any]
    line: int

    def references(self) -> Iterator[str]:
        """The names of the stages that its settings refer to."""
        for value in self.settings.values():
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str):
                    yield from REFERENCE.findall(text)

    def resolved(self, made: Mapping[str, str]) -> dict[str, Any]:
        """The settings with what earlier stages have made in the place of references."""

        def insert(value: Any) -> Any:
            if isinstance(value, list):
                return [insert(v) for v in value]
            if isinstance(value, str):
                return REFERENCE.sub(lambda found: made[found.group(1)], value)
            return value

        return {name: insert(value) for name, value in self.settings.items()}


@dataclass(frozen=True)
class Recipe:
    """A recipe.

    Attributes:
        file: Where it stands.
        about: What it makes, in a sentence.
        command: The training command that takes it by ``--recipe``.
        makes: The shipped weights that it remakes; empty for none.
        cost: Of the whole, on two cores: ``minutes``, ``cores``, ``memory_gb``, ``disk_gb``.
        results: What was measured of its weights, and beside it of the shipped ones.
        stages: The stages in their order; the weights of the last are the recipe's.
    """

    file: Path
    about: str
    command: str
    makes: str
    cost: Mapping[str, float]
    results: Sequence[Mapping[str, Any]]
    stages: tuple[RecipeStage, ...]

    @property
    def name(self) -> str:
        return self.file.stem

    def stored(self) -> list[dict[str, Any]]:
        """The stages as a run folder keeps them."""
        return [
            {"name": s.name, "command": s.command, "settings": dict(s.settings)}
            for s in self.stages
        ]


def recipe_names(command: str | None = None) -> list[str]:
    """The names of the recipes that come with Parley: all, or those of a command."""
    names = sorted(file.stem for file in FOLDER.glob("*.yaml"))
    return [n for n in names if command is None or read_recipe(n).command == command]


def read_recipe(name: str, command: str | None = None) -> Recipe:
    """Read a recipe and check all its stages.

    Args:
        name: A recipe that comes with Parley, or a YAML file.
        command: The training command that it is given to; None for any.

    Raises:
        BadInput: There is none, it holds what a recipe cannot have, or a stage cannot be run.
    """
    file = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not file.is_file():
        if file.parent == FOLDER:
            raise unknown("recipe", name, recipe_names(command))
        raise BadInput(f"there is no recipe '{file}'")
    content, node = read_yaml(file)
    recipe = _Reader(file, node).recipe(content)
    if command is not None and recipe.command != command:
        raise BadInput(
            f"the recipe '{name}' is for {recipe.command}: python -m run {recipe.command} "
            f"--recipe {name}"
        )
    for stage in recipe.stages:
        check_stage(recipe, stage)
    return recipe


def settings_of(recipe: Recipe, stage: RecipeStage, values: Mapping[str, Any]) -> Any:
    """The settings of a stage's command.

    Raises:
        BadInput: One is unknown, or has a value that it cannot have.
    """
    return settings_from(
        settings_class(stage.command),
        stage.command,
        values,
        recipe.file,
        dict.fromkeys((k.replace("-", "_") for k in values), stage.line),
    )


def settings_class(command: str) -> type:
    """The class of a command's settings."""
    name = "".join(word.capitalize() for word in command.split("-"))
    cls: type = getattr(_module(command), f"{name}Settings")
    return cls


def run_command(command: str, settings: Any) -> Path:
    """Run a command with its settings; returns its run folder."""
    run: Path = getattr(_module(command), command.replace("-", "_"))(settings)
    return run


def _module(command: str) -> ModuleType:
    return importlib.import_module(f"run.commands.{command.replace('-', '_')}")


def check_stage(recipe: Recipe, stage: RecipeStage) -> None:
    """Check a stage before any is run: its settings, and the parts that they name.

    Raises:
        BadInput: It cannot be run.
    """
    settings = settings_of(recipe, stage, stage.settings)
    check = getattr(_module(stage.command), "check_parts", None)
    if check is None:
        return
    # What an earlier stage is to make is not there yet.
    known = copy.copy(settings)
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, str) and REFERENCE.search(value):
            object.__setattr__(known, field.name, None)
        elif isinstance(value, tuple):
            kept = tuple(v for v in value if not REFERENCE.search(str(v)))
            object.__setattr__(known, field.name, kept)
    try:
        check(known)
    except BadInput as error:
        where = f"{recipe.file}, line {stage.line}, stage '{stage.name}'"
        raise BadInput(f"{where}: {error}") from error


class _Reader:
    """Reads a recipe's content, and says on which line what is wrong."""

    def __init__(self, file: Path, node: yaml.Node | None) -> None:
        self.file = file
        self.node = node

    def recipe(self, content: Any) -> Recipe:
        self._refuse_repeated(self.node, set())
        top = self._keys(content, self.node, KEYS, "recipe")
        about, command = (self._text(content, key, top) for key in ("about", "command"))
        if command not in STAGE_COMMANDS[1:]:
            raise self._wrong(top["command"], unknown("training command", command, STAGE_COMMANDS))
        makes = content.get("makes", "")
        cost = content.get("cost")
        if not isinstance(cost, dict) or "minutes" not in cost:
            raise self._wrong(top.get("cost", 1), "a recipe says its cost, at least in minutes")
        places = self._keys(cost, self._below("cost"), COST_KEYS, "cost")
        for key, value in cost.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise self._wrong(places.get(key, 1), f"{key} must be a number, not {value!r}")
            if not (math.isfinite(value) and value > 0):
                raise self._wrong(places.get(key, 1), f"{key} must be more than 0, not {value}")
        if not isinstance(makes, str):
            raise self._wrong(top["makes"], f"'makes' is a folder of weights, not {makes!r}")
        results = content.get("results") or []
        if not isinstance(results, list):
            raise self._wrong(top["results"], "results must be a list")
        stages = content.get("stages")
        if not isinstance(stages, list) or not stages:
            raise self._wrong(top.get("stages", 1), "a recipe has a list of stages")
        node = typing.cast(Any, self._below("stages"))
        read: list[RecipeStage] = []
        for stage, inner in zip(stages, node.value, strict=True):
            read.append(self._stage(stage, inner, command, [s.name for s in read]))
        for result, inner in zip(
            results, getattr(self._below("results"), "value", ()), strict=True
        ):
            self._keys(result, inner, RESULT_KEYS, "result")
        return Recipe(self.file, about, command, makes, cost, results, tuple(read))

    def _stage(
        self, content: Any, node: yaml.Node, command: str, earlier: list[str]
    ) -> RecipeStage:
        lines = self._keys(content, node, STAGE_KEYS, "stage")
        line = node.start_mark.line + 1
        name = content.get("name")
        if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name):
            raise self._wrong(line, f"a stage's name is letters, digits, - and _, not {name!r}")
        if name in earlier:
            raise self._wrong(line, f"two stages are called '{name}'")
        own = content.get("command", command)
        if own not in STAGE_COMMANDS:
            problem = unknown("command of a stage", str(own), STAGE_COMMANDS)
            raise self._wrong(lines.get("command", line), problem)
        settings = content.get("settings") or {}
        if not isinstance(settings, dict):
            raise self._wrong(lines["settings"], "settings are names with values")
        inner = next((v for k, v in typing.cast(Any, node).value if k.value == "settings"), None)
        places = key_lines(inner)
        names = [f.name for f in dataclasses.fields(settings_class(own))]
        for key in settings:
            plain = str(key).replace("-", "_")
            where = places.get(str(key), line)
            if plain in RUN_SETTINGS:
                raise self._wrong(where, f"'{key}' is for the recipe's whole run, not for a stage")
            if plain not in names:
                allowed = [n for n in names if n not in RUN_SETTINGS]
                raise self._wrong(where, no_setting(own, str(key), allowed))
        stage = RecipeStage(name, own, {str(k): v for k, v in settings.items()}, line)
        for reference in stage.references():
            if reference not in earlier:
                where = next(
                    (places[k] for k, v in settings.items() if f"${{{reference}}}" in str(v)), line
                )
                those = f"; those are {', '.join(earlier)}" if earlier else ""
                raise self._wrong(where, f"'${{{reference}}}' names no earlier stage{those}")
        return stage

    def _keys(
        self, content: Any, node: yaml.Node | None, known: Sequence[str], what: str
    ) -> dict[str, int]:
        """The lines of the keys of a mapping. Raises BadInput for one that is not known."""
        line = 1 if node is None else node.start_mark.line + 1
        if not isinstance(content, dict):
            raise self._wrong(line, f"a {what} has keys: {', '.join(known)}")
        lines = key_lines(node)
        for key in content:
            if key not in known:
                raise self._wrong(
                    lines.get(str(key), line), unknown(f"key of a {what}", str(key), known)
                )
        return lines

    def _refuse_repeated(self, node: yaml.Node | None, seen: set[int]) -> None:
        """Raise BadInput for a key given twice, of which YAML would silently take the last."""
        if not isinstance(node, yaml.CollectionNode) or id(node) in seen:
            return
        seen.add(id(node))
        inner: list[yaml.Node] = []
        keys: set[str] = set()
        for item in node.value:
            if not isinstance(item, tuple):
                inner.append(item)
                continue
            key, value = item
            inner.append(value)
            if str(key.value) in keys:
                raise self._wrong(key.start_mark.line + 1, f"'{key.value}' is given twice")
            keys.add(str(key.value))
        for below in inner:
            self._refuse_repeated(below, seen)

    def _below(self, key: str) -> yaml.Node | None:
        for name, value in typing.cast(Any, self.node).value:
            if name.value == key:
                return typing.cast(yaml.Node, value)
        return None

    def _text(self, content: Mapping[str, Any], key: str, lines: Mapping[str, int]) -> str:
        value = content.get(key)
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(lines.get(key, 1), f"a recipe needs '{key}', a text")
        return value.strip()

    def _wrong(self, line: int, problem: object) -> BadInput:
        return BadInput(f"{self.file}, line {line}: {problem}")
