"""Scoring: the log-probability of every candidate, with nothing read twice.

The plain way reads the whole prompt again for each candidate. Here a model reads the fixed
examples once and for all, each dialogue's new text once, and all the candidates together: they
are laid out as a token trie behind the dialogue, and a mask lets each token see only its own
ancestors. Several dialogues share one pass (``attention.py``).

Two rules make a score of what was read. ``mean`` is the mean log-probability (natural logarithm)
of a candidate's tokens. ``tree`` is the log-probability of the candidate where nothing but the
candidates can be said: at each node of the trie the probabilities of the tokens that go on from
it are made to sum to one, so those of all candidates do. It needs no token behind the last fork.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from transformers import PreTrainedModel

from models.language import kv_cache as memory
from models.language.kv_cache import KVCache, common
from models.language.packed_attention import PackedBatch, PackedSequence, packed

Tokens = tuple[int, ...]
ScoringRule = Literal["mean", "tree"]
DIALOGUES_KEPT = 128
CHUNK = 512  # tokens of the examples that are read at a time
ROWS = 64  # rows of logits that are turned into float32 at a time


@dataclass(frozen=True)
class ScoringRequest:
    """One dialogue's tokens, and those of each candidate that may go on from there.

    ``key`` names the dialogue: what is read for one question is kept for the next of its key,
    unless it is not to ``keep``.
    """

    key: Hashable
    context: Tokens
    tails: tuple[Tokens, ...]
    keep: bool = True


@dataclass(frozen=True)
class CandidateTrie:
    """Candidates that share their beginnings. Node 0 is the context's last token.

    ``tokens``, ``parents`` and ``depths`` ``[nodes]`` hold the nodes that are read, and
    ``children`` the tokens that may follow each. The last token of a candidate is only predicted,
    never read. ``paths[c]`` are the nodes from which candidate c's tokens are predicted, one a
    token, as far as they are read. ``asked`` are the nodes whose predictions count.
    """

    tokens: Tokens
    parents: Tokens
    depths: Tokens
    children: tuple[Tokens, ...]
    paths: tuple[Tokens, ...]
    asked: Tokens

    def sees(self) -> np.ndarray:
        """Which of the nodes behind the root each of them sees, ``[nodes - 1, nodes - 1] bool``."""
        sees = np.eye(len(self.tokens), dtype=bool)
        for node, parent in enumerate(self.parents[1:], start=1):
            sees[node] |= sees[parent]
        return sees[1:, 1:]


def build_trie(root: int, tails: Sequence[Tokens], rule: ScoringRule = "mean") -> CandidateTrie:
    """The trie of some candidates, for ``tree`` without the nodes behind the last forks.

    Raises ValueError for a candidate that has no tokens, and for ``tree`` also for one that
    another goes on from, because such a one would be no end.
    """
    if not all(tails):
        raise ValueError("a candidate has no tokens")
    nodes: dict[tuple[int, int], int] = {}
    tokens, parents, depths, paths = [root], [-1], [0], []
    children: list[dict[int, None]] = [{}]
    for tail in tails:
        path = [0]
        for token in tail[:-1]:
            at = path[-1]
            if (at, token) not in nodes:
                nodes[at, token] = len(tokens)
                tokens.append(token)
                parents.append(at)
                depths.append(depths[at] + 1)
                children.append({})
            children[at][token] = None
            path.append(nodes[at, token])
        children[path[-1]][tail[-1]] = None
        paths.append(tuple(path))
    kept = list(range(len(tokens)))
    if rule == "tree":
        ends = {(path[-1], tail[-1]) for path, tail in zip(paths, tails, strict=True)}
        if len(ends) < len(tails) or ends & nodes.keys():
            raise ValueError("a candidate is the beginning of another")
        read = [len(after) > 1 for after in children]
        for node in reversed(range(1, len(tokens))):  # parents come before their children
            read[parents[node]] |= read[node]
        kept = [node for node in kept if read[node] or not node]
    place = {node: k for k, node in enumerate(kept)}
    return CandidateTrie(
        tokens=tuple(tokens[node] for node in kept),
        parents=tuple(place.get(parents[node], -1) for node in kept),
        depths=tuple(depths[node] for node in kept),
        children=tuple(tuple(children[node]) for node in kept),
        paths=tuple(tuple(place[node] for node in path if node in place) for path in paths),
        asked=tuple(place[node] for node in kept if rule == "mean" or len(children[node]) > 1),
    )


def plain_scores(
    model: PreTrainedModel,
    context: Tokens,
    tails: Sequence[Tokens],
    batched: bool = False,
    rule: ScoringRule = "mean",
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
            scores.append(_plain_tree(at, tail, tails) if rule == "tree" else _plain(at, tail))
    return scores


def _plain(logits: torch.Tensor, tail: Tokens) -> float:
    return float(torch.log_softmax(logits, -1)[range(len(tail)), list(tail)].mean())


def _plain_tree(logits: torch.Tensor, tail: Tokens, tails: Sequence[Tokens]) -> float:
    score = 0.0
    for k, token in enumerate(tail):
        after = sorted({other[k] for other in tails if other[:k] == tail[:k]})
        score += float(torch.log_softmax(logits[k, after], -1)[after.index(token)])
    return score


class CandidateScorer:
    """Scores candidates with one causal language model of transformers.

    ``group`` dialogues share a pass. ``folder`` is where memories of prompts are kept between
    runs, None for nowhere. ``took`` is how many tokens the last call of `scores` read for each
    question.
    """

    def __init__(self, model: PreTrainedModel, group: int, folder: Path | None = None) -> None:
        self.model = model
        self.group = group
        self.folder = folder
        self._key = memory.fingerprint(model) if folder else ""
        self._nothing = KVCache((), no_states(model))
        self._prefix = self._nothing
        self._read: OrderedDict[Hashable, KVCache] = OrderedDict()
        self.took: list[int] = []
        self._keeps_logits = "logits_to_keep" in signature(model.forward).parameters

    def forget(self) -> None:
        """Forget the dialogues, but not the examples."""
        self._read.clear()

    def forget_all(self) -> None:
        """Forget the examples too, since the model has changed."""
        self.forget()
        self._prefix = self._nothing

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
            found = self._nothing
            for start in range(0, len(tokens), CHUNK):
                found = self._extend(found, tokens[start : start + CHUNK])
            if file is not None and tokens:
                memory.save(found, file)
        self._prefix = found

    def scores(
        self, questions: Sequence[ScoringRequest], rule: ScoringRule = "mean"
    ) -> list[list[float]]:
        """The score of every candidate of every question, in their order.

        A score is not finite where the model's output was not. Raises ValueError where
        ``build_trie`` does.
        """
        found: dict[int, list[float]] = {}
        took: dict[int, int] = {}
        # Dialogues of about one length together, since attention pads them to the longest.
        order = sorted(range(len(questions)), key=lambda k: len(questions[k].context))
        for behind in (True, False):
            alike = [k for k in order if self._behind_prefix(questions[k].context) is behind]
            for start in range(0, len(alike), self.group):
                some = alike[start : start + self.group]
                passed = self._pass([questions[k] for k in some], behind, rule)
                found.update(zip(some, passed, strict=True))
                took.update(zip(some, self.took, strict=True))
        self.took = [took[k] for k in range(len(questions))]
        return [found[k] for k in range(len(questions))]

    def next_logits(self, key: Hashable, context: Tokens) -> torch.Tensor:
        """The logits ``[vocabulary] float32`` of the token that follows a context."""
        question = ScoringRequest(key, context, ((0,),))
        trie = build_trie(context[-1], question.tails)
        behind = self._behind_prefix(context)
        logits, keep = self._forward([question], [trie], behind)
        keep(0, (0,))
        return logits[0].float()

    def _behind_prefix(self, context: Tokens) -> bool:
        """Whether a context begins with the prefix, and goes on."""
        n = len(self._prefix.tokens)
        return len(context) > n and context[:n] == self._prefix.tokens

    def _pass(
        self, questions: Sequence[ScoringRequest], behind: bool, rule: ScoringRule
    ) -> list[list[float]]:
        tries = [build_trie(q.context[-1], q.tails, rule) for q in questions]
        logits, keep = self._forward(questions, tries, behind)
        score = _tree_scores if rule == "tree" else _mean_scores
        found = score(logits, tries, [q.tails for q in questions])
        for k, scores in enumerate(found):
            if not questions[k].keep:
                continue
            # The Planner will most likely say the best one: its tokens are then already read.
            keep(k, tries[k].paths[int(np.argmax(scores))])
        return found

    def _forward(
        self, questions: Sequence[ScoringRequest], tries: Sequence[CandidateTrie], behind: bool
    ) -> tuple[torch.Tensor, Callable[[int, Tokens], None]]:
        """One pass for some questions, all of them behind the prefix or none.

        Returns the logits ``[asked nodes of all tries, vocabulary]``, and a function that keeps
        what was read for question k, with one of its trie's paths.
        """
        prefix = self._prefix if behind else self._nothing
        begin = len(prefix.tokens)
        known = [self._known(q, behind) for q in questions]
        tokens: list[int] = []
        positions: list[int] = []
        wanted: list[int] = []
        parts: list[PackedSequence] = []
        for q, old, trie in zip(questions, known, tries, strict=True):
            read = begin + len(old.tokens)
            end = len(q.context)
            root = len(tokens) + end - 1 - read
            tokens += [*q.context[read:], *trie.tokens[1:]]
            positions += [*range(read, end), *(end - 1 + depth for depth in trie.depths[1:])]
            wanted += [root + node for node in trie.asked]
            parts.append(PackedSequence(old.states, end - read, trie.sees()))
        self.took = [p.text + len(t.tokens) - 1 for p, t in zip(parts, tries, strict=True)]
        packing = PackedBatch(parts, prefix.states if begin else None, self._nothing.states)
        logits = self._run(tokens, positions, packing, wanted)

        def keep(k: int, path: Tokens) -> None:
            text = questions[k].context[begin:]
            rows = [*range(len(text)), *(len(text) - 1 + node for node in path[1:])]
            said = tuple(tries[k].tokens[node] for node in path[1:])
            at = torch.tensor(rows, device=self.model.device)
            read = KVCache(text + said, packing.states[:, :, k].index_select(2, at))
            self._remember(questions[k].key, read, behind)

        return logits, keep

    def _known(self, question: ScoringRequest, behind: bool) -> KVCache:
        """What was read of this context before, behind the prefix if it begins with it."""
        if behind:
            text = question.context[len(self._prefix.tokens) :]
            old = self._read.get(question.key, self._nothing)
        else:
            text, old = question.context, self._prefix
        # The context's last token is always read again: its logits are wanted.
        return old.first(min(common(text, old.tokens), len(text) - 1))

    def _remember(self, key: Hashable, read: KVCache, behind: bool) -> None:
        self._read.pop(key, None)
        if behind:
            self._read[key] = read
        while len(self._read) > DIALOGUES_KEPT:
            self._read.popitem(last=False)

    def _extend(self, read: KVCache, tokens: Tokens) -> KVCache:
        """Read some more text behind ``read``."""
        n, end = len(read.tokens), len(read.tokens) + len(tokens)
        part = PackedSequence(read.states, len(tokens), np.zeros((0, 0), bool))
        packing = PackedBatch([part], None, self._nothing.states)
        self._run(tokens, range(n, end), packing, [len(tokens) - 1])
        return KVCache(read.tokens + tokens, packing.states[:, :, 0])

    def _run(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        packing: PackedBatch,
        wanted: Sequence[int],
    ) -> torch.Tensor:
        """One forward pass over a single row: logits ``[wanted, vocabulary]``."""
        device = self.model.device
        rows = torch.tensor(wanted, dtype=torch.long, device=device)
        with torch.inference_mode(), packed(self.model):
            logits = self.model(
                input_ids=torch.tensor([tokens], device=device),
                position_ids=torch.tensor([list(positions)], device=device),
                use_cache=False,
                packing=packing,
                **({"logits_to_keep": rows} if self._keeps_logits else {}),
            ).logits[0]
        if packing.attended != len(packing.states):
            raise TypeError(f"{type(self.model).__name__} has layers without packed attention")
        return logits if self._keeps_logits else logits[rows]


def _mean_scores(
    logits: torch.Tensor, tries: Sequence[CandidateTrie], tails: Sequence[Sequence[Tokens]]
) -> list[list[float]]:
    """The mean log-probability of each candidate's tokens, among all tokens there are."""
    rows: list[int] = []
    tokens: list[int] = []
    sizes: list[int] = []
    start = 0
    for trie, some in zip(tries, tails, strict=True):
        for path, tail in zip(trie.paths, some, strict=True):
            rows += [start + node for node in path]
            tokens += tail
            sizes.append(len(tail))
        start += len(trie.asked)
    # Some rows at a time, so that no float32 copy of them all is made.
    totals = torch.cat([some.float().logsumexp(-1) for some in logits.split(ROWS)])
    logp = (logits[rows, tokens].float() - totals[rows]).cpu().numpy()
    means = np.add.reduceat(logp, np.cumsum([0, *sizes[:-1]])) / sizes
    cuts = np.cumsum([len(some) for some in tails])[:-1]
    return [some.tolist() for some in np.split(means, cuts)]


