"""How often a word that the grammar does not know is taken for the right word of the grammar.

    python benchmarks/wording.py
    python benchmarks/wording.py --tune

Compared on the same hand-made lists (tests/agents/wordings.json): the text encoders of
agents/actor/encoders.py and, as the one to beat, spelling alone (letter trigrams). For each slot:

- nearest: the nearest word of the slot is the right one, near enough or not;
- read: it is the right one and near enough, so that a command with it is carried out;
- misread: it is a wrong one and near enough, so that a wrong command is carried out;
- refused: words that mean no word of the slot are not near enough (far: of another kind
  altogether; near: of its kind, such as "pink").

Then whole commands, drawn with the seed from the same words: with one unseen word each, and with
every word unseen. Intervals are 95 % (Wilson). With --tune the tuning list is used instead, and the
floors that get the most of it right are printed; the test list is for the last look only. An
encoder whose weights cannot be had is left out and named. The last line of standard output is a
JSON object.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from agents.actor.encoders import ENCODERS, Encoder, unit
from agents.actor.wording import SLOTS, Match, Wording
from envs.commands import VERBS, Command
from envs.errors import BadInput
from envs.items import ALL_ITEMS
from run.summary import wilson

LISTS = Path(__file__).resolve().parent.parent / "tests" / "agents" / "wordings.json"
SPELLING = "spelling"


@dataclass(frozen=True)
class Options:
    """What to measure."""

    encoders: tuple[str, ...] = (*ENCODERS, SPELLING)
    """Text encoders by name; 'spelling' is no model at all."""

    tune: bool = False
    """Use the tuning list, and print the floors that suit it best."""

    commands: int = 200
    """Whole commands of each kind."""

    seed: int = 0
    """Seed of the whole commands."""


class SpellingEncoder:
    """Letter trigrams, hashed: near is what is spelt alike."""

    floors: Mapping[str, float] = dict.fromkeys(SLOTS, 0.2)

    def encode(self, lead: str, phrases: Sequence[str]) -> np.ndarray:
        """Counts of the trigrams of each phrase, scaled to length 1."""
        vectors = np.zeros((len(phrases), 4096))
        for row, phrase in zip(vectors, phrases, strict=True):
            padded = f"  {phrase} "
            for k in range(len(padded) - 2):
                row[zlib.crc32(padded[k : k + 3].encode()) % 4096] += 1
        return unit(vectors)


def main(options: Options) -> None:
    """Measure each encoder, print the tables, and print all figures as a JSON object."""
    lists = json.loads(LISTS.read_text("utf-8"))["tuning" if options.tune else "test"]
    console = Console(width=140)
    figures: dict[str, Any] = {}
    for name in options.encoders:
        try:
            encoder: Encoder = SpellingEncoder() if name == SPELLING else ENCODERS[name]()
        except BadInput as error:
            console.print(f"left out: {name}: {error}")
            figures[name] = None
            continue
        wording = Wording(encoder)
        figures[name] = {s: of_slot(wording, s, lists) for s in SLOTS}
        figures[name]["all slots"] = {
            what: [sum(figures[name][s][what][k] for s in SLOTS) for k in (0, 1)]
            for what in figures[name]["verb"]
        }
        table = Table("slot", *figures[name]["verb"], title=name)
        for row, cells in figures[name].items():
            table.add_row(row, *(_rate(*pair) for pair in cells.values()))
        console.print(table)
        if options.tune:
            for slot in SLOTS:
                console.print(
                    f"{slot}: most right with a floor {best_floors(wording, slot, lists)}"
                )
        figures[name]["commands"] = of_commands(wording, lists, options, console)
    print(json.dumps({"list": "tuning" if options.tune else "test", "encoders": figures}))


def of_slot(wording: Wording, slot: str, lists: Mapping[str, Any]) -> dict[str, list[int]]:
    """Counts ``[k, n]`` of each column for one slot."""
    right = lists["words"][slot]
    found = wording.nearest(slot, list(right))
    correct = [m.word == right[m.phrase] for m in found]
    near = [m.margin >= 0 for m in found]
    columns = {
        "nearest": correct,
        "read": [c and n for c, n in zip(correct, near, strict=True)],
        "misread": [n and not c for c, n in zip(correct, near, strict=True)],
    }
    for kind in ("far", "near"):
        others: list[Match] = wording.nearest(slot, lists["refuse"][kind][slot])
        columns[f"refused {kind}"] = [m.margin < 0 for m in others]
    return {what: [sum(hits), len(hits)] for what, hits in columns.items()}


def best_floors(wording: Wording, slot: str, lists: Mapping[str, Any]) -> str:
    """The floors with which most words of the list are read or refused as they should be."""
    right = lists["words"][slot]
    good = [m.cosine for m in wording.nearest(slot, list(right)) if m.word == right[m.phrase]]
    refuse = [w for kind in ("far", "near") for w in lists["refuse"][kind][slot]]
    bad = [m.cosine for m in wording.nearest(slot, refuse)]
    floors = [k / 100 for k in range(100)]
    scores = [sum(c >= f for c in good) + sum(c < f for c in bad) for f in floors]
    best = [f for f, s in zip(floors, scores, strict=True) if s == max(scores)]
    return f"from {best[0]} to {best[-1]} ({max(scores)} of {len(right) + len(refuse)})"


def of_commands(
    wording: Wording, lists: Mapping[str, Any], options: Options, console: Console
) -> dict[str, Any]:
    """Whole commands: read right, read wrong (with the verb or an item not meant), refused."""
    table = Table("commands", "read right", "read wrong", "refused", "median ms")
    found: dict[str, Any] = {}
    for kind in ("one unseen word", "all words unseen"):
        rng = np.random.default_rng(options.seed)
        counts = {"read right": 0, "read wrong": 0, "refused": 0}
        times = []
        for _ in range(options.commands):
            meant, said = draw(rng, lists["words"], kind == "one unseen word")
            start = time.perf_counter()
            try:
                result = "read right" if wording.parse(said) == meant else "read wrong"
            except BadInput:
                result = "refused"
            times.append(1000 * (time.perf_counter() - start))
            counts[result] += 1
        n = options.commands
        milliseconds = round(statistics.median(times), 1)
        table.add_row(kind, *(_rate(k, n) for k in counts.values()), str(milliseconds))
        found[kind] = {what: [k, n] for what, k in counts.items()} | {"median_ms": milliseconds}
    console.print(table)
    return found


def draw(
    rng: np.random.Generator, words: Mapping[str, Mapping[str, str]], only_one: bool
) -> tuple[Command, str]:
    """A command of three item words, and how it is said in words of the list."""
    slots = list(SLOTS)
    unseen = {slots[rng.integers(len(slots))]} if only_one else set(slots)
    said, meant = {}, {}
    other = str(ALL_ITEMS[rng.integers(len(ALL_ITEMS))])
    for slot in slots:
        # By the word that is meant, so that no word counts for more for having more synonyms.
        known = sorted(set(words[slot].values()) if slot in unseen else SLOTS[slot].words)
        meant[slot] = str(rng.choice([w for w in known if slot != "verb" or w in VERBS]))
        synonyms = sorted(s for s, w in words[slot].items() if w == meant[slot])
        said[slot] = str(rng.choice(synonyms)) if slot in unseen else meant[slot]
    end = f" next to the {other}" if meant["verb"] == "put" else ""
    parts = ("verb", "texture", "colour", "shape")
    name = [" ".join(form[p] for p in parts[1:]) for form in (meant, said)]
    command = Command.parse(f"{meant['verb']} the {name[0]}{end}")
    return command, f"{said['verb']} the {name[1]}{end}"


def _rate(k: int, n: int) -> str:
    interval = wilson(k, n)
    if interval is None:
        return "none"
    return f"{k}/{n} {k / n:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]"


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
