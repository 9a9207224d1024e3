"""Run folders: what a command leaves on disk, safe against kills and full disks."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from envs.errors import BadInput
from run.storage.deprecations import current_settings
from run.storage.records import FORMAT, EpisodeRecord, check_format

PACKAGES = (
    "parley-rl",
    "accelerate",
    "gymnasium",
    "minigrid",
    "numpy",
    "openai",
    "peft",
    "safetensors",
    "stable-baselines3",
    "torch",
    "transformers",
)
# What every run folder has from its beginning.
OWN = ("config.json", "versions.json", ".lock")
HOUSE = Path(__file__).resolve().parents[2]


class Stopped(KeyboardInterrupt):
    """Interrupted by the user; its text says how to go on."""


class RunFolder:
    """One run's folder, ``runs/COMMAND/<time>-<name>/``, locked while it is open.

    Make one with ``new`` or ``resume``. Errors of the file system are raised as BadInput, in one
    sentence that says how to go on. Where BadInput ends the block before anything was done in a new
    folder, it is removed.
    """

    def __init__(
        self, path: Path, command: str, resumable: bool = False, resumed: bool = False
    ) -> None:
        """Lock a folder; ``resumed`` says whether an earlier process made it."""
        self.resumed = resumed
        self.path = path
        self.command = command
        self.resumable = resumable
        self._made_parents: Sequence[Path] = ()
        self._lock = FileLock(path / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise BadInput(f"run folder {path} is in use by another process") from None
        except OSError as error:
            raise self._trouble(path, error) from error

    @classmethod
    def new(
        cls,
        runs_dir: Path,
        command: str,
        name: str,
        config: Mapping[str, Any],
        resumable: bool = False,
    ) -> RunFolder:
        """Make a folder with its ``config.json`` and ``versions.json``.

        Args:
            runs_dir: The folder of all run folders.
            command: The command's name.
            name: The end of the folder's name.
            config: The command's settings, as JSON values.
            resumable: Whether the command has ``--resume``, which errors then mention.

        Raises:
            BadInput: The name is no folder name, or the folder cannot be made.
        """
        if not re.fullmatch(r"\w[\w.+-]*", name):
            raise BadInput(f"name '{name}' is no folder name; use letters, digits and . + - _")
        stem = runs_dir / command / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
        path, k = stem, 1
        parents = [p for p in (stem.parent, *stem.parent.parents) if not p.exists()]
        while True:
            try:
                path.mkdir(parents=True)
                break
            except FileExistsError as error:
                if not path.is_dir():  # a file in the place of one of the parents
                    raise cls._trouble_making(stem, error) from error
                k += 1
                path = stem.with_name(f"{stem.name}-{k}")
            except OSError as error:
                raise cls._trouble_making(stem, error) from error
        folder = cls(path, command, resumable)
        folder._made_parents = parents
        try:
            folder.write_json("config.json", {"command": command, "format": FORMAT, **config})
            folder.write_json("versions.json", versions())
        except BadInput:
            folder._lock.release()
            folder.discard()
            raise
        return folder

    @classmethod
    def resume(cls, path: Path, command: str) -> RunFolder:
        """Open the folder of a run that was stopped. Raises BadInput where it is none."""
        read_config(path, command)
        folder = cls(path, command, resumable=True, resumed=True)
        folder._drop_partial_line()
        return folder

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._lock.release()
        if kind is not None and issubclass(kind, BadInput) and self.is_untouched():
            self.discard()
        if kind is KeyboardInterrupt:
            how = f"go on with: {self.how_to_resume()}" if self.resumable else ""
            raise Stopped(how or f"what was finished is in {self.path}") from None

    @property
    def lines_file(self) -> Path:
        return self.path / "episodes.jsonl"

    def append(self, record: EpisodeRecord) -> None:
        """Add one line to ``episodes.jsonl``: whole and on the disk, or not at all."""
        data = (_to_json(record.to_json()) + "\n").encode()
        with self._writing(), open(self.lines_file, "ab", buffering=0) as file:
            before = os.fstat(file.fileno()).st_size
            try:
                _write_all(file.fileno(), data)
                os.fsync(file.fileno())
            except OSError:
                # Back to the last whole line: what was finished before stays readable.
                os.ftruncate(file.fileno(), before)
                raise

    def keep_lines(self, keep: Sequence[bool]) -> None:
        """Take lines out of ``episodes.jsonl``: all of which ``keep`` is not true."""
        with self._writing():
            lines = self.lines_file.read_text("utf-8").splitlines()
        kept = (f"{line}\n" for line, wanted in zip(lines, keep, strict=True) if wanted)
        self._replace(self.lines_file, "".join(kept))

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file beside its place and rename it."""
        self._replace(self.path / name, _to_json(content, indent=2) + "\n")

    def part(self, *names: str) -> Path:
        """A path inside the folder, its parents made."""
        path = self.path.joinpath(*names)
        with self._writing():
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def is_untouched(self) -> bool:
        """Whether this process has made the folder and nothing has been done in it yet."""
        files = (p for p in self.path.rglob("*") if not p.is_dir())
        return not self.resumed and all(p.parent == self.path and p.name in OWN for p in files)

    def discard(self) -> None:
        """Remove a folder in which nothing has been done yet."""
        with contextlib.suppress(OSError):  # what the file system refuses to remove stays
            for inner in sorted((p for p in self.path.rglob("*") if p.is_dir()), reverse=True):
                inner.rmdir()
            for name in OWN:
                (self.path / name).unlink(missing_ok=True)
            for folder in (self.path, *self._made_parents):
                folder.rmdir()

    def how_to_resume(self) -> str:
        return f"python -m run {self.command} --resume {self.path}"

    def stopped_by(self, error: BadInput) -> BadInput:
        """The same error, with how to go on where anything was done."""
        if self.is_untouched() or self.how_to_resume() in str(error):
            return error
        return BadInput(
            f"{str(error).rstrip('.')}; every finished episode is kept, go on with: "
            f"{self.how_to_resume()}"
        )

    def changed_versions(self) -> list[str]:
        """The versions that changed since the run began, each as ``torch 2.12 -> 2.13``."""
        try:
            before = json.loads((self.path / "versions.json").read_text("utf-8"))
            then = {**before["packages"], "git commit": before["git_commit"]}
        except (OSError, ValueError, KeyError, TypeError):
            return ["versions.json cannot be read"]
        here = versions()
        now = {**here["packages"], "git commit": here["git_commit"]}
        return [f"{k} {then.get(k)} -> {v}" for k, v in now.items() if then.get(k) != v]

    def _replace(self, path: Path, text: str) -> None:
        half = path.with_name(f".{path.name}.half")
        with self._writing():
            try:
                with open(half, "w", encoding="utf-8") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(half, path)
            except OSError:
                half.unlink(missing_ok=True)
                raise

    def _drop_partial_line(self) -> None:
        """Cut off a last line that a kill has left incomplete."""
        if not self.lines_file.exists():
            return
        with self._writing():
            whole = self.lines_file.read_bytes().rfind(b"\n") + 1
            if whole < self.lines_file.stat().st_size:
                os.truncate(self.lines_file, whole)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Raise what the file system refuses as BadInput."""
        try:
            yield
        except OSError as error:
            raise self._trouble(self.path, error) from error

    def _trouble(self, path: Path, error: OSError) -> BadInput:
        sentence = f"cannot write to the run folder {path}: {error.strerror or error}"
        if self.resumable and not self.is_untouched():
            sentence += (
                "; every finished episode in it is kept, and once that is mended go on with: "
                f"{self.how_to_resume()}"
            )
        return BadInput(sentence)

    @staticmethod
    def _trouble_making(path: Path, error: OSError) -> BadInput:
        return BadInput(
            f"cannot make the run folder {path}: {error.strerror or error}; choose another place "
            "with --runs-dir"
        )


def read_config(path: Path, command: str) -> Mapping[str, Any]:
    """A run folder's settings. Raises BadInput where it is no run folder of this command."""
    try:
        config = json.loads((path / "config.json").read_text("utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadInput(f"'{path}' is no run folder: its config.json cannot be read") from error
    if not isinstance(config, dict) or config.get("command") != command:
        other = config.get("command") if isinstance(config, dict) else None
        raise BadInput(f"'{path}' is a run folder of '{other}', not of '{command}'")
    check_format(config, path)
    return current_settings(command, config)


def versions() -> Mapping[str, Any]:
    """Package versions, git commit and machine of this process."""
    packages: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            packages[name] = None
    return {
        "packages": packages,
        "git_commit": _git("rev-parse", "HEAD"),
        "git_changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
        },
    }


def _git(*arguments: str) -> str | None:
    """Git's answer about Parley's own checkout, or None where there is none."""
    if not (HOUSE / ".git").exists():
        return None
    try:
        result = subprocess.run(
            ["git", "-C", str(HOUSE), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def _to_json(content: Mapping[str, Any], indent: int | None = None) -> str:
    return without_keys(json.dumps(content, ensure_ascii=False, allow_nan=False, indent=indent))


def without_keys(text: str) -> str:
    """A text with every secret of the environment (``…_KEY``, ``…_TOKEN``) replaced by ``***``.

    Servers quote the key in their errors, and tracebacks are written to disk.
    """
    for name, value in os.environ.items():
        if name.upper().endswith(("_KEY", "_TOKEN", "_SECRET", "_PASSWORD")) and len(value) >= 8:
            text = text.replace(json.dumps(value)[1:-1], "***")
    return text


def _write_all(file: int, data: bytes) -> None:
    # A write may be partial when the disk is nearly full; the next one then raises the reason.
    while data:
        data = data[os.write(file, data) :]
