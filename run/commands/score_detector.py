"""``python -m run score-detector``: how well detectors answer, split by split."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.errors import BadInput
from run.display.progress import ProgressBar
from run.storage.folder import RunFolder
from run.storage.settings import at_least, to_json

if TYPE_CHECKING:
    from rewards.reward import QuestionAnswerer
    from rewards.success_vqa.clips import Clip
    from rewards.success_vqa.labels import Key, Label
    from rewards.success_vqa.scoring import DetectorScore

FLOORS: Mapping[str, float] = {
    "test1": 0.97,
    "test2": 0.95,
    "test3": 0.85,
    "test4": 0.80,
    "test5": 0.85,
    "test6": 0.85,
}
ABOUT: Mapping[str, str] = {
    "validation": "validation",
    "test1": "unseen episodes",
    "test2": "unseen behaviour",
    "test3": "unseen language",
    "test4": "new camera",
    "test5": "new looks",
    "test6": "order",
}
WORST = 6  # of each kind in a gallery
EPISODE_CLIP = 7  # steps that a clip of a longer episode covers


@dataclass(frozen=True)
class ScoreDetectorSettings:
    """Score detectors on the test splits of clips, side by side.

    For each split: balanced accuracy with a 95 % interval (whole clips drawn anew), the shares of
    true yes and true no that were said, the calibration error; the same by kind of question, by
    behaviour and by the number of frames. Episodes longer than a clip are scored by the paper's two
    rules: a success if any clip shows one; if the first shows none and the last does.

    The run folder gets summary.json, scores.csv, plots/splits.png and, for each detector and split,
    a gallery of its worst mistakes, plots/worst-SPLIT-DETECTOR.png.

    Examples:
      python -m run score-detector --data data/clips
      python -m run score-detector --data data/clips --detectors my/detector --splits test3
    """

    data: Path = Path("data/clips")
    """Folder of clips, as make-clips makes it."""
    detectors: tuple[str, ...] = ("detector", "baseline")
    """By name (detector, baseline), folder, or id on the hub: any vision-language model."""
    splits: tuple[str, ...] = tuple(FLOORS)
    """Splits to score on."""
    labels: tuple[Path, ...] = ()
    """Files of people's answers, as label makes them, which take the place of the true ones: only
    what they answer is asked."""
    clips: int = 0
    """How many clips of each split, the first ones; 0 for all."""
    episodes: int = 256
    """Longer episodes to score by the paper's two rules; 0 leaves them out."""
    batch: int = 64
    """Clips in a batch."""
    device: str = "auto"
    """Where the models run: cpu, cuda, or auto for the best there is."""
    threads: int = 0
    """Threads of torch; 0 for all cores."""
    cache: Path | None = None
    """Folder for fetched and converted weights."""
    runs_dir: Path = Path("runs")
    """Where run folders are made."""
    name: str = "score"
    """Name at the end of the run folder."""

    def __post_init__(self) -> None:
        at_least(
            self,
            {
                "clips": 0,
                "episodes": 0,
                "batch": 1,
                "threads": 0,
            },
        )
        if not self.detectors:
            raise BadInput("--detectors names none")
        names = [_short(n) for n in self.detectors]
        if twice := next((n for n in names if names.count(n) > 1), None):
            raise BadInput(f"two detectors are called '{twice}'; give their folders other names")


@dataclass
class _Answers:
    """All questions of a split, and each detector's answers to them."""

    clip: np.ndarray
    kinds: list[str]
    behaviours: list[str]
    lengths: list[str]
    true: np.ndarray
    probabilities: dict[str, np.ndarray] = field(default_factory=dict)


def score_detector(args: ScoreDetectorSettings) -> Path:
    """Score; returns the run folder."""
    import torch
    from rich.console import Console

    from rewards.success_vqa.labels import all_labels
    from rewards.success_vqa.loading import load_detector

    if args.threads:
        torch.set_num_threads(args.threads)
    began = time.monotonic()
    console = Console(stderr=True)
    given = all_labels(args.labels) if args.labels else {}
    detectors = {_short(n): load_detector(n, args.device, args.cache) for n in args.detectors}
    with RunFolder.new(args.runs_dir, "score-detector", args.name, to_json(args)) as folder:
        splits: dict[str, Any] = {}
        for split in args.splits:
            splits[split] = _score_split(args, split, given, detectors, folder, console)
        rules = _score_episodes(args, detectors, console) if args.episodes else {}
        _write_table(folder, splits)
        _plot(folder, splits, list(detectors))
        folder.write_json(
            "summary.json",
            {
                "command": "score-detector",
                "seed": 0,
                "n": sum(s["clips"] for s in splits.values()),
                "n_errors": 0,
                "seconds": round(time.monotonic() - began, 1),
                "splits": splits,
                "episode_rules": rules,
            },
        )
        _tell(console, splits, list(detectors), rules)
    print(folder.path)
    return folder.path


def _short(name: str) -> str:
    """How a detector is called in tables: its name, or where it lies."""
    return name if "/" not in name else Path(name).resolve().as_posix().split("/")[-1]


