"""What people attend to now: one formula, computed in SQL, in this one place.

    score = known + min(new, max(newest, known)) + measured + elsewhere

- `known`: what readers here give: a vote 1, a comment 2 (one reader's comments on a paper count
  once, the latest), a paper marked as read 0.5.
- `new`: the same by accounts that nobody vouched for and that were younger than a week when they
  gave it. Together they count at most as much as the known readers' attention or, where there is
  none, as the newest single one of theirs: a thousand accounts made for a paper's sake lift it by
  one vote.
- `measured`: 3 for each scale at which the paper was measured here, the latest result of each: to
  run it again and again adds nothing.
- `elsewhere`: 10 h / (h + 40) with h = votes + 2 comments that its sources count, at the end of the
  paper's day. It stays below 10 however many they count, so that readers here outweigh it.

Each is worth half as much after every half-life: half a day in the list of the day, three days in
that of the week, twelve in that of the month. What is older than eight half-lives is left out of
these lists. All constants are our own choice. What came after the moment that a list is of counts
as if it came at that moment.

Suspended readers, comments that are hidden or were taken back, and imported results count nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import Connection, Date, bindparam, func, select, text

from paperround.catalogue.queries import papers_by_id
from paperround.catalogue.records import Paper, PaperId
from paperround.catalogue.tables import PaperTable
from paperround.db import UtcDateTime
from paperround.discovery.periods import Period
from paperround.errors import UsageError

VOTE, COMMENT, READ, MEASURED = 1.0, 2.0, 0.5, 3.0
ELSEWHERE_AT_MOST, ELSEWHERE_HALF = 10.0, 40.0
HALF_LIVES: Mapping[Period, timedelta] = {
    "day": timedelta(hours=12),
    "week": timedelta(days=3),
    "month": timedelta(days=12),
}
WINDOW_HALF_LIVES = 8
MAX_STANDINGS = 500

_Key = tuple[float, int]


@dataclass(frozen=True)
class Standing:
    """Where a paper stands, and of what its score is made: numbers, and the points for them."""

    paper_id: PaperId
    score: float
    votes: int
    votes_points: float
    comments: int
    comments_points: float
    reads: int
    reads_points: float
    # By accounts that were new: how many there were, what they gave, what of it counts.
    new: int
    new_points: float
    new_counted: float
    scales: int
    measured_points: float
    elsewhere_votes: int
    elsewhere_comments: int
    elsewhere_points: float


@dataclass(frozen=True)
class Trending:
    """A list of papers with where they stand. `as_of` is the moment that it is of.

    It is another than now where nothing has drawn attention of late: then the end of the last day
    that has papers.
    """

    period: Period
    as_of: datetime
    papers: tuple[tuple[Paper, Standing], ...]


def trending_papers(
    connection: Connection,
    period: Period,
    now: datetime,
    rooms: Mapping[str, str],
    *,
    category: str | None = None,
    n: int = 30,
) -> Trending:
    """The n papers that stand highest now, best first.

    `rooms` has the keys of the papers that run here, by slug. Raises UsageError for an n outside
    1..500.
    """
    if not 1 <= n <= MAX_STANDINGS:
        raise UsageError(f"a list of {n} papers cannot be shown; ask for 1 to {MAX_STANDINGS}")
    as_of = now
    found = _of_period(connection, period, as_of, rooms, category=category, n=n)
    if not found:
        last = connection.scalar(
            select(func.max(PaperTable.day)).where(PaperTable.day < now.date())
        )
        if last is not None:
            as_of = _end_of(last)
            found = _of_period(connection, period, as_of, rooms, category=category, n=n)
    papers = {p.id: p for p in papers_by_id(connection, [standing.paper_id for standing in found])}
    return Trending(period, as_of, tuple((papers[s.paper_id], s) for s in found))


def standing_of(
    connection: Connection,
    paper_id: PaperId,
    period: Period,
    now: datetime,
    rooms: Mapping[str, str],
) -> tuple[Standing, int | None, datetime]:
    """Where one paper stands, its place in the list (None beyond 500), and the list's moment."""
    whole = trending_papers(connection, period, now, rooms, n=MAX_STANDINGS)
    for place, (paper, standing) in enumerate(whole.papers, start=1):
        if paper.id == paper_id:
            return standing, place, whole.as_of
    since = whole.as_of - WINDOW_HALF_LIVES * HALF_LIVES[period]
    found = standings(
        connection, whole.as_of, HALF_LIVES[period], rooms, since=since, paper_id=paper_id, n=1
    )
    if not found:
        raise UsageError("this paper is gone")
    return found[0], None, whole.as_of


