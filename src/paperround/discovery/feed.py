"""The feed: the papers of a day, a week or a month, page by page.

Periods without papers are passed over, so that a weekend shows Friday's papers and says so. Pages
go on by key: a cursor names the last paper that was shown, and no paper is shown twice or left out
because others came in above it.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal, get_args

from sqlalchemy import Connection

from paperround.catalogue.queries import papers_by_id
from paperround.catalogue.records import Paper, PaperId
from paperround.clock import utc_now
from paperround.discovery import queries
from paperround.discovery.periods import Period, bounds
from paperround.discovery.trending import standings_of_days
from paperround.errors import UsageError

Order = Literal["votes", "trending", "newest"]

MAX_PAGE = 200


@dataclass(frozen=True)
class Feed:
    """One page of a period's papers.

    `start` and `end` are the period's first and last day. `asked` is the first day of the period
    that was asked for: another than `start` where that one has no papers. `earlier` and `later`
    are the first days of the next periods with papers, None at either end. Pages that follow are
    asked for with `start`, the same order and `next_cursor`.
    """

    period: Period
    start: date
    end: date
    asked: date
    earlier: date | None
    later: date | None
    papers: tuple[Paper, ...]
    next_cursor: str | None


def feed(
    connection: Connection,
    period: Period,
    start: date | None,
    order: Order,
    cursor: str | None,
    n: int,
    *,
    rooms: Mapping[str, str] | None = None,
    now: Callable[[], datetime] = utc_now,
) -> Feed:
    """The page of n papers after the cursor, of the period that holds the day `start`.

    For None it is the latest period with papers. A period without papers gives way to the last one
    before it that has some, or else to the first one after it. `rooms` has the keys of the papers
    that run here by slug, as trending wants them. Raises UsageError for an unknown period or order,
    an n outside 1..200, and a cursor that is not of this feed.
    """
    if period not in get_args(Period):
        raise UsageError(f"no period '{period}'; there are {', '.join(get_args(Period))}")
    if order not in get_args(Order):
        raise UsageError(f"no order '{order}'; there are {', '.join(get_args(Order))}")
    if not 1 <= n <= MAX_PAGE:
        raise UsageError(f"a page of {n} papers cannot be shown; ask for 1 to {MAX_PAGE}")
    last = None if start is None else bounds(period, start)[1]
    day = queries.last_day_until(connection, last)
    if day is None and last is not None:
        day = queries.first_day_after(connection, last)
    # An empty catalogue has today's feed, without papers.
    first, last = bounds(period, day or start or now().date())
    asked = first if start is None else bounds(period, start)[0]
    place = f"{period} {first.isoformat()} {order}"
    after = None if cursor is None else _read_cursor(cursor, place)
    if order == "trending":
        ids, next_key = _trending_page(
            connection, period, (first, last), after, n, now(), rooms or {}
        )
    else:
        ids, next_key = _page(connection, order, first, last, after, n)
    earlier = None
    if first > date.min:
        earlier = queries.last_day_until(connection, first - timedelta(days=1))
    later = queries.first_day_after(connection, last)
    return Feed(
        period=period,
        start=first,
        end=last,
        asked=asked,
        earlier=None if earlier is None else bounds(period, earlier)[0],
        later=None if later is None else bounds(period, later)[0],
        papers=tuple(papers_by_id(connection, ids)),
        next_cursor=None if next_key is None else _write_cursor(place, next_key),
    )


# Where a page ends: the order's key and the id of its last paper.
_Key = tuple[str, int]


def _page(
    connection: Connection, order: Order, first: date, last: date, after: _Key | None, n: int
) -> tuple[list[PaperId], _Key | None]:
    """The ids of a page, and where it ends if another one follows: one more is asked for to see."""
    found: list[tuple[PaperId, str]]
    try:
        if order == "votes":
            votes_after = None if after is None else (int(after[0]), after[1])
            rows = queries.ids_by_votes(connection, first, last, votes_after, n + 1)
            found = [(paper_id, str(votes)) for paper_id, votes in rows]
        else:
            day_after = None if after is None else (date.fromisoformat(after[0]), after[1])
            days = queries.ids_by_day(connection, first, last, day_after, n + 1)
            found = [(paper_id, day.isoformat()) for paper_id, day in days]
    except (ValueError, OverflowError) as error:
        raise UsageError("this cursor is not one of this feed; start again without it") from error
    ids = [paper_id for paper_id, _ in found[:n]]
    if len(found) <= n:
        return ids, None
    return ids, (found[n - 1][1], ids[-1])


def _trending_page(
    connection: Connection,
    period: Period,
    days: tuple[date, date],
    after: _Key | None,
    n: int,
    now: datetime,
    rooms: Mapping[str, str],
) -> tuple[list[PaperId], _Key | None]:
    """The same by trending. A cursor names the moment of the first page too: scores move with time,
    and all pages of a list have to be of one moment.
    """
    as_of, score_after = now.replace(microsecond=0), None
    try:
        if after is not None:
            score, _, at = after[0].partition("@")
            as_of = datetime.fromtimestamp(int(at), UTC)
            score_after = float.fromhex(score), after[1]
        found = standings_of_days(connection, *days, period, as_of, rooms, score_after, n + 1)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError("this cursor is not one of this feed; start again without it") from error
    ids = [standing.paper_id for standing in found[:n]]
    if len(found) <= n:
        return ids, None
    return ids, (f"{found[n - 1].score.hex()}@{int(as_of.timestamp())}", ids[-1])


def _write_cursor(place: str, key: _Key) -> str:
    content = f"{place} {key[0]} {key[1]}"
    return base64.urlsafe_b64encode(f"{_check(content)} {content}".encode()).decode().rstrip("=")


def _read_cursor(cursor: str, place: str) -> _Key:
    """The key in a cursor of that place. Raises UsageError for any other text.

    The check sum finds what was mistyped, cut off or made up without care. It is no secret and
    guards none: whoever computes one himself gets a page of papers that he may see anyhow.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        check, content = base64.urlsafe_b64decode(padded.encode("ascii")).decode().split(" ", 1)
        before, value, paper_id = content.rsplit(" ", 2)
        key = value, int(paper_id)
    except (ValueError, binascii.Error) as error:
        raise UsageError("this cursor is not one of ours; start again without it") from error
    if check != _check(content) or _write_cursor(before, key) != cursor or abs(key[1]) >= 1 << 63:
        raise UsageError("this cursor is not one of ours; start again without it")
    if before != place:
        raise UsageError("this cursor is of another feed; start again without it")
    return key


def _check(content: str) -> str:
    return hashlib.sha256(f"feed cursor {content}".encode()).hexdigest()[:12]
