"""Uniform users and frequent items: worked out by hand, and what must not change them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.errors import UsageError
from paperround.kit.recommendation.interactions import build_log
from paperround.papers.unirec.uniformity import (
    frequency_split,
    gap_variance,
    item_interval_variance,
    rarity,
    same_day_share,
    uniformity_split,
)

DAY = 86_400.0


def a_log(times_of_users, items=None, **options):
    users = [user for user, times in enumerate(times_of_users) for _ in times]
    times = [time for times in times_of_users for time in times]
    items = items or [place for times in times_of_users for place in range(len(times))]
    return build_log(users, items, times, **options)


# Whole seconds: what floats hold exactly.
many_gaps = st.lists(
    st.lists(st.integers(0, 10_000_000), min_size=1, max_size=12), min_size=2, max_size=8
)


def times_of(gaps, scale=1, start=0):
    return [list(start + scale * np.concatenate([[0], np.cumsum(g)])) for g in gaps]


def test_variances_are_those_worked_out_by_hand():
    # Gaps 1, 3: mean 2, squares 1 + 1 over 2 - 1. Gaps 4, 4, 4: none. One gap: unknown.
    log = a_log([[0, 1, 4], [10, 14, 18, 22], [5, 9], [7]])
    assert gap_variance(log)[:2].tolist() == [2.0, 0.0]
    assert np.isnan(gap_variance(log)[2:]).all()
    # log(1 + 1 day) and log(1 + 3 days) = log 2 and log 4: half the square of log 2.
    log = a_log([[0, DAY, 4 * DAY]])
    assert gap_variance(log, "log_gap_variance")[0] == pytest.approx(np.log(2) ** 2 / 2)


@given(many_gaps, st.integers(-1_000_000_000, 1_000_000_000))
def test_moving_a_user_in_time_changes_no_variance(gaps, start):
    before, after = a_log(times_of(gaps)), a_log(times_of(gaps, start=start))
    for statistic in ("gap_variance", "log_gap_variance"):
        np.testing.assert_array_equal(
            gap_variance(before, statistic), gap_variance(after, statistic)
        )


@given(many_gaps, st.sampled_from([2, 4, 16]))
def test_stretching_time_squares_the_factor_and_keeps_the_ranking(gaps, factor):
    before, after = a_log(times_of(gaps)), a_log(times_of(gaps, scale=factor))
    np.testing.assert_allclose(
        gap_variance(after), factor**2 * gap_variance(before), rtol=1e-12, equal_nan=True
    )
    for share in (0.2, 0.6):
        assert (uniformity_split(before, share) == uniformity_split(after, share)).all()


@given(many_gaps, st.integers(1, 10_000), st.integers(2, 9), st.floats(0.01, 1.0))
def test_a_user_of_equal_gaps_is_uniform(gaps, gap, n, share):
    log = a_log([*times_of(gaps), [gap * place for place in range(n + 1)]])
    assert gap_variance(log)[-1] == 0.0
    assert uniformity_split(log, share)[-1]


def test_unequal_seconds_that_are_no_whole_numbers_have_no_variance_either():
    assert gap_variance(a_log([[0.1 * place for place in range(4)]]))[0] < 1e-25
    assert gap_variance(a_log([[0.0, 0.5, 1.0, 1.5]]))[0] == 0.0


def test_the_released_code_calls_the_other_side_uniform():
    log = a_log([[0, 1, 2], [0, 1, 4], [0, 1, 9], [0, 1, 50], [0, 1, 99], [0, 1]])
    assert uniformity_split(log, 0.6).tolist() == [True, True, True, False, False, False]
    theirs = uniformity_split(log, 0.4, side="irregular")
    assert theirs.tolist() == [False, False, False, True, True, False]


def test_frequent_items_are_those_that_occur_most():
    log = build_log(list("aaabbbccd"), list("xyzxyzxyx"))
    # x four times, y three, z two.
    assert frequency_split(log, 1 / 3).tolist() == [False, True, False, False]
    assert frequency_split(log, 2 / 3).tolist() == [False, True, True, False]


@given(st.lists(st.integers(0, 15), min_size=1, max_size=80), st.floats(0.05, 1.0))
def test_no_rare_item_occurs_more_often_than_a_frequent_one(items, share):
    log = build_log([0] * len(items), items)
    head = frequency_split(log, share)
    counts = log.item_counts
    assert head.sum() == round(share * log.n_items)
    assert not head[0]
    rare = counts[1:][~head[1:]]
    if head.any() and len(rare):
        assert counts[head].min() >= rare.max()


def test_rarity_runs_from_the_most_frequent_to_what_never_occurs():
    log = build_log(list("aaabbbccd"), list("xyzxyzxyx"))
    found = rarity(log)
    assert found[1] == 0.0
    assert found[0] == 100.0
    assert found[2] == pytest.approx(100 * (1 - np.log(4) / np.log(5)))
    unseen = log.select(log.item != 3)
    assert rarity(unseen)[3] == 100.0


def test_an_items_own_gaps_pool_all_users():
    # Item x at 0, 10, 40 (gaps 10, 30: variance 200), y at 0, 5, 10 (variance 0), z twice.
    rows = [("a", "x", 0), ("b", "x", 10), ("c", "x", 40), ("a", "y", 0), ("b", "y", 5)]
    rows += [("c", "y", 10), ("a", "z", 3), ("b", "z", 9)]
    log = build_log(*zip(*rows, strict=True))
    code = {item: place + 1 for place, item in enumerate(log.item_ids)}
    variance = item_interval_variance(log)
    assert variance[code["x"]] == 200.0
    assert variance[code["y"]] == 0.0
    assert np.isnan(variance[code["z"]])
    # The lowest variance is head; what has none is not, though the released code takes it for 0.
    assert np.flatnonzero(frequency_split(log, 0.5, "interval_variance")).tolist() == [code["y"]]
    scaled = rarity(log, "interval_variance")
    assert [scaled[code[item]] for item in "xyz"] == [100.0, 0.0, 100.0]


def test_same_day_transitions_are_counted_per_user():
    share = same_day_share(a_log([[0, 10, DAY, DAY + 5], [3], [DAY - 1, DAY]]))
    assert share[0] == pytest.approx(2 / 3)
    assert np.isnan(share[1])
    assert share[2] == 0.0


def test_what_cannot_be_known_is_refused():
    untimed = build_log([1, 1, 1], [1, 2, 3])
    for call in (gap_variance, uniformity_split, same_day_share):
        with pytest.raises(UsageError, match="times"):
            call(untimed)
    gaps_only = a_log([[0, 1, 2]], time_is_absolute=False)
    with pytest.raises(UsageError, match="absolute times"):
        frequency_split(gaps_only, by="interval_variance")
    for call, said in (
        (lambda log: uniformity_split(log, 0.0), "a share lies above 0"),
        (lambda log: uniformity_split(log, side="both"), "no side 'both'"),
        (lambda log: gap_variance(log, "range"), "no statistic 'range'"),
        (lambda log: frequency_split(log, 1.5), "a share lies above 0"),
        (lambda log: frequency_split(log, by="clicks"), "no frequency by 'clicks'"),
    ):
        with pytest.raises(UsageError, match=said):
            call(gaps_only)


def test_users_without_a_variance_are_never_flagged():
    assert not uniformity_split(a_log([[0, 5], [1]])).any()
