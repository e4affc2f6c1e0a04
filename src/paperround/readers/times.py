"""When digests are due: at an hour of a zone, each date or each week, over changes of the clocks.

Every date of a zone has one moment at which its hour begins, be the hour left out on that date or
passed twice, so that no date has two digests and none is left out.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo

from paperround.errors import UsageError
from paperround.log import get_logger


class Cadence(StrEnum):
    """How often a subscription stands in a digest."""

    DAILY = "daily"
    WEEKLY = "weekly"


@dataclass(frozen=True)
class Hours:
    """At which hour of which zone digests come, and weekly ones on which day: 0 is Monday."""

    zone: str = "UTC"
    hour: int = 7
    weekday: int = 0


def checked_hours(zone: str, hour: int, weekday: int) -> Hours:
    """The hours as they are kept. Raises UsageError for those that no clock shows."""
    if not 0 <= hour <= 23:
        raise UsageError(f"{hour} is no hour; there are 0 to 23")
    if not 0 <= weekday <= 6:
        raise UsageError(f"{weekday} is no day of the week; there are 0 for Monday to 6 for Sunday")
    if not _has_zone(zone):
        raise UsageError(f"there is no zone '{zone[:60]}'; write one like Europe/Berlin")
    return Hours(zone, hour, weekday)


def kept_hours(zone: str, hour: int, weekday: int) -> Hours:
    """The hours as they were kept, in UTC where this machine does not know their zone any more.

    A home may come to a machine with older tables of zones. The log has it, and the subscriber
    reads in their mail by which clock it came.
    """
    return Hours(zone if _is_known(zone) else "UTC", hour, weekday)


def due_moment(day: date, hours: Hours) -> datetime:
    """The moment, in UTC, at which the hour begins on that date of the zone.

    An hour that is passed twice begins with the first time. One that is left out because clocks are
    set forward begins when they are: the earliest moment that shows that hour or a later one.
    """
    zone = _zone(hours.zone)
    local = datetime.combine(day, time(hours.hour), zone)
    moment = local.astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None):
        return moment
    # Left out: `fold` gives the readings by the clock before and after the change.
    after = local.replace(fold=1).astimezone(UTC)
    return _change_between(after, moment, zone)


def last_due_day(now: datetime, hours: Hours, cadence: Cadence) -> date:
    """The date of the last digest of that cadence that is due, now or before."""
    day = now.astimezone(_zone(hours.zone)).date()
    while due_moment(day, hours) > now or not _is_due_on(day, hours, cadence):
        day -= timedelta(days=1)
    return day


def next_due(after: datetime, hours: Hours, cadence: Cadence) -> datetime:
    """The first moment after `after` at which a digest of that cadence is due."""
    day = after.astimezone(_zone(hours.zone)).date()
    while due_moment(day, hours) <= after or not _is_due_on(day, hours, cadence):
        day += timedelta(days=1)
    return due_moment(day, hours)


def local_date(moment: datetime, hours: Hours) -> date:
    """The date in the zone at that moment."""
    return moment.astimezone(_zone(hours.zone)).date()


def _is_due_on(day: date, hours: Hours, cadence: Cadence) -> bool:
    return cadence is Cadence.DAILY or day.weekday() == hours.weekday


def _change_between(low: datetime, high: datetime, zone: ZoneInfo) -> datetime:
    """The moment at which the zone's clocks change between the two, to the second.

    A date that a zone left out altogether, as Samoa did in 2011, has its change for a moment too.
    """
    low, high = min(low, high), max(low, high)
    before = low.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) // 2
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)


@lru_cache(maxsize=700)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _has_zone(name: str) -> bool:
    try:
        _zone(name)
    # The tables raise each of these for one name or another: none, a folder, what is no path.
    except (LookupError, ValueError, OSError):
        return False
    return True


@lru_cache(maxsize=700)
def _is_known(name: str) -> bool:
    """The same, once for each zone, with a line in the log for one that is missing."""
    if _has_zone(name):
        return True
    get_logger().error("zone.unknown", zone=name, reckoned_as="UTC")
    return False
