"""References: how a user names a Planner, an Actor, a Reporter or a detector.

A reference is a registered name, ``module:Class``, a run folder of a training command, a folder of
weights, a ``.gguf`` file, a model on a server, or the id of a repository on the hub. Resolving one
looks at names and small JSON files only: a wrong reference is found before anything is loaded.
"""

from __future__ import annotations

import difflib
import json
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Literal

from envs.errors import BadInput, unknown
from envs.registry import Registry
from models.hub import download, on_hub

Kind = Literal["name", "module", "folder", "file", "server", "hub"]
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
CHECKPOINTS, BEST = "checkpoints", "final"
# Names of folders that say nothing about what is in them.
_UNTELLING = (BEST, CHECKPOINTS, "weights")
# Whose weights they are, by the kind in their configuration.
_KINDS = {
    "actor": "actor",
    "reporter": "reporter",
    "detector": "detector",
    "baseline": "detector",
    "vision-language": "detector",
}
_ARTICLES = {
    "actor": "an Actor",
    "planner": "a Planner",
    "reporter": "a Reporter",
    "detector": "a detector",
    "model": "a model of transformers",
}
# The files that the weights of each part consist of.
_FILES = {
    "planner": ("adapter_config.json", "adapter_model.safetensors", "planner.json"),
    **dict.fromkeys(("actor", "reporter", "detector"), ("config.json", "model.safetensors")),
}
log = logging.getLogger(__name__)
_told: set[str] = set()  # A reference is resolved many times, and what was taken is said once.


@dataclass(frozen=True)
class Part:
    """What a team or a reward is made of, and how it may be named.

    Attributes:
        name: planner, actor, reporter or detector.
        registry: The registered ones, by name.
        methods: The methods that an object of a user's must have.
        attributes: The attributes that it must have beside them.
        inherits: A class that has all of these but the last method; empty where there is none.
        offers: How many arguments a class or a function that makes one is offered; it may take
            none of them. None where what it takes depends on options.
        shipped: The names of weights that come with Parley, each with its folder; None where they
            are downloaded.
        accepts: The kinds of weights that it can be made of, beside its own; ``model`` is a model
            of transformers.
        server: The beginning of a name of a model on a server, where there may be one.
    """

    name: str
    registry: Registry[Any]
    methods: Sequence[str]
    _: KW_ONLY
    attributes: Sequence[str] = ()
    inherits: str = ""
    offers: int | None = 0
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
        return Reference(given, "server", model, label_of(given))
    path = Path(given)
    if path.is_dir():
        return _folder(part, given, path)
    if path.is_file():
        if path.suffix == ".gguf" and "model" in part.accepts and part.server is not None:
            return Reference(given, "file", given, label_of(given))
        raise BadInput(f"'{given}' is a file, and no {part.name} can be made of it")
    module, colon, attribute = given.partition(":")
    if colon and module and attribute:
        return Reference(given, "module", given, label_of(given))
    if given.endswith(".gguf") or given.startswith((".", "/", "~")) or given.count("/") > 1:
        raise BadInput(f"there is no file or folder '{given}'{_near(path)}")
    if HUB_ID.fullmatch(given):
        return Reference(given, "hub", given, label_of(given))
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
            if reference.kind in ("folder", "hub"):
                folder = folder_of(part, reference)
            elif reference.kind == "name":
                folder = part.shipped().get(given)
            if folder is not None and part_of(folder) == part.name:
                return folder
        except BadInput as error:
            problem = problem or error
    what = " or ".join(_ARTICLES[part.name] for part in parts)
    raise problem or BadInput(f"'{given}' are no weights of {what} that training can start from")


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


def file_name(text: str) -> str:
    """A text as a part of a file's name."""
    return re.sub(r"[^\w.+-]+", "-", text).strip("-.") or "unnamed"


