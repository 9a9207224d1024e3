"""References: how a user names a Planner, an Actor, a Reporter or a detector.

A reference is a registered name, ``module:Class``, a run folder of a training command, a folder of
weights, a ``.gguf`` file, a model on a server, or the id of a repository on the hub. Resolving one
looks at names and small JSON files only: a wrong reference is found before anything is loaded.
"""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from envs.errors import BadInput, unknown
from envs.registry import Registry

Kind = Literal["name", "module", "folder", "file", "server", "hub"]
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
# Of a hub repository, never anything that would have to be unpickled or run.
HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.md")
CHECKPOINTS, BEST, SHIPPED_WEIGHTS = "checkpoints", "final", "weights"
# What the weights of each kind of configuration are.
_KINDS = {"reporter": "reporter", "detector": "detector", "baseline": "detector"}
_KINDS["vision-language"] = "detector"
_ARTICLES = {"actor": "an Actor", "planner": "a Planner", "reporter": "a Reporter"}
log = logging.getLogger(__name__)
_told: set[str] = set()  # A reference is resolved many times, and what was taken is said once.
_ARTICLES |= {"detector": "a detector", "model": "a model of transformers"}


@dataclass(frozen=True)
class Part:
    """What a team or a reward is made of, and how it may be named.

    Attributes:
        name: planner, actor, reporter or detector.
        registry: The registered ones, by name.
        methods: The methods that an object of a user's must have.
        shipped: The names of weights that come with Parley, each with its folder; None where they
            are downloaded.
        accepts: The kinds of weights that it can be made of, beside its own; ``model`` is a model
            of transformers.
        server: The beginning of a name of a model on a server, where there may be one.
    """

    name: str
    registry: Registry[Any]
    methods: Sequence[str]
    shipped: Callable[[], Mapping[str, Path | None]] = dict
    accepts: Sequence[str] = ()
    server: str | None = None

    def known(self) -> list[str]:
        """All names, for messages."""
        server = [f"{self.server}MODEL"] if self.server else []
        return [*dict.fromkeys((*self.registry, *self.shipped())), *server]


@dataclass(frozen=True)
class Reference:
    """What a user's text stands for.

    Attributes:
        given: The text.
        kind: What it is.
        target: The name, the folder of the weights, the file, the server's model or the hub id.
        label: A short name that tells it from others, for run folders and tables.
        notice: What to tell the user: which of several weights was taken. Empty for nothing.
    """

    given: str
    kind: Kind
    target: str
    label: str
    notice: str = ""


def resolve(part: Part, given: str) -> Reference:
    """Find out what a user's text stands for, without loading anything.

    Args:
        part: What the text is to name.
        given: The text.

    Returns:
        The reference. A name wins over a folder of the same name in the working directory.

    Raises:
        BadInput: It names nothing, or something else than the part.
    """
    given = str(given)
    if not given.strip():
        raise BadInput(f"the {part.name} is empty; known: {', '.join(part.known())}")
    if given in part.registry or given in part.shipped():
        return Reference(given, "name", given, given)
    if part.server is not None and given.startswith(part.server):
        model = given.removeprefix(part.server).strip()
        if not model:
            raise BadInput(f"{part.name} '{part.server}' names no model; write {part.server}MODEL")
        return Reference(given, "server", model, label_of(model))
    path = Path(given)
    if path.is_dir():
        return _folder(part, given, path)
    if path.is_file():
        if path.suffix == ".gguf" and "model" in part.accepts and part.server is not None:
            return Reference(given, "file", given, label_of(path.stem))
        raise BadInput(f"'{given}' is a file, and no {part.name} can be made of it")
    module, colon, attribute = given.partition(":")
    if colon and module and attribute:
        return Reference(given, "module", given, label_of(attribute))
    if given.endswith(".gguf") or given.startswith((".", "/", "~")) or given.count("/") > 1:
        raise BadInput(f"there is no file or folder '{given}'")
    if HUB_ID.fullmatch(given):
        return Reference(given, "hub", given, label_of(given.replace("/", "--")))
    raise unknown(part.name, given, part.known())


