"""Days, weeks and months, as the feed and trending have them."""

import calendar
from datetime import date, timedelta
from typing import Literal

Period = Literal["day", "week", "month"]


def bounds(period: Period, day: date) -> tuple[date, date]:
    """The first and last day of the period that holds the day; weeks go from Monday (ISO 8601)."""
    if period == "day":
        return day, day
    if period == "week":
        first = day - timedelta(days=day.weekday())
        # The calendar ends on a Friday, 9999-12-31.
        return first, first + min(timedelta(days=6), date.max - first)
    days_in_month = calendar.monthrange(day.year, day.month)[1]
    return day.replace(day=1), day.replace(day=days_in_month)