def standing_now(
    connection: Connection, now: datetime, rooms: Mapping[str, str]
) -> dict[PaperId, float]:
    """The scores of the month's 500 highest, by paper: for an order among other papers."""
    half_life = HALF_LIVES["month"]
    since = now - WINDOW_HALF_LIVES * half_life
    found = standings(connection, now, half_life, rooms, since=since, n=MAX_STANDINGS)
    return {standing.paper_id: standing.score for standing in found}


def standings_of_days(
    connection: Connection,
    first: date,
    last: date,
    period: Period,
    as_of: datetime,
    rooms: Mapping[str, str],
    after: _Key | None,
    n: int,
) -> list[Standing]:
    """The n papers of these days that stand highest, from after a score and an id: for the feed.

    `as_of` must be the same for all pages of a list; a past period's is its end.
    """
    as_of = min(as_of, _end_of(last))
    return standings(
        connection, as_of, HALF_LIVES[period], rooms, days=(first, last), after=after, n=n
    )


def standings(
    connection: Connection,
    as_of: datetime,
    half_life: timedelta,
    rooms: Mapping[str, str],
    *,
    days: tuple[date, date] | None = None,
    since: datetime | None = None,
    category: str | None = None,
    paper_id: PaperId | None = None,
    after: _Key | None = None,
    n: int,
) -> list[Standing]:
    """The formula. Either of the papers of `days`, or of what has happened `since`.

    What happened is read by ix_vote_at, ix_mark_at, ix_comment_created_at and ix_result_kept_at,
    the papers of days by ix_paper_day. Equal scores: the later added first.
    """
    # What nothing bounds happened after the year 2000.
    since = since or datetime(2000, 1, 1, tzinfo=UTC)
    first, last = days or (since.date(), as_of.date())
    values: dict[str, Any] = {
        "now": as_of,
        "since": since,
        "first": first,
        "last": last,
        "half": half_life / timedelta(days=1),
        "rooms": json.dumps(dict(rooms)),
        "category": category,
        "paper_id": paper_id,
        "after_score": None if after is None else after[0],
        "after_id": None if after is None else after[1],
        "n": n,
        "vote": VOTE,
        "comment": COMMENT,
        "read": READ,
        "measured": MEASURED,
        "at_most": ELSEWHERE_AT_MOST,
        "at_half": ELSEWHERE_HALF,
    }
    candidates = _OF_DAYS if days is not None else _OF_LATE
    if paper_id is not None:
        candidates = "SELECT :paper_id"
    formula = text(_FORMULA.replace("CANDIDATES", candidates))
    asked = formula.compile().params
    typed = [bindparam(name, type_=kind()) for name, kind in _TYPES.items() if name in asked]
    used = {name: values[name] for name in asked}
    rows = connection.execute(formula.bindparams(*typed), used)
    return [Standing(PaperId(row.paper_id), *row[1:]) for row in rows]


def _of_period(
    connection: Connection,
    period: Period,
    as_of: datetime,
    rooms: Mapping[str, str],
    *,
    category: str | None,
    n: int,
) -> list[Standing]:
    half_life = HALF_LIVES[period]
    since = as_of - WINDOW_HALF_LIVES * half_life
    return standings(
        connection, as_of, half_life, rooms, since=since, category=category or None, n=n
    )


def _end_of(day: date) -> datetime:
    return datetime.combine(day, time.max, UTC)


_TYPES = {"now": UtcDateTime, "since": UtcDateTime, "first": Date, "last": Date}
_OF_DAYS = "SELECT id FROM paper WHERE day BETWEEN :first AND :last"
# What a score can come from at all: papers of late that a source counts something for, and those
# that readers or runs have touched.
_OF_LATE = """
    SELECT id FROM paper WHERE day BETWEEN :first AND :last AND (votes > 0 OR comments > 0)
    UNION SELECT paper_id FROM heard
    UNION SELECT paper_id FROM measured
"""

