"""The algorithm against its plain form and against cases worked out by hand."""

import itertools
import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paperround.papers.diverse_beam_search.plain import plain_diverse_beam_search
from paperround.papers.diverse_beam_search.search import diverse_beam_search

BOS = 0


class Prefixes:
    """A search state that keeps every row's tokens: the state of a model that forgets nothing."""

    def __init__(self, rows):
        self.rows = rows

    def reorder(self, rows):
        return Prefixes([self.rows[row] for row in rows.tolist()])


class RandomModel:
    """log p(. | prefix) drawn anew for every prefix, so that no two sequences tie."""

    def __init__(self, seed, vocab_size, forbidden=()):
        self.seed, self.vocab_size, self.forbidden = seed, vocab_size, forbidden

    def log_probs_after(self, tokens):
        rng = random.Random(f"{self.seed} {tokens}")
        logits = torch.tensor([rng.gauss(0, 2) for _ in range(self.vocab_size)])
        for token in self.forbidden:
            logits[token] = -math.inf
        return logits.log_softmax(-1).tolist()

    def step(self, tokens, state):
        # At the first step the last token is BOS, which no prefix holds.
        rows = [
            () if prefix is None else (*prefix, token)
            for prefix, token in zip(state.rows, tokens.tolist(), strict=True)
        ]
        return torch.tensor([self.log_probs_after(row) for row in rows]), Prefixes(rows)

    def search(self, **options):
        options = {"num_beam_groups": 1, "diversity_penalty": 0.0, "eos": None, **options}
        start = Prefixes([None] * options["num_beams"])
        return diverse_beam_search(self.step, start, bos=BOS, **options)


def tokens_of(groups):
    return [[hypothesis.tokens for hypothesis in group] for group in groups]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    vocab_size=st.integers(4, 6),
    n_groups=st.integers(1, 3),
    size=st.integers(1, 2),
    penalty=st.sampled_from([0.0, 0.3, 1.0, 50.0]),
    max_length=st.integers(1, 5),
    eos=st.sampled_from([(), (1,), (1, 3)]),
    length_penalty=st.sampled_from([0.0, 0.7, 1.0]),
)
def test_the_search_equals_its_plain_form(
    seed, vocab_size, n_groups, size, penalty, max_length, eos, length_penalty
):
    model = RandomModel(seed, vocab_size)
    settings_ = {
        "eos": eos,
        "num_beams": n_groups * size,
        "num_beam_groups": n_groups,
        "diversity_penalty": penalty,
        "max_length": max_length,
        "length_penalty": length_penalty,
    }
    found = model.search(**settings_)
    plain = plain_diverse_beam_search(model.log_probs_after, **settings_)
    assert tokens_of(found.groups) == tokens_of(plain)
    for ours, theirs in zip(found.hypotheses, itertools.chain(*plain), strict=True):
        assert ours.score == pytest.approx(theirs.score, abs=1e-4)
        assert ours.log_prob == pytest.approx(theirs.log_prob, abs=1e-4)


def test_with_a_beam_for_every_prefix_the_best_of_all_sequences_is_found():
    # Two tokens of V = 5 with five beams: every prefix is kept, so nothing can be missed.
    model = RandomModel(3, 5)

    def log_prob(tokens):
        return sum(model.log_probs_after(tokens[:t])[tokens[t]] for t in range(len(tokens)))

    ranked = sorted(itertools.product(range(5), repeat=2), key=log_prob, reverse=True)
    found = model.search(num_beams=5, max_length=2)
    assert [h.tokens for h in found.hypotheses] == ranked[:5]


