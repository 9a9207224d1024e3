"""Candidate scoring: the log-probability of every candidate, with no token read twice.

The naive way reads the whole prompt again for each candidate. Here a model reads the fixed
examples once, each dialogue's new text once, and all candidates together: they are laid out as a
token trie behind the dialogue, and a mask lets each token attend to its own ancestors only.
Several dialogues share a pass (``packed_attention.py``). Text that
the model goes on with (a thought, a command) is generated for all dialogues together, on the same
keys and values.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from transformers import PreTrainedModel

from models.digest import model_key
from models.language import kv_cache
from models.language.candidate_scores import constrained_scores, length_normalised_scores
from models.language.candidate_trie import CandidateTrie, build_trie
from models.language.formats import ScoringRule
from models.language.kv_cache import KVCache
from models.language.packed_attention import PackedBatch, PackedSequence, packed
from models.language.tokens import Tokens, common_prefix

DIALOGUES_KEPT = 128
CHUNK = 512  # tokens of the examples that are read at a time

T = TypeVar("T")


@dataclass(frozen=True)
class ScoringRequest:
    """The tokens of one dialogue, and those of each candidate that may continue it.

    ``key`` names the dialogue: keys and values are cached for the next request of the same key,
    unless ``keep`` is False.
    """

    key: Hashable
    context: Tokens
    continuations: tuple[Tokens, ...]
    keep: bool = True


@dataclass(frozen=True)
class GenerationRequest:
    """The tokens of one dialogue, which the model goes on with, and its ``key`` in the cache."""

    key: Hashable
    context: Tokens


class CandidateScorer:
    """Scores candidates with one causal language model of transformers.

    ``group`` dialogues share a pass. ``folder`` is where the KV caches of prefixes are kept between
    runs, None for nowhere. ``tokens_read`` is how many tokens the last call of `scores` read for
    each request.
    """

    def __init__(self, model: PreTrainedModel, group: int, folder: Path | None = None) -> None:
        self.model = model
        self.group = group
        self.folder = folder
        self._key = model_key(model) if folder else ""
        self._empty = KVCache((), empty_states(model))
        self._prefix = self._empty
        self._caches: OrderedDict[Hashable, KVCache] = OrderedDict()
        self.tokens_read: list[int] = []
        self._keeps_logits = "logits_to_keep" in signature(model.forward).parameters

    def forget(self) -> None:
        """Drop the caches of dialogues, but not that of the prefix."""
        self._caches.clear()

    def forget_all(self) -> None:
        """Drop all caches, that of the prefix too: for a model whose weights have changed."""
        self.forget()
        self._prefix = self._empty

    def read_prefix(self, tokens: Tokens, on_work: Callable[[], None] | None = None) -> None:
        """Read the beginning that all coming contexts share, or take its cache from disk.

        ``on_work`` is called first if the prefix has to be read.
        """
        if tokens == self._prefix.tokens:
            return
        self.forget()
        file = kv_cache.file_for(self.folder, self._key, tokens) if self.folder else None
        prefix = kv_cache.load(file, tokens, self.model.device) if file else None
        if prefix is None:
            if on_work is not None and tokens:
                on_work()
            prefix = self._empty
            for start in range(0, len(tokens), CHUNK):
                prefix = self._extended(prefix, tokens[start : start + CHUNK])
            if file is not None and tokens:
                kv_cache.save(prefix, file)
        self._prefix = prefix

    def scores(
        self, requests: Sequence[ScoringRequest], rule: ScoringRule = "length-normalised"
    ) -> list[list[float]]:
        """The score of every candidate of every request, in their order.

        A score is not finite where the model's output was not. Raises ValueError where
        ``build_trie`` does.
        """
        return self._by_group(
            requests, lambda group, behind: self._pass([requests[k] for k in group], behind, rule)
        )

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        most_tokens: int,
        next_token: Callable[[int, torch.Tensor], int | None],
    ) -> list[Tokens]:
        """What the model goes on with behind each context, ``group`` contexts in a pass.

        What is read is cached under the requests' keys, so that the scoring of candidates behind
        what was generated reads nothing twice.

        Args:
            requests: The contexts.
            most_tokens: Where a continuation ends at the latest.
            next_token: Given the index of a request and the logits ``[vocabulary] float32`` behind
                it, chooses the next token; None ends the continuation.

        Returns:
            The tokens behind each context. ``tokens_read`` is set as by `scores`.
        """
        return self._by_group(
            requests,
            lambda group, behind: self._generate(
                [requests[k] for k in group],
                behind,
                most_tokens,
                lambda k, logits: next_token(group[k], logits),
            ),
        )

    def _by_group(
        self,
        requests: Sequence[ScoringRequest | GenerationRequest],
        run: Callable[[Sequence[int], bool], list[T]],
    ) -> list[T]:
        """The results of all requests, in their order, ``group`` of them in a pass.

        Args:
            requests: The requests.
            run: Makes the results of the requests with these indices, all of them behind the prefix
                or none; sets ``tokens_read`` for these.
        """
        results: dict[int, T] = {}
        tokens_read: dict[int, int] = {}
        # Dialogues of similar length together, since attention pads them to the longest.
        order = sorted(range(len(requests)), key=lambda k: len(requests[k].context))
        for behind in (True, False):
            same = [k for k in order if self._is_behind_prefix(requests[k].context) is behind]
            for start in range(0, len(same), self.group):
                group = same[start : start + self.group]
                results.update(zip(group, run(group, behind), strict=True))
                tokens_read.update(zip(group, self.tokens_read, strict=True))
        self.tokens_read = [tokens_read[k] for k in range(len(requests))]
        return [results[k] for k in range(len(requests))]

    def _generate(
        self,
        requests: Sequence[GenerationRequest],
        behind: bool,
        most_tokens: int,
        next_token: Callable[[int, torch.Tensor], int | None],
    ) -> list[Tokens]:
        new: list[list[int]] = [[] for _ in requests]
        # Behind each context stands nothing yet: a trie of its last token alone.
        tries = [build_trie(r.context[-1], ((0,),)) for r in requests]
        tokens, positions, last_rows, batch = self._laid_out(requests, tries, behind, most_tokens)
        begin = self._begin(behind)
        n_text = self.tokens_read
        n_read = list(n_text)
        going = list(range(len(requests)))
        while True:
            logits = self._run(tokens, positions, batch, last_rows)
            for k in list(going):
                token = next_token(k, logits[k].float())
                if token is not None:
                    new[k].append(token)
                if token is None or len(new[k]) >= most_tokens:
                    going.remove(k)
            if not going:
                break
            # Those that have ended stand by: a pass costs nearly the same with and without them.
            batch.next_token()
            tokens = [new[k][-1] if k in going else requests[k].context[-1] for k in range(batch.n)]
            positions = [begin + length - 1 for length in batch.lengths]
            last_rows = list(range(batch.n))
            for k in going:
                n_read[k] += 1
        for k, request in enumerate(requests):
            # The last token was generated but not read.
            text = (*request.context[begin:], *new[k][: n_read[k] - n_text[k]])
            states = batch.states[:, :, k, : len(text)].clone()
            self._keep(request.key, KVCache(text, states), behind)
        self.tokens_read = n_read
        return [tuple(t) for t in new]

    def _is_behind_prefix(self, context: Tokens) -> bool:
        """Whether a context begins with the prefix and is longer."""
        n = len(self._prefix.tokens)
        return len(context) > n and context[:n] == self._prefix.tokens

    def _pass(
        self, requests: Sequence[ScoringRequest], behind: bool, rule: ScoringRule
    ) -> list[list[float]]:
        tries = [build_trie(r.context[-1], r.continuations, rule) for r in requests]
        logits, keep = self._forward(requests, tries, behind)
        scores_of = constrained_scores if rule == "constrained" else length_normalised_scores
        scores = scores_of(logits, tries, [r.continuations for r in requests])
        for k, own in enumerate(scores):
            if not requests[k].keep:
                continue
            # The best candidate will most likely be chosen, so its tokens are cached as well.
            keep(k, tries[k].paths[int(np.argmax(own))])
        return scores

    def _forward(
        self, requests: Sequence[ScoringRequest], tries: Sequence[CandidateTrie], behind: bool
    ) -> tuple[torch.Tensor, Callable[[int, Tokens], None]]:
        """One pass for some requests, all of them behind the prefix or none.

        Returns the logits ``[scored nodes of all tries, vocabulary]``, and a function that caches
        what was read for request k, with one of its trie's paths.
        """
        tokens, positions, logit_rows, batch = self._laid_out(requests, tries, behind)
        logits = self._run(tokens, positions, batch, logit_rows)
        begin = self._begin(behind)

        def keep(k: int, path: Tokens) -> None:
            text = requests[k].context[begin:]
            rows = [*range(len(text)), *(len(text) - 1 + node for node in path[1:])]
            candidate = tuple(tries[k].tokens[node] for node in path[1:])
            index = torch.tensor(rows, device=self.model.device)
            cache = KVCache(text + candidate, batch.states[:, :, k].index_select(2, index))
            self._keep(requests[k].key, cache, behind)

        return logits, keep

    def _begin(self, behind: bool) -> int:
        """How many tokens of contexts behind the prefix, or of others, are the prefix."""
        return len(self._prefix.tokens) if behind else 0

    def _laid_out(
        self,
        requests: Sequence[ScoringRequest | GenerationRequest],
        tries: Sequence[CandidateTrie],
        behind: bool,
        spare: int = 0,
    ) -> tuple[list[int], list[int], list[int], PackedBatch]:
        """What one pass reads: the text that is not cached, and the tries behind it.

        Args:
            requests: The requests, all of them behind the prefix or none.
            tries: The trie of each.
            behind: Whether they are behind the prefix.
            spare: Room for this many tokens more in each.

        Returns:
            The tokens, their positions, the rows whose logits are scored, and the batch. Sets
            ``tokens_read``.
        """
        begin = self._begin(behind)
        tokens: list[int] = []
        positions: list[int] = []
        logit_rows: list[int] = []
        sequences: list[PackedSequence] = []
        for request, trie in zip(requests, tries, strict=True):
            cache = self._cached(request, behind)
            read = begin + len(cache.tokens)
            end = len(request.context)
            root = len(tokens) + end - 1 - read
            tokens += [*request.context[read:], *trie.tokens[1:]]
            positions += [*range(read, end), *(end - 1 + depth for depth in trie.depths[1:])]
            logit_rows += [root + node for node in trie.scored]
            sequences.append(PackedSequence(cache.states, end - read, trie.attention_mask()))
        self.tokens_read = [
            s.n_text + len(t.tokens) - 1 for s, t in zip(sequences, tries, strict=True)
        ]
        prefix = self._prefix.states if begin else None
        batch = PackedBatch(sequences, prefix, self._empty.states, spare)
        return tokens, positions, logit_rows, batch

    def _cached(self, request: ScoringRequest | GenerationRequest, behind: bool) -> KVCache:
        """The cache of the part of this context that was read before, without the prefix if the
        context begins with it."""
        if behind:
            text = request.context[len(self._prefix.tokens) :]
            cache = self._caches.get(request.key, self._empty)
        else:
            text, cache = request.context, self._prefix
        # The context's last token is always read again, since its logits are needed.
        return cache.first(min(common_prefix(text, cache.tokens), len(text) - 1))

    def _keep(self, key: Hashable, cache: KVCache, behind: bool) -> None:
        self._caches.pop(key, None)
        if behind:
            self._caches[key] = cache
        while len(self._caches) > DIALOGUES_KEPT:
            self._caches.popitem(last=False)

    def _extended(self, cache: KVCache, tokens: Tokens) -> KVCache:
        """The cache extended by more text, which is read."""
        n, end = len(cache.tokens), len(cache.tokens) + len(tokens)
        sequence = PackedSequence(cache.states, len(tokens), np.zeros((0, 0), bool))
        batch = PackedBatch([sequence], None, self._empty.states)
        self._run(tokens, range(n, end), batch, [len(tokens) - 1])
        return KVCache(cache.tokens + tokens, batch.states[:, :, 0])

    def _run(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        batch: PackedBatch,
        logit_rows: Sequence[int],
    ) -> torch.Tensor:
        """One forward pass over a single row of tokens: logits ``[logit_rows, vocabulary]``."""
        device = self.model.device
        rows = torch.tensor(logit_rows, dtype=torch.long, device=device)
        with torch.inference_mode(), packed(self.model):
            logits = self.model(
                input_ids=torch.tensor([tokens], device=device),
                position_ids=torch.tensor([list(positions)], device=device),
                use_cache=False,
                packed_batch=batch,
                **({"logits_to_keep": rows} if self._keeps_logits else {}),
            ).logits[0]
        if batch.n_layers_done != len(batch.states):
            raise TypeError(f"{type(self.model).__name__} has layers without packed attention")
        return logits if self._keeps_logits else logits[rows]


def empty_states(model: PreTrainedModel) -> torch.Tensor:
    """Keys and values of no tokens, ``[layers, 2, 0, width]``, on the model's device and in its
    number format.

    For a model whose configuration does not have these sizes they are guessed; its first pass
    will fail.
    """
    config = model.config
    heads = getattr(config, "num_attention_heads", 1)
    size = getattr(config, "head_dim", None) or getattr(config, "hidden_size", 0) // heads
    width = (getattr(config, "num_key_value_heads", None) or heads) * size
    layers = getattr(config, "num_hidden_layers", 0)
    return torch.zeros(layers, 2, 0, width, device=model.device, dtype=model.dtype)
