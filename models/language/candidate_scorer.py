"""Candidate scoring: the log-probability of every candidate, with no token read twice.

The naive way reads the whole prompt again for each candidate. Here a model reads the fixed
examples once, each dialogue's new text once, and all candidates together: they are laid out as a
token trie behind the dialogue, and a mask lets each token attend to its own ancestors only.
Several dialogues share a pass (``packed_attention.py``).

Two rules make a score of the logits. The *length-normalised* score of a candidate is the mean
log-probability (natural logarithm) of its tokens. Its *constrained* score is its log-probability
where only candidates can be generated: at each node of the trie, the probabilities of the tokens
that continue some candidate are normalised to sum to one, and so those of all candidates do. No
token behind the last branch need be read for it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from models.language import kv_cache
from models.language.formats import ScoringRule
from models.language.kv_cache import KVCache, Tokens, common_prefix
from models.language.packed_attention import PackedBatch, PackedSequence, packed

DIALOGUES_KEPT = 128
CHUNK = 512  # tokens of the examples that are read at a time
ROWS = 64  # rows of logits that are turned into float32 at a time


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
class CandidateTrie:
    """Candidates as a trie of tokens. Node 0 is the context's last token.

    ``tokens``, ``parents`` and ``depths`` ``[nodes]`` describe the nodes that are read, and
    ``children`` lists the tokens that may follow each. The last token of a candidate is only
    predicted, never read. ``paths[c]`` are the nodes from which candidate c's tokens are
    predicted, one for each token, as far as they are read. ``scored`` are the nodes whose
    predictions count.
    """

    tokens: Tokens
    parents: Tokens
    depths: Tokens
    children: tuple[Tokens, ...]
    paths: tuple[Tokens, ...]
    scored: Tokens

    def attention_mask(self) -> np.ndarray:
        """The mask ``[nodes - 1, nodes - 1] bool`` of the nodes below the root: each attends to
        itself and to its ancestors."""
        mask = np.eye(len(self.tokens), dtype=bool)
        for node, parent in enumerate(self.parents[1:], start=1):
            mask[node] |= mask[parent]
        return mask[1:, 1:]


def build_trie(
    root: int, continuations: Sequence[Tokens], rule: ScoringRule = "length-normalised"
) -> CandidateTrie:
    """The trie of some candidates.

    Args:
        root: the context's last token.
        continuations: the tokens of each candidate.
        rule: with ``constrained``, the nodes behind the last branches are left out.

    Raises ValueError for a candidate without tokens, and with ``constrained`` also for one that is
    the beginning of another, since it could not end.
    """
    if not all(continuations):
        raise ValueError("a candidate has no tokens")
    nodes: dict[tuple[int, int], int] = {}
    tokens, parents, depths, paths = [root], [-1], [0], []
    children: list[dict[int, None]] = [{}]
    for continuation in continuations:
        path = [0]
        for token in continuation[:-1]:
            at = path[-1]
            if (at, token) not in nodes:
                nodes[at, token] = len(tokens)
                tokens.append(token)
                parents.append(at)
                depths.append(depths[at] + 1)
                children.append({})
            children[at][token] = None
            path.append(nodes[at, token])
        children[path[-1]][continuation[-1]] = None
        paths.append(tuple(path))
    kept = list(range(len(tokens)))
    if rule == "constrained":
        ends = {(path[-1], c[-1]) for path, c in zip(paths, continuations, strict=True)}
        if len(ends) < len(continuations) or ends & nodes.keys():
            raise ValueError("a candidate is the beginning of another")
        read = [len(after) > 1 for after in children]
        for node in reversed(range(1, len(tokens))):  # parents come before their children
            read[parents[node]] |= read[node]
        kept = [node for node in kept if read[node] or not node]
    place = {node: k for k, node in enumerate(kept)}
    every = rule == "length-normalised"
    return CandidateTrie(
        tokens=tuple(tokens[node] for node in kept),
        parents=tuple(place.get(parents[node], -1) for node in kept),
        depths=tuple(depths[node] for node in kept),
        children=tuple(tuple(children[node]) for node in kept),
        paths=tuple(tuple(place[node] for node in path if node in place) for path in paths),
        scored=tuple(place[node] for node in kept if every or len(children[node]) > 1),
    )


def uncached_scores(
    model: PreTrainedModel,
    context: Tokens,
    continuations: Sequence[Tokens],
    batched: bool = False,
    rule: ScoringRule = "length-normalised",
) -> list[float]:
    """The scores of the candidates, each read behind the whole context, without trie or cache.

    Args:
        model: a causal language model of transformers.
        context: the dialogue's tokens.
        continuations: the tokens of each candidate.
        batched: read the candidates side by side. The shorter ones are padded at their ends,
            where a causal model's earlier tokens cannot attend to.
        rule: what the scores are.
    """
    batches = [list(continuations)] if batched else [[c] for c in continuations]
    scores: list[float] = []
    for batch in batches:
        rows = [context + continuation for continuation in batch]
        length = max(map(len, rows))
        ids = torch.tensor([[*row, *[row[-1]] * (length - len(row))] for row in rows])
        mask = torch.tensor([[k < len(row) for k in range(length)] for row in rows]).long()
        with torch.inference_mode():
            logits = model(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                use_cache=False,
            ).logits
        for row, continuation in enumerate(batch):
            start = len(context) - 1
            own = logits[row, start : start + len(continuation)].float()
            if rule == "constrained":
                scores.append(_constrained_score(own, continuation, continuations))
            else:
                scores.append(_length_normalised_score(own, continuation))
    return scores


def _length_normalised_score(logits: torch.Tensor, tokens: Tokens) -> float:
    return float(torch.log_softmax(logits, -1)[range(len(tokens)), list(tokens)].mean())


def _constrained_score(
    logits: torch.Tensor, tokens: Tokens, continuations: Sequence[Tokens]
) -> float:
    score = 0.0
    for k, token in enumerate(tokens):
        after = sorted({other[k] for other in continuations if other[:k] == tokens[:k]})
        score += float(torch.log_softmax(logits[k, after], -1)[after.index(token)])
    return score


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
        self._key = kv_cache.fingerprint(model) if folder else ""
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
        scores: dict[int, list[float]] = {}
        tokens_read: dict[int, int] = {}
        # Dialogues of similar length together, since attention pads them to the longest.
        order = sorted(range(len(requests)), key=lambda k: len(requests[k].context))
        for behind in (True, False):
            same = [k for k in order if self._is_behind_prefix(requests[k].context) is behind]
            for start in range(0, len(same), self.group):
                group = same[start : start + self.group]
                passed = self._pass([requests[k] for k in group], behind, rule)
                scores.update(zip(group, passed, strict=True))
                tokens_read.update(zip(group, self.tokens_read, strict=True))
        self.tokens_read = [tokens_read[k] for k in range(len(requests))]
        return [scores[k] for k in range(len(requests))]

    def next_logits(self, key: Hashable, context: Tokens) -> torch.Tensor:
        """The logits ``[vocabulary] float32`` of the token that follows a context."""
        request = ScoringRequest(key, context, ((0,),))
        trie = build_trie(context[-1], request.continuations)
        logits, keep = self._forward([request], [trie], self._is_behind_prefix(context))
        keep(0, (0,))
        return logits[0].float()

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
        prefix = self._prefix if behind else self._empty
        begin = len(prefix.tokens)
        caches = [self._cached(r, behind) for r in requests]
        tokens: list[int] = []
        positions: list[int] = []
        logit_rows: list[int] = []
        sequences: list[PackedSequence] = []
        for request, cache, trie in zip(requests, caches, tries, strict=True):
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
        batch = PackedBatch(sequences, prefix.states if begin else None, self._empty.states)
        logits = self._run(tokens, positions, batch, logit_rows)

        def keep(k: int, path: Tokens) -> None:
            text = requests[k].context[begin:]
            rows = [*range(len(text)), *(len(text) - 1 + node for node in path[1:])]
            candidate = tuple(tries[k].tokens[node] for node in path[1:])
            index = torch.tensor(rows, device=self.model.device)
            cache = KVCache(text + candidate, batch.states[:, :, k].index_select(2, index))
            self._keep(requests[k].key, cache, behind)

        return logits, keep

    def _cached(self, request: ScoringRequest, behind: bool) -> KVCache:
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


def length_normalised_scores(
    logits: torch.Tensor,
    tries: Sequence[CandidateTrie],
    continuations: Sequence[Sequence[Tokens]],
) -> list[list[float]]:
    """The mean log-probability of each candidate's tokens, among the whole vocabulary.

    Args:
        logits: ``[scored nodes of all tries, vocabulary]``.
        tries: one for each request.
        continuations: the tokens of each candidate of each request.
    """
    rows: list[int] = []
    tokens: list[int] = []
    lengths: list[int] = []
    start = 0
    for trie, candidates in zip(tries, continuations, strict=True):
        for path, candidate in zip(trie.paths, candidates, strict=True):
            rows += [start + node for node in path]
            tokens += candidate
            lengths.append(len(candidate))
        start += len(trie.scored)
    # Some rows at a time, so that no float32 copy of all of them is made.
    totals = torch.cat([part.float().logsumexp(-1) for part in logits.split(ROWS)])
    logp = (logits[rows, tokens].float() - totals[rows]).cpu().numpy()
    means = np.add.reduceat(logp, np.cumsum([0, *lengths[:-1]])) / lengths
    cuts = np.cumsum([len(candidates) for candidates in continuations])[:-1]
    return [part.tolist() for part in np.split(means, cuts)]


def constrained_scores(
    logits: torch.Tensor,
    tries: Sequence[CandidateTrie],
    continuations: Sequence[Sequence[Tokens]],
) -> list[list[float]]:
    """The log-probability of each candidate among all candidates, summed over the branches of its
    path.

    Args:
        logits: ``[scored nodes of all tries, vocabulary]``.
        tries: one for each request.
        continuations: the tokens of each candidate of each request.
    """
    branches = [trie.children[node] for trie in tries for node in trie.scored]
    if not branches:
        return [[0.0] * len(candidates) for candidates in continuations]
    sizes = [len(branch) for branch in branches]
    rows = np.repeat(np.arange(len(branches)), sizes)
    fits = logits[rows, [token for branch in branches for token in branch]].float().cpu().numpy()
    fits -= np.repeat(np.logaddexp.reduceat(fits, np.cumsum([0, *sizes[:-1]])), sizes)
    scores: list[list[float]] = []
    values = iter(fits.tolist())
    for trie, candidates in zip(tries, continuations, strict=True):
        logp = {(node, t): next(values) for node in trie.scored for t in trie.children[node]}
        scores.append(
            [
                sum(logp.get(step, 0.0) for step in zip(path, candidate, strict=False))
                for path, candidate in zip(trie.paths, candidates, strict=True)
            ]
        )
    return scores


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
