"""Runs a recipe: its stages one after the other, in one run folder, which can be resumed."""

from __future__ import annotations

import dataclasses
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from envs.errors import BadInput
from models.references import BEST, CHECKPOINTS, read_json
from run.display.messages import warn
from run.recipes.recipe import (
    Recipe,
    RecipeStage,
    read_recipe,
    recipe_names,
    run_command,
    settings_of,
)
from run.storage.folder import RunFolder
from run.storage.overwriting import check_free, replace_folder

OPTION = "--recipe"
STAGES = "stages"
SHARED = ("device", "threads", "cache")


@dataclasses.dataclass(frozen=True)
class RecipeSettings:
    """Run a recipe: several stages of training, one after the other, as one run.

    Before it begins, every stage is checked and the cost is shown. The run folder has checkpoints/
    with the weights of the last stage, summary.json, and in stages/ the run folder of each stage.
    To change what a recipe does, copy its file, change the copy, and give that: --recipe mine.yaml.

    Examples:
      python -m run train-reporter --recipe quick
      python -m run train-reporter --recipe learned --seed 1 --out my/reporter
      python -m run train-reporter --recipe list
      python -m run train-reporter --resume runs/train-reporter/20260102-030405-quick
    """

    recipe: str
    """A recipe by name or file, or list: show those that come with Parley and what they cost."""
    seed: int = 0
    """Is added to the seed of every stage."""
    device: str | None = None
    """Device of every stage, in place of the recipe's."""
    threads: int | None = None
    """Number of torch threads of every stage, in place of the recipe's."""
    cache: Path | None = None
    """Folder for fetched and converted weights; by default $PARLEY_CACHE or ~/.cache/parley."""
    out: Path | None = None
    """Folder to which the final weights are also written."""
    force: bool = False
    """Replace what is at --out already."""
    runs_dir: Path = Path("runs")
    """Folder in which run folders are made."""
    name: str | None = None
    """End of the run folder's name; by default that of the recipe."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise BadInput(f"--seed must be at least 0, not {self.seed}")


def is_recipe_run(folder: Path) -> bool:
    """Whether a folder is the run folder of a recipe."""
    return "recipe" in (read_json(folder / "config.json") or {})


def list_recipes(command: str) -> None:
    """Print the recipes of a command with their costs."""
    table = Table("recipe", "minutes on two cores", "what it makes")
    for name in recipe_names(command):
        recipe = read_recipe(name)
        table.add_row(name, f"{recipe.cost['minutes']:g}", recipe.about)
    Console(width=80).print(table)


def start_recipe(command: str, settings: RecipeSettings) -> Path:
    """Run a recipe from its beginning and return the run folder.

    Args:
        command: The training command that it was given to.
        settings: Which recipe, and what holds for all its stages.

    Raises:
        BadInput: The recipe cannot be run, or a stage fails.
    """
    recipe = read_recipe(settings.recipe, command)
    check_free(settings.out, settings.force)
    shared = {
        name: str(value) if isinstance(value, Path) else value
        for name in ("seed", *SHARED)
        if (value := getattr(settings, name)) is not None
    }
    for stage in recipe.stages:
        _with_shared(settings_of(recipe, stage, stage.settings), shared)
    config: dict[str, Any] = {
        "recipe": recipe.name,
        "file": str(recipe.file.resolve()),
        "stages": recipe.stored(),
        "shared": shared,
        **({} if settings.out is None else {"out": str(settings.out)}),
    }
    name = recipe.name if settings.name is None else settings.name
    with RunFolder.new(settings.runs_dir, command, name, config, resumable=True) as folder:
        _announce(recipe)
        return _run(folder, recipe, shared, settings.out)


def resume_recipe(command: str, path: Path) -> Path:
    """Go on with a recipe that was stopped, at the stage where it stopped.

    Raises:
        BadInput: The folder is damaged, the recipe's file was changed, or a stage fails.
    """
    with RunFolder.resume(path, command) as folder:
        config = read_json(path / "config.json") or {}
        try:
            recipe = read_recipe(str(config["file"]), command)
            changed = _changes(recipe.stored(), config["stages"])
            shared = dict(config["shared"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, BadInput):
                raise
            raise BadInput(f"config.json of '{path}' is damaged: {error}") from error
        if changed:
            raise BadInput(
                f"the recipe {recipe.file} was changed since this run began: {'; '.join(changed)}; "
                "change it back, or start anew"
            )
        out = config.get("out")
        return _run(folder, recipe, shared, None if out is None else Path(out))


def _changes(now: list[dict[str, Any]], then: list[dict[str, Any]]) -> list[str]:
    """What differs between the stages of a recipe now and when its run began."""
    changed = []
    if [s["name"] for s in now] != [s["name"] for s in then]:
        return [f"stages {[s['name'] for s in now]} (then {[s['name'] for s in then]})"]
    for new, old in zip(now, then, strict=True):
        if new["command"] != old["command"]:
            changed.append(f"{new['name']}: command {new['command']} (then {old['command']})")
        for key in sorted({*new["settings"], *old["settings"]}):
            values = [s["settings"].get(key, "left out") for s in (new, old)]
            if values[0] != values[1]:
                changed.append(f"{new['name']}: {key} {values[0]} (then {values[1]})")
    return changed


def _announce(recipe: Recipe) -> None:
    """Say what is going to happen, and what it costs."""
    console = Console(stderr=True, highlight=False)
    cost = dict(recipe.cost)
    more = [f"{cost[k]:g} {label}" for k, label in _COSTS.items() if k in cost]
    console.print(f"{recipe.name}: {recipe.about}", markup=False)
    console.print(f"It takes about {cost['minutes']:g} minutes; {', '.join(more)}.", markup=False)
    for k, stage in enumerate(recipe.stages, 1):
        words = ", ".join(f"{name} {value}" for name, value in stage.settings.items())
        console.print(f"  {k}. {stage.name}: {stage.command}, {words}", markup=False)


_COSTS = {"cores": "cores", "memory_gb": "GB of memory", "disk_gb": "GB of disk"}


def _run(folder: RunFolder, recipe: Recipe, shared: Mapping[str, Any], out: Path | None) -> Path:
    """Run the stages that are not finished, then put the weights of the last where they belong."""
    made: dict[str, str] = {}
    stages: dict[str, Any] = {}
    console = Console(stderr=True, highlight=False)
    for k, stage in enumerate(recipe.stages, 1):
        run = _stage_folder(folder, stage)
        summary = None if run is None else read_json(run / "summary.json")
        if summary is None:
            console.print(
                f"stage {k} of {len(recipe.stages)}: {stage.name}", markup=False, style="bold"
            )
            run = _run_stage(folder, recipe, stage, shared, made, run)
            summary = read_json(run / "summary.json")
        if run is None or summary is None:
            raise BadInput(f"stage '{stage.name}' has left no summary in {folder.path}")
        made[stage.name] = str(summary.get("data") or run / CHECKPOINTS / BEST)
        stages[stage.name] = {"folder": str(run.relative_to(folder.path)), **summary}
    weights = Path(made[recipe.stages[-1].name])
    for place in (folder.part(CHECKPOINTS, BEST), out):
        if place is not None:
            replace_folder(place, lambda new: shutil.copytree(weights, new, dirs_exist_ok=True))
    folder.write_json(
        "summary.json",
        {
            "command": folder.command,
            "recipe": recipe.name,
            "seed": shared.get("seed", 0),
            "n": len(stages),
            "n_errors": 0,
            "seconds": round(sum(float(s.get("seconds", 0)) for s in stages.values()), 1),
            "stages": stages,
        },
    )
    _say_how_to_try(folder, made, [s.name for s in recipe.stages if s.command == "make-clips"])
    print(folder.path)
    return folder.path


def _with_shared(settings: Any, shared: Mapping[str, Any]) -> Any:
    """A stage's settings with what was given beside the recipe. Raises BadInput if it is wrong."""
    changes = {
        name: settings.seed + value if name == "seed" else value
        for name, value in shared.items()
        if hasattr(settings, name)
    }
    if "cache" in changes:
        changes["cache"] = Path(changes["cache"])
    return dataclasses.replace(settings, **changes)


