"""Matched differences by hand, and that matching takes away what is only confounded."""

import numpy as np
import pytest
import torch

from paperround.errors import UsageError
from paperround.kit.recommendation.encoders import SASRec
from paperround.kit.recommendation.interactions import build_log
from paperround.kit.recommendation.samples import Batch
from paperround.kit.recommendation.splits import leave_one_out
from paperround.papers.unirec.baselines import Averaged, best_average, rare_items_decay
from paperround.papers.unirec.neighbours import ItemNeighbours
from paperround.papers.unirec.study import ends, matched_difference, strata_of


def test_the_ends_are_the_lowest_and_the_highest_of_what_is_known():
    low, high = ends(np.array([5.0, 1.0, np.nan, 2.0, 3.0, 4.0]))
    assert low.tolist() == [False, True, False, True, False, False]
    assert high.tolist() == [True, False, False, False, False, True]
    low, high = ends(np.array([0.0, 0.0, 0.0, 7.0]))
    assert not (low & high).any()
    assert not ends(np.full(3, np.nan))[0].any()


def test_a_matched_difference_is_the_weighted_mean_of_the_strata():
    # Stratum 0: two against one, 1 - 0. Stratum 1: one against two, .5 - .25. Stratum 2: one side.
    values = np.array([1.0, 1.0, 0.0, 0.5, 0.5, 0.0, 9.0])
    first = np.array([1, 1, 0, 1, 0, 0, 1], dtype=bool)
    strata = np.array([0, 0, 0, 1, 1, 1, 2])
    found = matched_difference(values, first, ~first, strata)
    assert found.mean == pytest.approx((1.0 + 0.25) / 2)
    assert (found.n_first, found.n_second) == (4, 3)
    raw = matched_difference(values, first, ~first, np.zeros(7, dtype=int))
    assert raw.mean == pytest.approx(values[first].mean() - values[~first].mean())


def test_matching_takes_away_what_only_the_stratum_explains():
    rng = np.random.default_rng(0)
    strata = rng.integers(0, 2, 4_000)
    first = rng.random(4_000) < np.where(strata == 1, 0.8, 0.2)
    values = strata + 0.1 * rng.standard_normal(4_000)
    raw = matched_difference(values, first, ~first, np.zeros(4_000, dtype=int), resamples=200)
    matched = matched_difference(values, first, ~first, strata, resamples=200)
    assert raw.low > 0.5
    assert matched.low < 0 < matched.high
    assert matched.high - matched.low < 0.1


def test_strata_are_the_quartiles_together():
    lengths = np.array([1.0, 2.0, 3.0, 4.0] * 2)
    share = np.array([0.0] * 4 + [np.nan] * 4)
    found = strata_of(lengths, share)
    assert len(set(found.tolist())) == 8
    assert strata_of(np.full(3, np.nan)).tolist() == [4, 4, 4]


def test_sides_that_never_meet_cannot_be_compared():
    with pytest.raises(UsageError, match="no stratum holds cases of both sides"):
        matched_difference(
            np.ones(2), np.array([True, False]), np.array([False, True]), np.array([0, 1])
        )
    with pytest.raises(UsageError, match="a share of each end"):
        ends(np.ones(3), 0.7)


@pytest.fixture(scope="module")
def split():
    events = [(user, (user + step) % 12, 100.0 * step) for user in range(20) for step in range(7)]
    return leave_one_out(build_log(*zip(*events, strict=True)))


def test_averaging_moves_rare_items_alone_and_nothing_at_a_share_of_0(split):
    encoder = SASRec(12, d_model=8, max_len=6).eval()
    near = ItemNeighbours.fit(split.train)
    rare = np.zeros(13, dtype=bool)
    rare[3] = True
    before = encoder.item_embeddings().detach()
    moved = Averaged(encoder, near, rare, 0.25).item_embeddings()
    expected = 0.75 * before[3] + 0.25 * before[near.table[3]].mean(dim=0)
    assert moved[3].numpy() == pytest.approx(expected.numpy(), abs=1e-6)
    changed = (moved != before).any(dim=1)
    assert changed.nonzero()[:, 0].tolist() == [3]
    assert (Averaged(encoder, near, rare, 0.0).item_embeddings() == before).all()
    chosen, share = best_average(encoder, near, rare, split.valid, "ndcg@10")
    assert share in (0.0, 0.1, 0.2, 0.4, 0.6, 0.8)
    assert chosen.n_items == 12
    with pytest.raises(UsageError, match="no share"):
        best_average(encoder, near, rare, split.valid, "ndcg@10", shares=())


def test_the_decay_is_the_mean_square_over_the_count(split):
    encoder = SASRec(12, d_model=8, max_len=6)
    counts = np.array([0, 1, 2, 4, *[1] * 9])
    aux = rare_items_decay(counts, 0.5)
    assert aux.weight == 0.5

    items = torch.tensor([[1, 2, 3, 3, 0]])
    batch = Batch(items, items, torch.tensor([0]))
    table = encoder.item_embeddings().detach()
    expected = sum(float(table[i].square().sum()) / c for i, c in ((1, 1), (2, 2), (3, 4))) / 3
    assert aux.objective(encoder, batch, torch.Generator()).item() == pytest.approx(
        expected, rel=1e-5
    )
