"""``python -m run make-clips``: record clips of episodes, with questions and answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from envs.errors import unknown
from rewards.success_vqa.clips import SPLITS
from run.display.progress import ProgressBar
from run.storage.folder import RunFolder
from run.storage.overwriting import check_free, replace_folder
from run.storage.records import ClipCounts
from run.storage.settings import at_least, to_json
from run.storage.unused import refuse

if TYPE_CHECKING:
    from rewards.success_vqa.clips import Clip


@dataclass(frozen=True)
class MakeClipsSettings:
    """Record clips of episodes with questions and answers: the data of the success detector.

    Agents act in rooms without a task: the learned and the scripted Actor, a random one, and ones
    that are interrupted, undo what they did, do two things in a row, or do one in place of another.
    A camera records up to 8 frames of each rollout, and questions about them are added. Half of the
    answers are yes; a question whose answer is no is close to what happened (another word, another
    item, the other order).

    The splits have different seeds. Compared with train, test1 has unseen episodes only, test2
    other behaviours, test3 other wording and items, test4 another camera (the whole room from
    above) and test5 other looks; test6 asks in which order things were done. The wording of the
    questions is in rewards/success_vqa/questions.toml.

    The run folder contains the data set in clips/: a Parquet file for each split, and a data card.

    Examples:
      python -m run make-clips
      python -m run make-clips --clips 500 --test-clips 200 --splits train test1
      python -m run make-clips --out data/clips --seed 1
    """

    USUAL: ClassVar[tuple[str, ...]] = (
        "clips",
        "test-clips",
        "splits",
        "questions",
        "seed",
        "out",
        "force",
    )

    clips: int = 32000
    """Number of clips in train."""
    test_clips: int = 2400
    """Number of clips in every other split."""
    splits: tuple[str, ...] = SPLITS
    """Splits to make."""
    questions: Path | None = None
    """Wording of the questions: a file such as rewards/success_vqa/questions.toml, the default."""
    seed: int = 0
    """Seed of worlds, behaviours, cameras and questions."""
    out: Path | None = None
    """Folder for the data set, instead of clips/ in the run folder."""
    force: bool = False
    """Replace what is at --out already."""
    runs_dir: Path = Path("runs")
    """Folder in which run folders are made."""
    name: str = "clips"
    """End of the run folder's name."""

    def refuse_unused(self, given: Collection[str]) -> None:
        """Raise BadInput for an option that is given and that this run does not use."""
        unused: dict[str, str] = {}
        if "train" not in self.splits:
            unused["clips"] = "--splits has no train"
        if set(self.splits) <= {"train"}:
            unused["test_clips"] = "--splits has train alone"
        if self.out is None:
            unused["force"] = "a new run folder replaces nothing"
        refuse(given, unused)

    def __post_init__(self) -> None:
        for name in self.splits:
            if name not in SPLITS:
                raise unknown("split", name, SPLITS)
        at_least(
            self,
            {
                "clips": 1,
                "test_clips": 1,
                "seed": 0,
            },
        )


def make_clips(args: MakeClipsSettings) -> Path:
    """Make the data set; returns the run folder.

    Raises:
        BadInput: The file of questions cannot be used, or a folder cannot be written.
    """
    import time

    from rich.console import Console

    from rewards.success_vqa.clips import write_clips
    from rewards.success_vqa.questions import QuestionTemplates, wording
    from run.clips.splits import film_split

    check_free(args.out, args.force, runs_dir=args.runs_dir)
    words = QuestionTemplates(args.questions) if args.questions else wording()
    began = time.monotonic()
    console = Console(stderr=True)
    with RunFolder.new(args.runs_dir, "make-clips", args.name, to_json(args), True) as folder:
        out = args.out or folder.path / "clips"
        counts: dict[str, ClipCounts] = {}

        def write(place: Path) -> None:
            for split in args.splits:
                n = args.clips if split == "train" else args.test_clips
                with ProgressBar(console, split, n, "clips") as bar:
                    tally = _Tally(split, bar)
                    clips = map(tally.count, film_split(split, n, args.seed, words))
                    write_clips(place / "data" / f"{split}.parquet", clips)
                counts[split] = tally.counts()
            (place / "README.md").write_text(_card(args, counts), encoding="utf-8")

        replace_folder(out, write)
        folder.write_json(
            "summary.json",
            {
                "command": "make-clips",
                "seed": args.seed,
                "n": sum(c.clips for c in counts.values()),
                "n_errors": 0,
                "seconds": round(time.monotonic() - began, 1),
                "data": str(out),
                "splits": {name: asdict(c) for name, c in counts.items()},
            },
        )
    print(folder.path)
    return folder.path


@dataclass
class _Tally:
    """Counts a split's clips while they are written, and updates the progress bar."""

    split: str
    bar: ProgressBar
    clips: int = 0
    yes: int = 0
    kinds: dict[str, int] = field(default_factory=dict)

    def count(self, clip: Clip) -> Clip:
        self.clips += 1
        for question in clip.questions:
            self.yes += question.answer
            self.kinds[question.kind] = self.kinds.get(question.kind, 0) + 1
        self.bar.update(self.split, self.clips)
        return clip

    def counts(self) -> ClipCounts:
        questions = sum(self.kinds.values())
        share = round(self.yes / max(questions, 1), 4)
        return ClipCounts(self.clips, questions, share, dict(sorted(self.kinds.items())))


def _card(args: MakeClipsSettings, counts: Mapping[str, ClipCounts]) -> str:
    """The data card, with a YAML header that lists the files of the splits."""
    from run.clips.splits import TEST_LOOKS, first_seed

    files = "\n".join(f"  - split: {name}\n    path: data/{name}.parquet" for name in counts)
    rows = "\n".join(
        f"| {name} | {c.clips:,} | {c.questions:,} | {c.yes:.3f} | "
        + ", ".join(f"{k} {v:,}" for k, v in c.kinds.items())
        + " |"
        for name, c in counts.items()
    )
    seeds = ", ".join(f"{name} {first_seed(name, args.seed):,}" for name in counts)
    looks = ", ".join(TEST_LOOKS)
    return f"""---
license: apache-2.0
configs:
- config_name: default
  data_files:
{files}
---
# Clips of agents in rooms, and questions about what they did

Made by `python -m run make-clips --clips {args.clips} --test-clips {args.test_clips} --seed
{args.seed}` of Parley. Each row is a clip of up to 8 frames (PNG), evenly spread from the first to
the last that is shown, with questions whose true answers come from the world's events. What was
done before the first frame does not count; an item counts as picked up if it is still held in the
last frame, and as gone to if the agent faces it there.

| split | clips | questions | answer yes | kinds |
|---|---|---|---|---|
{rows}

- train, validation, test1: the behaviours, cameras and looks of training; validation has other
  wording.
- test2: other behaviours (fickle, noisy, hoarding, circling).
- test3: verbs, sentences and items that do not occur in training.
- test4: the whole room from above; training has the agent's view and windows of 5 to 7 tiles.
- test5: looks that do not occur in training ({looks}), and rooms with balls, boxes and keys.
- test6: pairs of clips with the same question, answered yes in one order and no in the other.

`asked` contains the questions: `text`, `kind`, `answer`, `success_step` (the step at which the
answer became yes; -1 where it is no) and `subject`, the question as data: its items, the events,
the decider and its condition. `annotations` describe each frame: the items that are faced, held and
in view, the mark, the place. `outcome` is what was done in the clip, as data, and `caption` the
same in words. `steps` are the steps of the frames. The worlds of each split have consecutive seeds
from: {seeds}.
"""
