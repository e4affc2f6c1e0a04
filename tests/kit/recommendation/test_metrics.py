"""Ranks by counting, metrics under every policy for ties, sampled expectations, intervals."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paperround.errors import PaperroundError, UsageError
from paperround.kit.recommendation.metrics import (
    TIES,
    Ranks,
    count_ranks,
    hit_rate,
    metric_by_name,
    mrr,
    ndcg,
    paired_bootstrap,
    sampled_expectation,
)

# Few different scores, so that ties are the rule.
score_rows = st.lists(st.lists(st.integers(0, 4), min_size=6, max_size=6), min_size=1, max_size=8)


def ranks_of(rows, targets):
    scores = torch.tensor([[-math.inf, *row] for row in rows], dtype=torch.float64)
    return count_ranks(scores, torch.tensor(targets))


@settings(max_examples=100, deadline=None)
@given(score_rows, st.data())
def test_counting_gives_the_place_of_the_target_in_the_sorted_list(rows, data):
    targets = [data.draw(st.integers(1, 6)) for _ in rows]
    ranks = ranks_of(rows, targets)
    for row, target, above, tied in zip(rows, targets, ranks.above, ranks.tied, strict=True):
        ordered = sorted(row, reverse=True)
        own = row[target - 1]
        assert above == ordered.index(own)
        assert tied == ordered.count(own) - 1
    assert (ranks.n == 6).all()


@settings(max_examples=100, deadline=None)
@given(score_rows, st.data(), st.sampled_from(TIES))
def test_metrics_keep_their_order(rows, data, ties):
    ranks = ranks_of(rows, [data.draw(st.integers(1, 6)) for _ in rows])
    for k in range(1, 7):
        assert (hit_rate(ranks, k, ties) <= hit_rate(ranks, k + 1, ties) + 1e-12).all()
        assert (ndcg(ranks, k, ties) <= hit_rate(ranks, k, ties) + 1e-12).all()
        assert (mrr(ranks, k, ties) <= ndcg(ranks, k, ties) + 1e-12).all()
        assert (hit_rate(ranks, k, "pessimistic") <= hit_rate(ranks, k, ties)).all()
        assert (hit_rate(ranks, k, ties) <= hit_rate(ranks, k, "optimistic")).all()
    whole = Ranks(ranks.above, np.zeros_like(ranks.tied), ranks.n)
    assert hit_rate(whole, 1).tolist() == ndcg(whole, 1).tolist() == mrr(whole, 1).tolist()


@settings(max_examples=40, deadline=None)
@given(score_rows, st.data())
def test_the_expected_metric_is_the_mean_over_every_order_of_the_tie(rows, data):
    ranks = ranks_of(rows, [data.draw(st.integers(1, 6)) for _ in rows])
    for name in ("hr@3", "ndcg@3", "mrr@3", "mrr"):
        metric = metric_by_name(name)
        for row in range(len(ranks)):
            places = range(int(ranks.above[row]), int(ranks.above[row] + ranks.tied[row]) + 1)
            block = np.array(list(places))
            broken = Ranks(block, np.zeros_like(block), np.full_like(block, 6))
            expected = metric(broken, "optimistic").mean()
            one = ranks.select(np.array([row]))
            assert metric(one, "expected")[0] == pytest.approx(expected)


def test_known_values():
    ranks = Ranks(np.array([0, 1, 2, 9, 10]), np.zeros(5, dtype=int), np.full(5, 20))
    assert hit_rate(ranks, 10).tolist() == [1, 1, 1, 1, 0]
    assert ndcg(ranks, 10) == pytest.approx([1, 0.63093, 0.5, 0.28906, 0], abs=1e-5)
    assert mrr(ranks, 10) == pytest.approx([1, 0.5, 1 / 3, 0.1, 0])
    assert mrr(ranks) == pytest.approx([1, 0.5, 1 / 3, 0.1, 1 / 11])


def test_constant_scores_give_chance_and_not_perfection():
    n = 40
    ranks = ranks_of([[1.0] * n] * 5, [1, 7, 20, 30, 40])
    assert hit_rate(ranks, 10, "expected") == pytest.approx(10 / n)
    assert hit_rate(ranks, 10, "optimistic").tolist() == [1] * 5
    assert hit_rate(ranks, 10, "pessimistic").tolist() == [0] * 5
    assert hit_rate(ranks, 10, "mean").tolist() == [0] * 5


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_are_refused_and_never_perfect(broken):
    with pytest.raises(PaperroundError, match="of 1 of 2 cases are not all finite"):
        ranks_of([[1.0, broken, 2.0], [1.0, 2.0, 3.0]], [1, 1])


def test_seen_items_are_no_candidates_but_the_target_always_is():
    scores = torch.tensor([[-math.inf, 5.0, 4.0, 3.0, 2.0]])
    ranks = count_ranks(scores, torch.tensor([3]), [np.array([1, 1, 3])])
    assert (ranks.above[0], ranks.n[0]) == (1, 3)
    # What was seen and ties with the target no longer ties.
    tied = torch.tensor([[-math.inf, 3.0, 4.0, 3.0, 3.0]])
    ranks = count_ranks(tied, torch.tensor([3]), [np.array([1])])
    assert (ranks.above[0], ranks.tied[0], ranks.n[0]) == (1, 1, 3)


@settings(max_examples=30, deadline=None)
@given(score_rows, st.data(), st.sampled_from(TIES))
def test_sampling_every_negative_is_full_ranking(rows, data, ties):
    ranks = ranks_of(rows, [data.draw(st.integers(1, 6)) for _ in rows])
    for name in ("hr@2", "ndcg@3", "mrr"):
        if ties == "mean":
            # Half of an odd block lies between two ranks: there the two differ by design.
            ranks = Ranks(ranks.above, ranks.tied - ranks.tied % 2, ranks.n)
        full = metric_by_name(name)(ranks, ties)
        assert sampled_expectation(ranks, 5, name, ties) == pytest.approx(full)


def test_the_sampled_expectation_is_the_mean_of_drawing():
    rng = np.random.default_rng(0)
    n, m, rank = 200, 50, 23
    one = Ranks(np.array([rank]), np.array([0]), np.array([n]))
    drawn = np.array([(rng.choice(n - 1, size=m, replace=False) < rank).sum() for _ in range(4000)])
    gains = np.where(drawn < 5, 1 / np.log2(drawn + 2), 0.0)
    error = gains.std() / math.sqrt(len(gains))
    assert abs(sampled_expectation(one, m, "ndcg@5")[0] - gains.mean()) < 3 * error


def test_sampling_can_reverse_an_order_that_full_ranking_has():
    # One model is often first and else last, the other always in the middle.
    n = 1000
    extreme = Ranks(np.array([0, 0, 0, 999, 999] * 20), np.zeros(100, dtype=int), np.full(100, n))
    steady = Ranks(np.full(100, 40), np.zeros(100, dtype=int), np.full(100, n))
    assert hit_rate(extreme, 10).mean() > hit_rate(steady, 10).mean()
    sampled = [sampled_expectation(r, 100, "hr@10").mean() for r in (extreme, steady)]
    assert sampled[0] < sampled[1]


@pytest.mark.parametrize("name", ["ndcg", "ndcg@0", "ndcg@x", "accuracy", "hr@-1"])
def test_an_unknown_metric_is_named(name):
    with pytest.raises(UsageError, match="no metric"):
        metric_by_name(name)


def test_an_unknown_policy_for_ties_is_named():
    with pytest.raises(UsageError, match="no policy 'lucky' for ties"):
        hit_rate(Ranks(np.array([0]), np.array([0]), np.array([2])), 1, "lucky")


def test_a_paired_difference_sees_what_an_unpaired_one_would_not():
    rng = np.random.default_rng(0)
    base = rng.random(400)
    better = base + 0.01 + 0.02 * rng.standard_normal(400)
    difference = paired_bootstrap(better, base)
    assert difference.sure
    assert difference.low < difference.mean < difference.high
    assert difference.mean == pytest.approx((better - base).mean())
    assert not paired_bootstrap(base + 0.02 * rng.standard_normal(400), base).sure
    assert paired_bootstrap(base, base).mean == 0.0


def test_a_bootstrap_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        sample = rng.normal(0.3, 1.0, size=60)
        found = paired_bootstrap(sample, np.zeros(60), resamples=400, seed=trial)
        covered += found.low <= 0.3 <= found.high
    # 95 % of 200 are 190; the percentile interval of 60 cases is a little narrow.
    assert 178 <= covered <= 199


def test_pairs_need_the_same_cases():
    with pytest.raises(UsageError, match="3 and 2 cases cannot be paired"):
        paired_bootstrap(np.zeros(3), np.zeros(2))
    with pytest.raises(UsageError, match="no cases"):
        paired_bootstrap(np.zeros(0), np.zeros(0))
