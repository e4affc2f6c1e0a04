"""The cost model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.papers.copyspec import CostModel, DecodingStats, Step, fit_cost


@given(st.floats(1e-3, 1.0), st.floats(1e-4, 0.1))
def test_latencies_on_a_line_are_fitted_exactly(t0: float, t1: float) -> None:
    fit = fit_cost(range(1, 12), [t0 + n * t1 for n in range(1, 12)])
    assert fit.t0 == pytest.approx(t0, rel=1e-6)
    assert fit.t1 == pytest.approx(t1, rel=1e-6)
    assert fit.r_squared == pytest.approx(1.0)


def test_time_is_passes_and_tokens() -> None:
    stats = DecodingStats((Step("prompt", 0, 0, 1), Step("copy", 10, 4, 5)))
    cost = CostModel(t0=0.01, t1=0.001)
    assert cost.seconds(stats) == pytest.approx(2 * 0.01 + 12 * 0.001)
    # Six tokens one by one take 66 ms.
    assert cost.speed_up(stats) == pytest.approx(0.066 / 0.032)


def test_an_attempt_breaks_even_where_what_it_adds_is_what_it_saves() -> None:
    cost = CostModel(t0=0.01, t1=0.001)
    assert cost.break_even(10) == pytest.approx(10 * 0.001 / 0.011)


def test_a_pass_never_gets_cheaper_by_more_tokens() -> None:
    assert fit_cost([1, 2, 3], [0.3, 0.2, 0.1]).t1 == 0.0


def test_one_length_is_too_few_to_fit() -> None:
    with pytest.raises(ValueError, match="two different lengths"):
        fit_cost([1, 1], [0.1, 0.2])
