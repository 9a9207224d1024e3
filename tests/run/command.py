"""Running commands in tests: in this process, or in one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from run.__main__ import main

HOUSE = Path(__file__).resolve().parents[2]
# With it, `start` runs ``torchrun``: accelerate's launcher has one process where no GPU is.
TORCHRUN = "from torch.distributed.run import main; main()"
CHEATS = ("--planner", "oracle", "--actor", "scripted")


def episode(runs: Path, *options: str) -> Path:
    """Play episodes with the cheats and return the run's folder."""
    before = folders(runs)
    assert main(["episode", *CHEATS, "--runs-dir", str(runs), *options]) == 0
    (made,) = folders(runs) - before
    return made


def folders(runs: Path) -> set[Path]:
    return set((runs / "episode").glob("*"))


def start(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    before: Callable[[], None] | None = None,
    code: str = "import sys; from run.__main__ import main; sys.exit(main())",
) -> subprocess.Popen[str]:
    """A command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=HOUSE,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    )


def lines(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run without their time."""
    text = (folder / "episodes.jsonl").read_text("utf-8")
    return [without_time(json.loads(line)) for line in text.splitlines()]


def without_time(line: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in line.items() if k != "seconds"}


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text("utf-8"))


def one_sentence(text: str) -> str:
    """What a command said on standard error, which must be one line ``error: …``, beside what a
    slow machine takes long to load."""
    rows = [row for row in text.splitlines() if row]
    (line,) = [row for row in rows if not row.startswith(("loading ", "making "))]
    assert line.startswith("error: ") and "Traceback" not in line
    return line
