"""``python -m run train-planner``: adapt a small language model, so that it plans well and fast."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from envs.errors import BadInput
from run.display.progress import ProgressBar
from run.evaluation.suites import chosen, find_suite
from run.storage.folder import RunFolder
from run.storage.settings import at_least, shown
from run.storage.training import CheckpointFile, CurveLog, best_of, trained, with_best

if TYPE_CHECKING:
    import torch

    from agents.planner.demonstrations import TaskFamily
    from agents.planner.options import PlannerOptions
    from agents.planner.training import Checkpoint, Progress

COLUMNS = ("stage", "step", "loss", "success", "reward", "divergence", "validation", "seconds")
VALIDATION = "planner-validation"


@dataclass(frozen=True)
class TrainPlannerSettings:
    """Adapt a language model as the Planner: imitation first, then reinforcement.

    LoRA adapters learn. First they imitate the oracle; then they play in the loop of the team, say
    each candidate as often as its probability says, and learn by policy gradient from what came of
    it, against the mean of other tries at the same episode, with a penalty for moving away from
    where imitation left them.

    The families and phrasings of training are listed in agents/planner/demonstrations.py:
    conditional, also with other deeds than picking up, and search with up to 5 items, training
    items, one paraphrase each, some irrelevant reports, some Actors that run out of steps. Now and
    then the suite planner-validation is played, and the adapters that did best there are kept.

    The run folder gets the curve as CSV, TensorBoard log and picture, and in checkpoints/ the
    adapters imitation (its best), reinforcement (its last) and final (the best of all), each of
    which is a Planner by its path. The model card of parley-135m gives the command that made it.

    Examples:
      python -m run train-planner
      python -m run train-planner --imitation-steps 20 --rl-steps 0 --validate-every 10
      python -m run train-planner --base my/model --device cuda --batch 64
      python -m run train-planner --imitation-steps 0 --init my/adapter --rl-steps 50
      python -m run train-planner --imitation-steps 0 --rl-steps 0 --init seed0 seed1 seed2
      python -m run train-planner --resume runs/train-planner/20260102-030405-planner
      python -m run episode --planner runs/train-planner/20260102-030405-planner/checkpoints/final
    """

    FREE_ON_RESUME: ClassVar[tuple[str, ...]] = ("out", "checkpoint_seconds")

    base: str = "smollm2-135m"
    """The model to adapt: a packaged name, a folder, a .gguf file or an id on the hub."""
    imitation_steps: int = 160
    """Steps of imitation; 0 leaves it out."""
    batch: int = 8
    """Dialogues in a step of imitation."""
    learning_rate: float = 1e-3
    """Imitation's highest step size."""
    objective: Literal["choices", "tokens"] = "choices"
    """choices: learn what to say where candidates part; tokens: every token of the commands."""
    strange: float = 0.0
    """Imitation: the largest share of a dialogue's words that are read as random vectors."""
    boxes: float = 0.0
    """Imitation: how often a dialogue tells of boxes and balls in place of items. In half of these
    the task says beforehand what examining would tell."""
    slips: float = 0.0
    """Imitation: how often the teacher does the wrong thing. What it does next is learned, the slip
    is not: so the Planner learns to go on after its own mistakes."""
    rl_steps: int = 20
    """Steps of reinforcement; 0 leaves it out."""
    groups: int = 8
    """Episodes in a step of reinforcement."""
    members: int = 8
    """How often each of them is played, at least 2."""
    rl_learning_rate: float = 5e-5
    """Reinforcement's highest step size."""
    kl: float = 0.5
    """Weight of the divergence from the Planner that imitation made."""
    temperature: float = 1.0
    """How freely candidates are tried out in reinforcement; above 0."""
    reward: str = "truth"
    """What is rewarded: truth (the world's own success), or the success detector: detector, or the
    folder of one. It sees only what can be seen, and no secret property can."""
    without: tuple[str, ...] = ()
    """Families to leave out, by name or pattern ("search*"); see
    agents/planner/demonstrations.py."""
    visible: bool = False
    """Visual conditionals too, reported with what matters or with all that can be seen: for a
    Planner that a learned Reporter talks to. They are then no longer zero-shot."""
    actor: Literal["scripted", "learned"] = "scripted"
    """Who carries the commands out."""
    rank: int = 16
    """Rank of the adapters."""
    prompt: Literal["short", "dialogue"] = "short"
    """Prompt of agents/planner/prompts: short, or the one of models that were not trained."""
    examples: int = 2
    """Worked examples in the prompt, read anew at each step. More is slower."""
    seed: int = 0
    """Seed of adapters, worlds and sampling."""
    validate_every: int = 40
    """Steps between two looks at validation; 0 keeps the last adapters."""
    validation_episodes: int = 60
    """Episodes for each cell of the validation suite."""
    validation_cells: Annotated[str | None, shown("NAMES", "all")] = None
    """Which cells of planner-validation to choose by, by name or pattern ("visual*"), separated by
    commas."""
    device: str = "auto"
    """Where the model learns: cpu, cuda, or auto for the best there is."""
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """The model's number format; auto takes bfloat16 where it is faster, and the run's
    settings say which. Adapters are float32."""
    threads: int = 0
    """Threads of torch; 0 for all cores. Another number gives other last digits."""
    init: tuple[str, ...] = ()
    """Adapters, by folder or name, from whose mean to start instead of a new one."""
    look: float | None = None
    """From which probability of examining on the Planner looks before it acts (see evaluate
    --help); above 1 for never. By default the highest that the adapters of --init have, and never
    for a new one."""
    contrast: float | None = None
    """How many times more what a report changes counts (see evaluate --help). By default the lowest
    that the adapters of --init have, and 0 for a new one."""
    out: Path | None = None
    """Folder to which the final adapter is also written."""
    resume: Path | None = None
    """Run folder of a run that was stopped, even killed: goes on exactly as it would have."""
    checkpoint_seconds: float = 60.0
    """Least time between two checkpoints."""
    cache: Path | None = None
    """Folder for fetched and converted weights."""
    runs_dir: Path = Path("runs")
    """Where run folders are made."""
    name: str = "planner"
    """Name at the end of the run folder."""

    def __post_init__(self) -> None:
        cells = chosen(VALIDATION, find_suite(VALIDATION), self.validation_cells)
        parts = max(len(cell.parts) for cell in cells)
        at_least(
            self,
            {
                "imitation_steps": 0,
                "batch": 1,
                "rl_steps": 0,
                "groups": 1,
                "members": 2,
                "rank": 1,
                "examples": 0,
                "seed": 0,
                "validate_every": 0,
                "validation_episodes": parts,
                "threads": 0,
                "kl": 0,
            },
        )
        for name in ("strange", "boxes", "slips"):
            if not 0 <= (value := getattr(self, name)) < 1:
                raise BadInput(f"--{name} must be from 0 to below 1, not {value}")
        for name in ("learning_rate", "rl_learning_rate", "temperature"):
            if not getattr(self, name) > 0:
                raise BadInput(f"--{name.replace('_', '-')} must be above 0")


