"""The options that all Planners share."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from agents.planner.processor_registry import DEFAULT, parse_processors
from envs.errors import BadInput
from models.language.formats import NumberFormat, ScoringRule

Choice = Literal["text", "server", "score"]
Chat = Literal["auto", "on", "off"]
Effort = Literal["default", "none", "minimal", "low", "medium", "high"]
EXAMPLES = 13  # worked examples for a model that was not trained to do without
SERVER = "openai:"  # the beginning of the name of a Planner whose model runs on a server


@dataclass(frozen=True)
class PlannerOptions:
    """How a Planner that uses a language model reads dialogues and decides."""

    prompt: Path | None = None
    """A Jinja file to use as the prompt in place of the one that comes with Parley."""

    decide: Literal["score", "generate"] = "score"
    """score: rank all possible commands by their log-probability; generate: write free text."""

    scoring: Literal["auto"] | ScoringRule = "auto"
    """What a score is. length-normalised: the mean log-probability of a command's tokens;
    constrained: the command's log-probability where only possible commands can be generated, which
    needs fewer tokens; auto: length-normalised, unless the model was trained for the other."""

    processors: str = DEFAULT
    """When scoring: the decision processors between scores and choice, in their order, separated by
    commas and with their parameters behind colons: repetition-ban:turns, exploration-threshold:
    probability, contrastive:weight:floor, repetition-penalty:nats:after, held-item-penalty:nats:
    after. default: those that the model was tried with; default,contrastive:weight=2: these with
    one parameter changed; none: choose the highest score."""

    think: int = 0
    """Most tokens of a thought that a language model writes before each command; 0 for none. With a
    server this is room for a model that thinks by itself."""

    chat: Chat = "auto"
    """Whether the prompt is put into the chat template of a model that runs here. auto: where it
    has one, unless it was trained or tried without."""

    examples: int | None = None
    """Worked examples in the prompt, 0 for none; by default 13, and for a model with an adapter as
    many as that was trained with."""

    adapter: Path | None = None
    """An adapter that train-planner has made for the model: a shipped name, its run folder, a
    folder of weights, or a hub id."""

    device: str = "auto"
    """Where the model runs: cpu, cuda, cuda:1, mps, or auto for the fastest available."""

    dtype: Literal["auto"] | NumberFormat = "auto"
    """The model's number format; auto is bfloat16 where that is faster, else float32, and the run's
    config.json records which."""

    group: int = 0
    """Dialogues in one forward pass; 0 for 16, or 32 with constrained scoring. The last digits of a
    score depend on the other dialogues of the pass."""

    cache: Path | None = None
    """Folder for fetched and converted weights and for servers' responses; by default $PARLEY_CACHE
    or ~/.cache/parley."""

    seed: int = 0
    """Seed of sampling, where the temperature is above 0."""

    max_new_tokens: int = 40
    """Most tokens of a generated command."""

    temperature: float = 0.0
    """Temperature of sampling when generating; 0 always takes the most probable token."""

    choice: Choice = "text"
    """How a server's model chooses. text: it answers freely, and the command is read out of that;
    server: the server holds it to the possible commands; score: each command is scored by its
    log-probability, which llama.cpp's server can do and servers that echo prompts."""

    effort: Effort = "default"
    """How hard a server's model thinks, where the server can be told; default leaves it to that."""

    base_url: str | None = None
    """Address of an OpenAI-compatible server, for planners named openai:MODEL."""

    timeout: float = 60.0
    """Seconds to wait for one response of a server."""

    retries: int = 4
    """How often to repeat a request to a server that is busy, broken or out of reach."""

    concurrency: int = 8
    """Requests to a server at the same time."""

    def __post_init__(self) -> None:
        for name, least in (
            ("examples", 0),
            ("group", 0),
            ("max_new_tokens", 1),
            ("think", 0),
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
        for name, kind in (("choice", Choice), ("chat", Chat), ("effort", Effort)):
            value, values = getattr(self, name), get_args(kind)
            if value not in values:
                raise BadInput(f"unknown {name} '{value}'; known: {', '.join(sorted(values))}")
        rules = ("auto", *get_args(ScoringRule))
        if self.scoring not in rules:
            raise BadInput(f"unknown scoring '{self.scoring}'; known: {', '.join(rules)}")
        if self.processors != DEFAULT:
            parse_processors(self.processors)


SERVER_ONLY = ("choice", "effort", "base_url", "timeout", "retries", "concurrency")
LOCAL_ONLY = ("scoring", "processors", "adapter", "device", "dtype", "group", "chat")


def unused_options(planner: str, is_language: bool, decide: str, think: int = 0) -> dict[str, str]:
    """The options that a Planner does not use, each with the reason.

    Args:
        planner: Its name.
        is_language: Whether it is a language model that is loaded here.
        decide: How that decides.
        think: How many tokens it may think.
    """
    names = [field.name for field in fields(PlannerOptions) if field.name != "seed"]
    if planner.startswith(SERVER):
        local = (*LOCAL_ONLY, "decide")
        return dict.fromkeys(local, f"the model of '{planner}' runs on a server")
    if not is_language:
        return dict.fromkeys(names, f"the planner '{planner}' is no language model")
    unused = dict.fromkeys(SERVER_ONLY, f"the planner '{planner}' runs here, not on a server")
    if decide == "score":
        reason = "the Planner scores commands and writes nothing (--decide generate does)"
        writing = ("max_new_tokens",) if think else ("temperature", "max_new_tokens")
        return unused | dict.fromkeys(writing, reason)
    return unused | dict.fromkeys(
        ("scoring", "processors"), "with --decide generate nothing is scored"
    )
