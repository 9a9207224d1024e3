"""How many decisions a second the language Planners make, beside the plain way and the limit.

    python benchmarks/planner_speed.py
    python benchmarks/planner_speed.py --planners smollm2-135m qwen2.5-coder-1.5b --examples 13
    python benchmarks/planner_speed.py --batches 1 32 --scoring constrained --dtype float32
    python benchmarks/planner_speed.py --planners parley-135m --profile

For each Planner and each number of parallel dialogues, in turns, round after round:

- first: the first turn of new dialogues, 6 candidates each. The examples are read before.
- second: their next turn, 8 candidates each; what is new is a command and its report.
- plain: one first turn, the full prompt read again for each candidate: one by one, as lamorel
  does, or side by side in one batch; the faster of the two counts.
- limit: what the passes of the first turn would take if nothing but the model's own matrix
  products were done, each as fast as it is measured here alone (the same matrices, rows, number
  format and threads), attention as fast as the fastest of these; or, where that is more, if the
  weights were read once a pass at the measured speed of memory.
- profile, if asked for: where the time of one more first turn goes, for each number of dialogues.

Stated are medians with their range. They go to table.md, results.json and plot.png in the output
folder. The last line of standard output is a JSON object: for each Planner decisions a second at
the first turn by number of dialogues, how many times those of the plain way that is, the share of
the limit reached, the largest difference of a score from the plain way's, and the profile's shares.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

from agents.dialogue import Dialogue, Turn
from agents.grounding import ground
from agents.planner.language import LanguagePlanner
from agents.planner.options import PlannerOptions
from agents.planner.registry import make_planner
from envs.commands import Command
from envs.errors import BadInput
from envs.items import TRAIN_ITEMS
from models.language.candidate_scores import uncached_scores
from models.language.packed_attention import PackedBatch
from run.display.markdown import markdown_table

VERBS = ("examine", "pick up")  # times 3 items named, 4 at the second turn
BANDWIDTH_MB = 256  # read at once to measure the memory's speed, more than any cache holds
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")  # what torch calls its matrix products
# Of a profile: matrix products, attention, torch's other steps, and what is not torch's.
KINDS = ("products", "attention", "others", "outside")
HEAD = ("planner", "dialogues", "what", "decisions a second", "range", "n", "share of limit")
PROFILE_HEAD = ("planner", "dialogues", *KINDS)


@dataclass(frozen=True)
class PlannerSpeedOptions:
    """What to compare, and how often."""

    planners: tuple[str, ...] = ("smollm2-135m",)
    """Language models by any name that --planner takes."""

    batches: tuple[int, ...] = (1, 8, 32, 128)
    """Numbers of parallel dialogues."""

    rounds: int = 3
    """How often each is measured, in turns and with new dialogues."""

    plain_rounds: int = 2
    """In how many of the rounds the plain ways are measured too, which are slow."""

    examples: int = 0
    """Worked examples in the prompt."""

    scoring: Literal["auto", "length-normalised", "constrained"] = "auto"
    """What a score is."""

    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Number format; auto is the Planner's own choice."""

    group: int = 0
    """Dialogues in a pass; 0 is the Planner's own choice."""

    profile: bool = False
    """Also tell where the time of a first turn goes, from torch's profiler."""

    output: Path = Path("runs/planner-speed")
    """Folder of the table and the plot."""

    seed: int = 0
    """Seed of the dialogues."""


@dataclass
class Pass:
    """What one forward pass needs."""

    tokens: int
    logits: int
    attention_flops: float


@dataclass
class PlannerMeasurements:
    """The measurements of one Planner: decisions a second by (dialogues, what)."""

    planner: str
    rates: dict[tuple[int, str], list[float]] = field(default_factory=dict)
    shares: dict[int, list[float]] = field(default_factory=dict)
    profiles: dict[int, dict[str, float]] = field(default_factory=dict)
    difference: float = 0.0

    def add(self, dialogues: int, what: str, rate: float) -> None:
        self.rates.setdefault((dialogues, what), []).append(rate)

    def median(self, dialogues: int, what: str) -> float:
        return statistics.median(self.rates[dialogues, what])


