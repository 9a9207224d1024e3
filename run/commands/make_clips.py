"""``python -m run make-clips``: film episodes, ask true and false questions of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.errors import unknown
from rewards.success_vqa.clips import SPLITS
from run.display.progress import ProgressBar
from run.storage.folder import RunFolder
from run.storage.settings import at_least, to_json

if TYPE_CHECKING:
    from rewards.success_vqa.clips import Clip


@dataclass(frozen=True)
class MakeClipsSettings:
    """Film episodes and ask true and false questions of them: the data of the success detector.

    Agents play in rooms with nothing to achieve: the learned and the scripted Actor, one that
    wanders, ones that are interrupted, that undo what they did, that do two things in a row or the
    wrong one of two. From each rollout up to 8 frames are filmed by a camera, and questions are
    asked: half of the answers are yes, and what a false question asks nearly happened (one word is
    another, another item, the other order).

    Splits are disjoint by seed. test1 are unseen episodes, test2 behaviours, test3 words and items,
    test4 a camera (the whole room from above), test5 looks that training never had; test6 asks
    whether things were done in an order. The words of the questions are in
    rewards/success_vqa/questions.toml.

    The run folder has the data set in clips/: one Parquet file a split and a card.

    Examples:
      python -m run make-clips
      python -m run make-clips --clips 500 --test-clips 200 --splits train test1
      python -m run make-clips --out data/clips --seed 1
    """

    clips: int = 32000
    """Clips of training."""
    test_clips: int = 2400
    """Clips of every other split."""
    splits: tuple[str, ...] = SPLITS
    """Splits to make."""
    questions: Path | None = None
    """Words of the questions, a file such as rewards/success_vqa/questions.toml."""
    seed: int = 0
    """Seed of everything."""
    out: Path | None = None
    """Folder for the data set, instead of clips/ in the run folder."""
    runs_dir: Path = Path("runs")
    """Where run folders are made."""
    name: str = "clips"
    """Name at the end of the run folder."""

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
    """Make the data set; returns the run folder."""
    import time

    from rich.console import Console

    from rewards.success_vqa.clips import write_clips
    from rewards.success_vqa.questions import QuestionTemplates, wording
    from run.clips.splits import film_split

    words = QuestionTemplates(args.questions) if args.questions else wording()
    began = time.monotonic()
    console = Console(stderr=True)
    with RunFolder.new(args.runs_dir, "make-clips", args.name, to_json(args), True) as folder:
        out = args.out or folder.path / "clips"
        counts: dict[str, Any] = {}
        for split in args.splits:
            n = args.clips if split == "train" else args.test_clips
            with ProgressBar(console, split, n, "clips") as bar:
                tally = _Tally(split, bar)
                clips = map(tally.count, film_split(split, n, args.seed, words))
                write_clips(out / "data" / f"{split}.parquet", clips)
            counts[split] = tally.to_json()
        (out / "README.md").write_text(_card(args, counts), encoding="utf-8")
        folder.write_json(
            "summary.json",
            {
                "command": "make-clips",
                "seed": args.seed,
                "n": sum(c["clips"] for c in counts.values()),
                "n_errors": 0,
                "seconds": round(time.monotonic() - began, 1),
                "data": str(out),
                "splits": counts,
            },
        )
    print(folder.path)
    return folder.path


@dataclass
class _Tally:
    """Counts a split's clips as they go by, and tells the progress bar."""

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

    def to_json(self) -> dict[str, Any]:
        questions = sum(self.kinds.values())
        return {
            "clips": self.clips,
            "questions": questions,
            "yes": round(self.yes / max(questions, 1), 4),
            "kinds": dict(sorted(self.kinds.items())),
        }


def _card(args: MakeClipsSettings, counts: Mapping[str, Any]) -> str:
    """The data card, with a head that says where the splits are."""
    from run.clips.splits import TEST_LOOKS, first_seed

    files = "\n".join(f"  - split: {name}\n    path: data/{name}.parquet" for name in counts)
    rows = "\n".join(
        f"| {name} | {c['clips']:,} | {c['questions']:,} | {c['yes']:.3f} | "
        + ", ".join(f"{k} {v:,}" for k, v in c["kinds"].items())
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
done before the first frame counts as not done; what was picked up counts if it is still held at
the last, and an item was gone to if the agent faces it there.

| split | clips | questions | answer yes | kinds |
|---|---|---|---|---|
{rows}

- train, validation, test1: behaviours, cameras and looks of training; validation in other words.
- test2: other behaviours (fickle, noisy, hoarding, circling).
- test3: verbs, sentences and items that training never had.
- test4: the whole room from above; training has the agent's view and windows of 5 to 7 cells.
- test5: looks that training never had ({looks}), and balls, boxes and keys lie about.
- test6: pairs of clips with the same question, in one order yes and in the other no.

`asked` holds the questions: `text`, `kind`, `answer`, `success_step`, the step at which what is
asked was done (-1: it was not), and `subject`, what the question asks as data: the items that it
names, the events, the decider and its condition. `annotations` say what each frame shows: the items
that are faced, held and in sight, the mark, the place. `outcome` is what was done in the clip, as
data; `caption` says the same in words. `steps` are those of the frames. Worlds have consecutive
seeds from (by split): {seeds}.
"""
