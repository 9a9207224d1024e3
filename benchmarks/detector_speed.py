"""Clips a second of the detector and its baseline, beside the plain way and the limit.

    python benchmarks/detector_speed.py
    python benchmarks/detector_speed.py --detectors my/detector --batches 1 64 --rounds 5

For each detector and each number of clips that are processed at once, with 4 questions a clip, in
turns, round after round:

- ours: each clip is encoded once, however much is asked about it, and texts of similar lengths are
  read together. What the language model's lower layers make of a text is not kept from round to
  round here: the questions are new in each.
- plain: each question by itself, with all frames of its clip encoded anew.
- limit: the time that the multiplications of ours would take, each as fast as one large matrix
  product is measured in the same round, in the same number format and with the same threads.

Stated are medians with their range. They go to table.md and results.json in the output folder. The
last line of standard output is a JSON object: for each detector clips a second by number of clips,
how many times those of the plain way that is, and the share of the limit.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from envs.errors import BadInput
from envs.items import TRAIN_ITEMS
from models.precision import faster_on_cpu
from rewards.success_vqa.detector import FlamingoDetector, SuccessDetector
from rewards.success_vqa.loading import WEIGHTS, load_trained
from rewards.success_vqa.registry import DETECTORS

QUESTIONS = 4
PLAIN_CLIPS = 4  # the plain way takes as long for each


@dataclass(frozen=True)
class DetectorSpeedOptions:
    """What to compare, and how often."""

    detectors: tuple[str, ...] = ("detector", "baseline")
    """Detectors by name (detector, baseline) or folder."""
    batches: tuple[int, ...] = (1, 64)
    """Numbers of clips that are processed at once."""
    rounds: int = 3
    """How often each is measured."""
    threads: int = 0
    """Threads of torch; 0 for all cores."""
    out: Path = Path("runs/detector-speed")
    """Where the tables go."""


def main(options: DetectorSpeedOptions) -> None:
    """Measure, and write it down."""
    if options.rounds < 1 or min(options.batches, default=0) < 1:
        raise BadInput("--rounds and --batches must be at least 1")
    if options.threads:
        torch.set_num_threads(options.threads)
    detectors = {
        name: load_trained(WEIGHTS / name if name in DETECTORS else Path(name), "cpu")
        for name in options.detectors
    }
    rng = np.random.default_rng(0)
    rates: dict[str, dict[int, dict[str, list[float]]]] = {}
    flops: dict[tuple[str, int], float] = {}
    for name, detector in detectors.items():
        detector.requires_grad_(False)  # or the counter looks for gradients
        rates[name] = {n: {"ours": [], "plain": [], "limit": []} for n in options.batches}
        for n in options.batches:
            with FlopCounterMode(display=False) as counter:
                _answer(detector, n, rng)
            flops[name, n] = float(counter.get_total_flops())
    for _ in range(options.rounds):
        speed = _matrix_speed()
        for name, detector in detectors.items():
            for n in options.batches:
                by_way = rates[name][n]
                by_way["ours"].append(n / _timed(lambda j=detector, m=n: _answer(j, m, rng)))
                few = min(n, PLAIN_CLIPS)
                by_way["plain"].append(few / _timed(lambda j=detector, m=few: _plainly(j, m, rng)))
                by_way["limit"].append(n * speed / flops[name, n])
    _tell(options, rates)


def _clips(n: int, rng: np.random.Generator) -> tuple[list[np.ndarray], list[list[str]]]:
    frames = [rng.integers(0, 256, (8, 56, 56, 3), np.uint8) for _ in range(n)]
    verbs = ("pick up", "examine", "go to", "lift")

    def question(k: int) -> str:
        first, second = (TRAIN_ITEMS[i] for i in rng.integers(0, len(TRAIN_ITEMS), 2))
        more = f" and then examine the {second}" if k % 2 else ""
        return f"Did the agent successfully {verbs[k % 4]} the {first}{more}?"

    return frames, [[question(k) for k in range(QUESTIONS)] for _ in range(n)]


def _answer(detector: SuccessDetector, n: int, rng: np.random.Generator) -> None:
    if isinstance(detector, FlamingoDetector):
        detector.forget()
    detector.answer(*_clips(n, rng))


def _plainly(detector: SuccessDetector, n: int, rng: np.random.Generator) -> None:
    for frames, texts in zip(*_clips(n, rng), strict=True):
        for text in texts:
            if isinstance(detector, FlamingoDetector):
                detector.forget()
            detector.answer([frames], [[text]])


def _timed(work: object) -> float:
    began = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - began


def _matrix_speed() -> float:
    """Multiplications and additions a second of a large matrix product, in the same precision."""
    a, b = (torch.randn(2048, 2048, dtype=faster_on_cpu()) for _ in range(2))
    a @ b
    return 5 * 2 * 2048**3 / _timed(lambda: [a @ b for _ in range(5)])


def _tell(
    options: DetectorSpeedOptions, rates: dict[str, dict[int, dict[str, list[float]]]]
) -> None:
    table = Table(title=f"clips a second, {QUESTIONS} questions each")
    for head in ("detector", "clips at once", "ours", "plain", "times plain", "share of limit"):
        table.add_column(head, justify="left" if head == "detector" else "right")
    lines = ["| detector | clips at once | ours | plain | times plain | share of limit |"]
    lines.append("|---|---|---|---|---|---|")
    ratios: dict[str, dict[str, dict[str, float]]] = {}
    for name, batches in rates.items():
        ratios[name] = {}
        for n, by_way in batches.items():
            ours, plain, limit = (statistics.median(by_way[k]) for k in ("ours", "plain", "limit"))
            span = f"{ours:.2f} ({min(by_way['ours']):.2f} to {max(by_way['ours']):.2f})"
            row = (name, str(n), span, f"{plain:.2f}", f"{ours / plain:.1f}", f"{ours / limit:.2f}")
            table.add_row(*row)
            lines.append(f"| {' | '.join(row)} |")
            ratios[name][str(n)] = {
                "clips_per_second": round(ours, 3),
                "times_plain": round(ours / plain, 2),
                "share_of_limit": round(ours / limit, 3),
            }
    Console(stderr=True).print(table)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (options.out / "results.json").write_text(json.dumps(rates, indent=2), encoding="utf-8")
    print(json.dumps(ratios))


if __name__ == "__main__":
    main(tyro.cli(DetectorSpeedOptions))
