"""Decision processors by name, and lists of them as text and as JSON.

A list is written ``repetition-ban:2,exploration-threshold:0.4``: processors in the order in which
they are applied, each with its parameters behind colons, by position or as ``name=value``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from envs.errors import BadInput, unknown
from envs.registry import Registry
from models.language.formats import ScoringRule

if TYPE_CHECKING:
    from agents.planner.processors import DecisionProcessor

DEFAULT, NONE = "default", "none"
# In the order in which they are applied, unless a list says otherwise.
PROCESSORS: Registry[type[DecisionProcessor]] = Registry(
    "processor",
    {
        "repetition-ban": "agents.planner.processors:RepetitionBan",
        "exploration-threshold": "agents.planner.processors:ExplorationThreshold",
        "contrastive": "agents.planner.processors:Contrastive",
        "repetition-penalty": "agents.planner.processors:RepetitionPenalty",
        "held-item-penalty": "agents.planner.processors:HeldItemPenalty",
    },
)

# For models without a list of their own. Length-normalised scores are of another scale, in which
# no penalty has been tried.
_DEFAULTS: Mapping[ScoringRule, str] = {
    "constrained": "repetition-ban:2,repetition-penalty:3,held-item-penalty:3",
    "length-normalised": "repetition-ban:2,repetition-penalty:0,held-item-penalty:0",
}


def default_processors(scoring: ScoringRule) -> tuple[DecisionProcessor, ...]:
    """The list for scores of this rule where nothing else is known of the model."""
    return parse_processors(_DEFAULTS[scoring])


def parse_processors(
    text: str, default: Sequence[DecisionProcessor] = ()
) -> tuple[DecisionProcessor, ...]:
    """The list that a text stands for.

    Args:
        text: ``default``; ``none``; processors in their order; or ``default`` and processors, which
            change the parameters that they name in the default list, or are added to it.
        default: the list that ``default`` stands for.

    Raises BadInput for unknown names and impossible parameters.
    """
    entries = [entry.strip() for entry in text.split(",")]
    if entries == [NONE]:
        return ()
    changes = entries[0] == DEFAULT
    processors = list(default) if changes else []
    for entry in entries[1:] if changes else entries:
        name, *values = (part.strip() for part in entry.split(":"))
        if name in (DEFAULT, NONE):
            raise BadInput(f"processors '{text}': '{name}' can only stand alone or, default, first")
        cls = PROCESSORS[name]
        parameters = _parameters(cls, name, values)
        here = [k for k, p in enumerate(processors) if p.name == name]
        if here and changes:
            changed: Any = processors[here[0]]
            processors[here[0]] = dataclasses.replace(changed, **parameters)
        elif here:
            raise BadInput(f"processors '{text}': '{name}' is named twice")
        elif changes:
            processors.insert(_place(name, processors), cls(**parameters))
        else:
            processors.append(cls(**parameters))
    return tuple(processors)


def processors_to_json(processors: Sequence[DecisionProcessor]) -> list[dict[str, Any]]:
    """A list as JSON: of each processor its ``name`` and its parameters."""
    return [{"name": p.name, **_values(p)} for p in processors]


def processors_from_json(stored: Any) -> tuple[DecisionProcessor, ...]:
    """The list that ``processors_to_json`` wrote. Raises BadInput where it is none."""
    if not isinstance(stored, list) or not all(isinstance(p, dict) for p in stored):
        raise BadInput("'processors' is no list of processors")
    processors = []
    for entry in stored:
        name = str(entry.get("name"))
        cls = PROCESSORS[name]
        parameters = {k: v for k, v in entry.items() if k != "name"}
        for parameter in parameters:
            _check_known(cls, name, parameter)
        processors.append(cls(**parameters))
    return tuple(processors)


def weakest_common(lists: Sequence[Sequence[DecisionProcessor]]) -> tuple[DecisionProcessor, ...]:
    """The processors that all lists have, in the order of the first list, each with the parameters
    that change decisions the least."""
    common = []
    for processor in lists[0]:
        same = [p for processors in lists for p in processors if p.name == processor.name]
        if len(same) == len(lists):
            common.append(processor.weakest(same))
    return tuple(common)


def _parameters(
    cls: type[DecisionProcessor], name: str, values: Sequence[str]
) -> dict[str, int | float]:
    """Parameters by name, from the texts behind a processor's name."""
    fields = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    parameters: dict[str, int | float] = {}
    for position, value in enumerate(values):
        given, equals, number = (part.strip() for part in value.partition("="))
        if not equals:
            if position >= len(fields):
                raise BadInput(f"processor '{name}' has no more parameters than {fields}")
            given, number = fields[position], value
        _check_known(cls, name, given)
        if given in parameters:
            raise BadInput(f"{given} of processor '{name}' is given twice")
        parameters[given] = _number(number, f"{given} of processor '{name}'")
    return parameters


def _check_known(cls: type[DecisionProcessor], name: str, parameter: str) -> None:
    fields = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    if parameter not in fields:
        raise unknown(f"parameter of processor '{name}'", parameter, fields)


def _number(text: str, what: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            raise BadInput(f"{what} must be a number, not '{text}'") from None


def _place(name: str, processors: Sequence[DecisionProcessor]) -> int:
    """Where a processor is inserted: before the first one that usually comes after it."""
    order = list(PROCESSORS)
    later = order[order.index(name) + 1 :]
    return next((k for k, p in enumerate(processors) if p.name in later), len(processors))


def _values(processor: Any) -> dict[str, Any]:
    return {f.name: getattr(processor, f.name) for f in dataclasses.fields(processor)}
