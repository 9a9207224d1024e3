"""``python -m run reproduce``: run what tests a claim of the papers, and say what came out."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from envs.errors import BadInput, unknown
from models.references import read_json
from run.display.live import say
from run.evaluation.claims import CLAIMS, Claim, ClaimRun, Rate, contrast_of
from run.recipes.recipe import run_command, settings_class
from run.recipes.runner import RecipeSettings, start_recipe
from run.storage.folder import RunFolder
from run.storage.resume import check_resumed
from run.storage.settings import from_json, shown, to_json

REFERENCE = re.compile(r"\$\{([\w-]+)(?::([\w-]+))?\}")


@dataclass(frozen=True)
class ReproduceSettings:
    """Test a claim of the papers: run what it takes, and say whether it holds here.

    A claim is a contrast of rates. It holds where the whole 95 % interval of the contrast is above
    0, is contradicted where it is below, and else is not shown at this number of episodes. (That
    one thing is as good as another holds above -0.05.) docs/claims.md has what was measured at full
    scale.

    Claims:
      loop-beats-scratch: the team against PPO on the whole task
      size-buys-robustness: what irrelevant reports cost a small and a large language model
      reporter-improves: a Reporter before and after reinforcement by the detector's answers
      detector-as-truth: a Reporter rewarded by the detector, and one rewarded by the truth
      pretrained-beats-bespoke: the detector against one without pretrained language, new words

    Examples:
      python -m run reproduce
      python -m run reproduce size-buys-robustness --scale quick
      python -m run reproduce reporter-improves
      python -m run reproduce --resume runs/reproduce/20260102-030405-reporter-improves
    """

    FREE_ON_RESUME: ClassVar[tuple[str, ...]] = ()
    USUAL: ClassVar[tuple[str, ...]] = ("scale", "seed", "resume")

    claim: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[CLAIM]")] = ""
    """The claim; without one, all are listed with what they cost."""
    scale: Literal["full", "quick"] = "full"
    """full: as many episodes and steps as in the documentation; quick: few, in minutes."""
    seed: int = 0
    """Seed of all its runs."""
    runs_dir: Path = Path("runs")
    """Folder in which run folders are made."""
    name: str | None = None
    """End of the run folder's name; by default that of the claim."""
    resume: Annotated[Path | None, shown("RUN_FOLDER", "none")] = None
    """Continue a run that was stopped, with its own settings: what has ended is not run again."""

    def __post_init__(self) -> None:
        if self.claim and self.claim not in CLAIMS:
            raise unknown("claim", self.claim, CLAIMS)
        if self.seed < 0:
            raise BadInput(f"--seed must be at least 0, not {self.seed}")


def reproduce(settings: ReproduceSettings) -> Path:
    """Run a claim's runs and return the run folder.

    Raises:
        BadInput: A run cannot be made or fails.
    """
    if not settings.claim:
        _list()
        return Path()
    check_resumed(settings, "reproduce")
    claim = CLAIMS[settings.claim]
    say(f"{claim.name} ({claim.paper}): {claim.statement}")
    say(f"It takes about {_minutes(claim, settings.scale):g} minutes on two cores.")
    name = settings.name or claim.name
    with _folder(settings, name) as folder:
        rates: dict[tuple[str, str], Rate] = {}
        runs: dict[str, Path] = {}
        for run in claim.runs:
            ended = _ended(run, folder)
            say(f"{run.label}: {run.command}{' has ended' if ended else ''}")
            runs[run.label] = ended or _run(run, settings, folder, runs)
            rates |= {
                (run.label, task): rate
                for task, rate in _rates(runs[run.label], run.command).items()
            }
        unknown_rates = [" ".join(key).strip() for key in claim.contrast if key not in rates]
        if unknown_rates:
            raise BadInput(
                f"there is no success rate of {unknown_rates[0]}: all its episodes broke; see "
                f"{folder.path}"
            )
        contrast = contrast_of(rates, claim.contrast, claim.margin)
        summaries = [read_json(run / "summary.json") or {} for run in runs.values()]
        folder.write_json(
            "summary.json",
            {
                "command": "reproduce",
                "claim": claim.name,
                "scale": settings.scale,
                "seed": settings.seed,
                "n": sum(rates[key].n for key in claim.contrast),
                "n_errors": sum(int(summary.get("n_errors", 0)) for summary in summaries),
                "seconds": sum(float(summary.get("seconds", 0)) for summary in summaries),
                "rates": {
                    " ".join(key).strip(): [rates[key].rate, rates[key].n] for key in claim.contrast
                },
                "contrast": dataclasses.asdict(contrast),
                "verdict": contrast.verdict,
            },
        )
    for key, weight in claim.contrast.items():
        rate = rates[key]
        say(f"  {weight:+g}  {' '.join(key).strip()}: {rate.rate:.3f} of {rate.n}")
    ends = f"95 % interval {contrast.low:+.3f} to {contrast.high:+.3f}"
    say(f"contrast {contrast.value:+.3f}, {ends}: {contrast.verdict}")
    say(str(folder.path))
    return folder.path


