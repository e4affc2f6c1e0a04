"""Evaluation counts every case, carries its flags, and matches known figures of MovieLens-100K."""

import math

import numpy as np
import pytest
import torch

from paperround.errors import PaperroundError, UsageError
from paperround.kit.recommendation.counting import ItemKNN, Markov, Popularity
from paperround.kit.recommendation.evaluation import (
    by_group,
    evaluate,
    length_quartiles,
    popularity_quartiles,
    quartiles,
    same_day,
)
from paperround.kit.recommendation.interactions import build_log, k_core
from paperround.kit.recommendation.models import AbstractSequenceModel
from paperround.kit.recommendation.reading import load_movielens_100k, movielens_100k_titles
from paperround.kit.recommendation.splits import leave_one_out

DAY = 86_400.0


class Fixed(AbstractSequenceModel):
    """Scores that depend on the last item alone: a table of (last item, item)."""

    max_len = 3

    def __init__(self, table):
        super().__init__()
        self.table = torch.as_tensor(table, dtype=torch.float64)
        self.n_items = self.table.shape[1] - 1

    def score_batch(self, items, times=None):
        last = (items != 0).sum(dim=1) - 1
        return self.table[items[torch.arange(len(items)), last]]


@pytest.fixture(scope="module")
def split():
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 20, 50)
    events = [(u, int(i)) for u in range(50) for i in rng.integers(0, 15, lengths[u])]
    return leave_one_out(build_log(*zip(*events, strict=True)))


@pytest.fixture(scope="module")
def model(split):
    n = split.train.n_items
    return Fixed(np.random.default_rng(1).integers(0, 6, (n + 1, n + 1)))


@pytest.mark.parametrize("batch_size", [1, 7, 50, 1000])
def test_every_case_counts_whatever_the_batches(split, model, batch_size):
    whole = evaluate(model, split.test, batch_size=batch_size)
    assert len(whole) == len(split.test) == 50
    for case in range(50):
        target = split.test.items[case]
        history = split.test.log.sequence(split.test.users[case])[:-1]
        row = model.table[history[-1], 1:]
        assert whole.ranks.above[case] == int((row > row[target - 1]).sum())
        assert whole.ranks.tied[case] == int((row == row[target - 1]).sum()) - 1


def test_masking_what_was_seen_takes_it_out_of_the_ranking(split, model):
    found = evaluate(model, split.test, mask_seen=True)
    for case in range(len(found)):
        target = split.test.items[case]
        history = split.test.log.sequence(split.test.users[case])[:-1]
        others = [i for i in range(1, model.n_items + 1) if i not in history and i != target]
        row = model.table[history[-1]]
        assert found.ranks.above[case] == sum(row[i] > row[target] for i in others)
        assert found.ranks.n[case] == len(others) + 1


def test_a_model_that_broke_is_not_perfect(split):
    n = split.train.n_items
    with pytest.raises(PaperroundError, match="are not all finite"):
        evaluate(Fixed(np.full((n + 1, n + 1), math.nan)), split.test)


def test_a_model_without_an_opinion_is_as_good_as_chance(split):
    n = split.train.n_items
    found = evaluate(Fixed(np.zeros((n + 1, n + 1))), split.test, ties="expected")
    assert found["hr@10"] == pytest.approx(10 / n)


def test_flags_stand_beside_the_figures(split, model):
    assert (
        evaluate(model, split.test).flags == "full ranking, seen items ranked, ties mean, 50 cases"
    )
    assert (
        "masked, ties expected"
        in evaluate(model, split.test, mask_seen=True, ties="expected").flags
    )
    assert evaluate(model, split.test, metrics=["mrr@5"]).metrics.keys() == {"mrr@5"}
    found = evaluate(model, split.test)
    assert found["hr@3"] == found.per_case("hr@3").mean()
    assert found.sampled("hr@3", 5) > found["hr@3"]


def test_no_cases_and_unknown_policies_are_refused(split, model):
    with pytest.raises(UsageError, match="no cases to evaluate on"):
        evaluate(model, split.test.select(np.zeros(50, dtype=bool)))
    with pytest.raises(UsageError, match="no policy 'lucky'"):
        evaluate(model, split.test, ties="lucky")


def test_groups_part_the_cases_and_their_means_add_up(split, model):
    values = evaluate(model, split.test).per_case("ndcg@10")
    for labels in (popularity_quartiles(split.test, split.train), length_quartiles(split.test)):
        groups = by_group(values, labels)
        assert sum(group.n for group in groups) == 50
        assert sum(group.n * group.mean for group in groups) / 50 == pytest.approx(values.mean())
        assert all(group.low <= group.mean <= group.high for group in groups)


def test_cold_items_are_a_group_of_their_own():
    split = leave_one_out(build_log(list("aaaa"), list("xyxq")))
    assert popularity_quartiles(split.test, split.train).tolist() == ["cold"]


def test_quartiles_share_equal_values():
    assert quartiles(np.array([1, 1, 1, 1])).tolist() == ["Q1"] * 4
    assert quartiles(np.arange(8)).tolist() == ["Q1"] * 2 + ["Q2"] * 2 + ["Q3"] * 2 + ["Q4"] * 2


def test_targets_on_the_day_before_them_are_told_apart():
    log = build_log(list("aaabbb"), list("xyzxyz"), [0, DAY, DAY + 5, 0, DAY, 2 * DAY])
    assert same_day(leave_one_out(log).test).tolist() == ["same day", "later day"]


@pytest.fixture(scope="module")
def movielens():
    return k_core(load_movielens_100k())


def test_the_5_core_of_movielens_100k_has_its_known_size(movielens):
    assert (movielens.n_users, movielens.n_items, len(movielens)) == (943, 1349, 99_287)
    assert len(movielens_100k_titles()) == 1682
    assert movielens_100k_titles()["1"] == ("Toy Story (1995)", "Animation Children's Comedy")
    # Users rate a page at once.
    assert 0.4 < movielens.tied_share() < 0.6


@pytest.mark.parametrize(
    ("make", "unmasked", "masked"),
    [
        (Popularity, (0.0498, 0.0230, 0.0901, 0.0329), (0.0870, 0.0453, 0.1283, 0.0556)),
        (Markov, (0.1113, 0.0559, 0.1782, 0.0724), (0.1453, 0.0762, 0.2269, 0.0967)),
        (
            lambda n: Markov(n, 3),
            (0.1230, 0.0658, 0.1962, 0.0844),
            (0.1676, 0.0933, 0.2439, 0.1123),
        ),
        (ItemKNN, (0.0923, 0.0487, 0.1463, 0.0622), (0.1538, 0.0892, 0.2280, 0.1078)),
    ],
    ids=["popularity", "markov-1", "markov-3", "item-knn"],
)
def test_counting_models_give_their_known_figures(movielens, make, unmasked, masked):
    # Measured before this code was written, by another program: ties optimistic.
    split = leave_one_out(movielens)
    fitted = make(movielens.n_items).fit(split.train)
    for mask_seen, figures in ((False, unmasked), (True, masked)):
        found = evaluate(fitted, split.test, mask_seen=mask_seen, ties="optimistic")
        values = [found[name] for name in ("hr@10", "ndcg@10", "hr@20", "ndcg@20")]
        assert values == pytest.approx(figures, abs=5.1e-5)
