"""Text that a language model goes on with, for many contexts together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.language.candidate_scorer import CandidateScorer, GenerationRequest
from models.language.tokens import Tokens


@dataclass(frozen=True)
class Continuation:
    """What was generated behind a context.

    Attributes:
        text: The text, without what it ended with.
        n_tokens: The number of its tokens.
        tokens_read: The number of tokens read for it.
        ended: Whether it ended by itself rather than at the limit.
        is_finite: Whether all of the model's outputs were.
    """

    text: str
    n_tokens: int
    tokens_read: int
    ended: bool
    is_finite: bool = True


class Generator:
    """Generates with one language model.

    Args:
        model: Any causal language model of transformers.
        tokenizer: The model's own.
        scorer: Generates for all contexts in one pass, and keeps what was read for scoring; None
            for a model that it does not fit, whose contexts are read one by one.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        scorer: CandidateScorer | None,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._scorer = scorer
        end = getattr(model.generation_config, "eos_token_id", None) or []
        ends = end if isinstance(end, list) else [end]
        self._ends = frozenset([*ends, tokenizer.eos_token_id])

    def generate(
        self,
        contexts: Sequence[tuple[Hashable, Tokens]],
        *,
        most_tokens: int,
        stop: Callable[[str], int | None],
        temperature: float = 0.0,
        seeds: Sequence[int] = (),
    ) -> list[Continuation]:
        """Go on with each context.

        Args:
            contexts: For each, a key of the cache and the tokens.
            most_tokens: Where a text ends at the latest.
            stop: Given what has been generated, says after how many characters it ends; None while
                it goes on.
            temperature: That of sampling; 0 always takes the most probable token.
            seeds: For each context, the seed of sampling, so that the rest of the batch changes
                nothing.
        """
        rngs = [torch.Generator().manual_seed(seed) for seed in seeds]
        tokens: list[list[int]] = [[] for _ in contexts]
        texts = ["" for _ in contexts]
        has_ended = [False for _ in contexts]
        is_finite = [True for _ in contexts]

        def next_token(k: int, logits: torch.Tensor) -> int | None:
            if not bool(torch.isfinite(logits).all()):
                is_finite[k] = False
                return None
            if temperature == 0:
                token = int(logits.argmax())
            else:
                probabilities = torch.softmax(logits.cpu() / temperature, -1)
                token = int(torch.multinomial(probabilities, 1, generator=rngs[k]))
            if token in self._ends:
                has_ended[k] = True
                return None
            tokens[k].append(token)
            texts[k] = str(self._tokenizer.decode(tokens[k], skip_special_tokens=False))
            cut = stop(texts[k])
            if cut is None:
                return token
            texts[k] = texts[k][:cut]
            has_ended[k] = True
            return None

        n_read = self._run(contexts, most_tokens, next_token)
        return [
            Continuation(texts[k], len(tokens[k]), n_read[k], has_ended[k], is_finite[k])
            for k in range(len(contexts))
        ]

    def _run(
        self,
        contexts: Sequence[tuple[Hashable, Tokens]],
        most_tokens: int,
        next_token: Callable[[int, torch.Tensor], int | None],
    ) -> list[int]:
        """Ask for tokens until each context has ended; how many were read for each."""
        if self._scorer is not None:
            requests = [GenerationRequest(key, context) for key, context in contexts]
            self._scorer.generate(requests, most_tokens, next_token)
            return self._scorer.tokens_read
        n_read = []
        for k, (_, context) in enumerate(contexts):
            tokens = list(context)
            n_read.append(0)
            for _ in range(most_tokens):
                with torch.inference_mode():
                    ids = torch.tensor([tokens], device=self._model.device)
                    logits = self._model(input_ids=ids, use_cache=False).logits[0, -1].float()
                n_read[k] += len(tokens)
                token = next_token(k, logits)
                if token is None:
                    break
                tokens.append(token)
        return n_read
