"""When digests are due, in every zone, over changes of the clocks."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from paperround.errors import UsageError
from paperround.readers.times import (
    Cadence,
    Hours,
    checked_hours,
    due_moment,
    last_due_day,
    local_date,
    next_due,
)

ZONES = sorted(available_timezones() - {"localtime"})
BERLIN = "Europe/Berlin"

zones = st.sampled_from(ZONES)
hours = st.builds(Hours, zones, st.integers(0, 23), st.integers(0, 6))
days = st.dates(date(2000, 1, 1), date(2037, 12, 31))
moments = st.datetimes(datetime(2000, 1, 3), datetime(2037, 12, 28), timezones=st.just(UTC)).map(
    lambda at: at.replace(microsecond=0)
)


@pytest.mark.parametrize(
    ("day", "hour", "expected"),
    [
        (date(2026, 7, 1), 7, datetime(2026, 7, 1, 5, tzinfo=UTC)),
        (date(2026, 1, 1), 7, datetime(2026, 1, 1, 6, tzinfo=UTC)),
        # On 29 March 2026 two o'clock is left out: clocks go from 1:59 to 3:00 CEST.
        (date(2026, 3, 29), 2, datetime(2026, 3, 29, 1, tzinfo=UTC)),
        (date(2026, 3, 29), 3, datetime(2026, 3, 29, 1, tzinfo=UTC)),
        (date(2026, 3, 29), 1, datetime(2026, 3, 29, 0, tzinfo=UTC)),
        # On 25 October 2026 two o'clock is passed twice; the first time is CEST.
        (date(2026, 10, 25), 2, datetime(2026, 10, 25, 0, tzinfo=UTC)),
        (date(2026, 10, 25), 3, datetime(2026, 10, 25, 2, tzinfo=UTC)),
    ],
)
def test_an_hour_begins_once_on_every_date(day: date, hour: int, expected: datetime) -> None:
    assert due_moment(day, Hours(BERLIN, hour)) == expected


def test_a_change_of_half_an_hour_counts_as_well() -> None:
    # Lord Howe goes from 1:59 to 2:30 on 4 October 2026.
    assert due_moment(date(2026, 10, 4), Hours("Australia/Lord_Howe", 2)) == datetime(
        2026, 10, 3, 15, 30, tzinfo=UTC
    )


@given(day=days, at=hours)
@example(day=date(2011, 12, 30), at=Hours("Pacific/Apia", 7))
@example(day=date(2026, 3, 29), at=Hours(BERLIN, 2))
def test_no_earlier_moment_of_a_date_shows_its_hour(day: date, at: Hours) -> None:
    zone = ZoneInfo(at.zone)
    moment = due_moment(day, at)
    wanted = datetime(day.year, day.month, day.day, at.hour)
    shown = moment.astimezone(zone).replace(tzinfo=None)
    assert shown >= wanted
    # Later than it should be only where the clocks have just leapt over it.
    before = (moment - timedelta(seconds=1)).astimezone(zone).replace(tzinfo=None)
    assert before < wanted
    if shown > wanted:
        assert shown - before > timedelta(seconds=1)


@given(at=hours, day=days)
def test_dates_come_one_after_the_other(at: Hours, day: date) -> None:
    assert due_moment(day, at) <= due_moment(day + timedelta(days=1), at)


@given(now=moments, at=hours, cadence=st.sampled_from(Cadence))
def test_the_next_is_the_first_after_the_last(now: datetime, at: Hours, cadence: Cadence) -> None:
    last, following = last_due_day(now, at, cadence), next_due(now, at, cadence)
    assert due_moment(last, at) <= now < following
    # Nothing is due in between, and the moment that is next is then the last.
    assert last_due_day(following, at, cadence) > last
    just_before = following - timedelta(seconds=1)
    assert last_due_day(just_before, at, cadence) == last_due_day(now, at, cadence)
    if cadence is Cadence.WEEKLY:
        assert last.weekday() == at.weekday


@given(at=hours, cadence=st.sampled_from(Cadence), start=moments)
def test_whoever_waits_for_the_next_each_time_passes_over_no_date(
    at: Hours, cadence: Cadence, start: datetime
) -> None:
    now, seen = start, []
    for _ in range(12):
        now = next_due(now, at, cadence)
        seen.append(last_due_day(now, at, cadence))
    gaps = {later - earlier for earlier, later in pairwise(seen)}
    step = timedelta(days=1 if cadence is Cadence.DAILY else 7)
    # Samoa and a few others left out a date altogether: its moment is the next one's.
    assert gaps <= {step, 2 * step}
    assert len(set(seen)) == len(seen)


def test_a_year_of_days_has_as_many_digests_as_dates() -> None:
    at = Hours("America/New_York", 2)
    now, n = due_moment(date(2026, 1, 1), at), 0
    while now < due_moment(date(2027, 1, 1), at):
        now = next_due(now, at, Cadence.DAILY)
        n += 1
    assert n == 365


def test_a_date_is_that_of_the_zone() -> None:
    at = datetime(2026, 7, 1, 23, tzinfo=UTC)
    assert local_date(at, Hours("Asia/Tokyo")) == date(2026, 7, 2)
    assert local_date(at, Hours("America/Los_Angeles")) == date(2026, 7, 1)


@pytest.mark.parametrize(
    ("zone", "hour", "weekday"),
    [
        ("Mars/Base", 7, 0),
        ("", 7, 0),
        ("../../etc/passwd", 7, 0),
        ("Europe", 7, 0),
        ("x" * 5000, 7, 0),
        ("a\0b", 7, 0),
        ("UTC", 24, 0),
        ("UTC", -1, 0),
        ("UTC", 7, 7),
        ("UTC", 7, -1),
    ],
)
def test_hours_that_no_clock_shows_are_refused(zone: str, hour: int, weekday: int) -> None:
    with pytest.raises(UsageError):
        checked_hours(zone, hour, weekday)


@pytest.mark.parametrize("zone", ["UTC", BERLIN, "America/Argentina/Buenos_Aires"])
def test_hours_that_a_clock_shows_are_kept(zone: str) -> None:
    assert checked_hours(zone, 23, 6) == Hours(zone, 23, 6)
