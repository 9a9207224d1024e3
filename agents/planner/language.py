"""The language Planner: a causal language model that ranks the possible commands, or writes one."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from rich.console import Console
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from agents.dialogue import Decision, Dialogue, TokenCost, Turn
from agents.messages import Report
from agents.planner.adapter import adapter_folder, merge_adapter, other_base, read_about
from agents.planner.counterfactual import counterfactual_dialogue
from agents.planner.options import PlannerOptions
from agents.planner.processor_registry import default_processors, parse_processors
from agents.planner.processors import DecisionContext, DecisionProcessor, choose
from agents.planner.prompt import DEFAULT, PROMPTS, Prompt
from agents.planner.publishing import PublishedAdapter
from agents.planner.random import no_candidates
from agents.planner.replies import read_reply
from agents.protocols import TeamMember
from envs.commands import VERBS, Command
from envs.errors import BadInput
from models.language.candidate_scorer import CandidateScorer, ScoringRequest, uncached_scores
from models.language.formats import ScoringRule
from models.language.kv_cache import Tokens, common_prefix
from models.language.loading import load_model
from models.language.weights import cache_folder

log = logging.getLogger(__name__)
# Models whose trie scores the tests compare with uncached ones; others are tried when loaded.
TRIE_MODELS = ("gpt2", "llama", "qwen2")
# Dialogues in one pass: fastest on a CPU with SmolLM2, though 8 are nearly as fast. Length
# normalisation needs the logits of more tokens, and memory for them.
GROUPS: Mapping[ScoringRule, int] = {"length-normalised": 16, "constrained": 32}
# A shorter prefix is read with each dialogue, which costs less than attending to it apart.
MIN_PREFIX_TOKENS = 16
CONTINUATIONS_KEPT = 1 << 14
EXAMPLES = 13  # worked examples for a model that was not trained to do without


@dataclass(frozen=True)
class _Scored:
    """The scores of a dialogue's candidates, and of the same in its counterfactual context."""

    request: ScoringRequest
    scores: list[float]
    tokens_read: int
    counterfactual_scores: list[float] | None = None

    def is_finite(self) -> bool:
        return all(map(math.isfinite, (*self.scores, *(self.counterfactual_scores or ()))))


