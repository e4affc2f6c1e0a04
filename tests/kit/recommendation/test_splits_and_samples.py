"""Splits keep the future out; samples hold every transition; padding says nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paperround.errors import UsageError
from paperround.kit.recommendation.interactions import build_log
from paperround.kit.recommendation.samples import (
    SequenceDataset,
    popularity_negatives,
    uniform_negatives,
)
from paperround.kit.recommendation.splits import (
    last_events,
    leave_one_out,
    temporal_split,
    temporal_thresholds,
)

lengths = st.lists(st.integers(1, 12), min_size=1, max_size=8)


def log_of(lengths, times=True):
    """Users with that many events each, at growing times, on items that tell them apart."""
    users = [user for user, n in enumerate(lengths) for _ in range(n)]
    items = [f"{user}-{n}" for user, count in enumerate(lengths) for n in range(count)]
    seconds = [float(10 * n + user) for user, count in enumerate(lengths) for n in range(count)]
    return build_log(users, items, seconds if times else None)


def transitions(log):
    inside = log.user[1:] == log.user[:-1]
    return sorted(zip(log.item[:-1][inside].tolist(), log.item[1:][inside].tolist(), strict=True))


def trained(dataset, seed=0, batch_size=3):
    """(input, target) pairs that one epoch trains on."""
    pairs = []
    for batch in dataset.batches(batch_size, seed=seed):
        real = batch.targets != 0
        assert (batch.items[real] != 0).all()
        pairs += zip(batch.items[real].tolist(), batch.targets[real].tolist(), strict=True)
    return sorted(pairs)


@settings(max_examples=50, deadline=None)
@given(lengths)
def test_leave_one_out_parts_every_event_once_and_in_order(lengths):
    log = log_of(lengths)
    split = leave_one_out(log)
    n = len(split.train) + len(split.valid) + len(split.test)
    assert n == len(log)
    held = np.concatenate([split.valid.target, split.test.target])
    rest = np.setdiff1d(np.arange(len(log)), held)
    assert (split.train.item == log.item[rest]).all()
    for target, user in zip(split.test.target, split.test.users, strict=True):
        times = log.times(user)
        assert len(times) >= 3
        assert log.time[target] == times[-1] >= times[-2]
        assert split.train.times(user).max() <= times[-2]


def test_users_with_fewer_than_three_events_only_train():
    split = leave_one_out(log_of([1, 2, 3]))
    assert list(split.test.users) == [2]
    assert len(split.train) == 4


def test_the_test_history_includes_the_validation_item():
    log = log_of([5])
    split = leave_one_out(log)
    (batch,) = split.test.batches(8, max_len=10)
    assert batch.items[0].tolist() == log.item[:4].tolist()
    assert batch.items[0, -1] == split.valid.items[0]


def test_users_may_be_left_out_of_validation_alone():
    split = leave_one_out(log_of([5, 5]), not_validated=np.array([0]))
    assert list(split.valid.users) == [1]
    assert list(split.test.users) == [0, 1]
    assert len(split.train) == 6


def test_only_last_events_are_set_aside_for_a_model_to_be_used():
    log = log_of([1, 2, 5, 3])
    split = last_events(log)
    assert list(split.valid.users) == [2, 3]
    assert len(split.train) == 9
    assert len(split.test) == 0
    assert len(last_events(log, max_cases=1).valid) == 1
    assert len(last_events(log, max_cases=1).train) == 10


def test_a_temporal_split_lets_nothing_of_the_future_train():
    log = log_of([12, 12, 12])
    t_valid, t_test = temporal_thresholds(log, 0.2, 0.2)
    split = temporal_split(log, t_valid, t_test, min_history=5, known_items=False)
    assert (split.train.time < t_valid).all()
    assert (log.time[split.valid.target] >= t_valid).all()
    assert (log.time[split.test.target] >= t_test).all()
    assert (split.test.history_lengths >= 5).all()
    assert len(split.test) > 0


def test_a_temporal_split_may_drop_items_that_training_never_saw():
    users = ["u"] * 8 + ["v"] * 8
    items = list("abcdefgh") + list("abcdefxa")
    log = build_log(users, items, [*range(8), *range(8)])
    split = temporal_split(log, 6, 7, min_history=2)
    assert "x" not in {log.item_ids[item - 1] for item in split.test.log.item}
    # g and h come after the threshold too, and no training event has them.
    assert {log.item_ids[item - 1] for item in split.test.items} == {"a"}


def test_a_temporal_split_needs_times_that_compare_between_users():
    with pytest.raises(UsageError, match="needs absolute times"):
        temporal_split(log_of([5], times=False), 1, 2)
    relative = build_log(["u"], ["a"], [1], time_is_absolute=False)
    with pytest.raises(UsageError, match="needs absolute times"):
        temporal_split(relative, 1, 2)
    with pytest.raises(UsageError, match="must start before the test"):
        temporal_split(log_of([5]), 2, 1)


@settings(max_examples=50, deadline=None)
@given(lengths, st.integers(1, 7))
def test_batches_of_cases_hold_every_case_once_and_the_newest_items(lengths, max_len):
    log = log_of(lengths)
    cases = last_events(log).valid
    batches = list(cases.batches(2, max_len))
    assert sum(len(batch.rows) for batch in batches) == len(cases)
    for batch in batches:
        for row, case in enumerate(batch.rows):
            history = log.sequence(cases.users[case])[:-1]
            real = batch.items[row][batch.items[row] != 0]
            assert real.tolist() == history[-max_len:].tolist()
            assert batch.items[row, : len(real)].all()
            assert batch.seen[row].tolist() == history.tolist()
            assert batch.target[row] == cases.items[case]


@settings(max_examples=50, deadline=None)
@given(lengths, st.integers(1, 5), st.sampled_from(["windows", "prefix"]), st.booleans())
def test_every_transition_is_trained_on_once_in_every_epoch(lengths, max_len, mode, shift):
    log = log_of(lengths)
    dataset = SequenceDataset(log, mode, max_len, shift=shift)
    for epoch in range(3):
        assert trained(dataset, seed=epoch) == transitions(log)
    assert dataset.n_targets == len(transitions(log))


def test_all_positions_keep_the_newest_alone():
    log = log_of([8])
    dataset = SequenceDataset(log, "all_positions", 3)
    assert trained(dataset) == transitions(log)[-3:]


@settings(max_examples=50, deadline=None)
@given(lengths, st.integers(1, 5))
def test_a_prefix_holds_everything_before_its_target(lengths, max_len):
    log = log_of(lengths)
    for side in ("right", "left"):
        for batch in SequenceDataset(log, "prefix", max_len, pad=side).batches(4, seed=1):
            for items, targets, user in zip(batch.items, batch.targets, batch.users, strict=True):
                (target,) = targets[targets != 0].tolist()
                sequence = log.sequence(int(user)).tolist()
                at = sequence.index(target)
                assert items[items != 0].tolist() == sequence[max(0, at - max_len) : at]
                real = (items != 0).int().tolist()
                assert real == sorted(real, reverse=side == "right")


def test_times_stand_beside_their_items():
    log = log_of([4])
    (batch,) = SequenceDataset(log, "windows", 5).batches(2, seed=None)
    assert batch.times.tolist() == [[0.0, 10.0, 20.0]]
    assert batch.target_times.tolist() == [[10.0, 20.0, 30.0]]


def test_the_order_follows_from_the_seed_and_bucketing_changes_no_row():
    log = log_of([3, 9, 5, 7, 2, 11, 4] * 5)
    dataset = SequenceDataset(log, "windows", 6)

    def rows(**options):
        return [
            tuple(row[row != 0].tolist())
            for batch in dataset.batches(4, **options)
            for row in batch.items
        ]

    assert rows(seed=3) == rows(seed=3)
    assert rows(seed=3) != rows(seed=4)
    assert sorted(rows(seed=3)) == sorted(rows(seed=3, bucket=False)) == sorted(rows(seed=None))


def test_windows_are_cut_elsewhere_in_every_epoch_only_where_they_shift():
    log = log_of([40])

    def cuts(shift, seed):
        dataset = SequenceDataset(log, "windows", 10, shift=shift)
        return sorted(
            row[row != 0].tolist() for batch in dataset.batches(9, seed=seed) for row in batch.items
        )

    assert cuts(False, 1) == cuts(False, 2)
    assert len({str(cuts(True, seed)) for seed in range(5)}) > 1


def test_a_long_user_fills_windows_and_no_memory():
    log = build_log(["u"] * 100_000, [n % 500 for n in range(100_000)])
    dataset = SequenceDataset(log, "windows", 50)
    assert len(dataset) == 2_000
    assert len(SequenceDataset(log, "prefix", 50)) == 99_999


def test_an_unknown_mode_and_an_empty_window_are_refused():
    with pytest.raises(UsageError, match="no mode 'some'"):
        SequenceDataset(log_of([3]), "some")
    with pytest.raises(UsageError, match="max_len must be at least 1"):
        SequenceDataset(log_of([3]), max_len=0)


def test_negatives_are_items_and_popular_ones_follow_the_counts():
    generator = torch.Generator().manual_seed(0)
    drawn = uniform_negatives(5, (4000,), generator)
    assert drawn.min() == 1
    assert drawn.max() == 5
    counts = np.array([0, 3, 0, 1])
    drawn = popularity_negatives(counts, (2, 4000), generator)
    assert set(drawn.unique().tolist()) == {1, 3}
    assert (drawn == 1).float().mean().item() == pytest.approx(0.75, abs=0.03)
    flat = popularity_negatives(counts, (8000,), generator, power=0.0)
    assert (flat == 1).float().mean().item() == pytest.approx(0.5, abs=0.03)