# A sum or a joining in GROUP BY keeps SQLite from reading a whole table in the group's order.
_FORMULA = """
WITH
said(paper_id, reader_id, kind, at, weight) AS (
    SELECT paper_id, reader_id, 'vote', at, :vote FROM vote WHERE at > :since
    UNION ALL
    SELECT paper_id, reader_id, 'read', at, :read FROM mark WHERE mark = 'read' AND at > :since
    UNION ALL
    SELECT paper_id, reader_id, 'comment', max(created_at), :comment FROM comment
    WHERE created_at > :since AND hidden_at IS NULL AND text != '' AND reader_id IS NOT NULL
    GROUP BY paper_id + 0, reader_id
),
weighed AS (
    SELECT said.paper_id, said.kind, said.at >= reader.established_at AS is_known,
        weight * exp2(-max(0.0, julianday(:now) - julianday(said.at)) / :half) AS points
    FROM said JOIN reader ON reader.id = said.reader_id
    WHERE reader.suspended_at IS NULL
),
heard AS (
    SELECT paper_id,
        sum(kind = 'vote' AND is_known) AS votes,
        sum(iif(kind = 'vote' AND is_known, points, 0.0)) AS votes_points,
        sum(kind = 'comment' AND is_known) AS comments,
        sum(iif(kind = 'comment' AND is_known, points, 0.0)) AS comments_points,
        sum(kind = 'read' AND is_known) AS reads,
        sum(iif(kind = 'read' AND is_known, points, 0.0)) AS reads_points,
        sum(iif(is_known, points, 0.0)) AS known,
        sum(NOT is_known) AS new,
        sum(iif(is_known, 0.0, points)) AS new_points,
        max(iif(is_known, 0.0, points)) AS newest
    FROM weighed GROUP BY paper_id
),
measured AS (
    SELECT paper.id AS paper_id, count(*) AS scales,
        sum(:measured * exp2(-max(0.0, julianday(:now) - julianday(result.at)) / :half)) AS points
    FROM (
        SELECT slug, scale, max(kept_at) AS at FROM result
        WHERE kept_at > :since AND origin = 'here' AND status = 'finished'
        GROUP BY slug || '', scale
    ) AS result
    JOIN json_each(:rooms) AS room ON room.key = result.slug
    JOIN paper ON paper.key = room.value
    GROUP BY paper.id
),
candidate(id) AS (CANDIDATES),
counted AS (
    SELECT paper.id,
        max(paper.votes, 0) AS votes,
        max(paper.comments, 0) AS comments,
        iif(paper.day IS NULL, 0.0,
            :at_most * (max(paper.votes, 0) + 2 * max(paper.comments, 0))
            / (max(paper.votes, 0) + 2 * max(paper.comments, 0) + :at_half)
            * exp2(-max(0.0, julianday(:now) - julianday(paper.day, '+1 day')) / :half)
        ) AS points
    FROM candidate JOIN paper ON paper.id = candidate.id
    WHERE :category IS NULL
        OR EXISTS (SELECT 1 FROM json_each(paper.categories) WHERE value = :category)
),
scored AS (
    SELECT counted.id AS paper_id,
        coalesce(known, 0.0) + min(coalesce(new_points, 0.0),
            max(coalesce(newest, 0.0), coalesce(known, 0.0)))
            + coalesce(measured.points, 0.0) + counted.points AS score,
        coalesce(heard.votes, 0) AS votes, coalesce(votes_points, 0.0) AS votes_points,
        coalesce(heard.comments, 0) AS comments, coalesce(comments_points, 0.0) AS comments_points,
        coalesce(reads, 0) AS reads, coalesce(reads_points, 0.0) AS reads_points,
        coalesce(new, 0) AS new, coalesce(new_points, 0.0) AS new_points,
        min(coalesce(new_points, 0.0), max(coalesce(newest, 0.0), coalesce(known, 0.0)))
            AS new_counted,
        coalesce(scales, 0) AS scales, coalesce(measured.points, 0.0) AS measured_points,
        counted.votes AS elsewhere_votes, counted.comments AS elsewhere_comments,
        counted.points AS elsewhere_points
    FROM counted
    LEFT JOIN heard ON heard.paper_id = counted.id
    LEFT JOIN measured ON measured.paper_id = counted.id
)
SELECT * FROM scored
WHERE :after_score IS NULL OR (score, paper_id) < (:after_score, :after_id)
ORDER BY score DESC, paper_id DESC LIMIT :n
"""
