"""How fast the batched engine steps its worlds, beside what others step.

    python benchmarks/env_speed.py
    python benchmarks/env_speed.py --worlds 1 1024 --threads 1 --rounds 3 --seconds 0.2 --skip navix

    python -m venv /tmp/venv-jax && /tmp/venv-jax/bin/pip install xminigrid==0.9.3 navix
    python benchmarks/env_speed.py --peers-python /tmp/venv-jax/bin/python

Compared in one run, in Empty-8x8 and DoorKey-8x8, with random actions (drawing them is in the
time), autoreset, and an observation of 7x7 cells made at every step:

- parley: our batched engine; a reset takes a layout out of a pool drawn by MiniGrid itself.
- minigrid: MiniGrid's worlds in a Python loop, one thread. At most 16 are stepped, whatever the
  number of worlds, because a step costs the same with more of them.
- xland: XLand-MiniGrid, and navix: Navix, both on JAX's CPU backend, a compiled scan over steps;
  compiling is not in the time. Their agents see through walls, which is less work than
  MiniGrid's view. Without their packages both are skipped, and the run says so.
- copy: a memory copy of one view for each world, without rules: the limit.

Then RGB frames of the agent's view, 8 pixels a tile, at 1,024 worlds with one thread: ours
beside MiniGrid's RGBImgPartialObsWrapper.

Contenders run in worker processes, each pinned to as many cores as it has threads. In each
configuration all contenders are made ready first and then take turns, round after round. What
is stated is the median over the rounds with its range; it is written to the run folder as
table.md, table.csv and plot.png. The last line of standard output is a JSON object with the
ratios of medians at 1,024 worlds and one thread, null where one of the two was not measured;
``rgb_vs_minigrid`` is the smaller of the two levels' ratios.
"""

from __future__ import annotations

import csv
import io
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tyro
from rich.console import Console
from rich.table import Table

from envs.errors import BadInput
from run.display.markdown import markdown_table
from run.storage.folder import RunFolder

LEVELS = ("Empty-8x8", "DoorKey-8x8")
Contender = Literal["parley", "minigrid", "xland", "navix", "copy", "frames"]
JAX_PEERS = ("xland", "navix")
RATIOS_AT = 1024  # worlds, with one thread
HEAD = ("observation", "level", "threads", "worlds", "contender", "steps a second", "range", "n")
WORKER = Path(__file__).with_name("env_contenders.py")
INSTALL = (
    "python -m venv /tmp/venv-jax && /tmp/venv-jax/bin/pip install xminigrid==0.9.3 navix, "
    "then --peers-python /tmp/venv-jax/bin/python"
)


@dataclass(frozen=True)
class EnvSpeedOptions:
    """What to compare, and how long. With all contenders the defaults take about 10 minutes."""

    worlds: tuple[int, ...] = (1, 64, 1024, 8192)
    """Numbers of worlds. The ratios need 1024."""

    threads: tuple[int, ...] = (1, 2)
    """Numbers of threads, each on a core of its own. The ratios need 1."""

    rounds: int = 5
    """How often each contender is measured in each configuration, in turns."""

    seconds: float = 0.5
    """Length of one measurement."""

    skip: tuple[Contender, ...] = ()
    """What to leave out; ``frames`` is the comparison of RGB frames."""

    peers_python: Path = Path(sys.executable)
    """The Python interpreter that has xminigrid and navix, which need not have anything else."""

    out: Path = Path("runs")
    """Where the run folder is made, as env-speed/TIME-NAME."""

    name: str = "table"
    """What the run folder's name ends in."""

    seed: int = 0
    """Seed of the worlds and of the random actions."""


@dataclass(frozen=True)
class SpeedSetting:
    """One configuration, in which contenders are measured in turns."""

    observation: str
    level: str
    threads: int
    worlds: int

    def describe(self) -> str:
        return f"{self.level}, {self.observation}, {self.worlds} worlds, threads: {self.threads}"


@dataclass(frozen=True)
class Row:
    """A contender's steps a second in one configuration, a number for each round."""

    setting: SpeedSetting
    contender: str
    rates: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.rates)


