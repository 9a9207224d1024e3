"""Commands in processes of their own, forked from one in which the large libraries are loaded.

Loading them takes most of the time of a short training run. They are loaded once, in a server that
nothing else happens in, so that what is forked from it is as good as new.
"""

from __future__ import annotations

import os
import runpy
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from envs.processes import processes

_SERVER = processes("tests.run.heavy")


def _enter(
    script: str, arguments: tuple[str, ...], cwd: str, said: str, environment: dict[str, str]
) -> None:
    """The process: what it says goes to files."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.path.insert(0, cwd)  # as python -m does
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(Path(said) / name, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    if script:
        sys.argv = [script, *arguments]
        runpy.run_path(script, run_name="__main__")
        return
    from run.__main__ import main

    sys.exit(main(list(arguments)))


class Started:
    """A command, or the script that is named, that runs in a process of its own."""

    def __init__(
        self,
        *arguments: str,
        cwd: Path,
        script: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._said = TemporaryDirectory()
        given = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
        what = (str(script or ""), arguments, str(cwd), self._said.name, given)
        self._process = _SERVER.Process(target=_enter, args=what)
        self._process.start()

    def runs(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> None:
        """As the system would, without a word."""
        if self._process.pid is not None and self.runs():
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.join()

    def wait(self, seconds: float = 120) -> tuple[int, str, str]:
        """Its exit status, and what it said on standard output and error."""
        self._process.join(seconds)
        assert not self.runs(), f"still running after {seconds} s"
        out, err = (self._text(name) for name in ("out", "err"))
        assert self._process.exitcode is not None
        return self._process.exitcode, out, err

    def _text(self, name: str) -> str:
        file = Path(self._said.name) / name
        return file.read_text() if file.exists() else ""


def in_two_processes(*arguments: str) -> str:
    """What the first of two processes of one training run says, started with what ``torchrun``
    would tell them; both must end well."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    both = [
        Started(
            *arguments,
            cwd=Path.cwd(),
            environment={"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", **where},
        )
        for rank in "01"
    ]
    try:
        said = [started.wait() for started in both]
    finally:
        for started in both:
            started.kill()
    assert [status for status, _, _ in said] == [0, 0], said
    assert said[1][1] == ""
    return said[0][1]


def kill_when(runs: Path, seen: Callable[[Path], bool], *arguments: str) -> Path:
    """Start a command and kill it as soon as one of the run folders in ``runs`` looks like that;
    returns the folder."""
    started = Started(*arguments, cwd=Path.cwd())
    try:
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline:
            for folder in sorted(runs.glob("*/*")):
                if seen(folder):
                    assert not (folder / "summary.json").exists(), "killed too late"
                    return folder
            assert started.runs(), started.wait()[2]
            time.sleep(0.01)
    finally:
        started.kill()
    raise AssertionError("it never came to that")


def in_stage(stage: str, steps: int = 2) -> Callable[[Path], bool]:
    """Whether a training run has made so many steps of a stage."""

    def seen(folder: Path) -> bool:
        curve = folder / "curve.csv"
        return curve.exists() and curve.read_text().count(f"\n{stage},") >= steps

    return seen
