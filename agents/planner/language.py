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
from agents.planner.adapter import (
    ABOUT,
    adapter_folder,
    merge_adapter,
    other_base,
    read_about,
)
from agents.planner.chat import ChatTemplate
from agents.planner.counterfactual import counterfactual_dialogue
from agents.planner.layout import PromptLayout, line_end
from agents.planner.options import EXAMPLES, PlannerOptions
from agents.planner.processor_registry import default_processors, parse_processors
from agents.planner.processors import (
    DecisionContext,
    DecisionProcessor,
    choose,
    without_distribution,
)
from agents.planner.prompt import PROMPTS, Prompt
from agents.planner.publishing import PublishedAdapter
from agents.planner.random import no_candidates
from agents.planner.replies import Reply, read_reply
from agents.protocols import TeamMember
from envs.commands import VERBS, Command
from envs.errors import BadInput, ContextOverflow
from models.language.candidate_scorer import CandidateScorer, ScoringRequest
from models.language.candidate_scores import uncached_scores
from models.language.formats import ScoringRule
from models.language.generation import Continuation, Generator
from models.language.loading import load_model
from models.language.tokens import Tokens, common_prefix
from models.language.weights import cache_folder, packaged

log = logging.getLogger(__name__)
# Models whose trie scores the tests compare with uncached ones; others are tried when loaded.
TRIE_MODELS = ("gpt2", "llama", "qwen2")
# Dialogues in one pass: fastest on a CPU with SmolLM2, though 8 are nearly as fast. Length
# normalisation needs the logits of more tokens, and memory for them.
GROUPS: Mapping[ScoringRule, int] = {"length-normalised": 16, "constrained": 32}
# A shorter prefix is read with each dialogue, which costs less than attending to it apart.
MIN_PREFIX_TOKENS = 16
CONTINUATIONS_KEPT = 1 << 14


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

    It may think first (``think``): thoughts are generated for all dialogues together, and the
    commands are scored or written behind them.

    With ``decide='score'`` every candidate is scored, the scores pass through the decision
    processors, and the candidate with the highest one is chosen. With ``decide='generate'`` the
    model writes a line, and what cannot be read as one command is none.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        options: PlannerOptions | None = None,
        *,
        scoring: ScoringRule = "length-normalised",
        examples: int = EXAMPLES,
        prompt: Path | None = None,
        processors: Sequence[DecisionProcessor] | None = None,
        plain: bool = False,
    ) -> None:
        """A Planner of a model that is loaded.

        Args:
            model: any causal language model of transformers.
            tokenizer: the model's own.
            options: what the user chose. The other arguments are used where they leave it open.
            scoring: the scoring rule that the model was trained for.
            examples: the number of worked examples that it was trained with.
            prompt: the prompt file that it was trained with; None for one that was not.
            processors: the decision processors that it was tried with under that scoring rule;
                None for the rule's default list.
            plain: whether it was trained or tried without its chat template.
        """
        options = PlannerOptions() if options is None else options
        self.model = model
        self.tokenizer = tokenizer
        self.options = options
        self.examples = examples if options.examples is None else options.examples
        self.layout = self._layout(options.prompt or prompt, plain)
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
        self._generator = Generator(model, tokenizer, self.scorer if self._uses_trie else None)
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
            # The figures of packaged models are those of the bare prompt.
            return cls(*_load(name, options), options, plain=name in packaged())
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
            plain=(folder / ABOUT).is_file(),
        )
        planner.adapter = folder
        return planner

    def set_default_processors(self, default: Sequence[DecisionProcessor] | None) -> None:
        """Decide by the list of the options, in which ``default`` is this list; None is that of
        the scoring rule. Processors that need constrained scores are left out without them."""
        if default is None:
            default = default_processors(self.scoring)
        processors = parse_processors(self.options.processors, default)
        self.processors = without_distribution(processors, self.scoring)

    def begin(self, worlds: object) -> None:
        """Drop the last group's dialogues from the cache."""
        self.scorer.forget()

    def _layout(self, prompt: Path | None, plain: bool) -> PromptLayout:
        has_template = bool(self.tokenizer.chat_template)
        if self.options.chat == "on" and not has_template:
            raise BadInput("--chat on: the model has no chat template")
        uses_chat = self.options.chat == "on" or (
            self.options.chat == "auto" and has_template and not plain
        )
        chat = ChatTemplate(self.tokenizer) if uses_chat else None
        thinks = self.options.think > 0
        if thinks and self.options.prompt is None:
            prompt = None  # what it was trained with has no thoughts
        return PromptLayout(prompt, self.examples, chat, thinks)

    @property
    def prompt(self) -> Prompt:
        """The prompt file with its examples."""
        return self.layout.prompt

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
        thoughts = self._think(dialogues, requests) if self.layout.thinks else {}
        for k, thought in thoughts.items():
            if thought.is_finite:
                requests[k] = self.scoring_request(dialogues[k], thought=thought.text)
            else:
                decisions[k] = _not_finite()
                del requests[k]
        if self.options.decide == "generate":
            decided = self._write(dialogues, requests)
        else:
            scored = self._score(dialogues, requests)
            decided = {k: self._decide(dialogues[k], s) for k, s in scored.items()}
        for k, decision in decided.items():
            decisions[k] = _with_thought(decision, thoughts.get(k))
        return [decisions[k] for k in range(len(dialogues))]

    def _think(
        self, dialogues: Sequence[Dialogue], requests: Mapping[int, ScoringRequest]
    ) -> dict[int, Continuation]:
        """A thought on each dialogue that has a request, by its index."""
        texts = [self.layout.before_thought(dialogues[k], self._n_dropped) for k in requests]
        contexts = self._tokenized(texts) if texts else []
        thoughts = self._generator.generate(
            [(requests[k].key, c) for k, c in zip(requests, contexts, strict=True)],
            most_tokens=self.options.think,
            stop=self.layout.thought_end,
            temperature=self.options.temperature,
            seeds=[self._seed(dialogues[k], 1) for k in requests],
        )
        return dict(zip(requests, thoughts, strict=True))

    def _write(
        self, dialogues: Sequence[Dialogue], requests: Mapping[int, ScoringRequest]
    ) -> dict[int, Decision]:
        """The command in the line that the model writes for each dialogue, by its index."""
        written = self._generator.generate(
            [(request.key, request.context) for request in requests.values()],
            most_tokens=self.options.max_new_tokens,
            stop=line_end,
            temperature=self.options.temperature,
            seeds=[self._seed(dialogues[k], 0) for k in requests],
        )
        decisions: dict[int, Decision] = {}
        for (k, request), line in zip(requests.items(), written, strict=True):
            if not line.is_finite:
                decisions[k] = _not_finite()
                continue
            decision = read_reply(Reply(line.text, cut=not line.ended), dialogues[k])
            cost = TokenCost(len(request.context), line.tokens_read, line.n_tokens)
            decisions[k] = replace(decision, cost=cost)
        return decisions

    def _seed(self, dialogue: Dialogue, stream: int) -> int:
        """A seed of a dialogue's own, so that the rest of the batch changes nothing."""
        entropy = (self.options.seed, dialogue.seed, len(dialogue.turns), stream)
        return int(np.random.SeedSequence(entropy).generate_state(1)[0])

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
        # A thought is about what was reported, and so has nothing to say about a counterfactual.
        if self.layout.thinks or not any(p.needs_counterfactual for p in self.processors):
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
        self, dialogue: Dialogue, candidates: Sequence[Command] = (), thought: str | None = None
    ) -> ScoringRequest:
        """A dialogue in tokens, with as many examples as the model has room for.

        Args:
            dialogue: the dialogue.
            candidates: the commands to score; by default the dialogue's own candidates.
            thought: the thought before the command; until there is one, room is left for it.

        Raises BadInput where there is no room even without any example.
        """
        sentences = [c.sentence() for c in candidates or dialogue.candidates()]
        new_tokens = self.options.max_new_tokens if self.options.decide == "generate" else 0
        spare = self.options.think if thought is None else 0
        for n_dropped in range(self._n_dropped, max(self.examples, self._n_dropped) + 1):
            text = self.layout.before_command(dialogue, n_dropped, thought or "")
            # Behind a line break a command begins without a space.
            gap = "" if text.endswith("\n") else " "
            context, continuations = self._split(text, [f"{gap}{s}" for s in sentences])
            needed = len(context) + spare + max(new_tokens, *map(len, continuations))
            if needed <= self._max_tokens():
                break
        else:
            raise ContextOverflow(
                f"the dialogue of {len(context)} tokens"
                + (f" and a thought of {spare}" if spare else "")
                + f" is too long for the model, which takes {self._max_tokens()}"
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
            texts = [self.layout.before_thought(d, self._n_dropped) for d in _TWO_DIALOGUES]
            a, b = self._tokenized(texts)
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
        # A chat template writes the special tokens at the beginning itself.
        special = self.layout.chat is None
        return [tuple(i) for i in self.tokenizer(texts, add_special_tokens=special)["input_ids"]]

    def _max_tokens(self) -> int:
        """The longest sequence that the model takes."""
        limit = getattr(self.model.config, "max_position_embeddings", None)
        return int(limit) if limit else 1 << 30

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


def _with_thought(decision: Decision, thought: Continuation | None) -> Decision:
    """The decision with the thought before it, and what that cost."""
    if thought is None or decision.cost is None:
        return decision
    cost = decision.cost + TokenCost(0, thought.tokens_read, 0, thought.n_tokens)
    return replace(decision, thought=thought.text.strip(), cost=cost)


def _not_finite() -> Decision:
    problem = "the language model's output is not finite (NaN or infinite); try dtype float32"
    return Decision("", None, error=BadInput(problem))


_TWO_DIALOGUES = (
    Dialogue("a", VERBS),
    Dialogue("7 b", VERBS, (Turn("said", None, Report("report")),)),
)
