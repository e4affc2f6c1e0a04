"""Reads of readers and of what they wrote. Each says which index it stands on."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select

from paperround.catalogue.records import PaperId
from paperround.catalogue.tables import PaperTable
from paperround.readers.records import (
    Act,
    ApiToken,
    Comment,
    Identity,
    Mark,
    Reader,
    Reported,
    Session,
)
from paperround.readers.tables import (
    ActTable,
    ApiTokenTable,
    CommentTable,
    IdentityTable,
    MarkTable,
    MentionTable,
    ReaderTable,
    ReportTable,
    SessionTable,
    VoteTable,
)
from paperround.runs.rights import Role

_IDS_PER_STATEMENT = 500

READER_COLUMNS = (
    ReaderTable.id,
    ReaderTable.name,
    ReaderTable.role,
    ReaderTable.email,
    ReaderTable.password.is_not(None).label("has_password"),
    ReaderTable.created_at,
    ReaderTable.established_at,
    ReaderTable.suspended_at,
)


def reader_from_row(row: Row[*tuple[Any, ...]]) -> Reader:
    """The reader in a row that holds `READER_COLUMNS`, whatever else it holds."""
    return Reader(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        email=row.email,
        has_password=bool(row.has_password),
        created_at=row.created_at,
        established_at=row.established_at,
        suspended_at=row.suspended_at,
    )


def has_readers(connection: Connection) -> bool:
    """Whether anybody has an account."""
    return connection.execute(select(ReaderTable.id).limit(1)).first() is not None


def reader_by_name(connection: Connection, name: str) -> Reader | None:
    """The reader with that name, in whatever letters (index: name_key)."""
    return _reader(connection, ReaderTable.name_key == name.strip().casefold())


def reader_by_id(connection: Connection, reader_id: int) -> Reader | None:
    """The reader with that id (index: primary)."""
    return _reader(connection, ReaderTable.id == reader_id)


def all_readers(connection: Connection) -> list[Reader]:
    """Every reader, by name. Reads the table."""
    rows = connection.execute(select(*READER_COLUMNS).order_by(ReaderTable.name_key))
    return [reader_from_row(row) for row in rows]


def sessions_of(connection: Connection, reader_id: int, since: datetime) -> list[Session]:
    """A reader's sessions that were seen since then, the last seen first (index: reader_id)."""
    rows = connection.execute(
        select(SessionTable.id, SessionTable.agent, SessionTable.created_at, SessionTable.seen_at)
        .where(SessionTable.reader_id == reader_id, SessionTable.seen_at > since)
        .order_by(SessionTable.seen_at.desc())
    )
    return [Session(*row) for row in rows]


def identities_of(connection: Connection, reader_id: int) -> list[Identity]:
    """Who the reader is at providers of OpenID Connect, the first first (index: reader_id)."""
    rows = connection.execute(
        select(IdentityTable.issuer, IdentityTable.subject, IdentityTable.created_at)
        .where(IdentityTable.reader_id == reader_id)
        .order_by(IdentityTable.created_at, IdentityTable.issuer, IdentityTable.subject)
    )
    return [Identity(row.issuer, row.subject, row.created_at) for row in rows]


def tokens_of(connection: Connection, reader_id: int) -> list[ApiToken]:
    """A reader's tokens, the newest first (index: reader_id)."""
    rows = connection.execute(
        select(
            ApiTokenTable.id,
            ApiTokenTable.name,
            ApiTokenTable.scopes,
            ApiTokenTable.created_at,
            ApiTokenTable.used_at,
            ApiTokenTable.expires_at,
        )
        .where(ApiTokenTable.reader_id == reader_id)
        .order_by(ApiTokenTable.id.desc())
    )
    return [
        ApiToken(row.id, row.name, tuple(row.scopes), row.created_at, row.used_at, row.expires_at)
        for row in rows
    ]


def votes_here(connection: Connection, ids: Sequence[PaperId]) -> dict[PaperId, int]:
    """How many readers vote for each of these papers; those without are left out.

    Counts rows of ix_vote_paper_id, for a page of papers at a time.
    """
    return _counts(connection, VoteTable.paper_id, ids)


def comments_here(connection: Connection, ids: Sequence[PaperId]) -> dict[PaperId, int]:
    """How many comments each of these papers has; counts rows of ix_comment_paper_id."""
    visible = (CommentTable.text != "") & CommentTable.hidden_at.is_(None)
    return _counts(connection, CommentTable.paper_id, ids, visible)


