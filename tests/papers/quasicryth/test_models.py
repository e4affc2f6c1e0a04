"""Adaptive models and the vector instructions they stand on, each against its plain form."""

import math

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paperround.papers.quasicryth import vectors
from paperround.papers.quasicryth.arithmetic import share
from paperround.papers.quasicryth.models import (
    DEPTH,
    MAX_TOTAL,
    NODE,
    add_one,
    below_and_count,
    find,
    halve,
    new_models,
    total_of,
)

relaxed = settings(deadline=None, max_examples=150)
n_at_most, add_one_from = vectors.n_at_most, vectors.add_one_from
first_place, move_back = vectors.first_place, vectors.move_back
bit_length, fetch = vectors.bit_length, vectors.fetch
NUMBERS = st.integers(-(2**31), 2**31 - 1)


@numba.njit
def at_most(rows, row, limit):
    return n_at_most(rows, row, limit)


@numba.njit
def one_more(rows, row, begin):
    add_one_from(rows, row, begin)


@numba.njit
def place_in(rows, row, begin, number):
    return first_place(rows, row, begin, number)


@numba.njit
def moved(rows, row, begin, n):
    move_back(rows, row, begin, n)


@numba.njit
def length_of(number):
    return bit_length(number)


@numba.njit
def fetched(rows):
    for row in range(len(rows)):
        fetch(rows, row)


@numba.njit
def floor_share(width, below, total):
    return share(width, below, total)


@numba.njit
def count_all(models, symbols):
    for symbol in symbols:
        add_one(models, 0, symbol)
    return total_of(models, 0)


@numba.njit
def share_of(models, symbol):
    return below_and_count(models, 0, symbol)


@numba.njit
def symbol_at(models, target):
    return find(models, 0, target)


@relaxed
@given(st.lists(NUMBERS, min_size=2 * NODE, max_size=2 * NODE), NUMBERS, st.integers(0, 1))
def test_numbers_of_a_node_are_counted(numbers, limit, row):
    nodes = np.array(numbers, dtype=np.int32).reshape(2, NODE)
    expected = sum(int(number) <= limit for number in nodes[row])
    assert at_most(nodes, row, limit) == expected == vectors.plain_n_at_most(nodes, row, limit)


@given(st.integers(0, NODE), st.integers(0, 1))
def test_one_is_added_to_the_end_of_a_node_and_to_nothing_else(begin, row):
    fast, plain = (np.arange(2 * NODE, dtype=np.int32).reshape(2, NODE) for _ in range(2))
    one_more(fast, row, begin)
    vectors.plain_add_one_from(plain, row, begin)
    assert fast.tolist() == plain.tolist()
    assert fast.sum() == sum(range(2 * NODE)) + NODE - begin


@relaxed
@given(st.integers(1, vectors.ROW - vectors.CACHE), st.integers(0, 63), st.integers(0, 99))
def test_a_cache_is_searched_and_moved_as_its_plain_form_does(begin, n, number):
    rng = np.random.default_rng(begin)
    rows = rng.integers(0, 99, (3, vectors.ROW)).astype(np.int32)
    plain = rows.copy()
    place = place_in(rows, 1, begin, number)
    assert place == vectors.plain_first_place(rows, 1, begin, number)
    if place < vectors.CACHE:
        assert rows[1, begin + place] == number
    assert number not in rows[1, begin : begin + place]
    moved(rows, 1, begin, n)
    vectors.plain_move_back(plain, 1, begin, n)
    assert (rows == plain).all()


@relaxed
@given(st.integers(0, 2**62))
def test_the_length_in_bits(number):
    assert length_of(number) == number.bit_length() == vectors.plain_bit_length(number)


def test_fetching_ahead_changes_nothing():
    rows = np.arange(12, dtype=np.int32).reshape(6, 2)
    fetched(rows)
    vectors.plain_fetch(rows, 0)
    assert rows.ravel().tolist() == list(range(12))


@relaxed
@given(st.integers(1, 2**32), st.data())
def test_a_share_is_rounded_down_exactly(width, data):
    total = data.draw(st.integers(1, MAX_TOTAL - 1))
    below = data.draw(st.integers(0, total))
    assert floor_share(width, below, total) == width * below // total
    # Where the quotient is as near to a whole number as it can be.
    near = (width * below // total * total - 1) if width * below >= total else 0
    assert floor_share(1, near, total) == near // total


@relaxed
@given(
    st.sampled_from([2, 3, 16, 17, 253, 256, 257, 4_096, 4_097]),
    st.lists(st.integers(0, 4_096), max_size=200),
)
def test_every_target_finds_the_symbol_whose_share_holds_it(size, values):
    symbols = np.array([value % size for value in values], dtype=np.int64)
    models = new_models(np.array([size]))
    counts = np.bincount(symbols, minlength=size) + 1
    assert count_all(models, symbols) == counts.sum()
    ends = np.cumsum(counts)
    for symbol in {0, size - 1, *symbols.tolist()}:
        below, count = share_of(models, symbol)
        assert (below, count) == (ends[symbol] - counts[symbol], counts[symbol])
        for target in (below, below + count - 1):
            assert symbol_at(models, target) == (symbol, below, count)


@pytest.mark.parametrize("size", [2, 16, 17, 256, 300, 4_096, 5_000])
def test_all_counts_of_a_tree_are_halved_and_none_becomes_zero(size):
    rng = np.random.default_rng(size)
    symbols = rng.integers(0, size, 3_000)
    models = new_models(np.array([size]))
    count_all(models, symbols)
    halve(models.begins, models.sizes, models.sums, 0)
    counts = np.bincount(symbols, minlength=size) + 1
    halved = (counts >> 1) | 1
    assert [share_of(models, symbol)[1] for symbol in range(size)] == halved.tolist()
    ends = np.cumsum(halved)
    assert [share_of(models, symbol)[0] for symbol in range(size)] == [0, *ends[:-1].tolist()]
    assert all(symbol_at(models, end - 1)[0] == symbol for symbol, end in enumerate(ends.tolist()))


def test_a_model_is_halved_when_it_has_counted_enough():
    models = new_models(np.array([17]))
    total = count_all(models, np.zeros(MAX_TOTAL - 17, dtype=np.int64))
    assert total == (MAX_TOTAL - 16 >> 1 | 1) + 16
    assert math.ceil(math.log(17, NODE)) == int(models.depths[0]) <= DEPTH
