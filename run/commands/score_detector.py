"""``python -m run score-detector``: how well detectors answer, split by split."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from envs.errors import BadInput
from models.references import label_of
from run.display.messages import saying
from run.display.progress import ProgressBar
from run.storage.folder import RunFolder
from run.storage.settings import at_least, to_json

if TYPE_CHECKING:
    from rewards.success_vqa.clips import Clip

TEST_SPLITS = ("test1", "test2", "test3", "test4", "test5", "test6")


@dataclass(frozen=True)
class ScoreDetectorSettings:
    """Score detectors on the test splits of clips, side by side.

    For each split: balanced accuracy with a 95 % interval (bootstrap over whole clips), the
    true-positive and true-negative rates and the calibration error; the same by kind of question,
    by behaviour and by number of frames. Episodes longer than a clip are judged by two rules of the
    paper: success if any clip shows a success, or if the last clip does and the first does not.

    The run folder contains summary.json, scores.csv, plots/splits.png and, for each detector and
    split, a gallery of its most confident mistakes, plots/worst-SPLIT-DETECTOR.png.

    Examples:
      python -m run score-detector --data data/clips
      python -m run score-detector --data data/clips --detectors my/detector --splits test3
    """

    USUAL: ClassVar[tuple[str, ...]] = (
        "data",
        "detectors",
        "splits",
        "clips",
        "episodes",
        "labels",
    )

    data: Path = Path("data/clips")
    """Folder of a data set made by make-clips."""
    detectors: tuple[str, ...] = ("detector", "baseline")
    """Each is detector or baseline (both come with Parley), a run folder of train-detector, a
    folder of weights, a hub id, or module:Class. Weights may also be those of a vision-language
    model."""
    splits: tuple[str, ...] = TEST_SPLITS
    """Splits to score them on, of those and train and validation."""
    labels: tuple[Path, ...] = ()
    """Files of human answers made by label, to use in place of the true ones. Only the questions
    that they answer are asked."""
    clips: int = 0
    """Use only the first N clips of each split; 0 for all."""
    episodes: int = 256
    """Number of longer episodes to score by the two rules; 0 for none."""
    batch: int = 64
    """Number of clips in a batch."""
    device: str = "auto"
    """Where the models run: cpu, cuda, or auto for the fastest available."""
    threads: int = 0
    """Number of torch threads; 0 for all cores."""
    cache: Path | None = None
    """Folder for fetched and converted weights; by default $PARLEY_CACHE or ~/.cache/parley."""
    runs_dir: Path = Path("runs")
    """Folder in which run folders are made."""
    name: str = "score"
    """End of the run folder's name."""

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
        names = [label_of(n) for n in self.detectors]
        if twice := next((n for n in names if names.count(n) > 1), None):
            raise BadInput(f"two detectors are called '{twice}'; give their folders other names")


def score_detector(args: ScoreDetectorSettings) -> Path:
    """Score the detectors; returns the run folder.

    Raises:
        BadInput: A detector, a split or a file of answers cannot be read.
    """
    import torch
    from rich.console import Console

    from rewards.success_vqa.clips import read_clips
    from rewards.success_vqa.labels import all_labels, labelled
    from rewards.success_vqa.loading import check_detector, load_detector
    from run.evaluation import detector_scores, detector_tables

    if args.threads:
        torch.set_num_threads(args.threads)
    began = time.monotonic()
    console = Console(stderr=True)
    # All input is checked before a detector is loaded.
    labels = all_labels(args.labels) if args.labels else {}
    for detector_name in args.detectors:
        check_detector(detector_name)

    def wanted(split: str) -> Iterator[Clip]:
        clips = read_clips(args.data, split)
        return labelled(clips, split, labels) if labels else clips

    for split in args.splits:
        next(wanted(split), None)
    with saying("loading the detectors"):
        detectors = {label_of(n): load_detector(n, args.device, args.cache) for n in args.detectors}
    with RunFolder.new(args.runs_dir, "score-detector", args.name, to_json(args)) as folder:
        splits: dict[str, detector_scores.SplitScores] = {}
        for split in args.splits:
            clips = list(islice(wanted(split), args.clips or None))
            questions = detector_scores.ClipQuestions.of(clips)
            scores: dict[str, detector_scores.GroupedScores] = {}
            for name, detector in detectors.items():
                title = f"{split}, {name}"
                with ProgressBar(console, title, len(clips), "clips") as bar:
                    probabilities = detector_scores.answer_clips(
                        detector, clips, args.batch, bar, title
                    )
                scores[name] = questions.score(probabilities)
                detector_tables.draw_gallery(questions, probabilities, f"{split}-{name}", folder)
            splits[split] = detector_scores.SplitScores(len(clips), scores)
        rules: dict[str, detector_scores.RuleScores] = {}
        if args.episodes:
            rules = detector_scores.score_episodes(detectors, args.episodes, args.batch)
        detector_tables.write_scores(splits, folder)
        detector_tables.plot_splits(splits, list(detectors), folder)
        folder.write_json(
            "summary.json",
            {
                "command": "score-detector",
                "seed": 0,
                "n": sum(scores.clips for scores in splits.values()),
                "n_errors": 0,
                "seconds": round(time.monotonic() - began, 1),
                "splits": {split: scores.to_json() for split, scores in splits.items()},
                "episode_rules": {
                    name: {rule: s.to_json() for rule, s in by_rule.items()}
                    for name, by_rule in rules.items()
                },
            },
        )
        detector_tables.print_scores(console, splits, rules)
    print(folder.path)
    return folder.path
