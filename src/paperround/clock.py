"""Time as an argument: what needs the time takes a `now`, and this is the default."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)
