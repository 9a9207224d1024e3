"""The learned Actor's network: its map, what it carries and a command in, an action out.

A word and the look that it names share one embedding (MiniGrid's numbers and the words of our
grammar are two spellings of the same thing), and each cell is compared with the command word by
word (texture, colour, shape). So a combination of words never seen in training still matches the
cell that holds it.
"""

from __future__ import annotations

import numpy as np
import torch
from huggingface_hub import PyTorchModelHubMixin
from minigrid.core.actions import Actions
from minigrid.core.constants import OBJECT_TO_IDX
from torch import nn
from torch.nn import functional

from agents.actor.memory import MapMemory
from agents.actor.route import DOOR, FLOOR, THINGS
from envs.commands import VERBS, Command
from envs.items import ANY_SHAPE, COLOURS, MINIGRID_SHAPES, SHAPES, TEXTURES, Item

WINDOW = 15  # cells a side of the map around the agent that the network sees
N_ACTIONS = len(Actions)
NO_ACTION = N_ACTIONS
_WORDS = (TEXTURES, COLOURS, (*SHAPES, *MINIGRID_SHAPES, ANY_SHAPE))
COMMAND_SLOTS = 1 + 2 * len(_WORDS)
OBSERVATION_SIZE = WINDOW * WINDOW * 3 + 3 + 1 + COMMAND_SLOTS


def encode_command(command: Command) -> np.ndarray:
    """A command's words as numbers ``[7] uint8``: verb, then three words an item, 0 for none."""
    items = (command.item, command.target)
    return np.array([VERBS.index(command.verb), *(n for i in items for n in _words(i))], np.uint8)


def _words(item: Item | None) -> tuple[int, ...]:
    names = (None,) * 3 if item is None else (item.texture, item.colour, item.shape)
    return tuple(
        0 if name is None else 1 + words.index(name)
        for name, words in zip(names, _WORDS, strict=True)
    )


class ActorEyes:
    """What N learned Actors know: map, last action and command, as flat observations.

    ``observe`` gives ``[K, OBSERVATION_SIZE] uint8``: the map around the agent, what it carries,
    its last action and the command.
    """

    def __init__(self, n: int) -> None:
        self.memory = MapMemory(n)
        self.last = np.full(n, NO_ACTION, np.uint8)
        self.commands = np.zeros((n, COMMAND_SLOTS), np.uint8)

    def reset(self, i: np.ndarray, views: np.ndarray) -> None:
        """Agents ``i [K]`` begin an episode and see ``views [K, v, v, 3]``."""
        self.memory.reset(i, views)
        self.last[i] = NO_ACTION

    def command(self, i: int, command: Command) -> None:
        """Agent i is given a command."""
        self.commands[i] = encode_command(command)
        self.last[i] = NO_ACTION

    def step(self, i: np.ndarray, actions: np.ndarray, views: np.ndarray) -> None:
        """Agents ``i [K]`` took ``actions [K]`` and see ``views``."""
        self.memory.step(i, actions, views)
        self.last[i] = actions

    def observe(self, i: np.ndarray) -> np.ndarray:
        """The observations of agents ``i [K]``: ``[K, OBSERVATION_SIZE] uint8``."""
        window = self.memory.crop(i, WINDOW).reshape(len(i), -1)
        return np.concatenate(
            [window, self.memory.carried[i], self.last[i, None], self.commands[i]], axis=1
        )