def test_four_steps_over_five_tokens_equal_the_enumeration_of_all_extensions():
    # The recursion of Algorithm 1 written over whole sequences: of all 5 ** t sequences, those
    # whose prefix was kept, with the penalty of every step counted anew.
    model, penalty, n_groups = RandomModel(8, 5), 0.8, 3
    kept = [[()] for _ in range(n_groups)]
    for t in range(1, 5):
        for g in range(n_groups):

            def score(tokens, g=g):
                total = 0.0
                for step in range(len(tokens)):
                    total += model.log_probs_after(tokens[:step])[tokens[step]]
                    total -= penalty * sum(earlier[0][step] == tokens[step] for earlier in kept[:g])
                return total

            possible = [
                tokens for tokens in itertools.product(range(5), repeat=t) if tokens[:-1] in kept[g]
            ]
            kept[g] = [max(possible, key=score)]
    found = model.search(
        num_beams=n_groups, num_beam_groups=n_groups, diversity_penalty=penalty, max_length=4
    )
    assert [[h.tokens for h in group] for group in found.groups] == kept


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 2), n_groups=st.integers(2, 4))
def test_without_a_penalty_every_group_is_beam_search_of_its_size(seed, size, n_groups):
    model = RandomModel(seed, 6)
    alone = model.search(eos=1, num_beams=size, max_length=5)
    found = model.search(eos=1, num_beams=n_groups * size, num_beam_groups=n_groups, max_length=5)
    for group in found.groups:
        assert [h.tokens for h in group] == [h.tokens for h in alone.hypotheses]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(1, 2),
    n_groups=st.integers(2, 4),
    penalty=st.floats(0, 100),
)
def test_the_first_group_depends_neither_on_the_others_nor_on_the_penalty(
    seed, size, n_groups, penalty
):
    model = RandomModel(seed, 6)
    alone = model.search(eos=1, num_beams=size, max_length=5)
    found = model.search(
        eos=1,
        num_beams=n_groups * size,
        num_beam_groups=n_groups,
        diversity_penalty=penalty,
        max_length=5,
    )
    assert found.groups[0] == alone.groups[0]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n_groups=st.integers(2, 4), penalty=st.floats(0.1, 5))
def test_a_group_knows_only_the_groups_before_it(seed, n_groups, penalty):
    model = RandomModel(seed, 6)
    options = {"eos": 1, "diversity_penalty": penalty, "max_length": 5}
    all_ = model.search(num_beams=n_groups, num_beam_groups=n_groups, **options)
    fewer = model.search(num_beams=n_groups - 1, num_beam_groups=n_groups - 1, **options)
    assert tokens_of(all_.groups[:-1]) == tokens_of(fewer.groups)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n_groups=st.integers(2, 6))
def test_an_overwhelming_penalty_makes_all_tokens_of_a_step_different(seed, n_groups):
    found = RandomModel(seed, 6).search(
        num_beams=n_groups, num_beam_groups=n_groups, diversity_penalty=1e6, max_length=6
    )
    for step in zip(*(h.tokens for h in found.hypotheses), strict=True):
        assert len(set(step)) == n_groups


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n_groups=st.integers(2, 4), penalty=st.floats(0, 3))
def test_a_score_is_the_log_probability_less_the_penalties_paid(seed, n_groups, penalty):
    # Without EOS and with one beam per group, what earlier groups chose is what they returned.
    model = RandomModel(seed, 6)
    found = model.search(
        num_beams=n_groups, num_beam_groups=n_groups, diversity_penalty=penalty, max_length=5
    ).hypotheses
    for g, hypothesis in enumerate(found):
        repeats = sum(
            hypothesis.tokens[t] == earlier.tokens[t] for earlier in found[:g] for t in range(5)
        )
        log_prob = sum(
            model.log_probs_after(hypothesis.tokens[:t])[hypothesis.tokens[t]] for t in range(5)
        )
        assert hypothesis.log_prob == pytest.approx(log_prob, abs=1e-4)
        assert hypothesis.score == pytest.approx(log_prob - penalty * repeats, abs=1e-4)


def markov(rows):
    table = torch.tensor(rows).log()
    return lambda tokens, state: (table[tokens], state)


def test_a_token_that_two_beams_chose_costs_twice():
    # From BOS 0: tokens 1 and 2 start the two beams of group 1, both then choose 3.
    rows = [
        [0.01, 0.50, 0.47, 0.01, 0.01],
        [0.01, 0.01, 0.01, 0.90, 0.07],
        [0.01, 0.01, 0.01, 0.90, 0.07],
        [0.20, 0.20, 0.20, 0.20, 0.20],
        [0.20, 0.20, 0.20, 0.20, 0.20],
    ]
    # log(.90 / .07) is 2.55: one penalty of 1.5 would not turn group 2 from 3 to 4, two do.
    found = diverse_beam_search(
        markov(rows),
        None,
        bos=0,
        eos=None,
        num_beams=4,
        num_beam_groups=2,
        diversity_penalty=1.5,
        max_length=2,
    )
    assert [h.tokens for h in found.groups[0]] == [(1, 3), (2, 3)]
    assert [h.tokens for h in found.groups[1]] == [(1, 4), (2, 4)]
    # Each paid once for its first token and nothing for 4.
    assert found.groups[1][0].score == pytest.approx(math.log(0.50 * 0.07) - 1.5, abs=1e-5)