def _score_split(
    args: ScoreDetectorSettings,
    split: str,
    given: Mapping[Key, Label],
    detectors: Mapping[str, QuestionAnswerer],
    folder: RunFolder,
    console: Any,
) -> dict[str, Any]:
    from itertools import islice

    from rewards.success_vqa.clips import read_clips
    from rewards.success_vqa.labels import labelled
    from rewards.success_vqa.scoring import score, score_by

    there = read_clips(args.data, split)
    wanted = labelled(there, split, given) if given else there
    clips = list(islice(wanted, args.clips or None))
    flat = [(k, c, a) for k, c in enumerate(clips) for a in c.questions]
    answers = _Answers(
        np.array([k for k, _, _ in flat]),
        [a.kind for _, _, a in flat],
        [c.behaviour for _, c, _ in flat],
        [f"{len(c.frames)} frames" for _, c, _ in flat],
        np.array([a.answer for _, _, a in flat]),
    )
    scores: dict[str, Any] = {"clips": len(clips)}
    for name, detector in detectors.items():
        probabilities: list[np.ndarray] = []
        with ProgressBar(console, f"{split}, {name}", len(clips), "clips") as bar:
            for first in range(0, len(clips), args.batch):
                part = clips[first : first + args.batch]
                texts = [[a.text for a in c.questions] for c in part]
                probabilities += detector.answer([c.frames for c in part], texts, args.batch)
                bar.update(f"{split}, {name}", first + len(part))
        answers.probabilities[name] = np.concatenate(probabilities)
        columns = (answers.probabilities[name], answers.true, answers.clip)
        scores[name] = score(*columns).to_json() | {
            f"by_{what}": _json(score_by(names, *columns))
            for what, names in (
                ("kind", answers.kinds),
                ("behaviour", answers.behaviours),
                ("length", answers.lengths),
            )
        }
        _gallery(folder, clips, answers, split, name)
    return scores


def _json(scores: Mapping[str, DetectorScore]) -> dict[str, Any]:
    return {name: s.to_json() for name, s in scores.items()}


def _score_episodes(
    args: ScoreDetectorSettings, detectors: Mapping[str, QuestionAnswerer], console: Any
) -> Any:
    """The paper's two rules on episodes of one command each, cut into clips."""
    from envs import make_worlds
    from envs.batched.worlds import BatchedWorlds
    from envs.trajectory import evenly
    from rewards.reward import command_question
    from rewards.success_vqa.questions import ItemEvent, QuestionSpec
    from rewards.success_vqa.scoring import RULES, score
    from run.clips.behaviours import TRAINING, record_rollouts
    from run.clips.splits import first_seed

    settings = {"room_size": 8, "n_items": 4, "alike": 0.5, "max_steps": 10_000}
    worlds = make_worlds("playground", args.episodes, batched=True, **settings)
    assert isinstance(worlds, BatchedWorlds)
    first = first_seed("test1", 0) + 50_000_000  # test1's, but none of its clips'
    names = ("learned", "scripted", "interrupted", "wandering")
    plans = [TRAINING[names[i % len(names)]] for i in range(args.episodes)]
    clips, texts, episode_of, true = [], [], [], []
    for i, rollout in enumerate(
        record_rollouts(worlds, range(first, first + args.episodes), plans)
    ):
        last = rollout.trajectory.n_steps
        command = rollout.phases[-1].command
        spec = QuestionSpec((ItemEvent(command.verb, command.item),))
        true.append(rollout.between(0, last).answer(spec) is not None)
        for start in range(0, max(last, 1), EPISODE_CLIP):
            steps = evenly(start, min(start + EPISODE_CLIP, last))
            clips.append(rollout.trajectory.frames(steps))
            texts.append([command_question(command)])
            episode_of.append(i)
    rules: dict[str, Any] = {}
    for name, detector in detectors.items():
        probabilities = np.concatenate(detector.answer(clips, texts, args.batch))
        rules[name] = {}
        for rule, decide in RULES.items():
            predicted = [
                decide(
                    [
                        bool(p > 0.5)
                        for p, k in zip(probabilities, episode_of, strict=True)
                        if k == i
                    ]
                )
                for i in range(args.episodes)
            ]
            which = np.arange(args.episodes)
            rules[name][rule] = score(np.array(predicted, float), np.array(true), which).to_json()
    return rules


def _write_table(folder: RunFolder, splits: Mapping[str, Any]) -> None:
    rows: list[tuple[Any, ...]] = [
        ("split", "detector", "group", "balanced_accuracy", "low", "high", "tpr", "tnr", "n")
    ]
    for split, scores_of_split in splits.items():
        for name, its in scores_of_split.items():
            if name == "clips":
                continue
            groups = {"all": its} | {
                group: s
                for by in ("kind", "behaviour", "length")
                for group, s in its[f"by_{by}"].items()
            }
            for group, s in groups.items():
                low, high = s["ci95"] or (None, None)
                rows.append(
                    (
                        split,
                        name,
                        group,
                        s["balanced_accuracy"],
                        low,
                        high,
                        s["tpr"],
                        s["tnr"],
                        s["n"],
                    )
                )
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    (folder.path / "scores.csv").write_text(text.getvalue(), encoding="utf-8")


