"""How much faster the token trie on a shared memory scores than the plain way.

    python benchmarks/planner_speed.py
    python benchmarks/planner_speed.py --model qwen2.5-coder-1.5b --repeats 3 --plain-repeats 1

Compared, interleaved in one run, on the same dialogues, with 8 examples and 8 candidates:

- trie: what the Planner does. The examples are read once before the clock starts (as they are
  before the first episode); the dialogue's text and all its candidates are read in one pass.
- plain, one by one: the full prompt again for each candidate, as lamorel does.
- plain, batched: the same full prompts side by side in one pass. The faster of the two counts.

Scores are compared in float32. Then decisions a second for 1, 8 and 32 parallel dialogues in
the number format that the Planner chooses by itself on this machine. The last line of standard
output is a JSON object with ``scored_vs_plain`` and ``max_abs_difference``.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from agents.dialogue import Dialogue, Turn
from agents.planner.language import LanguagePlanner
from agents.planner.options import PlannerOptions
from agents.planner.scoring import Question, Tokens, plain_scores
from envs.commands import Command
from envs.items import TRAIN_ITEMS

EXAMPLES = 8
CANDIDATES = 8
VERBS = ("examine", "pick up")  # times 4 items named: 8 candidates
BATCHES = (1, 8, 32)


@dataclass(frozen=True)
class Options:
    """What to compare, and how often."""

    model: str = "smollm2-135m"
    """A language model by any name that --planner takes."""

    repeats: int = 5
    """Measurements of the trie, each with a new dialogue."""

    plain_repeats: int = 2
    """Measurements of each plain way, which is slow."""

    dtype: str = "float32"
    """Number format of the comparison; decisions a second are measured in the best one."""

    seed: int = 0
    """Seed of the dialogues."""


def main(options: Options) -> None:
    """Measure, print a table, and print the ratios as a JSON object."""
    planner = _planner(options.model, options.dtype)
    ratio, difference, rows = compare(planner, options)
    best = planner if options.dtype == "auto" else _planner(options.model, "auto", planner)
    rows += throughput(best, options)
    table = Table("what", "median s", "range s", "decisions a second")
    for row in rows:
        table.add_row(*row)
    Console(width=110).print(table)
    print(
        json.dumps(
            {
                "model": options.model,
                "examples": EXAMPLES,
                "candidates": CANDIDATES,
                "scored_vs_plain": round(ratio, 2),
                "max_abs_difference": difference,
            }
        )
    )


def _planner(name: str, dtype: str, old: LanguagePlanner | None = None) -> LanguagePlanner:
    if old is not None:
        del old.scorer, old.model  # room for the second one
    return LanguagePlanner.load(name, PlannerOptions(examples=EXAMPLES, dtype=dtype))


def dialogues(n: int, seed: int) -> list[Dialogue]:
    """Conditional tasks on items drawn at random, after one turn, each with 8 candidates."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        a, b, c, d = (TRAIN_ITEMS[k] for k in rng.choice(len(TRAIN_ITEMS), 4, replace=False))
        task = f"If the {a} is good, pick up the {b}, otherwise pick up the {c}."
        examine = Command("examine", a)
        report = f"I examined the {a}, it has secret property bad. I see the {d}."
        turn = Turn(examine.sentence(), examine, report)
        made.append(Dialogue(task, VERBS, (turn,), world=i, seed=seed + i))
    return made


def compare(
    planner: LanguagePlanner, options: Options
) -> tuple[float, float, list[tuple[str, str, str, str]]]:
    """Speed-up over the faster plain way, largest difference of two scores, and table rows."""
    asked = dialogues(options.repeats, options.seed)
    planner.choose(asked[:1])  # reads the examples, warms up
    planner.begin(None)
    times: dict[str, list[float]] = {"trie": [], "plain, one by one": [], "plain, batched": []}
    difference = 0.0
    for k, dialogue in enumerate(asked):
        fast = _timed(times["trie"], lambda d=dialogue: planner.choose([d])[0].scores.values())
        if k >= options.plain_repeats:
            continue
        Console(stderr=True).print(f"dialogue {k + 1}: the plain ways")
        for way in ("plain, one by one", "plain, batched"):
            slow = _timed(times[way], lambda d=dialogue, w=way: _plain(planner, d, "batched" in w))
            assert len(fast) == len(slow) == CANDIDATES
            difference = max(difference, *(abs(a - b) for a, b in zip(fast, slow, strict=True)))
    medians = {way: statistics.median(t) for way, t in times.items()}
    plain = min(medians["plain, one by one"], medians["plain, batched"])
    kind = str(planner.model.dtype).removeprefix("torch.")
    rows = [_row(f"{way} ({kind}), 1 dialogue", t, 1) for way, t in times.items()]
    return plain / medians["trie"], difference, rows


def _plain(planner: LanguagePlanner, dialogue: Dialogue, batched: bool) -> list[float]:
    """Everything that the plain way has to do, from the text on."""
    question: Question = planner._question(dialogue)
    tails: tuple[Tokens, ...] = question.tails
    return plain_scores(planner.model, question.context, tails, batched)


def throughput(planner: LanguagePlanner, options: Options) -> list[tuple[str, str, str, str]]:
    """Table rows: a second of the Planner's own way, for 1, 8 and 32 dialogues together."""
    kind = str(planner.model.dtype).removeprefix("torch.")
    times: dict[int, list[float]] = {n: [] for n in BATCHES}
    planner.choose(dialogues(1, options.seed))
    for repeat in range(min(3, options.repeats)):
        for n in BATCHES:
            batch = dialogues(n, options.seed + 1000 * (repeat + 1))
            planner.begin(None)
            _timed(times[n], lambda b=batch: planner.choose(b))
    return [_row(f"trie ({kind}), {n} dialogues", t, n) for n, t in times.items()]


def _timed(times: list[float], work: Callable) -> list:
    start = time.perf_counter()
    found = list(work())
    times.append(time.perf_counter() - start)
    return found


def _row(what: str, times: list[float], n: int) -> tuple[str, str, str, str]:
    middle = statistics.median(times)
    return (
        what,
        f"{middle:.3f}",
        f"{min(times):.3f} to {max(times):.3f} (n={len(times)})",
        f"{n / middle:.2f}",
    )


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
