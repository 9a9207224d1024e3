"""What exists is never overwritten unasked: the rule of ``--out`` and ``--force``."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from envs.errors import BadInput

FORCE = "--force"


def check_free(
    path: Path | None, force: bool, option: str = "--out", runs_dir: Path | None = None
) -> None:
    """Check that a file or folder can be written without losing another.

    Args:
        path: Where it is to go; None for nowhere.
        force: Whether what is there may be replaced.
        option: The option that named it, for the message.
        runs_dir: Where run folders are made, which must not lie within it.

    Raises:
        BadInput: Something is there already and may not be replaced, one of its parents is a file,
            or run folders would be made within it.
    """
    if path is None:
        return
    for parent in path.absolute().parents:
        if parent.is_file():
            raise BadInput(f"{option} {path} cannot be written: {parent} is a file")
    if runs_dir is not None and runs_dir.resolve().is_relative_to(path.resolve()):
        raise BadInput(f"{option} {path} would hold the run folders too; choose another place")
    if path.is_dir() and any(path.iterdir()):
        what = "is a folder with files in it"
    elif path.is_file():
        what = "exists already"
    else:
        return
    if not force:
        raise BadInput(f"{option} {path} {what}; choose another place, or replace it by {FORCE}")
    if path.is_dir() and not any((path / name).exists() for name in _OURS):
        raise BadInput(f"{option} {path} {what}, none of them Parley's: {FORCE} does not delete it")


# What tells a folder of weights or of clips, which may be replaced, from somebody's home folder.
_OURS = ("config.json", "adapter_config.json", "planner.json", "data", "README.md")


def replace_folder(path: Path, write: Callable[[Path], object]) -> None:
    """Write a folder beside its place, then put it there, in place of what was there before.

    Args:
        path: The folder.
        write: Writes its content into the folder that it is given.

    Raises:
        BadInput: The file system refuses.
    """
    half = path.with_name(f".{path.name}.half")
    old = path.with_name(f".{path.name}.old")
    try:
        for left in (half, old):
            if left.exists():
                shutil.rmtree(left)
        half.mkdir(parents=True)
        try:
            write(half)
            if path.exists():
                os.replace(path, old)
            os.replace(half, path)
        finally:
            shutil.rmtree(half, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise BadInput(f"cannot write '{path}': {error.strerror or error}") from error


def write_files(files: Mapping[Path, Callable[[Path], object]]) -> None:
    """Write files beside their places, then put them there: all of them, or none.

    Args:
        files: How to write each file, given another path with the same suffix. It may write
            nothing.

    Raises:
        BadInput: The file system refuses, or a file cannot be written in the format of its suffix.
    """
    halves = {path.with_name(f".{path.stem}.half{path.suffix}"): path for path in files}
    new = {p for path in files for p in path.parents if not p.exists()}
    try:
        for half, path in halves.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            files[path](half)
        for half, path in halves.items():
            if half.exists():
                os.replace(half, path)
    except (OSError, ValueError) as error:
        for half in halves:
            half.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            for parent in sorted(new, reverse=True):
                parent.rmdir()
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"cannot write '{path}': {reason}") from error