def label_of(given: str) -> str:
    """A short name for what a user's text stands for, which need not be there any more.

    Of a folder it is the last name that says something: of a run's checkpoint the run's, so that
    ``runs/train-actor/1-actor/checkpoints/final`` is ``1-actor``.
    """
    path = Path(os.path.abspath(given))
    before, colon, after = given.partition(":")
    if colon and before and after and not path.exists():
        return file_name(after)
    if HUB_ID.fullmatch(given) and not given.startswith(".") and not path.exists():
        return file_name(given.replace("/", "--"))
    if path.suffix == ".gguf":
        return file_name(path.stem)
    names = [name for name in path.parts if name not in _UNTELLING]
    if path.parent.name == CHECKPOINTS and path.name != BEST:
        return file_name("-".join(names[-2:]))
    return file_name(names[-1])


def _near(path: Path) -> str:
    """A hint at the entry of a folder whose name is nearest to that of a path without one."""
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean '{path.with_name(near[0])}'?" if near else ""


def _folder(part: Part, given: str, path: Path) -> Reference:
    """The weights in a folder: itself, or in a run folder its best ones."""
    config = read_json(path / "config.json")
    command = config.get("command") if config else None
    if isinstance(command, str):
        return _run_folder(part, given, path, command)
    if path.name == CHECKPOINTS and not (path / "config.json").is_file():
        return _chosen(part, given, path, path.parent)
    _check_part(part, given, path)
    return Reference(given, "folder", str(path), label_of(given))


def _run_folder(part: Part, given: str, path: Path, command: str) -> Reference:
    holds = command.removeprefix("train-")
    if holds not in _FILES:
        raise BadInput(
            f"'{given}' is a run folder of '{command}', which has no weights of "
            f"{_ARTICLES[part.name]}"
        )
    if holds != part.name:
        raise _other(part, given, holds)
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
    return Reference(given, "folder", str(best), label_of(str(best)), notice)


def _check_part(part: Part, given: str, folder: Path) -> None:
    """Raise BadInput where a folder holds no weights of a part, or not all of their files."""
    holds = part_of(folder)
    if holds is None:
        raise BadInput(
            f"the folder '{given}' holds no {part.name} and no model: it has no config.json that "
            "says so"
        )
    if holds != part.name and holds not in part.accepts:
        raise _other(part, given, holds)
    for file in _FILES.get(holds, ()):
        if not (folder / file).is_file():
            raise BadInput(
                f"'{given}' holds no complete weights of {_ARTICLES[holds]}: {file} is missing"
            )


def _other(part: Part, given: str, holds: str) -> BadInput:
    """The error for the weights of another part."""
    return BadInput(
        f"'{given}' holds the weights of {_ARTICLES[holds]}, and not of {_ARTICLES[part.name]}"
    )


def hub_part(hub_id: str) -> str:
    """What a hub repository holds, as `part_of` calls it, by one small file of it.

    Raises:
        BadInput: The hub does not deliver it, or it holds neither a part nor a model.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

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


def check_hub(part: Part, hub_id: str) -> str:
    """Check that a hub repository holds a part, or a model that it can be made of; returns which.

    Raises:
        BadInput: The hub does not deliver it, or it holds something else.
    """
    held = hub_part(hub_id)
    if held != part.name and held not in part.accepts:
        raise _other(part, hub_id, held)
    return held


def hub_folder(part: Part, hub_id: str) -> Path | None:
    """The folder of a hub repository that holds the part's own weights, downloaded once; None
    where it holds a model of transformers, which loads itself.

    Raises:
        BadInput: The hub does not deliver it, or it holds something else.
    """
    return None if check_hub(part, hub_id) == "model" else download(hub_id)


def folder_of(part: Part, reference: Reference) -> Path | None:
    """The folder that a reference of kind ``folder`` or ``hub`` leads to; None where the hub holds
    a model of transformers.

    Raises:
        BadInput: The hub does not deliver it, or it holds something else.
    """
    if reference.kind == "hub":
        return hub_folder(part, reference.target)
    return Path(reference.target)