def has_vote(connection: Connection, reader_id: int, paper_id: PaperId) -> bool:
    """Whether the reader votes for the paper (index: primary)."""
    found = select(VoteTable.at).where(
        VoteTable.reader_id == reader_id, VoteTable.paper_id == paper_id
    )
    return connection.execute(found).first() is not None


def votes_of(connection: Connection, reader_id: int, ids: Iterable[PaperId]) -> set[PaperId]:
    """For which of a page's papers the reader votes (index: primary)."""
    found = select(VoteTable.paper_id).where(
        VoteTable.reader_id == reader_id, VoteTable.paper_id.in_(list(ids)[:_IDS_PER_STATEMENT])
    )
    return {PaperId(paper_id) for paper_id in connection.scalars(found)}


def mark_of(connection: Connection, reader_id: int, paper_id: PaperId) -> Mark | None:
    """What the reader has said of the paper for themselves (index: primary)."""
    found = connection.scalar(
        select(MarkTable.mark).where(
            MarkTable.reader_id == reader_id, MarkTable.paper_id == paper_id
        )
    )
    return None if found is None else Mark(found)


def papers_voted(
    connection: Connection, reader_id: int, after: tuple[datetime, int] | None, n: int
) -> list[tuple[PaperId, datetime]]:
    """The papers that the reader votes for, the last vote first, from after that moment and paper.

    Reads the reader's votes by the primary key, and sorts them.
    """
    return _dated(connection, VoteTable, VoteTable.reader_id == reader_id, after, n)


def papers_marked(
    connection: Connection, reader_id: int, mark: Mark, after: tuple[datetime, int] | None, n: int
) -> list[tuple[PaperId, datetime]]:
    """The papers that the reader has marked so, the last first; as `papers_voted` reads them."""
    mine = (MarkTable.reader_id == reader_id) & (MarkTable.mark == mark.value)
    return _dated(connection, MarkTable, mine, after, n)


def comments_on(connection: Connection, paper_id: PaperId) -> list[Comment]:
    """All comments on a paper, the earliest first (index: ix_comment_paper_id)."""
    return _comments(connection, _COMMENTS.where(CommentTable.paper_id == paper_id))


def comments_after(connection: Connection, paper_id: PaperId, after: int, n: int) -> list[Comment]:
    """At most n comments on a paper, from after that one, the earliest first; the same index."""
    query = _COMMENTS.where(CommentTable.paper_id == paper_id, CommentTable.id > after)
    return _comments(connection, query.limit(n))


def newest_comments(connection: Connection, paper_id: PaperId, n: int) -> list[Comment]:
    """At most n comments on a paper that all may see, the newest first; the same index."""
    query = _COMMENTS.where(
        CommentTable.paper_id == paper_id,
        CommentTable.text != "",
        CommentTable.hidden_at.is_(None),
    )
    return _comments(connection, query.order_by(None).order_by(CommentTable.id.desc()).limit(n))


def comment_by_id(connection: Connection, comment_id: int) -> Comment | None:
    """The comment with that id (index: primary)."""
    found = _comments(connection, _COMMENTS.where(CommentTable.id == comment_id))
    return found[0] if found else None


def comments_of(
    connection: Connection, reader_id: int, before: int | None, n: int
) -> list[Comment]:
    """The reader's comments, the newest first, from before that one (index: reader_id)."""
    query = _COMMENTS.where(CommentTable.reader_id == reader_id, CommentTable.text != "")
    if before is not None:
        query = query.where(CommentTable.id < before)
    return _comments(connection, query.order_by(None).order_by(CommentTable.id.desc()).limit(n))


def mentioned_on(connection: Connection, paper_id: PaperId) -> list[tuple[str, str]]:
    """Key and title of the papers in whose comments a paper is named (index: mention.paper_id)."""
    rows = connection.execute(
        select(PaperTable.key, PaperTable.title_text)
        .join(CommentTable, CommentTable.paper_id == PaperTable.id)
        .join(MentionTable, MentionTable.comment_id == CommentTable.id)
        .where(
            MentionTable.paper_id == paper_id,
            CommentTable.paper_id != paper_id,
            CommentTable.hidden_at.is_(None),
        )
        .distinct()
        .order_by(PaperTable.key)
        .limit(50)
    )
    return [(row.key, row.title_text) for row in rows]