class ActorTrunk(nn.Module):
    """Observations ``[B, OBSERVATION_SIZE]`` (any number type) to features ``[B, width]``."""

    kind_of_word: torch.Tensor

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.shape = nn.Embedding(len(OBJECT_TO_IDX) + 1, 12)
        self.colour = nn.Embedding(1 + len(COLOURS), 8)
        self.texture = nn.Embedding(1 + len(TEXTURES), 8)
        self.mark = nn.Embedding(3, 2)
        self.floor = nn.Embedding(1 + len(COLOURS), 2)
        self.door = nn.Embedding(4, 3)
        # Shape words in the numbers of object types; "object", any shape, gets one of its own.
        kinds = [OBJECT_TO_IDX.get(word, len(OBJECT_TO_IDX)) for word in _WORDS[2]]
        self.register_buffer("kind_of_word", torch.tensor([0, *kinds]), persistent=False)
        self.verb = nn.Embedding(len(VERBS), 8)
        self.action = nn.Embedding(N_ACTIONS + 1, 8)
        cell = 12 + 8 + 8 + 2 + 2 + 3 + 8
        self.mix = nn.Conv2d(cell, channels, 1)
        self.film = nn.Linear(8, 2 * channels)
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(3))
        self.squeeze = nn.Conv2d(channels, 16, 1)
        self.join = nn.Linear(16 * WINDOW * WINDOW + cell + 8 + 8, width)
        self.out = nn.Linear(width, width)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        numbers = observations.long()
        area = WINDOW * WINDOW * 3
        cells = numbers[:, :area].view(-1, WINDOW * WINDOW, 3)
        carried = numbers[:, None, area : area + 3]
        verb = self.verb(numbers[:, area + 4])
        words = numbers[:, area + 5 :]
        features = self._look(torch.cat([cells, carried], 1), words)  # [B, cells + 1, channels]
        window = features[:, :-1].transpose(1, 2).unflatten(2, (WINDOW, WINDOW))
        scale, shift = self.film(verb)[:, :, None, None].chunk(2, 1)
        x = torch.relu(self.mix(window) * (1 + scale) + shift)
        for conv in self.convs:
            x = x + torch.relu(conv(x))
        x = torch.relu(self.squeeze(x)).flatten(1)
        last = self.action(numbers[:, area + 3])
        x = torch.relu(self.join(torch.cat([x, features[:, -1], last, verb], 1)))
        return torch.relu(self.out(x))

    def _look(self, codes: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """What cells ``[B, K, 3]`` hold, and how well it matches each word ``[B, 6]``."""
        kind, colour, state = codes.unbind(-1)
        ours = kind >= OBJECT_TO_IDX[SHAPES[0]]
        thing = ours | torch.isin(kind, torch.tensor(sorted(THINGS), device=kind.device))
        shape = self.shape(kind)
        tint = self.colour(torch.where(thing, colour + 1, 0))
        texture = self.texture(torch.where(ours, state % 3 + 1, 0))
        # The comparison: a cosine for each word, and how sure all three are together.
        matches = []
        for item in (words[:, :3], words[:, 3:]):
            pairs = (
                (texture, self.texture(item[:, 0])),
                (tint, self.colour(item[:, 1])),
                (shape, self.shape(self.kind_of_word[item[:, 2]])),
            )
            cosines = [functional.cosine_similarity(c, w[:, None], -1) for c, w in pairs]
            scores = torch.stack(cosines, -1).masked_fill(item[:, None] == 0, 1.0)
            matches += [scores, torch.sigmoid(8 * (scores - 0.7)).prod(-1, keepdim=True)]
        return torch.cat(
            [
                shape,
                tint,
                texture,
                self.mark(torch.where(ours, state // 3 % 3, 0)),
                self.floor(
                    torch.where(ours, state // 9, torch.where(kind == FLOOR, colour + 1, 0))
                ),
                self.door(torch.where(kind == DOOR, state.clamp(max=2) + 1, 0)),
                *matches,
            ],
            -1,
        )


class ActorNetwork(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="parley",
    license="apache-2.0",
    tags=["reinforcement-learning", "minigrid"],
):
    """Trunk, action logits and value. Saved and loaded as safetensors with config.json."""

    def __init__(self, channels: int = 24, width: int = 192) -> None:
        super().__init__()
        self.settings = {"channels": channels, "width": width}
        self.trunk = ActorTrunk(channels, width)
        self.head = nn.Linear(width, N_ACTIONS)
        self.value = nn.Linear(width, 1)

    def forward(self, observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Observations ``[B, OBSERVATION_SIZE]`` to logits ``[B, 7]`` and values ``[B]``."""
        features = self.trunk(observations)
        return self.head(features), self.value(features).squeeze(-1)
