"""Scoring: the log-probability of every candidate, with nothing read twice.

The plain way reads the whole prompt again for each candidate. Here a model reads the fixed
examples once and for all, each dialogue's new text once, and all the candidates together: they
are laid out as a token trie behind the dialogue, and a mask lets each token see only its own
ancestors. Several dialogues can share one pass; they stand one behind the other in a single row,
so that nothing is ever padded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel

from agents.planner import memory
from agents.planner.memory import Memory, common

Tokens = tuple[int, ...]
DIALOGUES_KEPT = 128
CHUNK = 512  # tokens of the examples that are read at a time


@dataclass(frozen=True)
class Question:
    """One dialogue's tokens, and those of each candidate that may go on from there.

    ``key`` names the dialogue: what is read for one question is kept for the next of its key.
    """

    key: Hashable
    context: Tokens
    tails: tuple[Tokens, ...]


@dataclass(frozen=True)
class Trie:
    """Candidates that share their beginnings. Node 0 is the context's last token.

    ``tokens``, ``parents`` and ``depths`` ``[nodes]`` hold the nodes that have children: the last
    token of a candidate is only predicted, never read. ``paths[c]`` are the nodes from which
    candidate c's tokens are predicted, one a token.
    """

    tokens: Tokens
    parents: Tokens
    depths: Tokens
    paths: tuple[Tokens, ...]


def build_trie(root: int, tails: Sequence[Tokens]) -> Trie:
    """The trie of some candidates. Raises ValueError for one that has no tokens."""
    if not all(tails):
        raise ValueError("a candidate has no tokens")
    nodes: dict[tuple[int, int], int] = {}
    tokens, parents, depths, paths = [root], [-1], [0], []
    for tail in tails:
        path = [0]
        for token in tail[:-1]:
            at = path[-1]
            if (at, token) not in nodes:
                nodes[at, token] = len(tokens)
                tokens.append(token)
                parents.append(at)
                depths.append(depths[at] + 1)
            path.append(nodes[at, token])
        paths.append(tuple(path))
    return Trie(tuple(tokens), tuple(parents), tuple(depths), tuple(paths))


def plain_scores(
    model: PreTrainedModel, context: Tokens, tails: Sequence[Tokens], batched: bool = False
) -> list[float]:
    """The scores of the candidates, each read behind the whole context, without any memory.

    ``batched`` reads them side by side, the shorter ones padded behind their end, where a causal
    model's earlier tokens cannot see it.
    """
    groups = [list(tails)] if batched else [[tail] for tail in tails]
    scores: list[float] = []
    for group in groups:
        rows = [context + tail for tail in group]
        length = max(map(len, rows))
        ids = torch.tensor([[*row, *[row[-1]] * (length - len(row))] for row in rows])
        seen = torch.tensor([[k < len(row) for k in range(length)] for row in rows]).long()
        with torch.inference_mode():
            logits = model(
                input_ids=ids.to(model.device),
                attention_mask=seen.to(model.device),
                use_cache=False,
            ).logits
        for row, tail in enumerate(group):
            at = logits[row, len(context) - 1 : len(context) - 1 + len(tail)].float()
            chosen = torch.log_softmax(at, -1)[range(len(tail)), list(tail)]
            scores.append(float(chosen.mean()))
    return scores


class Scorer:
    """Scores candidates with one causal language model of transformers.

    A score is the mean log-probability (natural logarithm) of a candidate's tokens. ``folder`` is
    where memories of prompts are kept between runs, None for nowhere.
    """

    def __init__(self, model: PreTrainedModel, group: int, folder: Path | None = None) -> None:
        self.model = model
        self.group = group
        self.folder = folder
        self._key = memory.fingerprint(model) if folder else ""
        self._prefix = Memory((), ())
        self._read: OrderedDict[Hashable, Memory] = OrderedDict()
        self._keeps_logits = "logits_to_keep" in signature(model.forward).parameters

    def forget(self) -> None:
        """Forget the dialogues, but not the examples."""
        self._read.clear()

    def read_prefix(self, tokens: Tokens, on_work: Callable[[], None] | None = None) -> None:
        """Read what all coming contexts begin with, or take it from disk.

        ``on_work`` is called first where it has to be read.
        """
        if tokens == self._prefix.tokens:
            return
        self.forget()
        file = memory.file_for(self.folder, self._key, tokens) if self.folder else None
        found = memory.load(file, tokens, self.model.device) if file else None
        if found is None:
            if on_work is not None and tokens:
                on_work()
            found = Memory((), ())
            for start in range(0, len(tokens), CHUNK):
                found = self._extend(found, tokens[start : start + CHUNK])
            if file is not None and tokens:
                memory.save(found, file)
        self._prefix = found

    def scores(self, questions: Sequence[Question]) -> list[list[float]]:
        """The score of every candidate of every question, in their order.

        A score is not finite where the model's output was not.
        """
        found: list[list[float]] = []
        for start in range(0, len(questions), self.group):
            found += self._pass(questions[start : start + self.group])
        return found

    def next_logits(self, key: Hashable, context: Tokens) -> torch.Tensor:
        """The logits ``[vocabulary] float32`` of the token that follows a context."""
        rows, _ = self._forward([Question(key, context, ((0,),))])
        return rows[0][0]

    def _pass(self, questions: Sequence[Question]) -> list[list[float]]:
        rows, keep = self._forward(questions)
        found = []
        for k, (question, logits) in enumerate(zip(questions, rows, strict=True)):
            trie = build_trie(question.context[-1], question.tails)
            logp = torch.log_softmax(logits, -1)
            scores = [
                float(logp[list(path), list(tail)].mean())
                for path, tail in zip(trie.paths, question.tails, strict=True)
            ]
            found.append(scores)
            # The Planner will most likely say the best one: its tokens are then already read.
            best = int(np.argmax(scores))
            keep(k, trie.paths[best], question.tails[best])
        return found

    def _forward(
        self, questions: Sequence[Question]
    ) -> tuple[list[torch.Tensor], Callable[[int, Tokens, Tokens], None]]:
        """One pass for some questions: the logits ``[nodes, vocabulary]`` of each one's trie.

        Also returns a function that keeps what was read for question k, with one of its paths.
        """
        tries = [build_trie(q.context[-1], q.tails) for q in questions]
        shared = [
            min(common(q.context, self._prefix.tokens), len(q.context) - 1) for q in questions
        ]
        n_prefix = len(self._prefix.tokens) if any(shared) else 0
        known = [self._known(q, s) for q, s in zip(questions, shared, strict=True)]
        starts = np.cumsum([n_prefix, *[len(m.tokens) for m in known]])
        n_old = int(starts[-1])
        tokens: list[int] = []
        positions: list[int] = []
        spans: list[tuple[int, int, int]] = []  # new text, trie, end, as rows of this pass
        for q, s, m, trie in zip(questions, shared, known, tries, strict=True):
            read = s + len(m.tokens)
            begin, root = len(tokens), len(tokens) + len(q.context) - 1 - read
            tokens += [*q.context[read:], *trie.tokens[1:]]
            positions += range(read, len(q.context))
            positions += [len(q.context) - 1 + depth for depth in trie.depths[1:]]
            spans.append((begin, root, len(tokens)))

        sees = np.zeros((len(tokens), n_old + len(tokens)), bool)
        for k, (begin, root, end) in enumerate(spans):
            sees[begin:end, : shared[k]] = True
            sees[begin:end, starts[k] : starts[k + 1]] = True
            text = slice(n_old + begin, n_old + root + 1)
            sees[begin : root + 1, text] = np.tri(root + 1 - begin, dtype=bool)
            for node, parent in enumerate(tries[k].parents[1:], start=1):
                sees[root + node] = sees[root + parent]
                sees[root + node, n_old + root + node] = True

        wanted = [row for _, root, end in spans for row in range(root, end)]
        cache = self._cache(n_prefix, known)
        logits = self._run(tokens, positions, sees, cache, wanted)
        sizes = [end - root for _, root, end in spans]

        def keep(k: int, path: Tokens, tail: Tokens) -> None:
            begin, root, _ = spans[k]
            rows = [*range(starts[k], starts[k + 1])]
            rows += [n_old + row for row in range(begin, root + 1)]
            rows += [n_old + root + node for node in path[1:]]
            at = torch.tensor(rows, device=self.model.device)
            layers = tuple((keys[:, at], values[:, at]) for keys, values in _layers(cache))
            text = (*questions[k].context[shared[k] :], *tail[:-1])
            self._remember(questions[k].key, Memory(text, layers))

        return list(logits.split(sizes)), keep

    def _known(self, question: Question, shared: int) -> Memory:
        """What was read of this dialogue before, behind the prefix, as far as it still holds."""
        if shared < len(self._prefix.tokens):
            return Memory((), ())
        old = self._read.get(question.key, Memory((), ()))
        # The context's last token is always read again: its logits are wanted.
        n = min(common(question.context[shared:], old.tokens), len(question.context) - 1 - shared)
        return Memory(old.tokens[:n], tuple((k[:, :n], v[:, :n]) for k, v in old.layers))

    def _remember(self, key: Hashable, read: Memory) -> None:
        self._read[key] = read
        self._read.move_to_end(key)
        while len(self._read) > DIALOGUES_KEPT:
            self._read.popitem(last=False)

    def _cache(self, n_prefix: int, known: Sequence[Memory]) -> DynamicCache:
        memories = [m for m in (self._prefix if n_prefix else None, *known) if m and m.tokens]
        if not memories:
            return DynamicCache()
        per_layer = zip(*[m.layers for m in memories], strict=True)
        return DynamicCache(
            [
                (
                    torch.cat([k for k, _ in layer], 1)[None],
                    torch.cat([v for _, v in layer], 1)[None],
                )
                for layer in per_layer
            ]
        )

    def _extend(self, read: Memory, tokens: Tokens) -> Memory:
        """Read some more text behind ``read``."""
        n = len(read.tokens)
        sees = np.tri(len(tokens), n + len(tokens), n, dtype=bool)
        cache = self._cache(0, [read])
        self._run(tokens, range(n, n + len(tokens)), sees, cache, [len(tokens) - 1])
        return Memory(read.tokens + tuple(tokens), _layers(cache))

    def _run(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        sees: np.ndarray,
        cache: DynamicCache,
        wanted: Sequence[int],
    ) -> torch.Tensor:
        """One forward pass over a single row: float32 logits ``[wanted, vocabulary]``."""
        device, dtype = self.model.device, self.model.dtype
        mask = torch.zeros(sees.shape, dtype=dtype)
        mask.masked_fill_(~torch.from_numpy(sees), torch.finfo(dtype).min)
        rows = torch.tensor(wanted, device=device)
        with torch.inference_mode():
            logits = self.model(
                input_ids=torch.tensor([tokens], device=device),
                position_ids=torch.tensor([list(positions)], device=device),
                attention_mask=mask[None, None].to(device),
                past_key_values=cache,
                use_cache=True,
                **({"logits_to_keep": rows} if self._keeps_logits else {}),
            ).logits[0]
        return (logits if self._keeps_logits else logits[rows]).float()


def _layers(cache: DynamicCache) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
    """Keys and values of each layer of a cache with one row."""
    layers: list[Any] = cache.layers
    return tuple((layer.keys[0], layer.values[0]) for layer in layers)
