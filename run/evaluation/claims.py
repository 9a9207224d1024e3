"""The papers' claims as contrasts of success rates, and what a measurement says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

PAR = "arXiv 2302.00763"
VQA = "arXiv 2303.07280"


@dataclass(frozen=True)
class ClaimRun:
    """One run that a claim needs.

    Attributes:
        label: What to call it.
        command: evaluate, train-solo, train-reporter, make-clips or score-detector.
        options: The command's options. ``${label}`` stands for the weights (of make-clips: the data
            set) that an earlier run has made, ``${label:stage}`` for those of one stage of its
            recipe.
        quick: Options in place of these for ``--scale quick``.
        minutes: What it takes on two cores, at full and at quick scale.
    """

    label: str
    command: str
    options: Mapping[str, object]
    quick: Mapping[str, object]
    minutes: tuple[float, float]


@dataclass(frozen=True)
class Claim:
    """A claim of a paper.

    It holds where ``contrast``, a sum of rates with these weights, is above minus the ``margin``. A
    rate is named by the label of its run and the task; of a run without tasks the task is empty. Of
    score-detector, a rate is a balanced accuracy, and a task is ``SPLIT DETECTOR``. Where a claim
    is that something is as good, the margin says what counts as that.
    """

    name: str
    paper: str
    statement: str
    runs: Sequence[ClaimRun]
    contrast: Mapping[tuple[str, str], float]
    margin: float = 0.0


@dataclass(frozen=True)
class Rate:
    """A success rate of ``n`` episodes."""

    rate: float
    n: int


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of rates with its 95 % interval, and the margin below 0 that is allowed."""

    value: float
    low: float
    high: float
    margin: float = 0.0

    @property
    def verdict(self) -> str:
        """holds, contradicted, or not shown: by which side of minus the margin the whole interval
        is on."""
        if self.low > -self.margin:
            return "holds"
        return "contradicted" if self.high < -self.margin else "not shown at this n"


def contrast_of(
    rates: Mapping[tuple[str, str], Rate],
    weights: Mapping[tuple[str, str], float],
    margin: float = 0.0,
) -> Contrast:
    """The weighted sum of independent rates, with Wald's interval after half a success and half a
    failure were added to each (so that rates of 0 and 1 have one too).

    Args:
        rates: The rates by run and task.
        weights: Their weights.
        margin: How far below 0 is still as good.
    """
    value = sum(weight * rates[key].rate for key, weight in weights.items())
    variance = 0.0
    for key, weight in weights.items():
        n = rates[key].n
        p = (rates[key].rate * n + 0.5) / (n + 1)
        variance += weight * weight * p * (1 - p) / (n + 1)
    half = float(NormalDist().inv_cdf(0.975) * variance**0.5)
    return Contrast(value, value - half, value + half, margin)


def _few_shot(label: str, planner: str, minutes: tuple[float, float]) -> ClaimRun:
    options = {"suite": "planner", "planner": planner, "tasks": "conditional,irrelevant"}
    return ClaimRun(label, "evaluate", {**options, "episodes": 400}, {"episodes": 40}, minutes)


def _reporter(label: str, reporter: str) -> ClaimRun:
    options = {"suite": "reporter", "planner": "parley-visible", "reporter": reporter}
    options["tasks"] = "visual conditional"
    return ClaimRun(label, "evaluate", {**options, "episodes": 500}, {"episodes": 100}, (6, 1))


_TRAINING = ClaimRun(
    "training", "train-reporter", {"recipe": "learned"}, {"recipe": "quick"}, (75, 13)
)

CLAIMS: Mapping[str, Claim] = {
    claim.name: claim
    for claim in (
        Claim(
            "loop-beats-scratch",
            PAR,
            "A pretrained Planner with an Actor solves what RL from scratch on the whole task does "
            "not.",
            (
                ClaimRun(
                    "team",
                    "evaluate",
                    {"suite": "baselines", "tasks": "conditional small", "episodes": 100},
                    {"episodes": 40},
                    (2, 0.5),
                ),
                ClaimRun(
                    "scratch",
                    "train-solo",
                    {"task": "conditional", "steps": 4_000_000, "threads": 1},
                    {"steps": 65_536, "score_episodes": 100, "evaluate_every": 0},
                    (60, 2),
                ),
            ),
            {("team", "conditional small"): 1.0, ("scratch", ""): -1.0},
        ),
        Claim(
            "size-buys-robustness",
            PAR,
            "A larger language model loses less to irrelevant reports than a smaller one.",
            (
                _few_shot("small", "smollm2-135m", (4, 0.5)),
                _few_shot("large", "qwen2.5-coder-1.5b", (25, 3)),
            ),
            {
                ("large", "irrelevant"): 1.0,
                ("large", "conditional"): -1.0,
                ("small", "irrelevant"): -1.0,
                ("small", "conditional"): 1.0,
            },
        ),
        Claim(
            "reporter-improves",
            PAR,
            "A Reporter that can describe learns by RL what matters to the Planner.",
            (
                _TRAINING,
                _reporter("before", "${training:captioning}"),
                _reporter("after", "${training}"),
            ),
            {("after", "visual conditional"): 1.0, ("before", "visual conditional"): -1.0},
        ),
        Claim(
            "detector-as-truth",
            VQA,
            "Rewarded by the detector's answers, a Reporter becomes as good as rewarded by the "
            "truth (at most 0.05 worse).",
            (
                _TRAINING,
                ClaimRun(
                    "by-truth",
                    "train-reporter",
                    {
                        "init": "${training:captioning}",
                        "steps": 0,
                        "rl_steps": 48,
                        "planner": "parley-visible",
                        "validate_every": 16,
                        "threads": 1,
                    },
                    {"rl_steps": 12, "validate_every": 6},
                    (30, 6),
                ),
                _reporter("detector", "${training}"),
                _reporter("truth", "${by-truth}"),
            ),
            {("detector", "visual conditional"): 1.0, ("truth", "visual conditional"): -1.0},
            margin=0.05,
        ),
        Claim(
            "pretrained-beats-bespoke",
            VQA,
            "A detector with pretrained language beats a bespoke one on language that neither was "
            "trained on.",
            (
                ClaimRun(
                    "clips",
                    "make-clips",
                    {"test_clips": 2400, "splits": ("test3",)},
                    {"test_clips": 64},
                    (8, 0.5),
                ),
                ClaimRun(
                    "scores",
                    "score-detector",
                    {"data": "${clips}", "splits": ("test3",), "clips": 2000},
                    {"clips": 64},
                    (12, 1),
                ),
            ),
            {("scores", "test3 detector"): 1.0, ("scores", "test3 baseline"): -1.0},
        ),
    )
}
