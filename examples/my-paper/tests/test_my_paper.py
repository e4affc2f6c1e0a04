"""What the method promises, whatever the stream; for pytest, where the package is installed."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from my_paper import frugal_1u, frugal_2u

streams = st.lists(st.integers(-10_000, 10_000), max_size=200)
quantiles = st.floats(0.01, 0.99)
methods = pytest.mark.parametrize("method", [frugal_1u, frugal_2u])


@methods
@given(items=streams, quantile=quantiles)
def test_there_is_an_estimate_after_each_item(method, items, quantile):
    assert len(list(method(items, quantile))) == len(items)


@methods
@given(items=streams, quantile=quantiles, seed=st.integers(0, 99))
def test_the_same_seed_gives_the_same_estimates(method, items, quantile, seed):
    first = list(method(items, quantile, seed=seed))
    assert list(method(items, quantile, seed=seed)) == first


@given(items=streams, quantile=quantiles)
def test_one_unit_moves_by_at_most_one(items, quantile):
    estimates = [0, *frugal_1u(items, quantile)]
    assert all(abs(b - a) <= 1 for a, b in itertools.pairwise(estimates))


@methods
@given(items=streams, quantile=quantiles, start=st.integers(-100, 100))
def test_an_estimate_stays_between_its_start_and_the_items(method, items, quantile, start):
    reach = [start, *items]
    assert all(min(reach) <= e <= max(reach) for e in method(items, quantile, start=start))


@methods
def test_a_constant_stream_is_found_and_kept(method):
    estimates = list(method([50] * 1_000, 0.5))
    assert estimates[-100:] == [50] * 100


@methods
@pytest.mark.parametrize("quantile", [0, 1, -0.1, 1.5, float("nan")])
def test_a_quantile_outside_zero_and_one_is_refused(method, quantile):
    with pytest.raises(ValueError, match="between 0 and 1"):
        list(method([1], quantile))