class ContenderProcess:
    """A process of env_contenders.py that prepares and measures contenders on request."""

    def __init__(self, python: Path, threads: int) -> None:
        self.process = subprocess.Popen(
            [str(python), str(WORKER), "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, do: str, **what: Any) -> dict[str, Any]:
        """Send one request, wait for its answer."""
        assert self.process.stdin and self.process.stdout
        try:
            print(json.dumps({"do": do, **what}), file=self.process.stdin, flush=True)
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise RuntimeError(f"the worker ended at {do} {what}; its own message is above")
        return json.loads(answer)

    def close(self) -> None:
        self.process.communicate()  # ends its standard input, and so the worker


@contextmanager
def workers(options: EnvSpeedOptions, threads: int) -> Iterator[dict[str, ContenderProcess]]:
    """By contender; those of one interpreter share a process, as one runs at a time."""
    ours = ContenderProcess(Path(sys.executable), threads)
    peers = ContenderProcess(options.peers_python, threads)
    names = ("parley", "minigrid", *JAX_PEERS, "copy")
    try:
        yield {name: peers if name in JAX_PEERS else ours for name in names}
    finally:
        ours.close()
        peers.close()


def main(options: EnvSpeedOptions) -> None:
    """Measure, write the run folder, print the table and the ratios."""
    _check(options)
    log = Console(stderr=True)
    config = json.loads(json.dumps(asdict(options), default=str))
    with RunFolder.new(options.out, "env-speed", options.name, config) as folder:
        rows: list[Row] = []
        notes: dict[str, str] = {}
        for threads in options.threads:
            with workers(options, threads) as hands:
                for setting in settings(options, threads):
                    rows += measure(setting, hands, options, notes, log)
                    write_tables(folder.path, rows, notes)  # a killed run keeps what it has
        plot(folder.path / "plot.png", rows)
        folder.write_json("summary.json", (speed_ratios := ratios(rows)))
        show = Table(*HEAD)
        for row in rows:
            show.add_row(*_cells(row))
        Console(width=110).print(show)
        for name, note in notes.items():
            print(f"{name}: {note}")
        print(f"table and plot: {folder.path}")
        print(json.dumps(speed_ratios))


def _check(options: EnvSpeedOptions) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    for name in ("worlds", "threads"):
        if not getattr(options, name) or min(getattr(options, name)) < 1:
            raise BadInput(f"--{name} needs numbers from 1, not {getattr(options, name)}")
    if max(options.threads) > (cores or 1):
        raise BadInput(f"--threads {max(options.threads)}: only {cores} cores may be used here")
    if options.rounds < 1 or options.seconds <= 0:
        raise BadInput("--rounds must be 1 or more, and --seconds more than 0")
    if not options.peers_python.exists():
        raise BadInput(f"--peers-python: there is no {options.peers_python}")


def settings(options: EnvSpeedOptions, threads: int) -> Iterable[SpeedSetting]:
    """All configurations with that many threads."""
    for level in LEVELS:
        for worlds in options.worlds:
            yield SpeedSetting("images", level, threads, worlds)
    if threads == 1 and "frames" not in options.skip:
        for level in LEVELS:
            yield SpeedSetting("frames", level, threads, RATIOS_AT)


def measure(
    setting: SpeedSetting,
    hands: dict[str, ContenderProcess],
    options: EnvSpeedOptions,
    notes: dict[str, str],
    log: Console,
) -> list[Row]:
    """Make all contenders ready, then measure them in turns. Adds versions to ``notes``."""
    ready = []
    for name in _entered(setting, options):
        if notes.get(name, "").startswith("skipped"):
            continue
        what = {"level": setting.level, "worlds": setting.worlds, "seed": options.seed}
        log.print(f"{setting.describe()}: preparing {name}", highlight=False)
        answer = hands[name].ask("prepare", contender=name, observation=setting.observation, **what)
        if "version" in answer:
            ready.append(name)
            notes[name] = f"version {answer['version']}"
        else:
            where = name if setting.observation == "images" else f"{name} frames"
            notes[where] = f"skipped, {answer['missing']} is missing"
            if name in JAX_PEERS:
                notes[name] += f" in {options.peers_python}; to install it: {INSTALL}"
            log.print(f"{where}: {notes[where]}", style="yellow", highlight=False)
    rates: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(options.rounds):
        for name in ready:
            answer = hands[name].ask("measure", contender=name, seconds=options.seconds)
            rates[name].append(answer["rate"])
    for hand in set(hands.values()):
        hand.ask("forget")
    return [Row(setting, name, tuple(measured)) for name, measured in rates.items()]


def _entered(setting: SpeedSetting, options: EnvSpeedOptions) -> list[str]:
    """MiniGrid's Python loop has one thread; frames are made by two only."""
    names = ["parley"]
    if setting.threads == 1:
        names.append("minigrid")
    if setting.observation == "images":
        names += [*JAX_PEERS, "copy"]
    return [name for name in names if name not in options.skip]


def ratios(rows: list[Row]) -> dict[str, float | None]:
    """How many times a peer's median ours is, at 1,024 worlds with one thread, None where
    either was not measured."""
    at = {
        (row.setting.observation, row.setting.level, row.contender): row.median
        for row in rows
        if (row.setting.worlds, row.setting.threads) == (RATIOS_AT, 1)
    }

    def ratio(observation: str, level: str, peer: str) -> float | None:
        ours, theirs = (at.get((observation, level, name)) for name in ("parley", peer))
        return round(ours / theirs, 2) if ours and theirs else None

    image_ratios = {
        f"{level.split('-')[0].lower()}_vs_{peer}": ratio("images", level, peer)
        for peer in ("minigrid", "xland", "navix")
        for level in LEVELS
    }
    frames = [ratio("frames", level, "minigrid") for level in LEVELS]
    frame_ratios = [value for value in frames if value is not None]
    return {**image_ratios, "rgb_vs_minigrid": min(frame_ratios) if frame_ratios else None}


def _cells(row: Row) -> tuple[str, ...]:
    s = row.setting
    spread = f"{min(row.rates):,.0f} to {max(row.rates):,.0f}"
    what = (s.observation, s.level, str(s.threads), f"{s.worlds:,}", row.contender)
    return (*what, f"{row.median:,.0f}", spread, str(len(row.rates)))


def write_tables(path: Path, rows: list[Row], notes: dict[str, str]) -> None:
    """``table.md`` to read, ``table.csv`` to reckon with."""
    lines = markdown_table(HEAD, [_cells(row) for row in rows])
    lines += ["", *(f"- {name}: {note}" for name, note in notes.items())]
    _replace(path / "table.md", "\n".join(lines) + "\n")
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow((*HEAD[:5], "median", "lowest", "highest", "n"))
    for row in rows:
        s = row.setting
        numbers = (round(row.median), round(min(row.rates)), round(max(row.rates)), len(row.rates))
        table.writerow((s.observation, s.level, s.threads, s.worlds, row.contender, *numbers))
    _replace(path / "table.csv", text.getvalue())


def _replace(path: Path, text: str) -> None:
    path.with_suffix(".part").write_text(text, "utf-8")
    path.with_suffix(".part").replace(path)


def plot(path: Path, rows: list[Row]) -> None:
    """Steps a second over the number of worlds, a panel for each level."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    images = [row for row in rows if row.setting.observation == "images"]
    names = list(dict.fromkeys(row.contender for row in images))
    figure, panels = pyplot.subplots(1, len(LEVELS), figsize=(11, 4.5), sharey=True)
    for panel, level in zip(panels, LEVELS, strict=True):
        for k, name in enumerate(names):
            for threads in sorted({row.setting.threads for row in images}):
                line = [
                    row
                    for row in images
                    if (row.contender, row.setting.level, row.setting.threads)
                    == (name, level, threads)
                ]
                if not line:
                    continue
                middle = [row.median for row in line]
                below = [row.median - min(row.rates) for row in line]
                above = [max(row.rates) - row.median for row in line]
                panel.errorbar(
                    [row.setting.worlds for row in line],
                    middle,
                    yerr=[below, above],
                    color=f"C{k}",
                    linestyle="-" if threads == 1 else "--",
                    marker="o" if threads == 1 else "s",
                    capsize=2,
                    label=f"{name}, {threads} thread{'s' * (threads > 1)}",
                )
        panel.set(title=level, xscale="log", yscale="log", xlabel="worlds")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("steps a second (median, range)")
    panels[-1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


if __name__ == "__main__":
    try:
        main(tyro.cli(EnvSpeedOptions, description=__doc__))
    except BadInput as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(130)