def _folder(settings: ReproduceSettings, name: str) -> RunFolder:
    if settings.resume is not None:
        return RunFolder.resume(settings.resume, "reproduce")
    config = to_json(settings)
    return RunFolder.new(settings.runs_dir, "reproduce", name, config, resumable=True)


def _ended(run: ClaimRun, folder: RunFolder) -> Path | None:
    """The folder of a run of the claim that an earlier start has finished."""
    begun = sorted((folder.path / "runs" / run.command).glob(f"*-{run.label}"))
    return next((path for path in begun if (path / "summary.json").is_file()), None)


def _list() -> None:
    for claim in CLAIMS.values():
        full, quick = (_minutes(claim, scale) for scale in ("full", "quick"))
        say(f"{claim.name} ({claim.paper}; {full:g} minutes, quick {quick:g})")
        say(f"  {claim.statement}")


def _minutes(claim: Claim, scale: str) -> float:
    return sum(run.minutes[scale == "quick"] for run in claim.runs)


def _run(
    run: ClaimRun, settings: ReproduceSettings, folder: RunFolder, runs: Mapping[str, Path]
) -> Path:
    """One run of a claim, in the claim's run folder; returns its own folder."""
    values: dict[str, Any] = dict(run.options)
    if settings.scale == "quick":
        values |= run.quick
    values = {
        name: REFERENCE.sub(lambda found: _weights(runs, *found.groups()), value)
        if isinstance(value, str)
        else value
        for name, value in values.items()
    }
    values |= {"seed": settings.seed, "runs_dir": folder.path / "runs", "name": run.label}
    if "recipe" in values:
        return start_recipe(run.command, RecipeSettings(**values))
    # What a command has no setting for, such as a seed where nothing is drawn, is left out.
    return run_command(run.command, from_json(settings_class(run.command), values))


def _weights(runs: Mapping[str, Path], label: str, stage: str | None) -> str:
    """The weights or the data set that an earlier run has made, or one stage of its recipe."""
    summary = read_json(runs[label] / "summary.json") or {}
    if stage is None:
        return str(summary.get("data") or runs[label])
    return str(runs[label] / summary["stages"][stage]["folder"])


def _rates(path: Path, command: str) -> dict[str, Rate]:
    """The success rates of a run by task; that of a run without tasks has no name."""
    summary = read_json(path / "summary.json") or {}
    if command == "evaluate":
        return {
            name: Rate(float(task["success_rate"]), int(task["n"]))
            for name, task in summary["cells"].items()
            if task["success_rate"] is not None
        }
    if command == "score-detector":
        return {
            f"{split} {detector}": Rate(float(scores["balanced_accuracy"]), int(of_split["clips"]))
            for split, of_split in summary["splits"].items()
            for detector, scores in of_split.items()
            if detector != "clips"
        }
    if "success_rate" in summary:
        return {"": Rate(float(summary["success_rate"]), int(summary["n"]))}
    return {}
