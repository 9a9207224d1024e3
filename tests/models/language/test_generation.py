"""Text that a language model goes on with, for many contexts together."""

from __future__ import annotations

import pytest
import torch

from models.language.candidate_scorer import CandidateScorer, ScoringRequest
from models.language.candidate_scores import uncached_scores
from models.language.generation import Generator
from models.language.tokens import Tokens
from tests.agents.tiny import TEXT, tiny_model, tiny_tokenizer

KINDS = ("llama", "qwen2", "gpt2")
N = 12


def contexts() -> list[Tokens]:
    """Contexts of different lengths; all but one begin alike."""
    ids = tiny_tokenizer()(TEXT)["input_ids"]
    return [tuple(ids[:90]), tuple(ids[:40]), tuple(ids[:61]), tuple(ids[50:75])]


def expected(kind: str, context: Tokens, n: int = N) -> str:
    """What transformers generates, token by token and without a cache."""
    model, tokens = tiny_model(kind), list(context)
    for _ in range(n):
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1]
        tokens.append(int(logits.argmax()))
    return str(tiny_tokenizer().decode(tokens[len(context) :]))


def generator(kind: str, group: int = 3, prefix: int = 30) -> tuple[Generator, CandidateScorer]:
    model = tiny_model(kind)
    scorer = CandidateScorer(model, group)
    scorer.read_prefix(contexts()[0][:prefix])
    return Generator(model, tiny_tokenizer(), scorer), scorer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("group", [1, 2, 8])
def test_batches_go_on_as_each_context_by_itself(kind: str, group: int):
    g, _ = generator(kind, group)
    keyed = list(enumerate(contexts()))
    written = g.generate(keyed, most_tokens=N, stop=lambda text: None)
    assert [w.text for w in written] == [expected(kind, c) for _, c in keyed]
    assert {w.n_tokens for w in written} == {N} and not any(w.ended for w in written)


def test_a_model_without_the_fast_way_goes_on_alike():
    plain = Generator(tiny_model("llama"), tiny_tokenizer(), None)
    keyed = list(enumerate(contexts()))
    written = plain.generate(keyed, most_tokens=N, stop=lambda text: None)
    assert [w.text for w in written] == [expected("llama", c) for _, c in keyed]


def test_each_text_ends_where_it_stops_and_the_others_go_on():
    g, _ = generator("llama")
    keyed = list(enumerate(contexts()))
    whole = [expected("llama", c) for _, c in keyed]
    first = whole[0]

    def stop(text: str) -> int | None:
        return 4 if first.startswith(text) and len(text) >= 4 else None

    written = g.generate(keyed, most_tokens=N, stop=stop)
    assert written[0].text == first[:4] and written[0].ended and written[0].n_tokens < N
    assert [w.text for w in written[1:]] == whole[1:]


def test_what_was_generated_is_not_read_again_and_scores_as_without_cache():
    g, scorer = generator("llama")
    keyed = list(enumerate(contexts()))
    tokens: list[Tokens] = []
    run = scorer.generate
    scorer.generate = lambda *a: tokens.extend(r := run(*a)) or r  # type: ignore[method-assign]
    g.generate(keyed, most_tokens=N, stop=lambda text: None)
    tails = ((5, 6), (5, 7, 8))
    requests = [
        ScoringRequest(k, context + new + (9,), tails)
        for (k, context), new in zip(keyed, tokens, strict=True)
    ]
    scores = scorer.scores(requests)
    for request, own in zip(requests, scores, strict=True):
        plain = uncached_scores(tiny_model("llama"), request.context, tails)
        assert own == pytest.approx(plain, abs=1e-4)
    # The last generated token, the label's token, and two nodes of the trie.
    assert scorer.tokens_read[:3] == [4, 4, 4]


def test_tokens_read_are_counted():
    g, _ = generator("llama", prefix=30)
    (written,) = g.generate([(0, contexts()[0])], most_tokens=5, stop=lambda text: None)
    assert written.tokens_read == 90 - 30 + 5 - 1


def test_sampling_is_of_each_contexts_own_seed():
    g, _ = generator("llama")
    one, two = contexts()[:2]

    def sampled(*pairs: tuple[Tokens, int]) -> list[str]:
        keyed = list(enumerate(c for c, _ in pairs))
        seeds = [s for _, s in pairs]
        written = g.generate(
            keyed, most_tokens=N, stop=lambda text: None, temperature=1.0, seeds=seeds
        )
        return [w.text for w in written]

    alone = sampled((one, 7))[0]
    assert sampled((two, 3), (one, 7))[1] == alone
    assert sampled((one, 8))[0] != alone


def test_the_end_token_ends_a_text_and_is_no_part_of_it():
    model = tiny_model("llama")
    context = contexts()[0]
    first = int(model(input_ids=torch.tensor([context])).logits[0, -1].argmax())
    model.generation_config.eos_token_id = [first]
    g = Generator(model, tiny_tokenizer(), CandidateScorer(model, 2))
    (written,) = g.generate([(0, context)], most_tokens=N, stop=lambda text: None)
    assert (written.text, written.n_tokens, written.ended) == ("", 0, True)


def test_numbers_that_are_not_finite_are_told():
    model = tiny_model("llama")
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    g = Generator(model, tiny_tokenizer(), CandidateScorer(model, 2))
    (written,) = g.generate([(0, contexts()[0])], most_tokens=N, stop=lambda text: None)
    assert not written.is_finite
