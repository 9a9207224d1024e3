"""The learned Actor's network: from observations of the map memory to action logits and a value.

The network attends to the things on the map: what each is, how well it matches the command's words,
and the path to it. Several heads select things by learned scores. Their selections, together with
what the Actor holds, faces and did last, decide the action.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Self

import torch
from minigrid.core.actions import Actions
from safetensors import SafetensorError
from safetensors.torch import load_model
from torch import nn

from agents.actor.map_memory import LOOK, N_GENERAL, N_LOOKS, N_PATHS, N_THINGS, NO_ACTION
from envs.commands import VERBS
from envs.errors import BadInput
from models.publishing import PublishedWeights
from models.tensor_files import save_tensors

WEIGHTS, CONFIG = "model.safetensors", "config.json"
VERSION = 1
KIND = "actor"
N_ACTIONS = len(Actions)
_MATCHES = 256
# How many values each number of an observation can take.
THING_SIZES = (_MATCHES, N_LOOKS, N_PATHS, N_PATHS)
GENERAL_SIZES = (
    len(VERBS),
    N_LOOKS,
    _MATCHES,
    N_LOOKS,
    _MATCHES,
    NO_ACTION + 1,
    N_PATHS,
    N_PATHS,
    N_THINGS + 1,
)
assert len(GENERAL_SIZES) == N_GENERAL


class Tables(nn.Module):
    """The sum of one embedding for each of F numbers: ``[..., F]`` to ``[..., width]``."""

    starts: torch.Tensor

    def __init__(self, sizes: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(sum(sizes), width)
        nn.init.normal_(self.table.weight, std=len(sizes) ** -0.5)
        starts = torch.tensor([sum(sizes[:k]) for k in range(len(sizes))])
        self.register_buffer("starts", starts, persistent=False)

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        rows = (numbers + self.starts).flatten(0, -2)
        summed = nn.functional.embedding_bag(rows, self.table.weight, mode="sum")
        return summed.unflatten(0, numbers.shape[:-1])


class ActorTrunk(nn.Module):
    """Observations ``[B, OBSERVATION_SIZE]`` (any number type) to features ``[B, width]``."""

    def __init__(self, channels: int, heads: int, width: int) -> None:
        super().__init__()
        self.things = Tables(THING_SIZES, channels)
        self.general = Tables(GENERAL_SIZES, width)
        self.asks = nn.Linear(width, channels)
        self.mix = nn.Linear(channels, channels)
        self.scores = nn.Linear(channels, heads)
        self.nothing = nn.Parameter(torch.zeros(channels))
        self.join = nn.Linear(heads * channels + width, width)
        self.out = nn.Linear(width, width)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        numbers = observations.long()
        things = numbers[:, : 4 * N_THINGS].unflatten(1, (N_THINGS, 4))
        # Things come first, so the places that no observation of the batch fills can be left out.
        filled = int(numbers[:, -1].max()) if len(numbers) else 0
        things = things[:, : max(filled, 1)]
        general = self.general(numbers[:, 4 * N_THINGS :])
        query = self.asks(torch.relu(general))[:, None]
        x = torch.relu(self.things(things) + query)
        x = torch.relu(self.mix(x))
        # "None of them" can be chosen as well.
        x = torch.cat([x, self.nothing.expand(len(x), 1, -1)], 1)
        absent = nn.functional.pad(things[..., LOOK] == 0, (0, 1))
        scores = self.scores(x).masked_fill(absent[..., None], -1e9).softmax(1)
        chosen = torch.einsum("bkh,bkc->bhc", scores, x).flatten(1)
        x = torch.relu(self.join(torch.cat([chosen, torch.relu(general)], 1)))
        return torch.relu(self.out(x))


class ActorNetwork(
    nn.Module,
    PublishedWeights,
    library_name="parley",
    license="apache-2.0",
    tags=["reinforcement-learning", "minigrid"],
):
    """Trunk, action logits and value. Saved and loaded as safetensors with config.json."""

    def __init__(self, channels: int = 32, heads: int = 4, width: int = 96) -> None:
        super().__init__()
        self.settings = {"channels": channels, "heads": heads, "width": width}
        self.trunk = ActorTrunk(channels, heads, width)
        self.head = nn.Linear(width, N_ACTIONS)
        self.value = nn.Linear(width, 1)

    def forward(self, observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Observations ``[B, OBSERVATION_SIZE]`` to logits ``[B, 7]`` and values ``[B]``."""
        features = self.trunk(observations)
        return self.head(features), self.value(features).squeeze(-1)

    def save(self, folder: Path) -> None:
        """Write the weights and the configuration."""
        tensors = {n: t.detach().contiguous() for n, t in self.state_dict().items()}
        save_tensors(tensors, folder / WEIGHTS)
        text = json.dumps({**self.settings, "kind": KIND, "version": VERSION}, indent=2)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def from_folder(cls, folder: Path, device: str = "auto", cache: Path | None = None) -> Self:
        """Load what `save` wrote, in evaluation mode.

        Args:
            folder: The folder.
            device: Where the network runs; ``auto`` is the CPU, which is faster here.
            cache: Unused; the network needs no language model.

        Raises:
            BadInput: Where there is none that can be loaded.
        """
        for name in (CONFIG, WEIGHTS):
            if not (folder / name).is_file():
                raise BadInput(f"'{folder}' holds no Actor weights: {name} is missing")
        try:
            config = json.loads((folder / CONFIG).read_text("utf-8"))
            # Older weights have neither.
            kind, version = config.pop("kind", KIND), config.pop("version", VERSION)
            if kind != KIND or version != VERSION:
                raise ValueError(f"they are of kind '{kind}', version {version}")
            network = cls(**config)
            load_model(network, folder / WEIGHTS, strict=True)
        except (
            *(RuntimeError, ValueError, TypeError, AttributeError, OSError),
            SafetensorError,
        ) as error:
            reason = " ".join(str(error).split())[:300]
            raise BadInput(f"the Actor weights in '{folder}' cannot be loaded: {reason}") from error
        return network.to("cpu" if device == "auto" else device).eval()


def load_network(folder: str | Path) -> ActorNetwork:
    """The network in a folder.

    Raises:
        BadInput: Where there is none that can be loaded.
    """
    return ActorNetwork.from_folder(Path(folder))