def _tree_scores(
    logits: torch.Tensor, tries: Sequence[CandidateTrie], tails: Sequence[Sequence[Tokens]]
) -> list[list[float]]:
    """The log-probability of each candidate among them all: the sum over the forks on its way."""
    forks = [trie.children[node] for trie in tries for node in trie.asked]
    if not forks:
        return [[0.0] * len(some) for some in tails]
    sizes = [len(fork) for fork in forks]
    rows = np.repeat(np.arange(len(forks)), sizes)
    fits = logits[rows, [token for fork in forks for token in fork]].float().cpu().numpy()
    fits -= np.repeat(np.logaddexp.reduceat(fits, np.cumsum([0, *sizes[:-1]])), sizes)
    found: list[list[float]] = []
    logp = iter(fits.tolist())
    for trie, some in zip(tries, tails, strict=True):
        at = {(node, token): next(logp) for node in trie.asked for token in trie.children[node]}
        found.append(
            [
                sum(at.get(step, 0.0) for step in zip(path, tail, strict=False))
                for path, tail in zip(trie.paths, some, strict=True)
            ]
        )
    return found


def no_states(model: PreTrainedModel) -> torch.Tensor:
    """No keys and values yet, ``[layers, 2, 0, width]``, of the model's device and number format.

    A model whose settings do not say these sizes gets others, and will break at its first pass.
    """
    config = model.config
    heads = getattr(config, "num_attention_heads", 1)
    size = getattr(config, "head_dim", None) or getattr(config, "hidden_size", 0) // heads
    width = (getattr(config, "num_key_value_heads", None) or heads) * size
    layers = getattr(config, "num_hidden_layers", 0)
    return torch.zeros(layers, 2, 0, width, device=model.device, dtype=model.dtype)
