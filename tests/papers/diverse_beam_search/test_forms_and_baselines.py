"""The forms of the dissimilarity term, the baselines and the metrics, by hand-made cases."""

import math

import pytest
import torch

from paperround.papers.diverse_beam_search.diversity import (
    EarlierGroups,
    cumulative_diversity,
    embedding_diversity,
    hamming_diversity,
    ngram_diversity,
)
from paperround.papers.diverse_beam_search.metrics import (
    count_distinct,
    distinct_n,
    edit_distance,
    mean_length,
    oracle_at_k,
    pairwise_edit_distance,
    self_bleu,
)
from paperround.papers.diverse_beam_search.search import (
    diverse_beam_search,
    mmi_antilm_beam_search,
    sibling_rank_beam_search,
)


def earlier(tokens, own, live=None):
    live = [True] * len(tokens) if live is None else live
    return EarlierGroups(torch.tensor([tokens]), torch.tensor([live]), torch.tensor([own]), 5)


def test_hamming_counts_the_choices_of_this_step_only():
    delta = hamming_diversity(earlier([[1, 2], [3, 2], [1, 4]], own=[[1], [0]]))
    assert delta.tolist() == [[[0, 0, -2, 0, -1]]]


def test_a_slot_without_a_live_hypothesis_penalises_nothing():
    delta = hamming_diversity(earlier([[1, 2], [3, 2]], own=[[1]], live=[True, False]))
    assert delta.tolist() == [[[0, 0, -1, 0, 0]]]


def test_cumulative_discounts_by_how_much_a_hypothesis_differs_already():
    # Own (1, 2) agrees with (1, 2) on both past steps, (0, 2) on one, (0, 0) on none.
    delta = cumulative_diversity(2.0)(earlier([[1, 2, 3]], own=[[1, 2], [0, 2], [0, 0]]))
    assert delta[0, :, 3].tolist() == pytest.approx([-1, -math.exp(-0.5), -math.exp(-1)])
    assert delta[0, :, [0, 1, 2, 4]].abs().sum() == 0


def test_ngram_charges_a_bigram_wherever_it_stood_before():
    # (1, 2) occurs twice, (2, 1) once, (2, 4) once; own hypotheses end with 1, with 2 and with 3.
    delta = ngram_diversity(2)(
        earlier([[1, 2, 1, 2], [0, 0, 2, 4]], own=[[0, 0, 1], [0, 0, 2], [0, 0, 3]])
    )
    assert delta[0, 0].tolist() == [0, 0, -2, 0, 0]
    assert delta[0, 1].tolist() == [0, -1, 0, 0, -1]
    assert delta[0, 2].tolist() == [0, 0, 0, 0, 0]


def test_ngram_charges_nothing_before_an_ngram_can_be_complete():
    delta = ngram_diversity(3)(earlier([[1, 2]], own=[[1]]))
    assert delta.abs().sum() == 0


def test_one_grams_charge_every_earlier_token():
    delta = ngram_diversity(1)(earlier([[1, 2], [1, 4]], own=[[0]]))
    assert delta[0, 0].tolist() == [0, -2, -1, 0, -1]


def test_embedding_charges_by_the_cosine_and_rewards_nobody():
    vectors = torch.tensor([[1.0, 0], [2.0, 0], [1.0, 1.0], [-1.0, 0], [0, 3.0]])
    delta = embedding_diversity(vectors)(earlier([[0, 0]], own=[[1]]))
    assert delta[0, 0].tolist() == pytest.approx([-1, -1, -math.sqrt(0.5), 0, 0])
    with pytest.raises(ValueError, match="3 embeddings for a vocabulary of 5"):
        embedding_diversity(vectors[:3])(earlier([[0, 0]], own=[[1]]))


def test_forms_refuse_settings_without_meaning():
    with pytest.raises(ValueError, match="temperature"):
        cumulative_diversity(0.0)
    with pytest.raises(ValueError, match="n >= 1"):
        ngram_diversity(0)


TABLE = torch.tensor(
    [[0.05, 0.60, 0.35], [0.05, 0.50, 0.45], [0.80, 0.10, 0.10]]
).log()  # fmt: skip
OPTIONS = {"bos": 0, "eos": None, "num_beams": 2, "max_length": 2}


def table_step(tokens, state):
    return TABLE[tokens], state


