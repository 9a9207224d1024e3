"""``python -m run report``: what runs of evaluate came to, as one page that needs no server."""

from __future__ import annotations

import base64
import io
import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from envs.errors import BadInput
from run.display.markdown import markdown_table
from run.evaluation.statistics import mcnemar, mean_of
from run.storage.folder import read_config
from run.storage.settings import at_least

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from run.evaluation.replay import ReplayedEpisode

TEMPLATE = Path(__file__).parents[1] / "evaluation" / "report.jinja"
BARS = 5  # candidates of a decision that are shown
SHOWN = ("suite", "cells", "items", "planner", "actor", "reporter", "episodes", "seed", "blame")
UNSAID = ("suite", "name", "runs_dir", "resume", "workers", "engine", "address", "list", "language")


@dataclass(frozen=True)
class ReportSettings:
    """Show what runs of evaluate came to: one HTML page and its tables as Markdown.

    The page holds all that it needs: success by cell with 95 % intervals, plots, differences
    between runs on the same episodes with an exact test (McNemar), who is to blame for failures
    (of runs made with --blame), what an episode costs, and a player for some episodes, failures
    first: the room, the dialogue and the candidates' scores, step by step. For these, the Actor
    plays again what was said; no language model is needed.

    Examples:
      python -m run report runs/evaluate/20260102-030405-planner-parley-135m
      python -m run report runs/evaluate/*-mine --compare runs/evaluate/*-other --out both.html
      python -m run report RUN --players 0
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders of evaluate; the others are compared with the first."""
    compare: tuple[Path, ...] = ()
    """More runs to put beside them, as if they were named there."""
    out: Path | None = None
    """The page; report.html in the first run's folder if it is not given. The Markdown lies
    beside it."""
    players: int = 6
    """How many episodes can be looked at step by step, shared by the runs."""
    title: str = "Parley"
    """What stands at the top."""

    def __post_init__(self) -> None:
        at_least(self, {"players": 0})
        if not self.runs:
            raise BadInput("name at least one run folder of evaluate")


@dataclass
class EvaluationRun:
    """A run as it lies on the disk."""

    path: Path
    config: dict[str, Any]
    summary: dict[str, Any]
    lines: list[dict[str, Any]]
    commit: str
    name: str = ""
    cells: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> EvaluationRun:
        """Raises BadInput for a folder that is none, and for a run that has not ended."""
        config = read_config(path, "evaluate")
        try:
            summary = json.loads((path / "summary.json").read_text("utf-8"))
            text = (path / "episodes.jsonl").read_text("utf-8")
            lines = [json.loads(line) for line in text.splitlines()]
            cells = dict(summary["cells"])
            for line in lines:
                _ = line["cell"], line["part"], line["seed"], line["success"], line["turns"]
        except FileNotFoundError as error:
            raise BadInput(f"the run '{path}' has not ended; go on with --resume") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(f"the run '{path}' is damaged: {error}") from error
        try:
            versions = json.loads((path / "versions.json").read_text("utf-8"))
            commit = str(versions.get("git_commit") or "")[:9]
        except (OSError, ValueError, AttributeError):
            commit = ""
        return cls(path, config, summary, lines, commit, cells=cells)