def _say_how_to_try(folder: RunFolder, made: Mapping[str, str], clips: Sequence[str]) -> None:
    """Print the command that tries what was made; ``clips`` are stages that have made clips."""
    data = next((made[name] for name in clips), "data/clips")
    weights, data = shlex.quote(str(folder.path)), shlex.quote(data)
    play = f"python -m run {_TRY[folder.command].format(weights=weights, data=data)}"
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"To try it: {play}", markup=False)


_TRY = {
    "train-actor": "episode --actor {weights}",
    "train-planner": "episode --planner {weights}",
    "train-reporter": (
        "episode --task visual-conditional --planner parley-visible --reporter {weights}"
    ),
    "train-detector": "score-detector --data {data} --detectors {weights}",
}


def _stage_folder(folder: RunFolder, stage: RecipeStage) -> Path | None:
    """The run folder of a stage that has begun."""
    found = sorted((folder.path / STAGES / stage.command).glob(f"*-{stage.name}"))
    return next((f for f in reversed(found) if (f / "config.json").is_file()), None)


def _run_stage(
    folder: RunFolder,
    recipe: Recipe,
    stage: RecipeStage,
    shared: Mapping[str, Any],
    made: Mapping[str, str],
    begun: Path | None,
) -> Path:
    settings = _with_shared(settings_of(recipe, stage, stage.resolved(made)), shared)
    changes: dict[str, Any] = {"runs_dir": folder.path / STAGES, "name": stage.name}
    if begun is not None and hasattr(settings, "resume"):
        changes["resume"] = begun
    elif begun is not None:
        warn(f"stage '{stage.name}' begins anew: {stage.command} cannot be resumed")
        shutil.rmtree(begun)
    settings = dataclasses.replace(settings, **changes)
    return run_command(stage.command, settings)
