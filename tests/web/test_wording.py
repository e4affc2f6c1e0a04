"""Numbers, dates and addresses as people read them."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.web import wording


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "–"),
        ("identical", "identical"),
        (0, "0"),
        (1.0, "1"),
        (1.48149, "1.481"),
        (3303, "3,303"),
        (12345.6, "12,346"),
        (0.0123, "0.0123"),
        (0.00001234, "1.23e-05"),
        (-2.5, "-2.5"),
        (True, "yes"),
        (1e300, "1e+300"),
    ],
)
def test_numbers(value: float | str | None, expected: str) -> None:
    assert wording.number(value) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, "–"),
        (0.84, "0.8 s"),
        (9.99, "10 s"),
        (14.2, "14 s"),
        (59.9, "1 min"),
        (60, "1 min"),
        (125, "2 min 05 s"),
        (3599.9, "1 h"),
        (4200, "1 h 10 min"),
    ],
)
def test_durations(seconds: float | None, expected: str) -> None:
    assert wording.duration(seconds) == expected


@given(st.dates(), st.sampled_from(["day", "week", "month"]))
def test_an_address_names_the_period_that_it_was_made_of(day: date, period: str) -> None:
    address = wording.period_address(period, day)
    found = wording.parse_period(period, address.rpartition("/")[2])
    assert found is not None
    assert found <= day
    assert wording.period_address(period, found) == address


@given(st.text(max_size=12), st.sampled_from(["day", "week", "month"]))
def test_any_text_is_a_period_or_none(text: str, period: str) -> None:
    found = wording.parse_period(period, text)
    assert found is None or isinstance(found, date)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.org/a", "https://example.org/a"),
        (" http://example.org ", "http://example.org"),
        ("javascript:alert(1)", None),
        ("JavaScript:alert(1)", None),
        ("data:text/html,x", None),
        ("//example.org", None),
        ("https:", None),
        ("http://[", None),
        ("", None),
        (None, None),
    ],
)
def test_only_addresses_of_the_web_are_links(url: str | None, expected: str | None) -> None:
    assert wording.web_address(url) == expected


def test_weeks_are_told_by_their_days() -> None:
    assert (
        wording.period_title("week", date(2026, 6, 22), date(2026, 6, 28)) == "22 to 28 June 2026"
    )
    assert (
        wording.period_title("week", date(2026, 6, 29), date(2026, 7, 5))
        == "29 June to 5 July 2026"
    )
    assert (
        wording.period_title("week", date(2026, 12, 28), date(2027, 1, 3))
        == "28 December 2026 to 3 January 2027"
    )