def report(args: ReportSettings) -> Path:
    """Write the page; returns its path. Raises BadInput for what is no run."""
    from jinja2 import Environment, StrictUndefined

    runs = [EvaluationRun.read(path) for path in (*args.runs, *args.compare)]
    _name(runs)
    chosen = _players(runs, args.players)
    context = {
        "title": args.title,
        "runs": [_about(run) for run in runs],
        "cells": _cells(runs),
        "plots": _plots(runs),
        "pairs": _pairs(runs),
        "blames": [_blame(r) for r in runs if r.summary.get("blame", {}).get("all", {}).get("n")],
        "costs": [_cost(run) for run in runs],
        "players": [about for about, _ in chosen],
        "films": [film for _, film in chosen],
    }
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    page = environment.from_string(TEMPLATE.read_text("utf-8")).render(context)
    out = args.out or args.runs[0] / "report.html"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, encoding="utf-8")
        out.with_suffix(".md").write_text(_markdown(context), encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot write '{out}': {error.strerror or error}") from error
    print(out)
    return out


def _name(runs: Sequence[EvaluationRun]) -> None:
    """Give each run a short name: what sets it apart from the others."""
    for run in runs:
        run.name = str(run.config.get("name") or run.config.get("planner"))
    names = [run.name for run in runs]
    for k, run in enumerate(runs):
        if names.count(run.name) > 1:
            run.name = f"{run.name} ({k + 1})"


def _about(run: EvaluationRun) -> dict[str, Any]:
    settings = {k: run.config.get(k) for k in SHOWN}
    turns = run.summary.get("mean_turns")
    return settings | {
        "name": run.name,
        "n": run.summary.get("n"),
        "n_errors": run.summary.get("n_errors"),
        "overall": _rate(run.summary),
        "turns": "" if turns is None else f"{turns:.1f}",
        "commit": run.commit,
        "command": command_of(run.config),
    }


def command_of(config: Mapping[str, Any]) -> str:
    """The command that a run of evaluate was, from its settings: what differs from the defaults,
    and of who plays all. What a team says is not said again."""
    from run.commands.evaluate import EvaluateSettings
    from run.evaluation.teams import PARTS
    from run.storage.settings import to_json

    default = to_json(EvaluateSettings())
    known = {k: v for k, v in config.items() if k in default and k not in UNSAID}
    said = {k: v for k, v in known.items() if v != default[k]}
    if config.get("team"):
        said = {k: v for k, v in said.items() if k not in PARTS}
    else:
        said |= {k: config.get(k) for k in PARTS}
        language = config.get("language") or {}
        usual = default["language"]
        said |= {k: v for k, v in language.items() if k != "seed" and v != usual.get(k)}
    said |= {k: config.get(k) for k in ("episodes", "seed")}
    words = ["python -m run evaluate", shlex.quote(str(config.get("suite")))]
    words += [f"--{k.replace('_', '-')} {shlex.quote(str(v))}" for k, v in said.items()]
    return " ".join(words)


def _rate(numbers: Mapping[str, Any]) -> str:
    rate, interval = numbers.get("success_rate"), numbers.get("success_ci95")
    if rate is None or interval is None:
        return ""
    return f"{rate:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


def _cells(runs: Sequence[EvaluationRun]) -> list[dict[str, Any]]:
    """A row for each cell that any run has, a column for each run."""
    rows = []
    for name in dict.fromkeys(n for run in runs for n in run.cells):
        its = [run.cells.get(name) for run in runs]
        known = next(c for c in its if c is not None)
        columns: list[dict[str, Any] | None] = []
        for c in its:
            if c is None or c.get("success_rate") is None:
                columns.append(None)
                continue
            low, high = c["success_ci95"]
            columns.append(
                {
                    "rate": round(float(c["success_rate"]), 4),
                    "text": f"{c['success_rate']:.3f}",
                    "interval": f"{low:.3f} to {high:.3f}",
                    "n": c["n"],
                    "errors": c["n_errors"],
                }
            )
        numbers = {k: known.get(k) for k in ("chance", "floor")}
        told = {k: "" if v is None else f"{v:.2f}" for k, v in numbers.items()}
        rows.append({"name": name, "columns": columns, **told})
    return rows


def _pairs(runs: Sequence[EvaluationRun]) -> list[dict[str, Any]]:
    """How the other runs differ from the first on episodes that both have played."""
    if len(runs) < 2:
        return []

    def won(run: EvaluationRun) -> dict[tuple[str, str, int], bool]:
        played = [x for x in run.lines if x.get("error") is None and x["success"] is not None]
        return {(x["cell"], x["part"], x["seed"]): bool(x["success"]) for x in played}

    first = won(runs[0])
    rows = []
    for run in runs[1:]:
        other = won(run)
        both = [key for key in first if key in other]
        for cell in [*dict.fromkeys(key[0] for key in both), None]:
            its = [key for key in both if cell is None or key[0] == cell]
            if not its or (cell is None and len({key[0] for key in its}) < 2):
                continue
            more = sum(other[key] and not first[key] for key in its)
            less = sum(first[key] and not other[key] for key in its)
            rows.append(
                {
                    "cell": cell or "all",
                    "run": run.name,
                    "n": len(its),
                    "difference": f"{(more - less) / len(its):+.3f}",
                    "won": more,
                    "lost": less,
                    "p": f"{mcnemar(more, less):.3g}",
                }
            )
    return rows


def _blame(run: EvaluationRun) -> dict[str, Any]:
    table = run.summary["blame"]["all"]
    ways = list(dict.fromkeys(w for its in table["how"].values() for w in its))
    rows = [
        {"part": part, "columns": [table["how"][part].get(w, 0) for w in ways], "all": n}
        for part, n in sorted(table["parts"].items(), key=lambda item: -item[1])
    ]
    return {"run": run.name, "n": table["n"], "ways": ways, "rows": rows}


def _cost(run: EvaluationRun) -> dict[str, Any]:
    n = max(len(run.lines), 1)
    seconds = run.summary.get("seconds")
    tokens = [x["tokens"] for x in run.lines if x.get("tokens")]

    def mean(name: str) -> str:
        return f"{sum(t[name] for t in tokens) / len(tokens):,.0f}" if tokens else ""

    known = 1 - sum(t["read"] for t in tokens) / max(1, sum(t["context"] for t in tokens))
    return {
        "context": mean("context"),
        "read": mean("read"),
        "said": mean("said"),
        "known": f"{known:.2f}" if tokens else "",
        "run": run.name,
        "decisions": f"{sum(len(x['turns']) for x in run.lines) / n:.2f}",
        "steps": f"{sum(x.get('steps') or 0 for x in run.lines) / n:.1f}",
        "seconds": "" if seconds is None else f"{seconds / n:.3f}",
    }


def _plots(runs: Sequence[EvaluationRun]) -> list[str]:
    """Bars of all cells, a curve for each row of cells that a number sets apart, and curves over
    the size of the language model."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(n for run in runs for n in run.cells))
    figures = []
    figure = Figure(figsize=(8, 1.2 + len(names) * (0.12 + 0.16 * len(runs))), layout="constrained")
    axes = figure.subplots()
    for k, run in enumerate(runs):
        at = [y + (k - (len(runs) - 1) / 2) * 0.8 / len(runs) for y in range(len(names))]
        _bars(
            axes,
            [run.cells.get(n) for n in names],
            at,
            0.7 / len(runs),
            f"C{k}",
            run.name,
        )
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set(xlabel="success, 95 % interval", xlim=(0, 1.01))
    axes.grid(axis="x", alpha=0.3)
    if len(runs) > 1:
        axes.legend(loc="lower right")
    figures.append(figure)
    families: dict[str, list[tuple[float, str]]] = {}
    for n in names:
        found = re.fullmatch(r"(\D*?) ?(\d+(?:\.\d+)?)", n)
        if found:
            families.setdefault(found[1], []).append((float(found[2]), n))
    for family, members in families.items():
        if len(members) > 2:
            each = {r.name: {x: r.cells[n] for x, n in members if n in r.cells} for r in runs}
            figures.append(_curves(each, family, "success"))
    for task, curves in _by_size(runs).items():
        figure = _curves(curves, "billion parameters of the Planner", f"success, {task}")
        sizes = sorted({size for by_size in curves.values() for size in by_size})
        figure.axes[0].set_xscale("log")
        figure.axes[0].set_xticks(sizes, [f"{size:g}" for size in sizes])
        figure.axes[0].minorticks_off()
        figures.append(figure)
    drawn: list[str] = []
    for figure in figures:
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
        text = out.getvalue()
        drawn.append(text[text.index("<svg") :])
    return drawn


def _curves(
    curves: Mapping[str, Mapping[float, Mapping[str, Any]]], xlabel: str, ylabel: str
) -> Figure:
    """Rates over numbers with their intervals, a curve for each name that has any."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    for k, (name, by_number) in enumerate(curves.items()):
        its = [(x, c) for x, c in sorted(by_number.items()) if c["success_rate"] is not None]
        if its:
            at = [x for x, _ in its]
            axes.plot(at, [c["success_rate"] for _, c in its], f"C{k}o-", ms=4, label=name)
            low, high = ([c["success_ci95"][j] for _, c in its] for j in (0, 1))
            axes.fill_between(at, low, high, color=f"C{k}", alpha=0.2)
    axes.set(xlabel=xlabel, ylabel=ylabel, ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    return figure


def _by_size(runs: Sequence[EvaluationRun]) -> dict[str, dict[str, dict[float, Mapping[str, Any]]]]:
    """Success by the size of the language model, where names of cells or Planners tell several:
    what the cells are about, then what sets curves apart (examples in the prompt, or nothing),
    then billions of parameters. Of two models of one size the first counts."""
    found: dict[str, dict[str, dict[float, Mapping[str, Any]]]] = {}
    for run in runs:
        for name, cell in run.cells.items():
            model, _, rest = name.partition(" ")
            size = _billions(model)
            told = re.fullmatch(r"(\D*?) ?(\d*)", rest)
            if size is not None and told and told[1]:
                label = f"{told[2]} examples" if told[2] else "all"
                found.setdefault(told[1], {}).setdefault(label, {}).setdefault(size, cell)
    shared = set.intersection(*(set(run.cells) for run in runs))
    for run in runs if shared and len(runs) > 1 else ():
        size = _billions(str(run.config.get("planner")))
        mean = mean_of(c for n, c in run.cells.items() if n in shared)
        if size is not None and mean["cells"]:
            curves = found.setdefault(f"{len(shared)} cells that all played", {})
            curves.setdefault("all", {}).setdefault(size, mean)
    several = {
        task: {label: by_size for label, by_size in curves.items() if len(by_size) > 1}
        for task, curves in found.items()
    }
    return {task: curves for task, curves in several.items() if curves}


def _billions(name: str) -> float | None:
    """The size in a model's name, such as 135m or 1.5b, in billions of parameters."""
    told = re.search(r"[-_](\d+(?:\.\d+)?)([mb])(?![a-z0-9])", name.lower())
    return None if told is None else float(told[1]) / (1000 if told[2] == "m" else 1)


def _bars(
    axes: Any,
    cells: Sequence[Mapping[str, Any] | None],
    at: Sequence[float],
    height: float,
    colour: str,
    name: str,
) -> None:
    label: str | None = name
    for y, cell in zip(at, cells, strict=True):
        if cell is None or cell.get("success_rate") is None:
            continue
        axes.barh(y, cell["success_rate"], height, color=colour, alpha=0.75, label=label)
        axes.plot(cell["success_ci95"], [y, y], color="black", linewidth=1)
        label = None


def _players(runs: Sequence[EvaluationRun], n: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Episodes to look at, and their films: of each run its first failures, cell by cell in turn,
    then successes."""
    found = []
    for k, run in enumerate(runs):
        most = n // len(runs) + (k < n % len(runs))
        found += _players_of(run, most) if most else []
    return found


def _players_of(run: EvaluationRun, most: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    chosen: list[dict[str, Any]] = []
    played = [x for x in run.lines if x.get("error") is None and x["turns"]]
    for good in (False, True):
        rows: dict[str, list[dict[str, Any]]] = {}
        for x in played:
            if bool(x["success"]) is good:
                rows.setdefault(x["cell"], []).append(x)
        for rank in range(max(map(len, rows.values()), default=0)):
            chosen += [its[rank] for its in rows.values() if rank < len(its)]
            if len(chosen) >= most:
                break
    found = []
    for x in chosen[:most]:
        film = _film(run, x)
        if film is None:
            continue
        frames = [_png(f) for f in film.frames]
        about = {
            "task": x["task"],
            "opening": x.get("opening", ""),
            "success": bool(x["success"]),
            "ended": x["ended"],
            "where": f"{run.name}, {x['cell']}, seed {x['seed']}"
            + ("" if film.same else "; it came out differently when it was played again"),
            "turns": [_turn(t) for t in x["turns"]],
        }
        found.append((about, {"frames": frames, "turns": film.turns}))
    return found


def _turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    scores = sorted((turn.get("scores") or {}).items(), key=lambda item: -item[1])[:BARS]
    return {
        "said": turn["said"],
        "report": turn["report"],
        "scores": [
            {"text": text, "percent": round(100 * math.exp(min(0.0, s)), 1)} for text, s in scores
        ],
    }


def _film(run: EvaluationRun, line: dict[str, Any]) -> ReplayedEpisode | None:
    """The episode again; None where its suite is not at hand, or has no such cell any more."""
    from envs.tasks import make_worlds
    from run.evaluation.jobs import players_of
    from run.evaluation.replay import replay
    from run.evaluation.suites import find_suite

    config = run.config
    try:
        suite = find_suite(str(config["suite"]))
        parts = {(c.name, p.label): p for c in suite.cells for p in c.parts}
        part = parts[line["cell"], line["part"]]
        items = {"items": config["items"] or suite.items} if part.has_items else {}
        worlds = make_worlds(part.task, 1, **{**part.settings, **items})
        actor, reporter = players_of(
            part, *(str(part.team.get(n, config[n])) for n in ("actor", "reporter"))
        )
        limits = int(config["max_turns"]), int(config["command_steps"])
        (found,) = replay([line], worlds, actor, reporter, *limits)
    except (BadInput, KeyError, TypeError, ValueError):
        return None
    return found


def _png(frame: Any) -> str:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(frame).quantize(64).save(out, "png", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def _markdown(context: Mapping[str, Any]) -> str:
    """The tables alone."""
    runs = context["runs"]
    out = [f"# {context['title']}", ""]
    out += [f"- {r['name']}: `{r['command']}`, commit {r['commit'] or 'unknown'}" for r in runs]
    out += [""]
    out += markdown_table(
        ["cell", *(r["name"] for r in runs), "chance", "floor"],
        [
            [
                row["name"],
                *(
                    f"{c['text']} ({c['interval']}), n {c['n']}" if c else ""
                    for c in row["columns"]
                ),
                row["chance"],
                row["floor"],
            ]
            for row in context["cells"]
        ],
    )
    out.append("")
    if context["pairs"]:
        head = ["cell", "run", "pairs", "difference", "won", "lost", "p"]
        keys = ("cell", "run", "n", "difference", "won", "lost", "p")
        out += [*markdown_table(head, [[p[k] for k in keys] for p in context["pairs"]]), ""]
    for b in context["blames"]:
        rows = [[r["part"], *r["columns"], r["all"]] for r in b["rows"]]
        out += [*markdown_table([f"to blame: {b['run']}", *b["ways"], "all"], rows), ""]
    return "\n".join(out)