def main(options: PlannerSpeedOptions) -> None:
    """Measure, write the folder, print the table and the ratios."""
    if min(options.batches, default=0) < 1 or options.rounds < 1 or options.plain_rounds < 1:
        raise BadInput("--batches, --rounds and --plain-rounds need numbers from 1")
    options.output.mkdir(parents=True, exist_ok=True)
    measurements: list[PlannerMeasurements] = []
    for name in options.planners:
        settings = PlannerOptions(
            examples=options.examples,
            scoring=options.scoring,
            dtype=options.dtype,
            group=options.group,
        )
        planner = make_planner(name, settings)
        if not isinstance(planner, LanguagePlanner):
            raise BadInput(f"planner '{name}' is no language model that runs here")
        measurements.append(measure(name, planner, options))
        write(options.output, measurements)  # a killed run keeps what it has
    for head, content in tables(measurements):
        table = Table(*head)
        for row in content:
            table.add_row(*row)
        Console(width=120).print(table)
    print(f"table and plot: {options.output}")
    print(json.dumps(summary(measurements)))


def dialogues(n: int, seed: int) -> tuple[list[Dialogue], list[Dialogue]]:
    """Conditional tasks on items drawn at random, before and after their first turn."""
    rng = np.random.default_rng(seed)
    first, second = [], []
    for i in range(n):
        a, b, c, d = (TRAIN_ITEMS[k] for k in rng.choice(len(TRAIN_ITEMS), 4, replace=False))
        task = f"If the {a} is good, pick up the {b}, otherwise pick up the {c}."
        examine = Command("examine", a)
        report = f"I examined the {a}, it has secret property bad. I see the {d}."
        first.append(Dialogue(task, VERBS, (), world=i, seed=seed + i))
        second.append(first[-1].add(Turn(examine.sentence(), examine, ground(report, examine))))
    return first, second


def measure(
    name: str, planner: LanguagePlanner, options: PlannerSpeedOptions
) -> PlannerMeasurements:
    """All measurements of one Planner, interleaved."""
    measured = PlannerMeasurements(name)
    log = Console(stderr=True)
    planner.choose(dialogues(1, options.seed)[0])  # reads the examples, warms up
    passes = _record(planner)
    for k in range(options.rounds):
        for n in options.batches:
            log.print(f"{name}: round {k + 1}, {n} dialogues", highlight=False)
            first, second = dialogues(n, options.seed + 1000 * (k + 1))
            planner.begin(None)
            passes.clear()
            taken, decisions = _timed(lambda some=first: planner.choose(some))
            measured.add(n, "first", n / taken)
            measured.shares.setdefault(n, []).append(limit_s(planner, passes) / taken)
            taken, _ = _timed(lambda some=second: planner.choose(some))
            measured.add(n, "second", n / taken)
        if k < options.plain_rounds:
            scores = [*decisions[0].scores.values()]
            for way in ("one by one", "batched"):
                batched = way == "batched"
                taken, plain = _timed(lambda d=first[0], b=batched: _plain(planner, d, b))
                measured.add(1, f"plain, {way}", 1 / taken)
                gaps = [abs(a - b) for a, b in zip(scores, plain, strict=True)]
                measured.difference = max(measured.difference, *gaps)
    if options.profile:
        for n in options.batches:
            first, _ = dialogues(n, options.seed)
            planner.begin(None)
            measured.profiles[n] = profile(lambda some=first: planner.choose(some))
    return measured