def test_every_group_keeps_its_own_finished_list():
    # EOS 1 at once is by far the best for everyone; one shared list would hold group 1's alone.
    rows = [[0.01, 0.90, 0.05, 0.04]] + [[0.1, 0.7, 0.1, 0.1]] * 3
    found = diverse_beam_search(
        markov(rows),
        None,
        bos=0,
        eos=1,
        num_beams=6,
        num_beam_groups=3,
        diversity_penalty=5.0,
        max_length=4,
    )
    assert [len(group) for group in found.groups] == [2, 2, 2]
    assert all(group[0].tokens == (1,) for group in found.groups)


def test_what_has_ended_penalises_nobody():
    # Group 1 ends at once with EOS 1, which is not charged to group 2, nor is what its slot goes
    # on with once the group is done.
    rows = [[0.01, 0.90, 0.05, 0.04]] + [[0.1, 0.7, 0.1, 0.1]] * 3
    found = diverse_beam_search(
        markov(rows),
        None,
        bos=0,
        eos=1,
        num_beams=2,
        num_beam_groups=2,
        diversity_penalty=100.0,
        max_length=4,
    )
    assert [h.tokens for h in found.hypotheses] == [(1,), (1,)]
    assert found.hypotheses[1].score == found.hypotheses[1].log_prob == pytest.approx(math.log(0.9))


def test_a_step_may_stop_at_the_length_limit_without_an_end():
    found = RandomModel(1, 5).search(eos=1, num_beams=3, max_length=1)
    assert all(len(h.tokens) == 1 for h in found.hypotheses)
    assert len(found.hypotheses) == 3


def test_forbidden_tokens_are_never_chosen_whatever_the_penalty():
    found = RandomModel(1, 5, forbidden=(2,)).search(
        num_beams=4, num_beam_groups=4, diversity_penalty=1e6, max_length=5
    )
    assert all(2 not in h.tokens for h in found.hypotheses)


def test_a_list_is_short_where_too_few_sequences_are_possible():
    found = RandomModel(1, 5, forbidden=(1, 2, 3)).search(num_beams=3, max_length=1)
    assert len(found.hypotheses) == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_beams": 6, "num_beam_groups": 4}, "num_beam_groups=4 does not divide num_beams=6"),
        ({"num_beams": 0}, "num_beams=0"),
        ({"num_beam_groups": 0}, "num_beam_groups=0"),
        ({"diversity_penalty": -0.5}, "diversity_penalty=-0.5"),
        ({"diversity_penalty": math.nan}, "diversity_penalty=nan"),
        ({"diversity_penalty": math.inf}, "diversity_penalty=inf"),
        ({"max_length": 0}, "max_new_tokens=0"),
        ({"early_stopping": "soon"}, "early_stopping='soon'"),
        ({"num_beams": 7}, "a group of 7 beams needs .* the vocabulary has 6"),
        ({"num_beams": 6, "eos": 1}, "1 of which end a sequence"),
        ({"diversity": "cosine"}, "no diversity 'cosine'"),
        ({"diversity": "embedding"}, "pass embedding_diversity"),
        (
            {"num_beams": 2, "num_beam_groups": 2, "diversity_penalty": 1.0,
             "diversity": lambda earlier: torch.ones(1, 1, 6)},
            "must not be above 0",
        ),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_followed_are_refused(wrong, message):
    options = {"num_beams": 2, "max_length": 3, **wrong}
    with pytest.raises(ValueError, match=message):
        RandomModel(0, 6).search(**options)


def test_a_step_function_of_the_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"shape \(3,\); \(2, vocabulary\) is expected"):
        diverse_beam_search(
            lambda tokens, state: (torch.zeros(3), state),
            None,
            bos=0,
            eos=None,
            num_beams=2,
            num_beam_groups=1,
            diversity_penalty=0.0,
            max_length=3,
        )