class LanguagePlanner(PublishedAdapter, TeamMember):
    """Decides by the probabilities of any causal language model of transformers.

    With ``decide='score'`` every candidate is scored, the scores pass through the decision
    processors, and the candidate with the highest one is chosen. With ``decide='generate'`` the
    model writes a line, and what cannot be parsed is no command.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        options: PlannerOptions | None = None,
        *,
        scoring: ScoringRule = "length-normalised",
        examples: int = EXAMPLES,
        prompt: Path = DEFAULT,
        processors: Sequence[DecisionProcessor] | None = None,
    ) -> None:
        """A Planner of a model that is loaded.

        Args:
            model: any causal language model of transformers.
            tokenizer: the model's own.
            options: what the user chose. The other arguments are used where they leave it open.
            scoring: the scoring rule that the model was trained for.
            examples: the number of worked examples that it was trained with.
            prompt: the prompt file that it was trained with.
            processors: the decision processors that it was tried with under that scoring rule;
                None for the rule's default list.
        """
        options = PlannerOptions() if options is None else options
        self.model = model
        self.tokenizer = tokenizer
        self.options = options
        self.examples = examples if options.examples is None else options.examples
        self.prompt = Prompt(options.prompt or prompt, self.examples)
        self.scoring: ScoringRule = scoring if options.scoring == "auto" else options.scoring
        self.processors: tuple[DecisionProcessor, ...] = ()
        self.set_default_processors(processors if self.scoring == scoring else None)
        folder = (options.cache or cache_folder()) / "prompts"
        self.scorer = CandidateScorer(model, options.group or GROUPS[self.scoring], folder)
        self._n_dropped = 0  # examples left out at the beginning of the prompt, for lack of room
        self._prefixes: dict[int, Tokens] = {}
        self._continuations: dict[tuple[str, str], Tokens] = {}
        is_tested = str(model.config.model_type) in TRIE_MODELS
        has_window = bool(getattr(model.config, "use_sliding_window", False))
        self._uses_trie = (is_tested and not has_window) or self._trie_works()
        if not self._uses_trie:
            log.warning(
                "a %s model does not take the candidates as one trie; each is scored by itself, "
                "which is slow",
                model.config.model_type,
            )

    @classmethod
    def load(cls, name: str, options: PlannerOptions) -> Self:
        """The Planner of a packaged name, an adapter's, a folder, a ``.gguf`` file or a hub id."""
        # Read before the model, so that a mistake in a prompt file does not cost its loading.
        if options.prompt is not None:
            Prompt(options.prompt, EXAMPLES)
        folder = adapter_folder(name)
        if folder is None and options.adapter is None:
            return cls(*_load(name, options), options)
        if folder is not None and options.adapter is not None:
            raise BadInput(f"planner '{name}' is an adapter already; it takes no second one")
        folder = folder or options.adapter
        assert folder is not None
        about = read_about(folder)
        base = name if options.adapter else about.base
        if base != about.base:
            raise other_base(folder, about.base, base)
        model, tokenizer = _load(base, options)
        merge_adapter(model, folder, base)
        planner = cls(
            model,
            tokenizer,
            options,
            scoring=about.scoring,
            examples=about.examples,
            prompt=PROMPTS[about.prompt],
            processors=about.processors,
        )
        planner.adapter = folder
        return planner

    def set_default_processors(self, default: Sequence[DecisionProcessor] | None) -> None:
        """Decide by the list of the options, in which ``default`` is this list; None is that of
        the scoring rule. Processors that need constrained scores are left out without them."""
        if default is None:
            default = default_processors(self.scoring)
        processors = parse_processors(self.options.processors, default)
        if self.scoring != "constrained":
            for processor in processors:
                if processor.needs_distribution:
                    log.warning(
                        "processor '%s' needs constrained scoring and is left out", processor.name
                    )
            processors = tuple(p for p in processors if not p.needs_distribution)
        self.processors = processors

    def begin(self, worlds: object) -> None:
        """Drop the last group's dialogues from the cache."""
        self.scorer.forget()

    def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]:
        """One decision for each dialogue; a failure in one leaves the others as they are."""
        decisions: dict[int, Decision] = {}
        requests: dict[int, ScoringRequest] = {}
        for k, dialogue in enumerate(dialogues):
            if not dialogue.candidates():
                decisions[k] = no_candidates(dialogue)
                continue
            try:
                requests[k] = self.scoring_request(dialogue)
            except BadInput as error:
                decisions[k] = Decision("", None, error=error)
        if self.options.decide == "generate":
            for k, request in requests.items():
                decisions[k] = self._generate(dialogues[k], request)
        else:
            for k, scored in self._score(dialogues, requests).items():
                decisions[k] = self._decide(dialogues[k], scored)
        return [decisions[k] for k in range(len(dialogues))]

    def _decide(self, dialogue: Dialogue, scored: _Scored) -> Decision:
        """The command with the highest processed score."""
        if not scored.is_finite():
            return _not_finite()
        candidates = dialogue.candidates()
        other = scored.counterfactual_scores
        context = DecisionContext(
            dialogue,
            candidates,
            np.array(scored.scores),
            None if other is None else np.array(other),
        )
        best = choose(self.processors, context)
        request = scored.request
        return Decision(
            candidates[best].sentence(),
            candidates[best],
            {c.sentence(): s for c, s in zip(candidates, scored.scores, strict=True)},
            cost=TokenCost(
                len(request.context), scored.tokens_read, len(request.continuations[best])
            ),
        )

    def _score(
        self, dialogues: Sequence[Dialogue], requests: Mapping[int, ScoringRequest]
    ) -> dict[int, _Scored]:
        """The scores of each dialogue's candidates, by its index; all requests share the passes."""
        others = self._counterfactual_requests(dialogues, requests)
        every = [*requests.values(), *others.values()]
        if not every:
            return {}
        scores, tokens_read = self._scores(every)
        scored = {
            k: _Scored(request, scores[place], tokens_read[place])
            for place, (k, request) in enumerate(requests.items())
        }
        for place, k in enumerate(others, start=len(requests)):
            scored[k] = replace(
                scored[k],
                tokens_read=scored[k].tokens_read + tokens_read[place],
                counterfactual_scores=scores[place],
            )
        return scored

    def _counterfactual_requests(
        self, dialogues: Sequence[Dialogue], requests: Mapping[int, ScoringRequest]
    ) -> dict[int, ScoringRequest]:
        """The same candidates in the counterfactual contexts of the dialogues that have one."""
        others: dict[int, ScoringRequest] = {}
        if not any(p.needs_counterfactual for p in self.processors):
            return others
        for k in requests:
            other = counterfactual_dialogue(dialogues[k])
            if other is not None:
                # Where it is too long for the model, the dialogue is decided without it.
                with suppress(BadInput):
                    request = self.scoring_request(other, dialogues[k].candidates())
                    others[k] = replace(request, keep=False)
        return others

    def _scores(self, requests: Sequence[ScoringRequest]) -> tuple[list[list[float]], list[int]]:
        """The scores of each request's candidates, and the number of tokens read for them."""
        if self._uses_trie:
            return self.scorer.scores(requests, self.scoring), self.scorer.tokens_read
        scores = [
            uncached_scores(self.model, r.context, r.continuations, rule=self.scoring)
            for r in requests
        ]
        tokens_read = [
            len(r.context) * len(r.continuations) + sum(map(len, r.continuations)) for r in requests
        ]
        return scores, tokens_read

    def scoring_request(
        self, dialogue: Dialogue, candidates: Sequence[Command] = ()
    ) -> ScoringRequest:
        """A dialogue in tokens, with as many examples as the model has room for.

        Args:
            dialogue: the dialogue.
            candidates: the commands to score; by default the dialogue's own candidates.

        Raises BadInput where there is no room even without any example.
        """
        sentences = [f" {c.sentence()}" for c in candidates or dialogue.candidates()]
        new_tokens = self.options.max_new_tokens if self.options.decide == "generate" else 0
        for n_dropped in range(self._n_dropped, max(self.examples, self._n_dropped) + 1):
            text = self.prompt.render(dialogue, n_dropped)
            context, continuations = self._split(text, sentences)
            if len(context) + max(new_tokens, *map(len, continuations)) <= self._max_tokens():
                break
        else:
            raise BadInput(
                f"the dialogue of {len(context)} tokens is too long for the model, which takes "
                f"{self._max_tokens()}"
            )
        if n_dropped > self._n_dropped:
            # For all dialogues from now on, so that they continue to share a prefix.
            log.warning("the first %d examples are left out: the model has no room", n_dropped)
            self._n_dropped = n_dropped
        if self._uses_trie:
            self._read_prefix()
        return ScoringRequest((dialogue.world, dialogue.seed), context, continuations)

    @property
    def prefix(self) -> Tokens:
        """The tokens that all prompts begin with; empty before the first request."""
        return self._prefixes.get(self._n_dropped, ())

    def _read_prefix(self) -> None:
        if self._n_dropped not in self._prefixes:
            # What any two dialogues have in common, whatever the prompt file looks like.
            a, b = self._tokenized([self.prompt.render(d, self._n_dropped) for d in _TWO_DIALOGUES])
            n = common_prefix(a, b)
            self._prefixes[self._n_dropped] = a[:n] if n >= MIN_PREFIX_TOKENS else ()
        status = Console(stderr=True).status("reading the examples, once")
        try:
            self.scorer.read_prefix(self._prefixes[self._n_dropped], status.start)
        finally:
            status.stop()

    def _split(self, text: str, sentences: Sequence[str]) -> tuple[Tokens, tuple[Tokens, ...]]:
        """The tokens of a text, and of each sentence behind it.

        They are tokenized together, since some tokenizers merge the end of one with the start of
        the other; they are split where all of them still agree. Where nothing is merged, the
        sentence's tokens are the same behind every text with the same last line, and are cached.
        """
        line = text[text.rfind("\n") + 1 :]
        if all((line, s) in self._continuations for s in sentences):
            (context,) = self._tokenized([text])
            return context, tuple(self._continuations[line, s] for s in sentences)
        context, *whole = self._tokenized([text, *(text + s for s in sentences)])
        shared = min(common_prefix(context, w) for w in whole)
        continuations = tuple(w[shared:] for w in whole)
        if shared == len(context):
            if len(self._continuations) > CONTINUATIONS_KEPT:
                self._continuations.clear()
            keys = [(line, sentence) for sentence in sentences]
            self._continuations.update(zip(keys, continuations, strict=True))
        return context[:shared], continuations

    def _tokenized(self, texts: list[str]) -> list[Tokens]:
        return [tuple(ids) for ids in self.tokenizer(texts)["input_ids"]]

    def _max_tokens(self) -> int:
        """The longest sequence that the model takes."""
        limit = getattr(self.model.config, "max_position_embeddings", None)
        return int(limit) if limit else 1 << 30

    def _generate(self, dialogue: Dialogue, request: ScoringRequest) -> Decision:
        """The command in the line that the model writes."""
        # From the episode's own seed, so that the rest of the batch changes nothing.
        seed = np.random.SeedSequence((self.options.seed, dialogue.seed, len(dialogue.turns)))
        rng = torch.Generator().manual_seed(int(seed.generate_state(1)[0]))
        context = request.context
        new: list[int] = []
        text = ""
        tokens_read = 0
        while len(new) < self.options.max_new_tokens and "\n" not in text.lstrip():
            logits, n_read = self._next_logits(request, (*context, *new))
            tokens_read += n_read
            if not bool(torch.isfinite(logits).all()):
                return _not_finite()
            token = self._sample(logits, rng)
            if token == self.tokenizer.eos_token_id:
                break
            new.append(token)
            text = str(self.tokenizer.decode(new, skip_special_tokens=True))
        cost = TokenCost(len(context), tokens_read, len(new))
        return replace(read_reply(text, dialogue), cost=cost)

    def _next_logits(self, request: ScoringRequest, tokens: Tokens) -> tuple[torch.Tensor, int]:
        """The logits ``[vocabulary] float32`` of the next token, and how many were read for it."""
        if self._uses_trie:
            return self.scorer.next_logits(request.key, tokens), self.scorer.tokens_read[0]
        with torch.inference_mode():
            ids = torch.tensor([tokens], device=self.model.device)
            logits = self.model(input_ids=ids, use_cache=False).logits[0, -1].float()
        return logits, len(tokens)

    def _sample(self, logits: torch.Tensor, rng: torch.Generator) -> int:
        if self.options.temperature == 0:
            return int(logits.argmax())
        probabilities = torch.softmax(logits.cpu() / self.options.temperature, -1)
        return int(torch.multinomial(probabilities, 1, generator=rng))

    def _trie_works(self) -> bool:
        """Whether this model's trie scores are its uncached ones, tried on a few tokens."""
        vocabulary = int(self.model.config.vocab_size)
        text = tuple(int(t) for t in torch.arange(1, 12) * 7919 % vocabulary)
        continuations = (text[1:4], (*text[1:3], text[6]), text[5:9])
        request = ScoringRequest(0, text, continuations)
        try:
            scores = CandidateScorer(self.model, 1).scores([request])[0]
        # Whatever a model that was not made for this raises, it can still be scored uncached.
        except Exception as error:
            log.info("no trie: %s", error)
            return False
        expected = uncached_scores(self.model, text, continuations)
        tolerance = 1e-3 if self.model.dtype == torch.float32 else 0.2
        return all(
            math.isclose(a, b, abs_tol=tolerance) for a, b in zip(scores, expected, strict=True)
        )


def _load(name: str, options: PlannerOptions) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    return load_model(name, device=options.device, dtype=options.dtype, cache=options.cache)


def _not_finite() -> Decision:
    problem = "the language model's output is not finite (NaN or infinite); try dtype float32"
    return Decision("", None, error=BadInput(problem))


_TWO_DIALOGUES = (
    Dialogue("a", VERBS),
    Dialogue("7 b", VERBS, (Turn("said", None, Report("report")),)),
)
