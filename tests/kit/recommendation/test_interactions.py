"""The log: cleaned, sorted, coded; cores; what bad input becomes."""

import math
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paperround.errors import UsageError
from paperround.kit.recommendation.interactions import (
    build_log,
    compact,
    k_core,
    same_stretch_as_before,
    sample_users,
    shuffle_ties,
)

DAY = 86_400.0
rows = st.lists(
    st.tuples(st.integers(0, 6), st.sampled_from("abcdefg"), st.integers(0, 9)), min_size=1
)


def a_log(events, **options):
    """A log of (user, item) or (user, item, time) events."""
    columns = list(zip(*events, strict=True))
    return build_log(*columns, **options)


def events_of(log):
    """The log's events with the caller's ids, in its order."""
    time = [None] * len(log) if log.time is None else log.time
    return [
        (log.user_ids[u], log.item_ids[i - 1], t)
        for u, i, t in zip(log.user, log.item, time, strict=True)
    ]


def naive_core(events, user, item, unique):
    events = list(events)
    while True:
        pairs = set(events) if unique else events
        kept = [
            (u, i)
            for u, i in events
            if sum(1 for a, _ in pairs if a == u) >= user
            and sum(1 for _, b in pairs if b == i) >= item
        ]
        if len(kept) == len(events):
            return kept
        events = kept


@settings(max_examples=60, deadline=None)
@given(rows)
def test_a_log_is_sorted_by_user_and_time_and_ties_keep_the_order_they_came_in(events):
    log = a_log(events, duplicates="keep")
    found = events_of(log)
    for user in {user for user, _, _ in events}:
        theirs = [event for event in events if event[0] == user]
        assert [e for e in found if e[0] == user] == sorted(theirs, key=lambda event: event[2])
    assert sorted(found) == sorted(events)


@settings(max_examples=60, deadline=None)
@given(rows)
def test_codes_start_at_1_for_items_and_follow_their_first_appearance(events):
    log = a_log(events, duplicates="keep")
    assert log.item.min() == 1
    assert list(log.item_ids) == list(dict.fromkeys(item for _, item, _ in events))
    assert list(log.user_ids) == list(dict.fromkeys(user for user, _, _ in events))
    assert log.offsets[-1] == len(log)
    assert all(
        (log.user[log.offsets[u] : log.offsets[u + 1]] == u).all() for u in range(log.n_users)
    )


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_a_core_is_what_the_naive_loop_leaves_and_is_its_own_core(events, user, item, unique):
    log = a_log(events, duplicates="keep")
    wanted = naive_core([(u, i) for u, i, _ in events], user, item, unique)
    if not wanted:
        with pytest.raises(UsageError, match="core is empty"):
            k_core(log, user, item, unique=unique)
        return
    core = k_core(log, user, item, unique=unique)
    assert sorted((u, i) for u, i, _ in events_of(core)) == sorted(wanted)
    again = k_core(core, user, item, unique=unique)
    assert events_of(again) == events_of(core)
    assert set(core.item) == set(range(1, core.n_items + 1))


def test_unique_counts_a_repeat_once_and_rows_count_it_twice():
    log = a_log([("u", "a"), ("u", "a"), ("v", "a"), ("v", "b")])
    assert len(k_core(log, 2, 1)) == 4
    assert events_of(k_core(log, 2, 1, unique=True)) == [("v", "a", None), ("v", "b", None)]


def test_events_out_of_order_are_sorted_and_counted():
    log = a_log([("u", "late", 30), ("u", "early", 10), ("u", "mid", 20)])
    assert [item for _, item, _ in events_of(log)] == ["early", "mid", "late"]
    assert log.cleaning.out_of_order == 1


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        ("exact", ["a", "b", "a", "a"]),
        ("consecutive", ["a", "b", "a"]),
        ("keep", ["a", "a", "b", "a", "a"]),
    ],
)
def test_a_rule_says_what_a_duplicate_is(rule, left):
    events = [("u", "a", 1), ("u", "a", 1), ("u", "b", 2), ("u", "a", 3), ("u", "a", 4)]
    log = a_log(events, duplicates=rule)
    assert [item for _, item, _ in events_of(log)] == left
    assert log.cleaning.duplicates == 5 - len(left)


def test_without_times_a_repeat_is_an_event_of_its_own():
    assert len(a_log([("u", "a"), ("u", "a")])) == 2


def test_an_unknown_rule_for_duplicates_is_refused():
    with pytest.raises(UsageError, match="no rule 'some' for duplicates"):
        a_log([("u", "a")], duplicates="some")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "no time"),
        ("", "no time"),
        ("yesterday", "no time"),
        (math.nan, "no time"),
        (True, "no time"),
        (math.inf, "time inf s is not in 1900..2200"),
        (1_500_000_000_000, "is not in 1900..2200"),
        (-1e18, "is not in 1900..2200"),
    ],
)
def test_a_row_with_a_missing_or_absurd_time_is_rejected_and_named(value, said):
    log = a_log([("u", "a", 5), ("u", "b", value), ("u", "c", 7)])
    assert [item for _, item, _ in events_of(log)] == ["a", "c"]
    assert log.cleaning.rejected == 1
    assert log.cleaning.rejections[0].startswith("row 2: ")
    assert said in log.cleaning.rejections[0]


