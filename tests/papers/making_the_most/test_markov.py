"""Markov models: their exact posteriors and modes against enumeration."""

import math
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paperround.papers.making_the_most.attributes import Extensions, Length
from paperround.papers.making_the_most.markov import (
    MarkovLengths,
    MarkovLM,
    layered_markov_lm,
    random_markov_lm,
)
from paperround.papers.making_the_most.prefix_scores import PrefixScorer

languages = st.builds(random_markov_lm, st.integers(1, 3), st.integers(0, 2**20), st.floats(0, 0.5))


def probability(model, tokens, ended=True):
    return math.exp(PrefixScorer(model, model.prompt).log_prob(tokens, ended=ended))


@settings(deadline=None, max_examples=20)
@given(languages, st.integers(1, 3))
def test_the_chance_of_what_follows_is_the_sum_over_all_that_can_follow(model, n_max):
    words = range(model.config.n_words)
    table = model.remaining_lengths(n_max).exp()
    assert torch.allclose(table.sum(dim=1), torch.ones(1, dtype=table.dtype))
    for last in words:
        for r in range(n_max):
            total = sum(
                probability(model, (last, *more)) for more in product(words, repeat=r)
            ) / probability(model, (last,), ended=False)
            assert float(table[last, r]) == pytest.approx(total, abs=1e-9)
    for n in range(3):
        total = sum(probability(model, text) for text in product(words, repeat=n))
        assert math.exp(model.log_prob_of_length(n)) == pytest.approx(total, abs=1e-9)


@settings(deadline=None, max_examples=20)
@given(languages, st.integers(0, 3))
def test_the_mode_of_a_length_is_that_of_enumeration(model, n):
    tokens, log_prob = model.mode_of_length(n)
    assert len(tokens) == n
    best = max(probability(model, text) for text in product(range(model.config.n_words), repeat=n))
    if best:
        assert math.exp(log_prob) == pytest.approx(best, rel=1e-6)
        assert probability(model, tokens) == pytest.approx(best, rel=1e-6)


def test_a_length_asks_the_posterior_for_what_remains():
    model = random_markov_lm(3, 0)
    lengths = MarkovLengths(model, 5)
    extensions = Extensions(torch.tensor([[0], [2]]), torch.tensor([[1, 2], [0, 1]]))
    table = model.remaining_lengths(5)
    # Two tokens stand, two more are to follow.
    assert torch.equal(Length(4, lengths).log_probs(extensions), table[extensions.tokens][..., 2])
    assert torch.equal(Length(2, lengths).log_probs(extensions), table[extensions.tokens][..., 0])
    assert (Length(1, lengths).log_probs(extensions) == -torch.inf).all()
    # Beyond the table its open class stands for all.
    assert torch.equal(Length(9, lengths).log_probs(extensions), table[extensions.tokens][..., 5])


def test_noise_takes_its_share_from_every_text():
    model = layered_markov_lm(2, 3, seed=0)
    noisy = model.with_empty_noise(0.25)
    assert probability(model, ()) == 0
    assert probability(noisy, ()) == pytest.approx(0.25)
    text = model.mode_of_length(2)[0]
    assert probability(noisy, text) == pytest.approx(0.75 * probability(model, text))
    assert probability(model, (0,)) == 0


def test_what_is_no_distribution_is_refused():
    with pytest.raises(ValueError, match="add up to 1"):
        MarkovLM.from_tables(torch.tensor([0.5, 0.4]), torch.tensor([[0.5, 0.5]]))
    with pytest.raises(ValueError, match="add up to 1"):
        MarkovLM.from_tables(torch.tensor([1.5, -0.5]), torch.tensor([[0.5, 0.5]]))
    with pytest.raises(ValueError, match="need rows of 2"):
        MarkovLM.from_tables(torch.tensor([0.5, 0.5, 0.0]), torch.tensor([[0.5, 0.5, 0.0]]))
