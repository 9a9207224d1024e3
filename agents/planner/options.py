"""The options that the Planners share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from envs.errors import BadInput
from models.language.formats import NumberFormat

SERVER = "openai:"  # how the names of Planners begin whose model a server has


@dataclass(frozen=True)
class PlannerOptions:
    """How a Planner that uses a language model reads and decides."""

    prompt: Path | None = None
    """A Jinja file to use as the prompt in place of the one that comes with Parley."""

    decide: Literal["score", "generate"] = "score"
    """score: rank every possible command by its log-probability; generate: write free text."""

    scoring: Literal["auto", "mean", "tree"] = "auto"
    """What a score is. mean: the mean log-probability of a command's tokens; tree: the command's
    log-probability where nothing but the possible commands can be said, which is cheaper; auto:
    mean, unless the model was trained for the other."""

    repeats: int = 2
    """When scoring: how many times running a command may get the same report before another one is
    said; 0 for any number."""

    repeat_penalty: float | None = None
    """When scoring: what a command loses of its score once it has had one and the same report
    --repeats times, whatever came between, and again for each time more; to pick up what was just
    picked up counts as one time more. By default 3 with tree scoring, and 0 with mean, whose scores
    have another scale."""

    look: float | None = None
    """When scoring as a tree: where examining, whatever it be, has at least this probability, what
    no report calls examined is examined; above 1 for never. By default what the model's adapter
    was tried with, else never."""

    contrast: float | None = None
    """When scoring as a tree: how many times more what a report changes counts, where it says of
    something what the task asks of it: the difference from the scores that the commands would have
    had the report said the contrary; 0 for not at all. By default what the model's adapter was
    tried with, else 0."""

    examples: int | None = None
    """How many worked examples to put into the prompt, 0 for none; by default 13, and for a model
    with an adapter as many as that was trained with."""

    adapter: Path | None = None
    """Folder of an adapter that train-planner made for the model."""

    device: str = "auto"
    """Where the model runs: cpu, cuda, cuda:1, mps, or auto for the best there is."""

    dtype: Literal["auto"] | NumberFormat = "auto"
    """The model's number format; auto takes bfloat16 where it is faster, else float32, and the
    run's settings say which."""

    group: int = 0
    """How many dialogues go into one forward pass; 0 for 16, or 32 with tree scoring. A score's
    last digits depend on its neighbours in the pass; with 1 there are none."""

    cache: Path | None = None
    """Folder for fetched and converted weights and for servers' replies; by default $PARLEY_CACHE
    or ~/.cache/parley."""

    seed: int = 0
    """Seed of what is drawn at random where the temperature is above 0."""

    max_new_tokens: int = 40
    """The longest reply, in tokens, when deciding by generating."""

    temperature: float = 0.0
    """How freely to generate; 0 always takes the most probable token."""

    base_url: str | None = None
    """Address of an OpenAI-compatible server, for planners named openai:MODEL."""

    timeout: float = 60.0
    """Seconds to wait for one reply of a server."""

    retries: int = 4
    """How often to ask a server again that is busy, broken or out of reach."""

    concurrency: int = 8
    """How many requests to have under way at a server at a time."""

    def __post_init__(self) -> None:
        for name, least in (
            ("repeats", 0),
            ("repeat_penalty", 0),
            ("look", 0),
            ("contrast", 0),
            ("examples", 0),
            ("group", 0),
            ("max_new_tokens", 1),
            ("retries", 0),
            ("concurrency", 1),
            ("temperature", 0),
        ):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise BadInput(f"{name} {value} is not at least {least}")
        if not self.timeout > 0:
            raise BadInput(f"timeout {self.timeout} is not above 0 seconds")
        if self.decide not in ("score", "generate"):
            raise BadInput(f"unknown way to decide '{self.decide}'; known: generate, score")
        if self.scoring not in ("auto", "mean", "tree"):
            raise BadInput(f"unknown scoring '{self.scoring}'; known: auto, mean, tree")
