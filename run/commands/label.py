"""``python -m run label``: people answer questions about clips on a local web page."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import ClassVar, Literal

from envs.errors import BadInput
from run.storage.overwriting import check_free, write_files
from run.storage.settings import at_least
from run.storage.unused import refuse

NAME = re.compile(r"[\w-]{1,40}")
_Split = Literal["train", "validation", "test1", "test2", "test3", "test4", "test5", "test6"]


@dataclass(frozen=True)
class LabelSettings:
    """Answer questions about clips on a local web page, or compare the answers of people.

    The page plays a clip and shows a question. Y answers yes, N no; 1 to 8 answer yes and say when:
    the number of the first frame that shows it. S skips, B goes back. Every answer is on disk
    before the next clip is shown, with who gave it and how long it took; started again, the page
    goes on where it was. Everybody who labels with the same --seed gets the same questions.

    train-detector and score-detector take the file with --labels in place of the world's truth.
    --compare shows how far people agree (Cohen's kappa), and --export writes what they agree on.

    The page is for this machine alone: it listens on 127.0.0.1, and refuses pages of other hosts.
    It needs Gradio: pip install 'parley-rl[label]'

    Examples:
      python -m run label --data data/clips --by anna
      python -m run label --compare labels/test1-anna.jsonl labels/test1-ben.jsonl
      python -m run score-detector --data data/clips --splits test1 --labels labels/test1-anna.jsonl
    """

    USUAL: ClassVar[tuple[str, ...]] = (
        "data",
        "split",
        "by",
        "questions",
        "compare",
        "export",
        "force",
        "out",
    )

    data: Path = Path("data/clips")
    """Folder of a data set made by make-clips."""
    split: _Split = "test1"
    """Whose clips to show."""
    by: str = ""
    """Who answers: letters, digits, _ and -."""
    questions: int = 100
    """How many questions to ask, of as many clips; 0 for one of each clip."""
    seed: int = 0
    """Seed of which questions are asked, and in which order."""
    out: Path | None = None
    """File to which the answers go. If not given: labels/SPLIT-BY.jsonl."""
    port: int = 0
    """Port of the page; 0 for any that is free."""
    browser: bool = True
    """Only serve the page; its address is printed."""
    compare: tuple[Path, ...] = ()
    """Files of answers to compare, instead of asking."""
    export: Path | None = None
    """With --compare: file to which the answers go on which all agree."""
    force: bool = False
    """Replace what is at --export already."""

    def refuse_unused(self, given: Collection[str]) -> None:
        """Raise BadInput for an option that is given and that this run does not use."""
        unused: dict[str, str] = {}
        if self.compare:
            asking = ("data", "split", "by", "questions", "seed", "out", "port", "no_browser")
            unused = dict.fromkeys(asking, "--compare asks nothing")
        if self.export is None:
            unused["force"] = "without --export nothing is replaced"
        refuse(given, unused)

    def __post_init__(self) -> None:
        at_least(self, {"questions": 0, "seed": 0, "port": 0})
        if self.port > 65535:
            raise BadInput(f"--port must be at most 65535, not {self.port}")
        if self.export is not None and not self.compare:
            raise BadInput("--export goes with --compare")
        if not self.compare and not NAME.fullmatch(self.by):
            raise BadInput("--by must name who answers: 1 to 40 letters, digits, _ or -")


def label(args: LabelSettings) -> None:
    """Ask, or compare."""
    if args.compare:
        check_free(args.export, args.force, "--export")
        _compare(args.compare, args.export)
        return
    from run.clips.annotation import AnnotationSession, draw_label_questions

    questions = draw_label_questions(args.data, args.split, args.questions, args.seed)
    file = args.out or Path("labels") / f"{args.split}-{args.by}.jsonl"
    try:
        from run.clips.label_page import serve
    except ImportError as error:
        raise BadInput(f"the page needs Gradio ({error}): pip install 'parley-rl[label]'") from None
    session = AnnotationSession(args.split, questions, file, args.by)
    with suppress(KeyboardInterrupt):
        serve(session, args.port, args.browser)
    print(f"{len(session.answers)} of {len(questions)} questions answered by {args.by}: {file}")


def _compare(files: Sequence[Path], export: Path | None) -> None:
    """Print how far every two of the files agree; write the answers on which all agree."""
    from rich.console import Console
    from rich.table import Table

    from rewards.success_vqa.labels import agreed, agreement, read_labels

    if len(files) < 2:
        raise BadInput("--compare needs two files or more")
    read = [read_labels(file) for file in files]
    names = [", ".join(sorted({a.by for a in labels})) or "nobody" for labels in read]
    table = Table("first", "second", "both answered", "agree", "Cohen's kappa", "95 % interval")
    for i, j in combinations(range(len(files)), 2):
        both = agreement(read[i], read[j])
        cells = ("0", "", "", "")
        if both is not None:
            kappa = "" if both.kappa is None else f"{both.kappa:.2f}"
            interval = "" if both.ci95 is None else "{:.2f} to {:.2f}".format(*both.ci95)
            cells = (str(both.n), f"{both.share:.0%}", kappa, interval)
        table.add_row(names[i], names[j], *cells)
    console = Console(soft_wrap=True)
    console.print(table)
    alike, differ = agreed([a for labels in read for a in labels])
    for split, clip, text in differ:
        console.print(f"differ: {split}, clip {clip}: {text}", markup=False, highlight=False)
    if export is not None:
        lines = "".join(a.line() for a in alike.values())
        write_files({export: lambda file: file.write_text(lines, encoding="utf-8")})
        console.print(f"{len(alike)} answers on which all agree: {export}", highlight=False)
