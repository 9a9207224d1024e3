"""Adapters: LoRA weights (arXiv 2106.09685) that make a pretrained model a better Planner.

An adapter is a folder in peft's format, ``adapter_config.json`` and ``adapter_model.safetensors``,
with a ``planner.json`` that says which model it is for and how that model is used.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from transformers import PreTrainedModel

from agents.planner.options import EXAMPLES
from agents.planner.processor_registry import (
    default_processors,
    parse_processors,
    processors_from_json,
    processors_to_json,
)
from agents.planner.processors import DecisionProcessor
from agents.planner.prompt import PROMPTS
from agents.planner.shipped import shipped
from envs.errors import BadInput
from models.language.adapters import CONFIG, merge
from models.language.formats import ScoringRule

ABOUT = "planner.json"
# Names in the files of older versions.
_OLD_SCORING = {"mean": "length-normalised", "tree": "constrained"}


@dataclass(frozen=True)
class PlannerAdapter:
    """What an adapter was trained and tried with.

    ``base`` is the model's name, ``scoring`` the rule by which candidates are scored, ``examples``
    the number of worked examples of ``prompt``, one of the prompts that come with Parley, and
    ``processors`` are the decision processors.
    """

    base: str
    scoring: ScoringRule
    examples: int
    prompt: str
    processors: tuple[DecisionProcessor, ...]


def adapter_folder(name: str) -> Path | None:
    """The folder of a shipped adapter's name, or of a path to one; None for any other name."""
    if name in shipped():
        return shipped()[name]
    folder = Path(name)
    is_adapter = (folder / CONFIG).is_file() and not (folder / "config.json").is_file()
    return folder if is_adapter else None


def other_base(folder: Path, base: str, name: str) -> BadInput:
    """The error for an adapter in ``folder``, made for the model ``base``, used with ``name``."""
    return BadInput(f"the adapter '{folder}' is for the model '{base}', not for '{name}'")


def read_about(folder: Path) -> PlannerAdapter:
    """What the adapter in a folder is for.

    Without ``planner.json`` it is a plain adapter of peft's: its base is that of peft's own
    settings, and the Planner reads and decides as one without an adapter does.

    Raises:
        BadInput: It cannot be read.
    """
    if not (folder / ABOUT).is_file():
        return _plain_adapter(folder)
    try:
        stored = json.loads((folder / ABOUT).read_text("utf-8"))
        return _about(stored)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadInput(f"the adapter '{folder}' has no {ABOUT} that can be read: {error}") from None


def _plain_adapter(folder: Path) -> PlannerAdapter:
    try:
        base = json.loads((folder / CONFIG).read_text("utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadInput(
            f"the adapter '{folder}' has neither {ABOUT} nor a {CONFIG} that names its base model "
            f"({error})"
        ) from None
    if not isinstance(base, str) or not base:
        raise BadInput(f"the {CONFIG} of the adapter '{folder}' names no base model")
    # A relative folder may be meant from where the adapter is.
    for place in (folder / base, folder.parent / base):
        if not Path(base).exists() and (place / "config.json").is_file():
            base = str(place)
    scoring: ScoringRule = "length-normalised"
    return PlannerAdapter(base, scoring, EXAMPLES, "dialogue", default_processors(scoring))


def _about(stored: dict[str, Any]) -> PlannerAdapter:
    scoring = _OLD_SCORING.get(stored["scoring"], stored["scoring"])
    prompt = stored.get("prompt", "dialogue")
    if scoring not in get_args(ScoringRule):
        raise BadInput(f"its scoring is '{scoring}'")
    if prompt not in PROMPTS:
        raise BadInput(f"its prompt is '{prompt}'")
    if not isinstance(stored["base"], str) or type(stored["examples"]) is not int:
        raise BadInput("its base is no name, or its examples are no number")
    if "processors" in stored:
        processors = processors_from_json(stored["processors"])
    else:
        processors = _old_processors(stored, scoring)
    unknown = stored.keys() - {"base", "scoring", "examples", "prompt", "processors", *_OLD_RULES}
    if unknown:
        raise BadInput(f"it is for another version of Parley, with '{sorted(unknown)[0]}'")
    return PlannerAdapter(stored["base"], scoring, stored["examples"], prompt, processors)


_OLD_RULES = ("look", "contrast")


def _old_processors(stored: dict[str, Any], scoring: ScoringRule) -> tuple[DecisionProcessor, ...]:
    """The processors of a file that has ``look`` and ``contrast`` in their place."""
    text = "default"
    if stored.get("look", 2) <= 1:
        text += f",exploration-threshold:{stored['look']}"
    if stored.get("contrast", 0) != 0:
        text += f",contrastive:{stored['contrast']}"
    return parse_processors(text, default_processors(scoring))


def write_about(folder: Path, about: PlannerAdapter) -> None:
    """Write the ``planner.json`` of the adapter in a folder."""
    stored = {**vars(about), "processors": processors_to_json(about.processors)}
    (folder / ABOUT).write_text(json.dumps(stored, indent=1) + "\n", "utf-8")


def merge_adapter(model: PreTrainedModel, folder: Path, base: str) -> None:
    """Merge the adapter in a folder into the model called ``base``, in place.

    Raises BadInput for an adapter of another model or kind, and for one that is damaged; the model
    is then as it was.
    """
    about = read_about(folder)
    if about.base != base:
        raise other_base(folder, about.base, base)
    merge(model, folder, base)