def weights_folder(given: str, *parts: Part) -> Path:
    """The folder of weights that training starts from.

    Args:
        given: A shipped name, a run folder, a folder of weights, or a hub id.
        parts: Whose weights they may be, the likeliest first.

    Raises:
        BadInput: It names no such weights.
    """
    problem: BadInput | None = None
    for part in parts:
        try:
            reference = resolve(part, given)
            folder: Path | None = None
            if reference.kind == "folder":
                folder = Path(reference.target)
            elif reference.kind == "hub":
                folder = hub_folder(part, reference.target)
            elif reference.kind == "name":
                folder = part.shipped().get(given)
            if folder is not None and part_of(folder) == part.name:
                return folder
        except BadInput as error:
            problem = problem or error
    what = " or ".join(_ARTICLES[part.name] for part in parts)
    raise problem or BadInput(f"'{given}' are no weights of {what} that training can start from")


def component(part: Part, reference: Reference) -> Any:
    """The class, function or object behind a name or ``module:Class``.

    Args:
        part: What it is to be.
        reference: A reference of kind ``name`` (registered) or ``module``.

    Raises:
        BadInput: The module cannot be imported, has no such thing, or it lacks the part's methods.
    """
    if reference.kind == "name":
        return part.registry[reference.target]
    module_name, _, attribute = reference.target.partition(":")
    try:
        module = importlib.import_module(module_name)
    # Whatever a user's module raises while it is imported is for the user to mend.
    except Exception as error:
        raise BadInput(
            f"the module of {part.name} '{reference.given}' cannot be imported: "
            f"{' '.join(str(error).split()) or type(error).__name__}"
        ) from error
    if attribute in part.registry:
        return part.registry[attribute]
    thing: Any = module
    for name in attribute.split("."):
        if not hasattr(thing, name):
            public = [n for n in vars(module) if not n.startswith("_")]
            raise unknown(f"attribute of module '{module_name}'", attribute, public)
        thing = getattr(thing, name)
    if isinstance(thing, type) or not callable(thing):
        check_methods(part, thing, reference.given)
    return thing


def check_methods(part: Part, thing: object, given: str) -> None:
    """Check that an object or class has the methods of a part.

    Raises:
        BadInput: One is missing.
    """
    for method in part.methods:
        if not callable(getattr(thing, method, None)):
            raise BadInput(
                f"{given} is no {part.name.capitalize()}: it has no method {method}() (an object "
                f"needs {', '.join(f'{m}()' for m in part.methods)})"
            )


def made(part: Part, thing: Any, given: str, *offered: Any, **options: Any) -> Any:
    """The part that a registered or user's ``thing`` makes: the class called, or the object itself.

    Args:
        part: What is to come out.
        thing: A class, a function that makes the part, or an object that is one.
        given: What the user called it.
        offered: Positional arguments, which ``thing`` may leave out.
        options: Keyword arguments, which it must take.

    Raises:
        BadInput: What comes out lacks the part's methods.
    """
    if not isinstance(thing, type) and all(hasattr(thing, m) for m in part.methods):
        return thing
    if not callable(thing):
        raise BadInput(f"{given} is no {part.name}: it is of type {type(thing).__name__}")
    try:
        inspect.signature(thing).bind(*offered, **options)
    except TypeError:
        offered = ()
    except ValueError:  # of some builtins no signature is known
        pass
    result = thing(*offered, **options)
    check_methods(part, result, given)
    return result


def read_json(file: Path) -> Mapping[str, Any] | None:
    """A JSON object in a file; None where there is none."""
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def part_of(folder: Path) -> str | None:
    """Whose weights a folder holds: planner (an adapter), actor, reporter, detector, or ``model``
    for a model of transformers; None where that cannot be told."""
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        return "planner"
    config = read_json(folder / "config.json")
    if config is None:
        return None
    if "architectures" in config or "model_type" in config:
        return "model"
    if isinstance(config.get("kind"), str):
        return _KINDS.get(config["kind"])
    if {"channels", "heads", "width"} <= config.keys():
        return "actor"
    return None


def label_of(text: str) -> str:
    """A text as the end of a run folder's name."""
    return re.sub(r"[^\w.+-]+", "-", text).strip("-.") or "unnamed"