def profile(work: Callable[[], Any]) -> dict[str, float]:
    """The share of each of `KINDS` in the time that some work takes on the processor."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        taken, _ = _timed(work)
    shares = dict.fromkeys(KINDS, 0.0)
    for one in seen.key_averages():
        name = one.key.removeprefix("aten::")
        kind = "products" if name in PRODUCTS else "attention" if "attention" in name else "others"
        shares[kind] += one.self_cpu_time_total / 1e6 / taken
    shares["outside"] = max(0.0, 1 - sum(shares.values()))
    return shares


def _plain(planner: LanguagePlanner, dialogue: Dialogue, batched: bool) -> list[float]:
    """Everything that the plain way has to do, from the text on."""
    text = planner.prompt.render(dialogue)
    context, continuations = planner._split(
        text, [f" {c.sentence()}" for c in dialogue.candidates()]
    )
    return uncached_scores(planner.model, context, continuations, batched, planner.scoring)


def _timed(work: Callable) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def _record(planner: LanguagePlanner) -> list[Pass]:
    """A list to which each coming pass of the Planner is added."""
    passes: list[Pass] = []
    run = planner.scorer._run
    config = planner.model.config
    heads = config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)

    def recorded(
        tokens: Sequence[int], positions: Sequence[int], batch: PackedBatch, rows: Sequence[int]
    ) -> torch.Tensor:
        pairs = int((batch.mask.flatten(0, 2)[batch.unpadded] == 0).sum())
        pairs += len(tokens) * (0 if batch.prefix is None else batch.prefix.shape[2])
        flops = 4.0 * pairs * width * len(batch.states)  # a product with keys, one with values
        passes.append(Pass(len(tokens), len(rows), flops))
        return run(tokens, positions, batch, rows)

    planner.scorer._run = recorded  # type: ignore[method-assign]
    return passes


def limit_s(planner: LanguagePlanner, passes: Sequence[Pass]) -> float:
    """The seconds that these passes need at least, measured on this machine now."""
    head = planner.model.get_output_embeddings()
    body = [w for m in planner.model.modules() if m is not head and (w := _matrix(m)) is not None]
    last = [w for w in [_matrix(head)] if w is not None]
    weight_bytes = sum(w.numel() * w.element_size() for w in body + last)
    read_s = weight_bytes / _bandwidth()
    total = 0.0
    timed: dict[tuple[int, bool], float] = {}
    for one in passes:
        products = 0.0
        fastest = 0.0
        for matrices, n in ((body, one.tokens), (last, one.logits)):
            # Passes of about one size are as quick a token.
            size = round(n / 256) * 256 or n
            key = size, matrices is body
            if n and key not in timed:
                timed[key] = _products_s(matrices, size)
            products += timed[key] * n / size if n else 0.0
            if n and matrices is body:
                fastest = 2 * size * sum(w.numel() for w in matrices) / timed[key]
        total += max(read_s, products + one.attention_flops / fastest)
    return total


def _matrix(module: torch.nn.Module) -> torch.Tensor | None:
    """A module's matrix ``[out, in]``, None where it does not multiply by one."""
    weight = getattr(module, "weight", None)
    if isinstance(module, torch.nn.Linear):
        return module.weight
    if type(module).__name__ == "Conv1D" and isinstance(weight, torch.Tensor):  # as GPT-2 has
        return weight.T
    return None


def _products_s(matrices: Sequence[torch.Tensor], rows_: int) -> float:
    """Seconds for the product of so many rows with each matrix, the best of three."""
    if not matrices:
        return 0.0
    inputs = {w.shape[1]: torch.randn(1, rows_, w.shape[1]).to(w) for w in matrices}
    best = float("inf")
    with torch.inference_mode():
        for _ in range(3):
            start = time.perf_counter()
            for w in matrices:
                torch.nn.functional.linear(inputs[w.shape[1]], w)
            if matrices[0].is_cuda:
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - start)
    return best


def _bandwidth() -> float:
    """Bytes a second at which memory is read, the best of five."""
    data = torch.ones(BANDWIDTH_MB << 18)
    return BANDWIDTH_MB * 2**20 / min(_timed(data.sum)[0] for _ in range(5))


def plain_rate(measured: PlannerMeasurements) -> float:
    """Decisions a second of the faster plain way."""
    return max(measured.median(1, f"plain, {way}") for way in ("one by one", "batched"))


