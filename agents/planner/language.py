"""The language Planner: a pretrained causal language model, few-shot prompted, never trained."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from agents.dialogue import Decision, Dialogue, TokenCost, Turn
from agents.planner.adapter import adapter_folder, merge_adapter, other_base, read_about
from agents.planner.counterfactual import contrary
from agents.planner.options import PlannerOptions
from agents.planner.parsing import parse_decision
from agents.planner.processors import NEVER, DecisionRules
from agents.planner.prompt import DEFAULT, PROMPTS, Prompt
from agents.planner.random import no_candidates
from agents.protocols import TeamMember
from envs.commands import VERBS, Command
from envs.errors import BadInput
from models.language.candidate_scorer import (
    CandidateScorer,
    ScoringRequest,
    ScoringRule,
    Tokens,
    plain_scores,
)
from models.language.kv_cache import common
from models.language.loading import load_model
from models.language.weights import cache_folder

log = logging.getLogger(__name__)
# Whose trie scores the tests compare with the plain way; others are tried out when loaded.
TRIE_MODELS = ("gpt2", "llama", "qwen2")
# Dialogues in one pass, by the rule of scores: quickest on a CPU with SmolLM2, though 8 are nearly
# as quick. The mean needs the logits of more tokens, and memory for them.
GROUPS: dict[ScoringRule, int] = {"mean": 16, "tree": 32}
# In nats of a whole command; a mean over its tokens is of another scale.
REPEAT_PENALTY: dict[ScoringRule, float] = {"mean": 0, "tree": 3}
# A shorter beginning is read with each dialogue, which costs less than a part of its own.
WORTH_SHARING = 16
TAILS_KEPT = 1 << 14
EXAMPLES = 13  # worked examples for a model that was not trained to do without


class LanguagePlanner(TeamMember):
    """Decides by the probabilities of any causal language model of transformers.

    With ``decide='score'`` it says the candidate with the highest score; with ``generate`` what
    the model writes up to the end of the line, and what cannot be parsed is no command.
    ``scoring`` is the rule of scores that the model was made for, ``prompt`` its prompt file and
    ``examples`` the number of worked examples; they are used where the options leave them open.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        options: PlannerOptions | None = None,
        *,
        scoring: ScoringRule = "mean",
        examples: int = EXAMPLES,
        prompt: Path = DEFAULT,
        look: float = NEVER,
        contrast: float = 0.0,
    ) -> None:
        options = PlannerOptions() if options is None else options
        self.model = model
        self.tokenizer = tokenizer
        self.options = options
        self.examples = examples if options.examples is None else options.examples
        self.prompt = Prompt(options.prompt or prompt, self.examples)
        folder = (options.cache or cache_folder()) / "prompts"
        self.scoring: ScoringRule = scoring if options.scoring == "auto" else options.scoring
        penalty = options.repeat_penalty
        self.deciding = DecisionRules(
            self.scoring,
            options.repeats,
            REPEAT_PENALTY[self.scoring] if penalty is None else penalty,
            look if options.look is None else options.look,
            contrast if options.contrast is None else options.contrast,
        )
        self.scorer = CandidateScorer(model, options.group or GROUPS[self.scoring], folder)
        self._dropped = 0
        self._prefixes: dict[int, Tokens] = {}
        self._tails: dict[tuple[str, str], Tokens] = {}
        known = str(model.config.model_type) in TRIE_MODELS
        windows = bool(getattr(model.config, "use_sliding_window", False))
        self._trie = (known and not windows) or self._trie_holds()
        if not self._trie:
            log.warning(
                "a %s model does not take the candidates as one trie; each is scored by itself, "
                "which is slow",
                model.config.model_type,
            )

    @classmethod
    def load(cls, name: str, options: PlannerOptions) -> LanguagePlanner:
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
        return cls(
            model,
            tokenizer,
            options,
            scoring=about.scoring,
            examples=about.examples,
            prompt=PROMPTS[about.prompt],
            look=about.look,
            contrast=about.contrast,
        )

    def begin(self, worlds: object) -> None:
        """Forget the last group's dialogues."""
        self.scorer.forget()

    def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]:
        """One decision a dialogue; a model that breaks on one leaves the others as they are."""
        decisions: list[Decision | None] = [None] * len(dialogues)
        questions: list[tuple[int, ScoringRequest]] = []
        for i, dialogue in enumerate(dialogues):
            if not dialogue.candidates():
                decisions[i] = no_candidates(dialogue)
                continue
            try:
                questions.append((i, self.question(dialogue)))
            except BadInput as error:
                decisions[i] = Decision("", None, error=error)
        for i, question in questions if self.options.decide == "generate" else ():
            decisions[i] = self._generate(dialogues[i], question)
        if self.options.decide == "score" and questions:
            against = self._contraries(dialogues, questions)
            every = [*questions, *against.items()]
            scored = self._scores([q for _, q in every])
            others = dict(zip(against, scored[len(questions) :], strict=True))
            for (i, _), scores in zip(questions, scored, strict=False):
                decisions[i] = self._decision(dialogues[i], scores, others.get(i))
            decisions = self._with_costs(decisions, questions, self._read(every))
        return [d for d in decisions if d is not None]

    def _decision(
        self, dialogue: Dialogue, scores: Sequence[float], contrary: Sequence[float] | None
    ) -> Decision:
        if not all(map(math.isfinite, (*scores, *(contrary or ())))):
            return _not_finite()
        candidates = dialogue.candidates()
        best = candidates[self.deciding.best(dialogue, scores, contrary)]
        table = {c.sentence(): s for c, s in zip(candidates, scores, strict=True)}
        return Decision(best.sentence(), best, table)

    def _contraries(
        self, dialogues: Sequence[Dialogue], questions: Sequence[tuple[int, ScoringRequest]]
    ) -> dict[int, ScoringRequest]:
        """The same questions of the dialogues' contraries, for those that have one."""
        found: dict[int, ScoringRequest] = {}
        for i, _ in questions if self.deciding.contrasts else ():
            other = contrary(dialogues[i])
            if other is not None:
                # What has no room is decided without.
                with suppress(BadInput):
                    asked = self.question(other, dialogues[i].candidates())
                    found[i] = replace(asked, keep=False)
        return found

    def _read(self, questions: Sequence[tuple[int, ScoringRequest]]) -> Counter[int]:
        """How many tokens were just read for each dialogue, by its place."""
        read: Counter[int] = Counter()
        for k, (i, q) in enumerate(questions):
            plainly = len(q.context) * len(q.tails) + sum(map(len, q.tails))
            read[i] += self.scorer.took[k] if self._trie else plainly
        return read

    def _with_costs(
        self,
        decisions: Sequence[Decision | None],
        questions: Sequence[tuple[int, ScoringRequest]],
        read: Mapping[int, int],
    ) -> list[Decision | None]:
        """The decisions, and what each of those that were just scored took."""
        found = list(decisions)
        for i, question in questions:
            decision = found[i]
            if decision is None or decision.error is not None:
                continue
            best = list(decision.scores).index(decision.said)
            cost = TokenCost(len(question.context), read[i], len(question.tails[best]))
            found[i] = replace(decision, cost=cost)
        return found

    def _scores(self, questions: Sequence[ScoringRequest]) -> list[list[float]]:
        if self._trie:
            return self.scorer.scores(questions, self.scoring)
        return [plain_scores(self.model, q.context, q.tails, rule=self.scoring) for q in questions]

    def question(self, dialogue: Dialogue, candidates: Sequence[Command] = ()) -> ScoringRequest:
        """A dialogue in tokens, with as many examples as the model has room for, and the tokens of
        ``candidates``, where there are none those of its own.

        Raises BadInput where there is no room even without any.
        """
        key = (dialogue.world, dialogue.seed)
        sentences = [f" {c.sentence()}" for c in candidates or dialogue.candidates()]
        for dropped in range(self._dropped, max(self.examples, self._dropped) + 1):
            text = self.prompt.render(dialogue, dropped)
            context, tails = self._split(text, sentences)
            room = self.options.max_new_tokens if self.options.decide == "generate" else 0
            if len(context) + max(room, *map(len, tails)) <= self._limit():
                break
        else:
            raise BadInput(
                f"the dialogue of {len(context)} tokens is too long for the model, which takes "
                f"{self._limit()}"
            )
        if dropped > self._dropped:
            # For all dialogues from now on, so that they go on sharing what has been read.
            log.warning("the first %d examples are left out: the model has no room", dropped)
            self._dropped = dropped
        if self._trie:
            self._read_examples()
        return ScoringRequest(key, context, tails)

    @property
    def prefix(self) -> Tokens:
        """The tokens that every prompt begins with; known once a first question was asked."""
        return self._prefixes.get(self._dropped, ())

    def _read_examples(self) -> None:
        if self._dropped not in self._prefixes:
            # What any two dialogues have in common, whatever the prompt file looks like.
            a, b = self._tokens([self.prompt.render(d, self._dropped) for d in _TWO_DIALOGUES])
            n = common(a, b)
            self._prefixes[self._dropped] = a[:n] if n >= WORTH_SHARING else ()
        status = Console(stderr=True).status("reading the examples, once")
        try:
            self.scorer.read_prefix(self._prefixes[self._dropped], status.start)
        finally:
            status.stop()

    def _split(self, text: str, sentences: Sequence[str]) -> tuple[Tokens, tuple[Tokens, ...]]:
        """Tokens of the text, and of each sentence behind it.

        Tokenized together, since some tokenizers join the end of one with the start of the other;
        the split is then where all of them still agree. Where nothing is joined, the sentence's
        tokens are the same behind every text that ends in the same line, and kept.
        """
        line = text[text.rfind("\n") + 1 :]
        if all((line, s) in self._tails for s in sentences):
            (context,) = self._tokens([text])
            return context, tuple(self._tails[line, s] for s in sentences)
        context, *whole = self._tokens([text, *(text + s for s in sentences)])
        shared = min(common(context, w) for w in whole)
        tails = tuple(w[shared:] for w in whole)
        if shared == len(context):
            if len(self._tails) > TAILS_KEPT:
                self._tails.clear()
            self._tails.update(zip(((line, s) for s in sentences), tails, strict=True))
        return context[:shared], tails

    def _tokens(self, texts: list[str]) -> list[Tokens]:
        return [tuple(ids) for ids in self.tokenizer(texts)["input_ids"]]

    def _limit(self) -> int:
        """The most tokens that the model takes."""
        limit = getattr(self.model.config, "max_position_embeddings", None)
        return int(limit) if limit else 1 << 30

    def _generate(self, dialogue: Dialogue, question: ScoringRequest) -> Decision:
        # From the episode's own seed, so that neighbours in the batch change nothing.
        drawn = np.random.SeedSequence((self.options.seed, dialogue.seed, len(dialogue.turns)))
        rng = torch.Generator().manual_seed(int(drawn.generate_state(1)[0]))
        context = question.context
        new: list[int] = []
        text = ""
        read = 0
        while len(new) < self.options.max_new_tokens and "\n" not in text.lstrip():
            logits = self._next(question, (*context, *new))
            read += self.scorer.took[0] if self._trie else len(context) + len(new)
            if not bool(torch.isfinite(logits).all()):
                return _not_finite()
            token = self._draw(logits, rng)
            if token == self.tokenizer.eos_token_id:
                break
            new.append(token)
            text = str(self.tokenizer.decode(new, skip_special_tokens=True))
        cost = TokenCost(len(context), read, len(new))
        return replace(parse_decision(text, dialogue), cost=cost)

    def _next(self, question: ScoringRequest, context: Tokens) -> torch.Tensor:
        if self._trie:
            return self.scorer.next_logits(question.key, context)
        with torch.inference_mode():
            ids = torch.tensor([context], device=self.model.device)
            return self.model(input_ids=ids, use_cache=False).logits[0, -1].float()

    def _draw(self, logits: torch.Tensor, rng: torch.Generator) -> int:
        if self.options.temperature == 0:
            return int(logits.argmax())
        weights = torch.softmax(logits.cpu() / self.options.temperature, -1)
        return int(torch.multinomial(weights, 1, generator=rng))

    def _trie_holds(self) -> bool:
        """Whether the trie gives this model's plain scores, tried on a few tokens."""
        vocabulary = int(self.model.config.vocab_size)
        text = tuple(int(t) for t in torch.arange(1, 12) * 7919 % vocabulary)
        tails = (text[1:4], (*text[1:3], text[6]), text[5:9])
        try:
            found = CandidateScorer(self.model, 1).scores([ScoringRequest(0, text, tails)])[0]
        # Whatever a model that was not made for this raises, it can still be scored plainly.
        except Exception as error:
            log.info("no trie: %s", error)
            return False
        plain = plain_scores(self.model, text, tails)
        near = 1e-3 if self.model.dtype == torch.float32 else 0.2
        return all(math.isclose(a, b, abs_tol=near) for a, b in zip(found, plain, strict=True))


def _load(name: str, options: PlannerOptions) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    return load_model(name, device=options.device, dtype=options.dtype, cache=options.cache)


def _not_finite() -> Decision:
    problem = "the language model's output is not finite (NaN or infinite); try dtype float32"
    return Decision("", None, error=BadInput(problem))


_TWO_DIALOGUES = (
    Dialogue("a", VERBS),
    Dialogue("7 b", VERBS, (Turn("said", None, "report"),)),
)
