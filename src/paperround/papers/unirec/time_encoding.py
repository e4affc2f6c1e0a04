"""Time in several dimensions: the calendar of an event, and how long ago the one before it was.

Both take Unix seconds as float64 and know of no time zone but UTC. They can be used anywhere.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from paperround.errors import UsageError

CALENDAR_FIELDS = ("year", "month", "day", "day_of_week", "day_of_year", "week", "hour")
MAX_HOURS = 8_760
_HOUR_S, _DAY_S = 3_600, 86_400
# Days from 0001-01-01 to 1970-01-01, and a multiple of 7 that makes any day's number positive.
_DAYS_BEFORE_1970, _WEEKS_OF_DAYS = 719_162, 7_000_000
# Days from 0000-03-01, where a leap day ends its year, to 1970-01-01; of 400 and of 4 years.
_DAYS_TO_1970_FROM_MARCH, _DAYS_OF_400_YEARS = 719_468, 146_097


def calendar_fields(times: Tensor) -> Tensor:
    """(..., 7) int64 of Unix seconds (...): CALENDAR_FIELDS in UTC, for the years 1 to 9999.

    Months, days, days of the year and ISO weeks count from 1, days of the week from Monday = 0.
    """
    days = torch.floor(times.double() / _DAY_S).long()
    hour = torch.floor((times.double() - days * _DAY_S) / _HOUR_S).long().clamp(0, 23)
    # Years that begin in March have their leap day at the end, so months are a linear formula.
    z = days + _DAYS_TO_1970_FROM_MARCH
    era = _floor(z, _DAYS_OF_400_YEARS)
    day_of_era = z - era * _DAYS_OF_400_YEARS
    year_of_era = _floor(
        day_of_era
        - _floor(day_of_era, 1_460)
        + _floor(day_of_era, 36_524)
        - _floor(day_of_era, 146_096),
        365,
    )
    from_march = day_of_era - (
        365 * year_of_era + _floor(year_of_era, 4) - _floor(year_of_era, 100)
    )
    shifted = _floor(5 * from_march + 2, 153)
    day = from_march - _floor(153 * shifted + 2, 5) + 1
    month = torch.where(shifted < 10, shifted + 3, shifted - 9)
    year = year_of_era + 400 * era + (month <= 2).long()
    day_of_year = days - _new_year(year) + 1
    day_of_week = torch.remainder(days + 3 + _WEEKS_OF_DAYS, 7)
    week = _floor(day_of_year - day_of_week + 9, 7)
    # The first days of January may belong to the last week of the year before, and the other way.
    week = torch.where(
        week < 1, _iso_weeks(year - 1), torch.where(week > _iso_weeks(year), 1, week)
    )
    return torch.stack([year, month, day, day_of_week, day_of_year, week, hour], dim=-1)


def interval_hours(times: Tensor, max_hours: int = MAX_HOURS) -> Tensor:
    """(..., L) int64: whole hours since the event before, 0 for the first, at most `max_hours`."""
    gaps = torch.diff(times.double(), dim=-1, prepend=times[..., :1].double())
    return torch.floor(gaps / _HOUR_S).clamp(0, max_hours).long()


class CalendarTimeEncoding(nn.Module):
    """Unix seconds (...) to (..., out): each field's own Mercer code, joined and projected.

    A field x becomes `dim` numbers, each the sum over harmonics k of learned coefficients times
    sin and cos of k x / P, with a period P of its own that begins at 10^0 to 10^8 and is learned
    (Xu et al. 2019; step 5). `fields` may leave some of CALENDAR_FIELDS out.
    """

    def __init__(
        self,
        fields: Sequence[str] = CALENDAR_FIELDS,
        dim: int = 16,
        out: int = 64,
        *,
        max_exponent: float = 8.0,
        harmonics: int = 3,
    ) -> None:
        super().__init__()
        if unknown := [name for name in fields if name not in CALENDAR_FIELDS]:
            raise UsageError(
                f"no calendar field '{unknown[0]}'; there are {', '.join(CALENDAR_FIELDS)}"
            )
        if not fields:
            raise UsageError("a calendar needs at least one field")
        self._columns = [CALENDAR_FIELDS.index(name) for name in fields]
        shape = (len(fields), dim)
        exponents = torch.linspace(0.0, max_exponent, dim).expand(shape).clone()
        self.exponents = nn.Parameter(exponents)
        self.coefficients = nn.Parameter(torch.empty(*shape, 2 * harmonics))
        self.bias = nn.Parameter(torch.zeros(shape))
        nn.init.xavier_uniform_(self.coefficients)
        self.register_buffer("harmonics", torch.arange(1.0, harmonics + 1), persistent=False)
        self.project = nn.Linear(len(fields) * dim, out)
        nn.init.normal_(self.project.weight, std=0.01)
        nn.init.zeros_(self.project.bias)

    def forward(self, times: Tensor) -> Tensor:
        """See the class."""
        if torch.compiler.is_exporting():
            # How many hours differ depends on the data, which a graph cannot hold.
            return self._encode(times)
        # No field is finer than an hour, and a batch has many events in the same one.
        hours, place = torch.floor(times.double() / _HOUR_S).unique(return_inverse=True)
        return self._encode(hours * _HOUR_S)[place]

    def _encode(self, times: Tensor) -> Tensor:
        x = calendar_fields(times)[..., self._columns].to(self.bias.dtype)
        # (..., fields, dim, harmonics)
        angle = (x[..., None] / 10.0**self.exponents)[..., None] * self.harmonics
        waves = torch.cat([angle.sin(), angle.cos()], dim=-1)
        code = (waves * self.coefficients).sum(dim=-1) + self.bias
        return self.project(code.flatten(start_dim=-2))


class IntervalEmbedding(nn.Module):
    """Unix seconds (..., L) to (..., L, dim): a row per whole hour since the event before (step 6).

    The first event has a gap of 0; gaps above `max_hours` share the last row.
    """

    def __init__(self, max_hours: int = MAX_HOURS, dim: int = 64) -> None:
        super().__init__()
        self.max_hours = max_hours
        self.rows = nn.Embedding(max_hours + 1, dim)
        nn.init.normal_(self.rows.weight, std=0.02)

    def forward(self, times: Tensor) -> Tensor:
        """See the class."""
        return self.rows(interval_hours(times, self.max_hours))


def _floor(number: Tensor, by: int) -> Tensor:
    return torch.div(number, by, rounding_mode="floor")


def _new_year(year: Tensor) -> Tensor:
    """Days from 1970-01-01 to the first of January."""
    before = year - 1
    leap_days = _floor(before, 4) - _floor(before, 100) + _floor(before, 400)
    return 365 * before + leap_days - _DAYS_BEFORE_1970


def _iso_weeks(year: Tensor) -> Tensor:
    """52, or 53 where the year begins or (leap) ends on a Thursday."""

    def last_day(of: Tensor) -> Tensor:
        return torch.remainder(of + _floor(of, 4) - _floor(of, 100) + _floor(of, 400), 7)

    long = (last_day(year) == 4) | (last_day(year - 1) == 3)
    return 52 + long.long()