def folder_label(folder: Path) -> str:
    """The name of a folder of weights, which need not be there any more; of a checkpoint, that of
    its run."""
    names = [folder.name]
    if folder.parent.name == CHECKPOINTS:
        names = [folder.absolute().parent.parent.name, *(names if names != [BEST] else [])]
    return label_of("-".join(names) or folder.absolute().name)


def _folder(part: Part, given: str, path: Path) -> Reference:
    """The weights in a folder: itself, or in a run folder its best ones."""
    config = read_json(path / "config.json")
    command = config.get("command") if config else None
    if isinstance(command, str):
        return _run_folder(part, given, path, command)
    if path.name == CHECKPOINTS and not (path / "config.json").is_file():
        return _chosen(part, given, path, path.parent)
    _check_part(part, given, path)
    return Reference(given, "folder", str(path), folder_label(path))


def _run_folder(part: Part, given: str, path: Path, command: str) -> Reference:
    if not command.startswith("train-"):
        raise BadInput(f"'{given}' is a run folder of '{command}', which has no weights")
    return _chosen(part, given, path / CHECKPOINTS, path)


def _chosen(part: Part, given: str, checkpoints: Path, run: Path) -> Reference:
    """The best of the weights in ``checkpoints`` of a run."""
    others = sorted(p.name for p in checkpoints.glob("*/") if p.name != BEST and part_of(p))
    best = checkpoints / BEST
    if not best.is_dir():
        hint = f"; say which: {', '.join(str(checkpoints / o) for o in others)}" if others else ""
        config = read_json(run / "config.json") or {}
        command = config.get("command", "train-…")
        raise BadInput(
            f"'{given}' holds no finished weights ({checkpoints / BEST} is missing); go on with: "
            f"python -m run {command} --resume {run}{hint}"
        )
    _check_part(part, given, best)
    notice = ""
    if others:
        names = ", ".join(str(checkpoints / o) for o in others)
        notice = f"{given}: its weights '{BEST}' are taken; also there: {names}"
        if notice not in _told:
            _told.add(notice)
            log.warning(notice)
    return Reference(given, "folder", str(best), folder_label(best), notice)


def _check_part(part: Part, given: str, folder: Path) -> None:
    holds = part_of(folder)
    if holds == part.name or (holds is not None and holds in part.accepts):
        return
    if holds is None:
        raise BadInput(
            f"the folder '{given}' holds no {part.name} and no model: it has no config.json that "
            "says so"
        )
    raise BadInput(
        f"'{given}' holds the weights of {_ARTICLES[holds]}, and not of {_ARTICLES[part.name]}"
    )


def hub_part(hub_id: str) -> str:
    """What a hub repository holds, as `part_of` calls it, by one small file of it.

    Raises:
        BadInput: The hub does not deliver it, or it holds neither a part nor a model.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    from models.language.loading import on_hub

    for file in ("config.json", "adapter_config.json"):
        try:
            on_hub(hub_id, file=file)
            held = part_of(Path(hf_hub_download(hub_id, file)).parent)
        except BadInput as error:
            # Only that the repository is there without this file is a reason to look for another.
            cause = error.__cause__
            missing = isinstance(cause, EntryNotFoundError)
            if missing and not isinstance(cause, LocalEntryNotFoundError) and file == "config.json":
                continue
            raise
        if held is not None:
            return held
    raise BadInput(f"the hub's '{hub_id}' holds neither a part of a team nor a model")


def hub_folder(part: Part, hub_id: str) -> Path | None:
    """The folder of a hub repository that holds the part's own weights, downloaded once; None
    where it holds a model of transformers, which loads itself.

    Raises:
        BadInput: The hub does not deliver it, or it holds something else.
    """
    held = hub_part(hub_id)
    if held == "model" and held in part.accepts:
        return None
    if held != part.name:
        raise BadInput(
            f"'{hub_id}' holds the weights of {_ARTICLES[held]}, and not of {_ARTICLES[part.name]}"
        )
    return download(hub_id)


def download(hub_id: str) -> Path:
    """The folder of a hub repository: its weights and texts, downloaded once.

    Raises:
        BadInput: The hub does not deliver it.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(HUB_FILES)))
    # The hub client raises errors of several libraries; all mean that it cannot be had.
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise BadInput(f"'{hub_id}' cannot be downloaded from the hub: {reason}") from error
