"""Candidates as a trie of tokens: what they have in common is read, and scored, once.

It needs no torch, since candidates are also scored over a server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.language.formats import ScoringRule
from models.language.tokens import Tokens


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
