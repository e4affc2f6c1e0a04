"""How claims are counted and drawn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.runs.card import Bar
from paperround.runs.queries import Tally
from paperround.runs.verdicts import ClaimResult, Verdict
from paperround.web.claims import claim_plot, tally_says, tally_state

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)


def a_claim(
    measured: tuple[float, ...], bar: Bar, reported: float | str | None = None
) -> ClaimResult:
    return ClaimResult(
        id="faster",
        says="It is faster",
        metric="ratio",
        reported=reported,
        where="Table 1",
        against="nothing",
        higher_is_better=True,
        baseline=None,
        measured=measured,
        value=measured[0] if measured else None,
        bar=bar,
        verdict=Verdict.HOLDS,
        seeds=(),
    )


@pytest.mark.parametrize(
    ("tally", "says", "state"),
    [
        (Tally(5, 1, 0), "5 of 6 claims hold", "falls-short"),
        (Tally(6, 0, 0), "6 of 6 claims hold", "holds"),
        (Tally(1, 0, 0), "1 of 1 claim holds", "holds"),
        (Tally(1, 1, 0), "1 of 2 claims hold", "falls-short"),
        (Tally(0, 2, 1), "0 of 2 claims hold, 1 not measured", "falls-short"),
        (Tally(0, 0, 3), "not measured yet", "not-measured"),
        (Tally(0, 0, 0), "not measured yet", "not-measured"),
    ],
)
def test_a_tally_never_counts_what_was_not_measured(tally: Tally, says: str, state: str) -> None:
    assert (tally_says(tally), tally_state(tally)) == (says, state)


def test_a_plot_places_points_bar_and_reported_on_one_line() -> None:
    plot = claim_plot(a_claim((1.0, 2.0), Bar(at_least=1.0), reported=3.0))
    assert plot is not None
    assert plot.points == (6.0, 50.0)
    assert plot.reported == 94.0
    assert plot.meets == (6.0, 100.0)


def test_nothing_is_drawn_where_nothing_was_measured_or_nothing_can_be_met() -> None:
    assert claim_plot(a_claim((), Bar(at_least=1.0))) is None
    assert claim_plot(a_claim((1.0,), Bar(not_measured="too small"))) is None


@given(st.lists(finite, min_size=1, max_size=5), finite, st.none() | finite, st.booleans())
def test_a_plot_stays_within_its_line_and_agrees_with_the_bar(
    measured: list[float], limit: float, reported: float | None, at_least: bool
) -> None:
    bar = Bar(at_least=limit) if at_least else Bar(at_most=limit)
    plot = claim_plot(a_claim(tuple(measured), bar, reported))
    assert plot is not None
    low, high = plot.meets
    assert 0 <= low <= high <= 100
    for value, point in zip(measured, plot.points, strict=True):
        assert 0 <= point <= 100
        meets = value >= limit if at_least else value <= limit
        if meets:
            assert low <= point <= high
