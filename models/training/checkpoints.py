"""Training checkpoints on disk: one safetensors file, replaced as a whole.

Tensors (weights, the optimiser's moments, the best weights so far) are stored as they are; all
else is JSON in the file's header. No pickle is ever read.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.errors import BadInput

if TYPE_CHECKING:
    import torch

# Of the file's layout; a checkpoint of any other number is refused.
FORMAT = 2


@dataclass(frozen=True)
class TrainingCheckpoint:
    """Where a training run stands.

    ``step`` steps of the stage called ``stage`` have been made, in ``seconds`` of training.
    ``stage_state`` and the ``callback_states``, by the callbacks' names, hold tensors and JSON
    values by name.
    """

    stage: str
    step: int
    seconds: float
    stage_state: Mapping[str, Any]
    callback_states: Mapping[str, Mapping[str, Any]]


class CheckpointManager:
    """Writes and reads the checkpoint ``file``, at most every ``seconds`` seconds."""

    def __init__(self, file: Path, seconds: float) -> None:
        self.file = file
        self._seconds = seconds
        self._written = 0.0

    def is_due(self) -> bool:
        """Whether the last checkpoint is old enough."""
        return time.monotonic() - self._written >= self._seconds

    def save(self, checkpoint: TrainingCheckpoint) -> None:
        """Replace the last checkpoint."""
        from models.tensor_files import save_tensors

        tensors, stage_values = _split(checkpoint.stage_state, "stage/")
        callback_values = {}
        for name, state in checkpoint.callback_states.items():
            more, callback_values[name] = _split(state, f"callbacks/{name}/")
            tensors |= more
        head = {
            "format": FORMAT,
            "stage": checkpoint.stage,
            "step": checkpoint.step,
            "seconds": checkpoint.seconds,
            "stage_state": stage_values,
            "callback_states": callback_values,
        }
        save_tensors(tensors, self.file, {name: json.dumps(v) for name, v in head.items()})
        self._written = time.monotonic()

    def load(self) -> TrainingCheckpoint | None:
        """The last checkpoint, or None where there is none yet.

        Raises BadInput for a damaged file and for one that another version of Parley wrote.
        """
        from safetensors import SafetensorError, safe_open

        if not self.file.exists():
            return None
        try:
            with safe_open(self.file, "pt") as stored:
                head = {n: json.loads(text) for n, text in (stored.metadata() or {}).items()}
                tensors = {n: stored.get_tensor(n) for n in stored.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise BadInput(f"the checkpoint '{self.file}' cannot be read: {error}") from error
        if head.get("format") != FORMAT:
            raise BadInput(
                f"the checkpoint '{self.file}' was written by another version of Parley "
                f"(format {head.get('format', 1)}, here {FORMAT}) and cannot be resumed; start anew"
            )
        return TrainingCheckpoint(
            head["stage"],
            head["step"],
            head["seconds"],
            {**head["stage_state"], **group(tensors, "stage/")},
            {
                name: {**values, **group(tensors, f"callbacks/{name}/")}
                for name, values in head["callback_states"].items()
            },
        )


def _split(state: Mapping[str, Any], prefix: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """A state's tensors, their names prefixed, and its JSON values."""
    import torch

    tensors: dict[str, torch.Tensor] = {}
    values: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, torch.Tensor):
            tensors[prefix + name] = value.contiguous()
        else:
            values[name] = value
    return tensors, values


def group(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The entries whose names begin with ``prefix``, without it."""
    return {n.removeprefix(prefix): value for n, value in state.items() if n.startswith(prefix)}


def pack(
    optimiser: torch.optim.Optimizer | None = None, **groups: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Copies of tensors, ``model={"weight": t}`` as ``"model.weight"``, and of an optimiser's
    state, as ``"optimiser.0.exp_avg"`` with the parameter's number."""
    tensors = {
        f"{prefix}.{name}": tensor.detach().clone()
        for prefix, named in groups.items()
        for name, tensor in named.items()
    }
    if optimiser is not None:
        for number, moments in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{n}": v.detach().clone() for n, v in moments.items()}
    return tensors


def unpack(
    state: Mapping[str, Any],
    optimiser: torch.optim.Optimizer | None = None,
    **groups: Mapping[str, torch.Tensor],
) -> None:
    """Copy what `pack` returned back into these tensors and this optimiser.

    Raises BadInput where names or shapes differ: the checkpoint is then of another network.
    """
    for prefix, named in groups.items():
        _restore(named, group(state, f"{prefix}."), prefix)
    if optimiser is None:
        return
    parameters = [p for g in optimiser.param_groups for p in g["params"]]
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in group(state, "optimiser.").items():
        number, _, kind = name.partition(".")
        place = int(number)
        if place >= len(parameters) or (tensor.ndim and tensor.shape != parameters[place].shape):
            raise BadInput(f"the checkpoint is of another network: optimiser.{name} does not fit")
        moments.setdefault(place, {})[kind] = tensor
    optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})


def _restore(
    tensors: Mapping[str, torch.Tensor], saved: Mapping[str, torch.Tensor], prefix: str
) -> None:
    import torch

    odd = sorted(tensors.keys() ^ saved.keys()) or [
        n for n, t in tensors.items() if t.shape != saved[n].shape
    ]
    if odd:
        raise BadInput(f"the checkpoint is of another network: {prefix}.{odd[0]} does not fit")
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(saved[name])
