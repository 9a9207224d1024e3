"""The two rules that make candidates' scores of a model's logits.

The *length-normalised* score of a candidate is the mean log-probability (natural logarithm) of its
tokens. Its *constrained* score is its log-probability where only candidates can be generated: at
each node of their trie, the probabilities of the tokens that continue some candidate are normalised
to sum to one, and so those of all candidates do. No token behind the last branch need be read for
it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from models.language.candidate_trie import CandidateTrie
from models.language.formats import ScoringRule
from models.language.tokens import Tokens

ROWS = 64  # rows of logits that are turned into float32 at a time


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
