"""Detectors side by side: ``scores.csv``, plots, galleries of mistakes, a table to print."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw
from rich.box import HORIZONTALS
from rich.console import Console
from rich.table import Table

from run.display.palette import COLOURS, colour, hatch, literal
from run.evaluation.detector_scores import ClipQuestions, RuleScores, SplitScores
from run.storage.folder import RunFolder

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
COLUMNS = ("split", "detector", "group", "balanced_accuracy", "low", "high", "tpr", "tnr", "n")
WORST = 6  # mistakes of each kind in a gallery


def write_scores(splits: Mapping[str, SplitScores], folder: RunFolder) -> None:
    """Write ``scores.csv``: a row for each split, detector and group of questions."""
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(COLUMNS)
    for split, scores in splits.items():
        for name, detector in scores.detectors.items():
            for group, s in detector.groups().items():
                rates = (s.balanced_accuracy, *(s.ci95 or (None, None)), s.tpr, s.tnr)
                table.writerow((split, name, group, *rates, s.n))
    (folder.path / "scores.csv").write_text(text.getvalue(), encoding="utf-8")


def plot_splits(
    splits: Mapping[str, SplitScores], detectors: Sequence[str], folder: RunFolder
) -> None:
    """Draw ``plots/splits.png``: for each split a bar with its interval for each detector.

    Args:
        splits: The scores by split.
        detectors: The names of the detectors.
        folder: The run folder.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(9, 2.5 + 1.5 * len(splits)), 4.5), layout="constrained")
    axes = figure.subplots()
    lowest = 0.45
    width = 0.8 / len(detectors)
    for k, name in enumerate(detectors):
        scores = [s.detectors[name].all for s in splits.values()]
        heights = [s.balanced_accuracy or 0 for s in scores]
        spans = [s.ci95 or (h, h) for s, h in zip(scores, heights, strict=True)]
        errors = [
            [max(0.0, h - low) for h, (low, _) in zip(heights, spans, strict=True)],
            [max(0.0, high - h) for h, (_, high) in zip(heights, spans, strict=True)],
        ]
        at = [i + (k - (len(detectors) - 1) / 2) * width for i in range(len(splits))]
        bars = axes.bar(at, heights, width, yerr=errors, capsize=3, label=literal(name))
        for bar in bars:
            bar.set(color=colour(k), hatch=hatch(k // len(COLOURS)), alpha=0.75)
        lowest = min(lowest, *(low - 0.05 for low, _ in spans))
    for i, split in enumerate(splits):
        if split in FLOORS:
            label = "floor" if i == 0 else ""
            axes.hlines(FLOORS[split], i - 0.45, i + 0.45, "k", "dashed", label=label)
    axes.axhline(0.5, color="grey", linestyle=":", label="chance")
    axes.set_xticks(range(len(splits)), [f"{s}\n{ABOUT.get(s, '')}" for s in splits])
    axes.set(ylabel="balanced accuracy", ylim=(max(0.0, lowest), 1.01))
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(folder.part("plots", "splits.png"), dpi=120)


def draw_gallery(
    questions: ClipQuestions, probabilities: np.ndarray, name: str, folder: RunFolder
) -> None:
    """Draw ``plots/worst-NAME.png``: the mistakes with the highest confidence, false yes first.

    Args:
        questions: The questions.
        probabilities: ``[N]``, a detector's probability of yes for each of them.
        name: The split and the detector.
        folder: The run folder.
    """
    true = questions.true
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
        clip = questions.clips[int(questions.clip[i])]
        question = clip.questions[questions.place[i]]
        top = row * (side + 2 * line) + 4
        mistake = "false yes" if probabilities[i] > 0.5 else "false no"
        draw.text(
            (4, top),
            f"{mistake}, p(yes) = {probabilities[i]:.3f}; {clip.behaviour}, {clip.camera}",
            "black",
        )
        draw.text((4, top + line - 2), question.text, "black")
        for t, frame in enumerate(clip.frames):
            picture = Image.fromarray(frame)
            scale = (side - 4) / max(picture.size)
            width, height = (max(1, int(s * scale)) for s in picture.size)
            sheet.paste(
                picture.resize((width, height), Image.Resampling.NEAREST),
                (4 + t * side, top + 2 * line - 2),
            )
    sheet.save(folder.part("plots", f"worst-{name}.png"))


def print_scores(
    console: Console, splits: Mapping[str, SplitScores], rules: Mapping[str, RuleScores]
) -> None:
    """Print a row for each split, and a line for each detector's scores on longer episodes.

    Args:
        console: Where to print.
        splits: The scores by split.
        rules: The scores on longer episodes by detector.
    """
    table = Table(box=HORIZONTALS, title="balanced accuracy (95 % interval)")
    table.add_column("split")
    for name in next(iter(splits.values())).detectors if splits else ():
        table.add_column(name)
        table.add_column("TPR / TNR", justify="right")
    table.add_column("floor", justify="right")
    for split, scores in splits.items():
        row = [f"{split} {ABOUT.get(split, '')}"]
        for detector in scores.detectors.values():
            s = detector.all
            if s.balanced_accuracy is None or s.ci95 is None:
                row += ["one class only", ""]
                continue
            low, high = s.ci95
            row.append(f"{s.balanced_accuracy:.3f} ({low:.3f} to {high:.3f})")
            row.append(f"{s.tpr:.3f} / {s.tnr:.3f}")
        table.add_row(*row, f"{FLOORS[split]:.2f}" if split in FLOORS else "")
    console.print(table)
    for name, by_rule in rules.items():
        rates = {rule: s.balanced_accuracy for rule, s in by_rule.items()}
        shown = {k: "one class only" if r is None else f"{r:.3f}" for k, r in rates.items()}
        rates_text = "; ".join(f"{rule} {rate}" for rule, rate in shown.items())
        console.print(f"episodes, {name}: {rates_text}", highlight=False)
