"""How many episodes a second the Reporter's reinforcement plays and learns from, and where the time
goes; beside the same training done one episode at a time.

    python benchmarks/reporter_training.py
    python benchmarks/reporter_training.py --reporter my/reporter --planner my/planner --rounds 3

In turns, round after round: one step of reinforcement on groups x members episodes that are played
together, and the plain way: one episode at a time, one report at a time to learn from. The time of
the first is split into world (the engine's steps), actor, planner, sampling (of reports), detector
and gradient (all else, of which nearly all is learning).

Medians go to table.md and results.json in the output folder. The last line of standard output is a
JSON object: episodes a second of both, how many times the second the first is, and the shares.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

from agents.actor import make_actor
from agents.planner.options import PlannerOptions
from agents.planner.registry import make_planner
from agents.reporter.learned import LearnedReporter, load_reporter
from agents.reporter.network import ReporterConfig, ReporterNetwork
from agents.reporter.reinforcement import (
    PolicyUpdateConfig,
    ReporterReinforcement,
    ReporterReinforcementConfig,
    ReportRecorder,
    RewardComponent,
    success_component,
    update_policy,
)
from agents.team import Team
from agents.trajectory import TrajectoryCallback
from envs import make_worlds
from envs.errors import BadInput
from models.language.loading import load_model
from models.training.process_group import ProcessGroup
from models.training.trainer import Trainer
from rewards.reward import DetectorReward
from rewards.success_vqa.loading import load_detector
from run.reward_functions import episode_component

MAX_TURNS = 8
PARTS = ("world", "actor", "planner", "sampling", "detector", "gradient")


@dataclass(frozen=True)
class ReporterTrainingOptions:
    """What to measure, and how often."""

    reporter: Path | None = None
    """Folder of a trained Reporter; without it, one that has learned nothing, which talks on."""
    base: str = "smollm2-135m"
    """Language model of a Reporter that has learned nothing."""
    planner: str = "parley-135m"
    """The Planner."""
    detector: str = "detector"
    """The detector that rewards episodes; truth for none."""
    groups: int = 8
    """Worlds in a step."""
    members: int = 8
    """How often each is played."""
    alone: int = 4
    """Episodes that are played one at a time in a round."""
    rounds: int = 3
    """How often each way is measured."""
    threads: int = 0
    """Threads of torch; 0 for all cores."""
    out: Path = Path("runs/reporter-training")
    """Where the tables go."""


@dataclass
class Clock:
    """Adds up the seconds of parts; what a part calls of another is that one's."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    _open: list[float] = field(default_factory=list)

    def timed(self, part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            self._open.append(0.0)
            try:
                return work(*args, **kwargs)
            finally:
                took = time.perf_counter() - began
                self.seconds[part] += took - self._open.pop()
                if self._open:
                    self._open[-1] += took

        return wrapped


def main(options: ReporterTrainingOptions) -> None:
    """Measure, and write it down."""
    if options.rounds < 1 or options.alone < 1:
        raise BadInput("--rounds and --alone must be at least 1")
    if options.threads:
        torch.set_num_threads(options.threads)
    planner = make_planner(options.planner, PlannerOptions(device="cpu"))
    actor = make_actor("scripted")
    network, reference = _network(options), _network(options)
    reference.load_state_dict(network.state_dict())
    clock = Clock()
    components: dict[str, tuple[float, RewardComponent]] = {"truth": (1.0, success_component)}
    if options.detector != "truth":
        judged = episode_component(DetectorReward(load_detector(options.detector, "cpu")))
        components["episode"] = (1.0, clock.timed("detector", judged))
    together = make_worlds("visual-conditional", options.groups * options.members, items="train")
    alone = make_worlds("visual-conditional", 1, items="train")
    planner.choose = clock.timed("planner", planner.choose)  # type: ignore[method-assign]
    actor.execute = clock.timed("actor", actor.execute)  # type: ignore[method-assign]
    network.report = clock.timed("sampling", network.report)  # type: ignore[method-assign]
    for worlds in (together, alone):
        worlds.step = clock.timed("world", worlds.step)  # type: ignore[method-assign]

    def step(seed: int) -> float:
        """Seconds of one step of reinforcement."""
        began = time.perf_counter()
        config = ReporterReinforcementConfig(
            1, options.groups, options.members, 1e-6, max_turns=MAX_TURNS, seed=seed
        )
        stage = ReporterReinforcement(
            network, reference, planner, actor, together, components, config
        )
        Trainer([stage]).train()
        return time.perf_counter() - began

    parameters = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, 1e-6)
    processes = ProcessGroup(network.device)

    def one(seed: int) -> float:
        """Seconds of one episode by itself, and of learning from it."""
        began = time.perf_counter()
        recorder = ReportRecorder(LearnedReporter(network, 1.0, seed))
        trajectories = TrajectoryCallback()
        episodes = Team(planner, actor, recorder, MAX_TURNS).play(alone, [seed], trajectories)
        reports = [recorder.reports[0]]
        gain = sum(
            w * component(episodes, trajectories, reports)[0]
            for w, component in components.values()
        )
        update_policy(
            network,
            reference,
            [(r, gain - 0.5) for r in reports[0]],
            optimiser,
            PolicyUpdateConfig(batch=1),
            step=0,
            learning_rate=1e-6,
            rng=np.random.default_rng(seed),
            processes=processes,
        )
        return time.perf_counter() - began

    n = options.groups * options.members
    step(0)  # compiles, fills caches
    one(0)
    rates: dict[str, list[float]] = {"together": [], "alone": []}
    shares: list[dict[str, float]] = []
    for k in range(1, options.rounds + 1):
        clock.seconds = dict.fromkeys(PARTS, 0.0)
        took = step(k)
        clock.seconds["gradient"] = took - sum(clock.seconds.values())
        shares.append({part: s / took for part, s in clock.seconds.items()})
        rates["together"].append(n / took)
        rates["alone"].append(options.alone / sum(one(1000 * k + j) for j in range(options.alone)))
    _tell(options, rates, shares)