def open_reports(
    connection: Connection, after: tuple[datetime, int] | None, n: int
) -> list[Reported]:
    """At most n comments with reports that nobody has settled, the longest waiting first.

    From after that moment of a first report and that comment. Groups what is open (settled_at).
    """
    first, number = func.min(ReportTable.at), ReportTable.comment_id
    query = select(number, first).where(ReportTable.settled_at.is_(None)).group_by(number)
    if after is not None:
        at, last = after
        query = query.having((first > at) | ((first == at) & (number > last)))
    waiting = connection.execute(query.order_by(first, number).limit(n)).all()
    ids = [row.comment_id for row in waiting]
    by_id = {
        comment.id: comment
        for comment in _comments(connection, _COMMENTS.where(CommentTable.id.in_(ids)))
    }
    reasons: dict[int, list[str]] = {}
    for comment_id, reason in connection.execute(
        select(ReportTable.comment_id, ReportTable.reason)
        .where(ReportTable.comment_id.in_(ids), ReportTable.settled_at.is_(None))
        .order_by(ReportTable.at)
    ):
        reasons.setdefault(comment_id, []).append(reason)
    paper_ids = {comment.paper_id for comment in by_id.values()}
    papers = {
        row.id: row
        for row in connection.execute(
            select(PaperTable.id, PaperTable.key, PaperTable.title_text).where(
                PaperTable.id.in_(paper_ids)
            )
        )
    }
    return [
        Reported(
            by_id[comment_id],
            papers[by_id[comment_id].paper_id].key,
            papers[by_id[comment_id].paper_id].title_text,
            tuple(reasons[comment_id]),
            at,
        )
        for comment_id, at in waiting
    ]


def latest_acts(connection: Connection, n: int = 100) -> list[Act]:
    """What moderators and admins did, the last first (index: primary)."""
    rows = connection.execute(
        select(ActTable.at, ActTable.by, ActTable.act, ActTable.on, ActTable.note)
        .order_by(ActTable.id.desc())
        .limit(n)
    )
    return [Act(*row) for row in rows]


_COMMENTS = (
    select(
        CommentTable.id,
        CommentTable.paper_id,
        CommentTable.parent_id,
        CommentTable.reader_id,
        ReaderTable.name.label("author"),
        CommentTable.text,
        CommentTable.created_at,
        CommentTable.edited_at,
        CommentTable.hidden_at,
        CommentTable.hidden_because,
    )
    .outerjoin(ReaderTable, ReaderTable.id == CommentTable.reader_id)
    .order_by(CommentTable.id)
)


def _comments(connection: Connection, query: Select[*tuple[Any, ...]]) -> list[Comment]:
    rows = connection.execute(query).all()
    named: dict[int, dict[str, str]] = {}
    ids = [row.id for row in rows]
    for start in range(0, len(ids), _IDS_PER_STATEMENT):
        for comment_id, written, key in connection.execute(
            select(MentionTable.comment_id, MentionTable.written, PaperTable.key)
            .join(PaperTable, PaperTable.id == MentionTable.paper_id)
            .where(MentionTable.comment_id.in_(ids[start : start + _IDS_PER_STATEMENT]))
        ):
            named.setdefault(comment_id, {})[written] = key
    return [Comment(**row._asdict(), mentions=named.get(row.id, {})) for row in rows]


def _reader(connection: Connection, condition: Any) -> Reader | None:
    row = connection.execute(select(*READER_COLUMNS).where(condition)).one_or_none()
    return None if row is None else reader_from_row(row)


def _counts(
    connection: Connection, column: Any, ids: Sequence[PaperId], *conditions: Any
) -> dict[PaperId, int]:
    found: dict[PaperId, int] = {}
    for start in range(0, len(ids), _IDS_PER_STATEMENT):
        rows = connection.execute(
            select(column, func.count())
            .where(column.in_(ids[start : start + _IDS_PER_STATEMENT]), *conditions)
            .group_by(column)
        )
        found.update((PaperId(paper_id), count) for paper_id, count in rows)
    return found


def _dated(
    connection: Connection,
    table: type[VoteTable] | type[MarkTable],
    condition: Any,
    after: tuple[datetime, int] | None,
    n: int,
) -> list[tuple[PaperId, datetime]]:
    query = select(table.paper_id, table.at).where(condition)
    if after is not None:
        at, paper_id = after
        earlier = (table.at < at) | ((table.at == at) & (table.paper_id < paper_id))
        query = query.where(earlier)
    rows = connection.execute(query.order_by(table.at.desc(), table.paper_id.desc()).limit(n))
    return [(PaperId(row.paper_id), row.at) for row in rows]