def summary(measurements: Sequence[PlannerMeasurements]) -> dict[str, Any]:
    """The figures by Planner, as the last line gives them."""
    figures = {}
    for one in measurements:
        first = {n: one.median(n, "first") for n in one.shares}
        figures[one.planner] = {
            "decisions_per_second": {str(n): round(rate, 2) for n, rate in first.items()},
            "second_turns_per_second": {
                str(n): round(one.median(n, "second"), 2) for n in one.shares
            },
            "vs_plain": {str(n): round(rate / plain_rate(one), 1) for n, rate in first.items()},
            "share_of_limit": {
                str(n): round(statistics.median(shares), 3) for n, shares in one.shares.items()
            },
            "max_abs_difference": one.difference,
        }
        if one.profiles:
            figures[one.planner]["profile"] = {
                str(n): {kind: round(share, 3) for kind, share in shares.items()}
                for n, shares in one.profiles.items()
            }
    return figures


def rows(measurements: Sequence[PlannerMeasurements]) -> list[tuple[str, ...]]:
    """The table's rows."""
    table_rows = []
    for one in measurements:
        for (n, what), rates in one.rates.items():
            share = statistics.median(one.shares[n]) if what == "first" else None
            table_rows.append(
                (
                    one.planner,
                    str(n),
                    what,
                    f"{statistics.median(rates):.2f}",
                    f"{min(rates):.2f} to {max(rates):.2f}",
                    str(len(rates)),
                    "" if share is None else f"{share:.2f}",
                )
            )
    return table_rows


def tables(
    measurements: Sequence[PlannerMeasurements],
) -> list[tuple[tuple[str, ...], list[tuple[str, ...]]]]:
    """The head and the rows of each table: the rates, and the profiles where there are some."""
    profiled = [
        (one.planner, str(n), *(f"{shares[kind]:.2f}" for kind in KINDS))
        for one in measurements
        for n, shares in one.profiles.items()
    ]
    return [(HEAD, rows(measurements)), *([(PROFILE_HEAD, profiled)] if profiled else [])]


def write(folder: Path, measurements: Sequence[PlannerMeasurements]) -> None:
    """The tables to read, the figures to reckon with, the plot."""
    markdown = ["\n".join(markdown_table(head, content)) for head, content in tables(measurements)]
    (folder / "table.md").write_text("\n\n".join(markdown) + "\n", "utf-8")
    (folder / "results.json").write_text(
        json.dumps(summary(measurements), indent=1) + "\n", "utf-8"
    )
    plot(folder / "plot.png", measurements)


def plot(path: Path, measurements: Sequence[PlannerMeasurements]) -> None:
    """Decisions a second over the number of dialogues, first and second turns, and the limit."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panel = pyplot.subplots(figsize=(8, 4.5))
    for k, one in enumerate(measurements):
        numbers = sorted(one.shares)
        for what, style in (("first", "-"), ("second", "--")):
            rates = [one.rates[n, what] for n in numbers]
            middle = [statistics.median(r) for r in rates]
            below = [m - min(r) for m, r in zip(middle, rates, strict=True)]
            above = [max(r) - m for m, r in zip(middle, rates, strict=True)]
            panel.errorbar(
                numbers,
                middle,
                yerr=[below, above],
                color=f"C{k}",
                linestyle=style,
                marker="o",
                capsize=2,
                label=f"{one.planner}, {what} turn",
            )
        limits = [one.median(n, "first") / statistics.median(one.shares[n]) for n in numbers]
        panel.plot(numbers, limits, color=f"C{k}", linestyle=":", label=f"{one.planner}, limit")
        panel.axhline(plain_rate(one), color=f"C{k}", alpha=0.4, label=f"{one.planner}, plain")
    panel.set(xscale="log", yscale="log", xlabel="parallel dialogues")
    panel.set_ylabel("decisions a second (median, range)")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


if __name__ == "__main__":
    try:
        main(tyro.cli(PlannerSpeedOptions, description=__doc__))
    except BadInput as error:
        print(error, file=sys.stderr)
        sys.exit(2)