def _plot(folder: RunFolder, splits: Mapping[str, Any], detectors: Sequence[str]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(detectors)
    for k, name in enumerate(detectors):
        of_splits = [(i, scores[name]) for i, scores in enumerate(splits.values())]
        heights = [s["balanced_accuracy"] or 0 for _, s in of_splits]
        spans = [s["ci95"] or (h, h) for (_, s), h in zip(of_splits, heights, strict=True)]
        errors = [
            [max(0.0, h - low) for h, (low, _) in zip(heights, spans, strict=True)],
            [max(0.0, high - h) for h, (_, high) in zip(heights, spans, strict=True)],
        ]
        at = [i + (k - (len(detectors) - 1) / 2) * width for i, _ in of_splits]
        axes.bar(at, heights, width, yerr=errors, capsize=3, label=name)
    for i, split in enumerate(splits):
        if split in FLOORS:
            label = "floor" if i == 0 else ""
            axes.hlines(FLOORS[split], i - 0.45, i + 0.45, "k", "dashed", label=label)
    axes.axhline(0.5, color="grey", linestyle=":", label="chance")
    axes.set_xticks(range(len(splits)), [f"{s}\n{ABOUT.get(s, '')}" for s in splits])
    axes.set(ylabel="balanced accuracy", ylim=(0.4, 1.01))
    axes.legend(loc="lower right")
    figure.savefig(folder.part("plots", "splits.png"), dpi=120)


def _gallery(
    folder: RunFolder, clips: Sequence[Clip], answers: _Answers, split: str, name: str
) -> None:
    """A contact sheet of the surest mistakes, false yes first."""
    from PIL import Image, ImageDraw

    probabilities, true = answers.probabilities[name], answers.true
    starts = {int(k): i for i, k in reversed(list(enumerate(answers.clip)))}
    wrong = [
        i
        for kind in (True, False)
        for i in sorted(
            np.flatnonzero((probabilities > 0.5) == kind),
            key=lambda j: -abs(probabilities[j] - 0.5),
        )
        if true[i] != kind
    ]
    false_yes = [i for i in wrong if probabilities[i] > 0.5][:WORST]
    chosen = false_yes + [i for i in wrong if probabilities[i] <= 0.5][:WORST]
    if not chosen:
        return
    side, line = 84, 16
    sheet = Image.new("RGB", (8 * side + 8, len(chosen) * (side + 2 * line) + 4), "white")
    draw = ImageDraw.Draw(sheet)
    for row, i in enumerate(chosen):
        clip = clips[int(answers.clip[i])]
        question = clip.questions[i - starts[int(answers.clip[i])]]
        top = row * (side + 2 * line) + 4
        kind = "false yes" if probabilities[i] > 0.5 else "false no"
        draw.text(
            (4, top),
            f"{kind}, p(yes) = {probabilities[i]:.3f}; {clip.behaviour}, {clip.camera}",
            "black",
        )
        draw.text((4, top + line - 2), question.text, "black")
        for t, frame in enumerate(clip.frames):
            picture = Image.fromarray(frame)
            scale = (side - 4) / max(picture.size)
            size = tuple(max(1, int(s * scale)) for s in picture.size)
            sheet.paste(
                picture.resize(size, Image.Resampling.NEAREST),  # type: ignore[arg-type]
                (4 + t * side, top + 2 * line - 2),
            )
    sheet.save(folder.part("plots", f"worst-{split}-{name}.png"))


def _tell(
    console: Any, splits: Mapping[str, Any], detectors: Sequence[str], rules: Mapping[str, Any]
) -> None:
    from rich.box import HORIZONTALS
    from rich.table import Table

    table = Table(box=HORIZONTALS, title="balanced accuracy (95 % interval)")
    table.add_column("split")
    for name in detectors:
        table.add_column(name)
        table.add_column("yes / no found", justify="right")
    table.add_column("floor", justify="right")
    for split, scores_of_split in splits.items():
        cells = [f"{split} {ABOUT.get(split, '')}"]
        for name in detectors:
            s = scores_of_split[name]
            if s["balanced_accuracy"] is None:
                cells += ["one class only", ""]
                continue
            low, high = s["ci95"]
            cells.append(f"{s['balanced_accuracy']:.3f} ({low:.3f} to {high:.3f})")
            cells.append(f"{s['tpr']:.3f} / {s['tnr']:.3f}")
        table.add_row(*cells, f"{FLOORS[split]:.2f}" if split in FLOORS else "")
    console.print(table)
    for name, by_rule in rules.items():
        rates = {rule: s["balanced_accuracy"] for rule, s in by_rule.items()}
        shown = {k: "one class only" if r is None else f"{r:.3f}" for k, r in rates.items()}
        rates_text = "; ".join(f"{rule} {rate}" for rule, rate in shown.items())
        console.print(f"episodes, {name}: {rates_text}", highlight=False)
