"""The calendar against the standard library's, and what the two encodings depend on."""

from datetime import UTC, datetime

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paperround.errors import UsageError
from paperround.papers.unirec.time_encoding import (
    CALENDAR_FIELDS,
    MAX_HOURS,
    CalendarTimeEncoding,
    IntervalEmbedding,
    calendar_fields,
    interval_hours,
)

HOUR, DAY = 3_600, 86_400
moments = st.integers(-2_208_988_800, 7_258_118_399)


def seconds(*values):
    return torch.tensor(values, dtype=torch.float64)


@settings(max_examples=300)
@given(moments)
def test_the_calendar_is_the_standard_librarys_in_utc(moment):
    when = datetime.fromtimestamp(moment, UTC)
    expected = [
        when.year,
        when.month,
        when.day,
        when.weekday(),
        when.timetuple().tm_yday,
        when.isocalendar().week,
        when.hour,
    ]
    assert calendar_fields(seconds(moment))[0].tolist() == expected


@given(st.integers(1900, 2199), st.integers(-5, 5))
def test_weeks_around_new_year_are_the_standard_librarys(year, days):
    moment = datetime(year, 1, 1, tzinfo=UTC).timestamp() + days * DAY
    expected = datetime.fromtimestamp(moment, UTC).isocalendar().week
    assert calendar_fields(seconds(moment))[0, CALENDAR_FIELDS.index("week")] == expected


@given(moments)
def test_a_week_later_the_day_of_the_week_and_the_hour_are_the_same(moment):
    now, later = calendar_fields(seconds(moment, moment + 7 * DAY))
    for name in ("day_of_week", "hour"):
        column = CALENDAR_FIELDS.index(name)
        assert now[column] == later[column]
    encoding = CalendarTimeEncoding(("day_of_week", "hour"), dim=4, out=6)
    first, second = encoding(seconds(moment, moment + 7 * DAY))
    assert torch.equal(first, second)


def test_the_code_is_the_formula_written_out():
    torch.manual_seed(0)
    encoding = CalendarTimeEncoding(("hour",), dim=2, out=3, max_exponent=1.0, harmonics=2)
    torch.nn.init.normal_(encoding.bias)
    (found,) = encoding(seconds(5 * HOUR))
    code = []
    for place, exponent in enumerate((0.0, 1.0)):
        angles = [torch.tensor(5.0 * k / 10**exponent) for k in (1, 2)]
        waves = torch.stack([a.sin() for a in angles] + [a.cos() for a in angles])
        code.append((waves * encoding.coefficients[0, place]).sum() + encoding.bias[0, place])
    torch.testing.assert_close(found, encoding.project(torch.stack(code)))


def test_an_encoding_depends_on_the_moment_alone():
    torch.manual_seed(0)
    encoding = CalendarTimeEncoding(out=8)
    alone = encoding(seconds(1_000_000_000))
    for mode in (encoding.train(), encoding.eval()):
        among = mode(seconds(5.0, 1_000_000_000, 7.5, 1_000_000_001).view(1, 4))[0, [1, 3]]
        torch.testing.assert_close(alone.expand(2, -1), among)
    assert encoding(torch.zeros(2, 3, dtype=torch.float64)).shape == (2, 3, 8)


def test_periods_and_coefficients_learn():
    encoding = CalendarTimeEncoding(dim=4, out=4)
    encoding(seconds(1_000_000_000)).sum().backward()
    for parameter in (encoding.exponents, encoding.coefficients, encoding.bias):
        assert parameter.grad.abs().sum() > 0


def test_intervals_are_whole_hours_and_end_at_a_year():
    times = seconds(0, HOUR - 1, HOUR - 1, 3 * HOUR, 3 * HOUR + MAX_HOURS * HOUR - 1)
    assert interval_hours(times).tolist() == [0, 0, 0, 2, MAX_HOURS - 1]
    assert interval_hours(seconds(0, MAX_HOURS * HOUR)).tolist() == [0, MAX_HOURS]
    assert interval_hours(seconds(0, MAX_HOURS * HOUR * 50)).tolist() == [0, MAX_HOURS]
    # Padding on the right goes back to 0, and is no gap.
    assert interval_hours(seconds(9 * HOUR, 0)).tolist() == [0, 0]


@given(moments, st.lists(st.integers(0, 10**9), min_size=1, max_size=5))
def test_the_same_gaps_at_another_time_embed_the_same(start, gaps):
    times = torch.cumsum(torch.tensor([0, *gaps], dtype=torch.float64), dim=0)
    embedding = IntervalEmbedding(max_hours=20, dim=3)
    assert torch.equal(embedding(times), embedding(times + start))


def test_rows_of_intervals_are_a_table_of_8761():
    assert IntervalEmbedding().rows.weight.shape == (8_761, 64)


def test_unknown_fields_are_refused():
    with pytest.raises(UsageError, match="no calendar field 'minute'"):
        CalendarTimeEncoding(("minute",))
    with pytest.raises(UsageError, match="at least one field"):
        CalendarTimeEncoding(())
