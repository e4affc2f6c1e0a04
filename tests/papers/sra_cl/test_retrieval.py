"""Users' vectors, neighbours that fill gaps, the random control, and files of neighbours."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.errors import UsageError
from paperround.kit.recommendation.interactions import build_log
from paperround.kit.recommendation.text import nearest_neighbours
from paperround.papers.sra_cl import (
    behaviour_vectors,
    co_occurrence_rate,
    filled_from,
    load_neighbours,
    matched_random,
    save_neighbours,
    user_vectors,
)

LOG = build_log(["a", "a", "a", "b", "c", "c"], ["x", "y", "z", "x", "z", "w"])
# Codes: x 1, y 2, z 3, w 4.
VECTORS = np.array([[0, 0], [1, 0], [0, 1], [2, 2], [0, 0]], dtype=float)


def test_a_user_is_the_weighted_mean_of_their_titles():
    found = user_vectors(LOG, VECTORS, decay=0.5)
    # a: z, y, x with 1, 1/2, 1/4; c: z alone, since w has no text.
    assert found[0] == pytest.approx([(2 + 0.25) / 1.75, (2 + 0.5) / 1.75])
    assert found[1] == pytest.approx([1, 0])
    assert found[2] == pytest.approx([2, 2])


def test_with_decay_1_all_of_the_newest_count_alike():
    assert user_vectors(LOG, VECTORS, decay=1.0)[0] == pytest.approx([1, 1])
    assert user_vectors(LOG, VECTORS, newest=2, decay=1.0)[0] == pytest.approx([1, 1.5])


def test_a_user_of_whom_no_item_has_a_text_has_zeros():
    blank = VECTORS.copy()
    blank[1] = 0
    assert (user_vectors(LOG, blank)[1] == 0).all()


def test_what_is_asked_for_has_to_make_sense():
    with pytest.raises(UsageError, match="newest is at least 1"):
        user_vectors(LOG, VECTORS, newest=0)
    with pytest.raises(UsageError, match=r"\(5, d\), not \(4, 2\)"):
        user_vectors(LOG, VECTORS[1:])


@given(st.integers(2, 30), st.integers(1, 12), st.integers(0, 1000))
def test_neighbours_are_those_of_brute_force(n, k, seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, 4))
    rows[0] = 0.0
    groups = rng.integers(0, max(1, n // 2), size=n)
    found = nearest_neighbours(rows, k, groups=groups)
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    for row in range(n):
        allowed = [
            other for other in range(1, n) if row and other != row and groups[other] != groups[row]
        ]
        best = sorted((float(unit[row] @ unit[other]) for other in allowed), reverse=True)[:k]
        mine = found.of(row)
        assert set(mine) <= set(allowed)
        assert len(mine) == len(set(mine.tolist())) == len(best)
        assert found.similarity[row, : len(best)] == pytest.approx(best, abs=1e-5)
        assert (np.diff(found.similarity[row, : len(best)]) <= 0).all()


def test_users_without_text_get_their_neighbours_by_behaviour():
    by_text = nearest_neighbours(np.array([[1.0, 0], [1, 0.1], [0, 0], [0, 1]]), 2)
    by_behaviour = nearest_neighbours(np.array([[0.0, 1], [1, 0], [1, 0], [0.5, 0.5]]), 2)
    both = filled_from(by_text, by_behaviour)
    assert both.of(0).tolist() == by_text.of(0).tolist()
    assert both.of(2).tolist() == by_behaviour.of(2).tolist() == [1, 3]
    with pytest.raises(UsageError, match="cannot be filled"):
        filled_from(by_text, nearest_neighbours(np.eye(3), 2))


def test_users_and_items_that_go_together_are_near_by_behaviour():
    # Two groups of users who share no item.
    users = [user for user in range(8) for _ in range(4)]
    items = [f"{user % 2}-{(user + step) % 5}" for user in range(8) for step in range(4)]
    log = build_log(users, items)
    for vectors, sides in zip(
        behaviour_vectors(log, 4),
        (np.arange(8) % 2, np.array([-1, *[int(item[0]) for item in log.item_ids]])),
        strict=True,
    ):
        near = nearest_neighbours(vectors, 3)
        for row, side in enumerate(sides):
            assert all(sides[other] == side for other in near.of(row))
    assert (behaviour_vectors(log, 4)[1][0] == 0).all()


@pytest.mark.parametrize("rows", [[("a", "x")], [("a", "x"), ("a", "y")], [("a", "x"), ("b", "x")]])
def test_the_smallest_logs_have_behaviour_vectors_too(rows):
    log = build_log(*zip(*rows, strict=True))
    users, items = behaviour_vectors(log, 3)
    assert users.shape == (log.n_users, 3)
    assert items.shape == (log.n_items + 1, 3)
    assert np.isfinite(users).all()
    assert np.isfinite(items).all()


@given(st.integers(3, 20).map(lambda half: 2 * half), st.integers(1, 6), st.integers(0, 1000))
def test_random_neighbours_are_as_frequent_as_those_they_replace(n, k, seed):
    rng = np.random.default_rng(seed)
    near = nearest_neighbours(rng.normal(size=(n, 3)), k)
    # Half of the rows are rare, half frequent: two buckets.
    counts = rng.permutation(np.repeat([1, 10], n // 2))
    drawn = matched_random(near, counts, seed=seed, buckets=2)
    for row in range(n):
        mine = drawn.of(row)
        assert row not in mine
        assert len(set(mine.tolist())) == len(mine)
        wanted, got = (np.bincount(counts[rows], minlength=11) for rows in (near.of(row), mine))
        assert (got <= wanted).all()
        # All who are asked for are found, unless the row itself has to be left out of too few.
        for count in (1, 10):
            pool = int(((counts == count) & (np.arange(n) != row)).sum())
            assert got[count] == min(wanted[count], pool)


def test_random_neighbours_follow_the_seed_and_never_name_who_does_not_occur():
    near = nearest_neighbours(np.random.default_rng(0).normal(size=(60, 3)), 5)
    counts = np.ones(60, dtype=np.int64)
    counts[:10] = 0
    rows = [matched_random(near, counts, seed=seed).rows for seed in (1, 1, 2)]
    assert (rows[0] == rows[1]).all()
    assert (rows[0] != rows[2]).any()
    assert not np.isin(rows[0], np.arange(10)).any()
    with pytest.raises(UsageError, match="59 counts for 60"):
        matched_random(near, counts[1:], seed=0)


def test_items_are_taken_together_where_one_user_has_both():
    pairs = np.array([[1, 2], [1, 3], [1, 4], [3, 4]])
    assert co_occurrence_rate(LOG, pairs) == 0.75


def test_neighbours_come_back_from_their_file(tmp_path):
    near = nearest_neighbours(np.random.default_rng(0).normal(size=(9, 3)), 4)
    save_neighbours(near, tmp_path / "deep" / "near.npz")
    back = load_neighbours(tmp_path / "deep" / "near.npz")
    assert (back.rows == near.rows).all()
    assert (back.similarity == near.similarity).all()


@given(st.binary(max_size=200))
def test_a_file_that_holds_no_neighbours_is_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("files") / "near.npz"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"near\.npz"):
        load_neighbours(path)


def test_a_file_of_another_version_is_refused(tmp_path):
    np.savez(tmp_path / "near.npz", version=99, rows=[[0]], similarity=[[0.0]])
    with pytest.raises(UsageError, match="version 99; this reads 1"):
        load_neighbours(tmp_path / "near.npz")
