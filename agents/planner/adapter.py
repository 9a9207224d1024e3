"""Adapters: LoRA weights (arXiv 2106.09685) that make a pretrained model a better Planner.

An adapter is a folder in peft's format, ``adapter_config.json`` and ``adapter_model.safetensors``,
with a ``planner.json`` that says which model it is for and how that is to be asked. It is merged
into the weights as it is loaded, so that it costs nothing afterwards.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from transformers import PreTrainedModel

from agents.planner.processors import NEVER
from agents.planner.prompt import PROMPTS
from envs.errors import BadInput
from models.language.adapters import CONFIG, merge
from models.language.candidate_scorer import ScoringRule

ADAPTERS = Path(__file__).parent / "adapters"
ABOUT = "planner.json"


@dataclass(frozen=True)
class PlannerAdapter:
    """What an adapter is for: the model's name, how candidates are scored, how many examples of
    which of the prompts that come with Parley, from which probability of examining on it looks
    before it acts, and how much more a report's contrast counts (see ``PlannerOptions``)."""

    base: str
    scoring: ScoringRule
    examples: int
    prompt: str = "dialogue"
    look: float = NEVER
    contrast: float = 0.0


def shipped() -> dict[str, Path]:
    """The folders of the adapters that come with Parley, by name."""
    return {p.parent.name: p.parent for p in sorted(ADAPTERS.glob("*/planner.json"))}


def adapter_folder(name: str) -> Path | None:
    """The adapter of this name, shipped or a folder's path; None for what is none."""
    if name in shipped():
        return shipped()[name]
    folder = Path(name)
    is_one = (folder / CONFIG).is_file() and not (folder / "config.json").is_file()
    return folder if is_one else None


def other_base(folder: Path, base: str, name: str) -> BadInput:
    """The error of an adapter for another model than this one."""
    return BadInput(f"the adapter '{folder}' is for the model '{base}', not for '{name}'")


def read_about(folder: Path) -> PlannerAdapter:
    """What the adapter in a folder is for. Raises BadInput where that cannot be read."""
    try:
        found = json.loads((folder / ABOUT).read_text("utf-8"))
        about = PlannerAdapter(**found)
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(f"the adapter '{folder}' has no {ABOUT} that can be read: {error}") from None
    if (
        about.scoring not in ("mean", "tree")
        or not isinstance(about.examples, int)
        or not isinstance(about.base, str)
        or about.prompt not in [*PROMPTS]
        or not all(isinstance(x, int | float) and x >= 0 for x in (about.look, about.contrast))
    ):
        raise BadInput(f"the adapter '{folder}' is for another version of Parley: {found}")
    return about


def write_about(folder: Path, about: PlannerAdapter) -> None:
    """Say in a folder what its adapter is for."""
    (folder / ABOUT).write_text(json.dumps(asdict(about), indent=1) + "\n", "utf-8")


def merge_adapter(model: PreTrainedModel, folder: Path, base: str) -> None:
    """Merge the adapter in a folder into the model called ``base``, in place.

    Raises BadInput for an adapter of another model or kind, and for one that is damaged; the model
    is then as it was.
    """
    about = read_about(folder)
    if about.base != base:
        raise other_base(folder, about.base, base)
    merge(model, folder, base)