def _network(options: ReporterTrainingOptions) -> ReporterNetwork:
    if options.reporter is not None:
        return load_reporter(options.reporter, "cpu").network
    torch.manual_seed(0)
    model, tokenizer = load_model(options.base, device="cpu")
    return ReporterNetwork(model, tokenizer, ReporterConfig(options.base)).eval()


def _tell(
    options: ReporterTrainingOptions, rates: dict[str, list[float]], shares: list[dict[str, float]]
) -> None:
    together, alone = (statistics.median(rates[k]) for k in ("together", "alone"))
    share = {p: statistics.median(s[p] for s in shares) for p in PARTS}
    table = Table(title="the Reporter's reinforcement")
    lines = ["| way | episodes a second |", "|---|---|"]
    for head in ("way", "episodes a second"):
        table.add_column(head)
    for name, measured in rates.items():
        row = (
            name,
            f"{statistics.median(measured):.2f} ({min(measured):.2f} to {max(measured):.2f})",
        )
        table.add_row(*row)
        lines.append(f"| {' | '.join(row)} |")
    lines += ["", "| part | share of the time, together |", "|---|---|"]
    lines += [f"| {p} | {s:.3f} |" for p, s in share.items()]
    console = Console(stderr=True)
    console.print(table)
    console.print(", ".join(f"{p} {s:.0%}" for p, s in share.items()), highlight=False)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    results = {"episodes_per_second": rates, "shares": shares}
    (options.out / "results.json").write_text(json.dumps(results, indent=2), encoding="utf-8")
    figures = {
        "together": round(together, 3),
        "alone": round(alone, 3),
        "times": round(together / alone, 2),
        "shares": {p: round(float(np.clip(s, 0, 1)), 3) for p, s in share.items()},
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(tyro.cli(ReporterTrainingOptions))