def train_planner(args: TrainPlannerSettings) -> Path:
    """Train as ``args`` say; returns the run folder."""
    from models.language.loading import number_format

    if args.resume is None:
        dtype: Any = number_format(args.dtype, args.device)
        args = replace(args, dtype=dtype)
    return trained(args, "train-planner", _begun)


def _begun(args: TrainPlannerSettings, folder: RunFolder) -> _Training:
    from agents.planner.adapter import read_about
    from agents.planner.demonstrations import families_without
    from agents.planner.options import PlannerOptions
    from models.language.loading import load_model
    from run.detectors import check_detector

    if args.reward != "truth":
        check_detector(args.reward)
    families = families_without(args.without, args.visible)
    for name in args.init:
        read_about(_folder(name))
    options = PlannerOptions(
        device=args.device,
        dtype=args.dtype,
        cache=args.cache,
        look=args.look,
        contrast=args.contrast,
    )
    model, tokenizer = load_model(args.base, device=args.device, dtype=args.dtype, cache=args.cache)
    return _Training(args, folder, families, model, tokenizer, options)


def _folder(adapter: str) -> Path:
    from agents.planner.adapter import adapter_folder

    return adapter_folder(adapter) or Path(adapter)


class _Training:
    """One run of ``train-planner``."""

    def __init__(
        self,
        args: TrainPlannerSettings,
        folder: RunFolder,
        families: Sequence[TaskFamily],
        model: Any,
        tokenizer: Any,
        options: PlannerOptions,
    ) -> None:
        from rich.console import Console

        from agents.planner.demonstrations import RolloutCollector
        from agents.planner.training import Checkpoint, PlannerPolicy, load_adapters

        self.args = args
        self.folder = folder
        self.console = Console(stderr=True)
        self.student = PlannerPolicy(
            model,
            tokenizer,
            rank=args.rank,
            seed=args.seed,
            examples=args.examples,
            prompt=args.prompt,
            options=options,
        )
        if args.init:
            load_adapters(self.student, [_folder(name) for name in args.init], args.base)
        self.school = RolloutCollector(
            max(args.batch, args.groups * args.members), families, args.actor
        )
        self.state = CheckpointFile(folder, args.checkpoint_seconds)
        found = self.state.read()
        self.head: dict[str, Any] = found[1] if found else {}
        self.saved = Checkpoint(self.head["step"], found[0]) if found else None
        self.started = time.monotonic() - self.head.get("seconds", 0.0)
        self.stage: str = self.head.get("stage", "")
        # The best adapters so far, what they scored in validation and when that was.
        self.best: dict[str, torch.Tensor] = {}
        self.scores: dict[str, float] = self.head.get("scores", {})
        if found:
            self.best = best_of(found[0])
        self.curve: CurveLog

    def go(self) -> None:
        """Imitate, reinforce, keep the best."""
        from agents.planner.training import imitate, reinforce
        from run.detectors import episode_reward

        args = self.args
        self.curve = CurveLog(self.folder, COLUMNS, "step", self.head.get("rows", []))
        common: dict[str, Any] = {"seed": args.seed, "save": self._offer}
        if args.init and args.validate_every and not self.scores:
            self._validate("the start")
        if args.imitation_steps and self.stage != "reinforcement":
            resume = self.saved if self.stage == "imitation" else None
            self.stage = "imitation"
            with ProgressBar(self.console, self.stage, args.imitation_steps, "steps") as bar:
                imitate(
                    self.student,
                    self.school,
                    steps=args.imitation_steps,
                    batch=args.batch,
                    learning_rate=args.learning_rate,
                    objective=args.objective,
                    strange=args.strange,
                    boxes=args.boxes,
                    slips=args.slips,
                    on_progress=lambda p: self._log(p, bar, args.imitation_steps),
                    resume=resume,
                    **common,
                )
            self._take_best()
            self._save(self.folder.part("checkpoints", "imitation"))
        if args.rl_steps:
            resume = self.saved if self.stage == "reinforcement" else None
            self.stage = "reinforcement"
            with ProgressBar(self.console, self.stage, args.rl_steps, "steps") as bar:
                reinforce(
                    self.student,
                    self.school,
                    steps=args.rl_steps,
                    groups=args.groups,
                    members=args.members,
                    learning_rate=args.rl_learning_rate,
                    kl=args.kl,
                    temperature=args.temperature,
                    reward=episode_reward(args.reward, args.device, args.cache),
                    on_progress=lambda p: self._log(p, bar, args.rl_steps),
                    resume=resume,
                    **common,
                )
            self._save(self.folder.part("checkpoints", "reinforcement"))
            self._take_best()
        self.curve.close()
        self._plot()
        self._finish()

    def _log(self, progress: Progress, bar: ProgressBar, steps: int) -> None:
        """Enter a step into the curve; now and then look at validation."""
        args = self.args
        validation: float | str = ""
        if args.validate_every and (
            progress.step % args.validate_every == 0 or progress.step == steps
        ):
            validation = self._validate(f"{progress.stage} {progress.step}")
        first = args.imitation_steps if progress.stage == "reinforcement" else 0
        seconds = round(time.monotonic() - self.started, 1)
        self.curve.add(
            [
                progress.stage,
                first + progress.step,
                progress.loss,
                progress.success,
                progress.reward,
                progress.divergence,
                validation,
                seconds,
            ]
        )
        text = f"{progress.stage}: loss {progress.loss:.4f}"
        if progress.stage == "reinforcement":
            text += f", success {progress.success:.3f}"
        bar.update(text, progress.step)

    def _validate(self, when: str) -> float:
        """The validation suite's success rate; adapters that do better than all before are kept."""
        from run.commands.evaluate import success_rates

        self.student.sync()
        rates = success_rates(
            self.student.planner,
            VALIDATION,
            self.args.validation_episodes,
            cells=self.args.validation_cells,
        )
        rate = sum(rates.values()) / len(rates)
        said = ", ".join(f"{name} {r:.2f}" for name, r in rates.items())
        self.console.print(f"validation after {when}: {rate:.3f} ({said})", highlight=False)
        # Later adapters that are as good have seen more.
        if not self.best or rate >= max(self.scores.values()):
            self.best = {n: p.detach().clone() for n, p in self.student.parameters().items()}
        self.scores[when] = rate
        return rate

    def _take_best(self) -> None:
        import torch

        with torch.no_grad():
            for name, p in self.student.parameters().items():
                if name in self.best:
                    p.copy_(self.best[name])
        self.student.sync()

    def _offer(self, make: Callable[[], Checkpoint]) -> None:
        """Write a checkpoint, if the last is old enough."""
        if not self.state.is_due():
            return
        saved = make()
        tensors = with_best(saved.tensors, self.best)
        head = {
            "stage": self.stage,
            "step": saved.step,
            "rows": self.curve.rows,
            "scores": self.scores,
            "seconds": time.monotonic() - self.started,
        }
        self.state.write(tensors, head)

    def _save(self, path: Path) -> None:
        from agents.planner.training import save_adapter

        save_adapter(self.student, path, self.args.base)

    def _finish(self) -> None:
        for path in (self.folder.part("checkpoints", "final"), self.args.out):
            if path is not None:
                self._save(path)
        best = max(
            self.scores, key=lambda k: (self.scores[k], list(self.scores).index(k)), default=""
        )
        self.folder.write_json(
            "summary.json",
            {
                "command": "train-planner",
                "seed": self.args.seed,
                "n": len(self.curve.rows),
                "n_errors": 0,
                "seconds": round(time.monotonic() - self.started, 1),
                "validation": self.scores,
                "chosen": best,
            },
        )

    def _plot(self) -> None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.subplots()
        for column, label, kind in ((3, "training episodes", "-"), (6, "validation suite", "ko-")):
            rows = [
                r
                for r in self.curve.rows
                if r[column] != "" and (column == 6 or r[0] == "reinforcement")
            ]
            if rows:
                axes.plot([r[1] for r in rows], [r[column] for r in rows], kind, ms=4, label=label)
        if self.args.imitation_steps and self.args.rl_steps:
            axes.axvline(self.args.imitation_steps, color="grey", linestyle=":")
        axes.set(xlabel="step: imitation, then reinforcement", ylabel="success", ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(loc="lower right")
        figure.savefig(self.folder.part("plots", "curve.png"), dpi=120)