def test_sibling_rank_spreads_the_beams_over_parents():
    # Of the pairs after 1 and 2: .60*.50 = .30, .60*.45 = .27, .35*.80 = .28.
    # Without ranks (1,1) and (2,0) win; with gamma the order of first tokens counts as well.
    plain = sibling_rank_beam_search(table_step, None, gamma=0.0, **OPTIONS)
    assert [h.tokens for h in plain.hypotheses] == [(1, 1), (2, 0)]
    ranked = sibling_rank_beam_search(table_step, None, gamma=0.3, **OPTIONS)
    # 1 is the best first token (rank 1), 2 the second; both continuations are first of theirs.
    assert [h.tokens for h in ranked.hypotheses] == [(1, 1), (2, 0)]
    assert ranked.hypotheses[0].score == pytest.approx(math.log(0.30) - 0.6, abs=1e-5)
    assert ranked.hypotheses[1].score == pytest.approx(math.log(0.28) - 0.9, abs=1e-5)
    assert ranked.hypotheses[1].log_prob == pytest.approx(math.log(0.28), abs=1e-5)


def test_sibling_rank_of_zero_is_beam_search():
    search = {"num_beam_groups": 1, "diversity_penalty": 0.0}
    assert sibling_rank_beam_search(table_step, None, gamma=0.0, **OPTIONS) == diverse_beam_search(
        table_step, None, **search, **OPTIONS
    )


def test_antilm_turns_down_what_is_likely_anyway():
    # U likes token 1: log .60 - log .8 < log .35 - log .1.
    unconditional = torch.tensor([[0.1, 0.8, 0.1]]).log()

    def lm_step(tokens, state):
        return unconditional.expand(len(tokens), -1), state

    found = mmi_antilm_beam_search(table_step, None, lm_step, None, weight=1.0, **OPTIONS)
    first = found.hypotheses[0]
    assert first.tokens == (2, 0)
    assert first.score == pytest.approx(math.log(0.28 / 0.01), abs=1e-4)
    assert first.log_prob == pytest.approx(math.log(0.28), abs=1e-5)
    only_first = mmi_antilm_beam_search(
        table_step, None, lm_step, None, weight=1.0, first_tokens=1, **OPTIONS
    )
    assert only_first.hypotheses[0].score == pytest.approx(math.log(0.28 / 0.1), abs=1e-4)
    none = mmi_antilm_beam_search(table_step, None, lm_step, None, weight=0.0, **OPTIONS)
    assert (
        none.hypotheses
        == sibling_rank_beam_search(table_step, None, gamma=0.0, **OPTIONS).hypotheses
    )
    with pytest.raises(ValueError, match="weight"):
        mmi_antilm_beam_search(table_step, None, lm_step, None, weight=-1.0, **OPTIONS)


LIST = [["a", "b", "a"], ["a", "b"], ["c"]]


def test_oracle_at_k_is_the_best_of_the_first_k():
    assert [oracle_at_k([0.1, 0.5, 0.3, 0.9], k) for k in (1, 2, 3, 4, 9)] == [
        0.1,
        0.5,
        0.5,
        0.9,
        0.9,
    ]
    with pytest.raises(ValueError, match="k >= 1"):
        oracle_at_k([1.0], 0)
    with pytest.raises(ValueError, match="empty"):
        oracle_at_k([], 1)


def test_distinct_n_divides_by_the_words_of_the_list():
    assert [count_distinct(LIST, n) for n in (1, 2, 3, 4)] == [3, 2, 1, 0]
    assert [distinct_n(LIST, n) for n in (1, 2, 3)] == pytest.approx([3 / 6, 2 / 6, 1 / 6])
    assert distinct_n([[], []], 1) == 0.0
    assert mean_length(LIST) == 2.0


def test_equal_candidates_have_self_bleu_one_and_no_distance():
    same = [["the", "cat", "sat", "down"]] * 3
    assert self_bleu(same) == pytest.approx(1.0)
    assert pairwise_edit_distance(same) == 0.0


def test_candidates_without_a_common_word_have_self_bleu_zero_and_distance_one():
    apart = [["a", "b", "c", "d"], ["e", "f", "g", "h"]]
    assert self_bleu(apart) == 0.0
    assert pairwise_edit_distance(apart) == 1.0
    with pytest.raises(ValueError, match="two candidates"):
        self_bleu(apart[:1])
    with pytest.raises(ValueError, match="two candidates"):
        pairwise_edit_distance(apart[:1])


def test_edit_distance_is_that_of_levenshtein():
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("", "abc") == 3
    assert edit_distance("flaw", "lawn") == 2
