"""Where a page of a list goes on: the cursors of the API, written and read."""

from datetime import date, datetime
from urllib.parse import urlencode

from paperround.errors import UsageError

_MADE_UP = "this cursor is not one of ours; start again without it"


def next_address(what: str, cursor: str, limit: int, **query: object) -> str:
    """The address of the following page."""
    return f"/api/v1/{what}?{urlencode({**query, 'cursor': cursor, 'limit': limit})}"


def dated(at: datetime, number: int) -> str:
    """The cursor behind a row that has a moment and a number."""
    return f"{at.isoformat()},{number}"


def read_dated(cursor: str | None) -> tuple[datetime, int] | None:
    """The moment and the number that a cursor names. Raises UsageError for one made up."""
    if cursor is None:
        return None
    at, _, number = cursor.partition(",")
    try:
        place = datetime.fromisoformat(at), int(number)
    except ValueError as error:
        raise UsageError(_MADE_UP) from error
    if place[0].tzinfo is None or not 0 <= place[1] < 2**53 or not _is_storable(place[0]):
        raise UsageError(_MADE_UP)
    return place


def read_number(cursor: str | None) -> int | None:
    """The number that a cursor names. Raises UsageError for one made up."""
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 16):
        raise UsageError(_MADE_UP)
    return int(cursor)


def _is_storable(at: datetime) -> bool:
    """Whether the moment can be written in UTC: not within hours of the ends of the calendar."""
    return 1 < at.year < 9999


def sized(size: int, key: str) -> str:
    """The cursor behind a row that has a size and a key."""
    return f"{size},{key}"


def read_sized(cursor: str | None) -> tuple[int, str] | None:
    """The size and the key that a cursor names. Raises UsageError for one made up."""
    if cursor is None:
        return None
    size, comma, key = cursor.partition(",")
    if not comma or not key or not (size.isascii() and size.isdecimal() and len(size) < 16):
        raise UsageError(_MADE_UP)
    return int(size), key


def without_or_day(day: date | None, number: int) -> str:
    """The cursor behind a row that has a number, and a day or none."""
    return f"{day.isoformat() if day else ''},{number}"


def read_day(cursor: str | None) -> tuple[date | None, int] | None:
    """The day, which may be none, and the number that a cursor names. Raises UsageError."""
    if cursor is None:
        return None
    day, comma, number = cursor.partition(",")
    found = read_number(number if comma else "x")
    try:
        return (date.fromisoformat(day) if day else None), found or 0
    except ValueError as error:
        raise UsageError(_MADE_UP) from error