@pytest.mark.parametrize(("per_second", "unit"), [(1e3, "ms"), (1e6, "us"), (1e9, "ns")])
def test_times_in_another_unit_are_told_which_it_may_be(per_second, unit):
    with pytest.raises(UsageError, match=f"say time_unit={unit}, or --time-unit {unit}"):
        build_log(["u"], ["a"], [1_600_000_000 * per_second])
    assert len(build_log(["u"], ["a"], [1_600_000_000 * per_second], time_unit=unit)) == 1


def test_times_may_be_texts_dates_and_other_units():
    moment = datetime(2020, 1, 2, tzinfo=UTC)
    naive = datetime(2020, 1, 2)
    seconds = moment.timestamp()
    for value in (seconds, str(seconds), "2020-01-02", "2020-01-02T00:00:00+00:00", moment, naive):
        assert a_log([("u", "a", value)]).time[0] == seconds
    assert a_log([("u", "a", seconds * 1000)], time_unit="ms").time[0] == seconds
    assert build_log(["u"], ["a"], np.array(["2020-01-02"], "datetime64[ns]")).time[0] == seconds
    with pytest.raises(UsageError, match="no time unit 'h'; there are s, ms, us, ns"):
        a_log([("u", "a", 1)], time_unit="h")


@pytest.mark.parametrize("nothing", [None, "", "   ", math.nan, np.datetime64("NaT")])
def test_a_row_without_a_user_or_an_item_is_rejected(nothing):
    log = a_log([("u", "a"), (nothing, "b"), ("u", nothing)])
    assert len(log) == 1
    assert log.cleaning.rejections == ("row 2: no user", "row 3: no item")


def test_what_cannot_be_an_id_is_rejected_and_named():
    log = a_log([("u", "a"), ("u", ["b"])])
    assert log.cleaning.rejections == ("row 2: the item ['b'] cannot be an id",)


def test_ids_stay_as_they_are():
    ids = ["two words", " a", "a", 7, "7", (1, "x"), 2.5]
    log = a_log([("some one", item) for item in ids])
    assert list(log.item_ids) == ids
    assert list(log.user_ids) == ["some one"]


def test_numpy_ids_become_plain_ones():
    log = build_log(np.array([3, 3]), np.array([10, 11]))
    assert [type(item) for item in log.item_ids] == [int, int]


def test_nothing_left_is_an_error_that_says_why():
    with pytest.raises(UsageError, match="no interactions: 1 rows read; row 1: no item"):
        a_log([("u", None)])
    with pytest.raises(UsageError, match="no interactions: 0 rows read"):
        build_log([], [])


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(UsageError, match="2 users, 1 items: every event needs one of each"):
        build_log(["u", "v"], ["a"])


def test_the_tied_share_counts_transitions_inside_users_only():
    log = a_log([("u", "a", 1), ("u", "b", 1), ("u", "c", 2), ("v", "d", 2), ("v", "e", 2)])
    assert log.tied_share() == pytest.approx(2 / 3)
    assert a_log([("u", "a"), ("u", "b")]).tied_share() == 0.0


def test_shuffling_ties_moves_items_inside_their_day_alone():
    events = [("u", n, day * DAY + n) for day in range(3) for n in range(day * 9, day * 9 + 9)]
    log = a_log(events)
    shuffled = shuffle_ties(log, seed=0)
    assert list(shuffled.item) != list(log.item)
    for day in range(3):
        inside = slice(day * 9, day * 9 + 9)
        assert sorted(shuffled.item[inside]) == sorted(log.item[inside])
    assert (shuffle_ties(log, seed=0).item == shuffled.item).all()
    assert (shuffle_ties(log, seed=1).item != shuffled.item).any()
    with pytest.raises(UsageError, match="without times"):
        shuffle_ties(a_log([("u", "a")]), seed=0)


def test_the_first_event_of_a_user_is_never_on_the_day_of_one_before():
    log = a_log([("u", "a", 0), ("u", "b", DAY / 2), ("u", "c", DAY), ("v", "d", DAY)])
    assert list(same_stretch_as_before(log)) == [False, True, False, False]


def test_a_sample_of_users_keeps_their_whole_histories():
    log = a_log([(user, item) for user in range(20) for item in range(user % 3 + 1)])
    sample = sample_users(log, 5, seed=0)
    assert sample.n_users == 5
    for user in range(5):
        assert len(sample.sequence(user)) == sample.user_ids[user] % 3 + 1
    assert sample_users(log, 100, seed=0) is log
    assert len(compact(sample).item_ids) == sample.n_items


def test_a_user_of_100_000_events_is_read_in_a_moment():
    log = build_log(["u"] * 100_000, [n % 1000 for n in range(100_000)], range(100_000))
    assert len(log.sequence(0)) == 100_000
    assert log.n_items == 1000
