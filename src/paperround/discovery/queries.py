"""What discovery reads and writes in the database: each query by name, with its index."""

import time
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, func, select, text, tuple_

from paperround.catalogue.links import is_dataset, is_model, is_repository
from paperround.catalogue.records import PaperId
from paperround.catalogue.tables import (
    AppearanceTable,
    ChangeTable,
    EmbeddingTable,
    IdentifierTable,
    PaperTable,
    SequenceTable,
)
from paperround.readers.tables import VoteTable

# SQLite's default limit on the parameters of a statement is higher; this keeps well below it.
_IDS_PER_STATEMENT = 500


class EmbeddingRow(NamedTuple):
    """An embedding as it is stored, 384 numbers: `vector` in float16, `title_vector` in int8."""

    paper_id: PaperId
    model: str
    text_sha256: bytes
    vector: bytes
    title_vector: bytes | None = None


class IndexRow(NamedTuple):
    """What the index of words takes of a paper."""

    paper_id: PaperId
    title: str
    abstract: str
    authors: Sequence[str]
    organisation: str | None
    categories: Sequence[str]
    day: date | None
    sources: Sequence[str]
    # Of `query_language.HAS`.
    has: Sequence[str]


# The index of words follows `paper_change`, which the database itself keeps.


def change_state(connection: Connection) -> tuple[int, int]:
    """The number that this database is known by, and the number of its last change."""
    database = connection.scalar(select(SequenceTable.last).where(SequenceTable.name == "database"))
    return database or 0, connection.scalar(select(func.max(ChangeTable.number))) or 0


def n_papers(connection: Connection) -> int:
    """How many papers there are."""
    return connection.scalar(select(func.count()).select_from(PaperTable)) or 0


def n_changes_since(connection: Connection, number: int, at_most: int) -> int:
    """How many papers changed after that change, at most so many; the change's unique index."""
    later = select(ChangeTable.number).where(ChangeTable.number > number).limit(at_most)
    return connection.scalar(select(func.count()).select_from(later.subquery())) or 0


def changed_since(connection: Connection, number: int) -> list[PaperId]:
    """The papers that were added, changed or removed after that change."""
    changed = connection.scalars(select(ChangeTable.paper_id).where(ChangeTable.number > number))
    return [PaperId(paper_id) for paper_id in changed]


def papers_to_index(
    connection: Connection, after: int | None, batch: int
) -> Iterator[list[IndexRow]]:
    """Every paper, or those that changed after that change and are there still, in batches.

    By primary key. The few that changed are asked for by their ids: a join with what changed would
    be planned as a walk through all papers.
    """
    if after is not None:
        changed = sorted(changed_since(connection, after))
        for place in range(0, len(changed), _IDS_PER_STATEMENT):
            some = changed[place : place + _IDS_PER_STATEMENT]
            rows = connection.execute(_INDEXED.where(PaperTable.id.in_(some))).all()
            if rows:
                yield [_index_row(row) for row in rows]
        return
    start = 0
    while True:
        query = _INDEXED.where(PaperTable.id > start).order_by(PaperTable.id).limit(batch)
        rows = connection.execute(query).all()
        if not rows:
            return
        start = rows[-1].id
        yield [_index_row(row) for row in rows]


_SOURCES = (
    select(func.group_concat(AppearanceTable.source.distinct()))
    .where(AppearanceTable.paper_id == PaperTable.id)
    .scalar_subquery()
    .label("sources")
)
_INDEXED = select(
    PaperTable.id,
    PaperTable.title_text,
    PaperTable.abstract_text,
    PaperTable.authors,
    PaperTable.organisation,
    PaperTable.categories,
    PaperTable.published,
    PaperTable.day,
    PaperTable.code_url,
    PaperTable.project_url,
    PaperTable.pdf_url,
    PaperTable.links,
    _SOURCES,
)


def _index_row(row: Any) -> IndexRow:
    things = {
        "code": row.code_url or any(is_repository(link) for link in row.links),
        "model": any(is_model(link) for link in row.links),
        "dataset": any(is_dataset(link) for link in row.links),
        "project": row.project_url,
        "pdf": row.pdf_url,
    }
    return IndexRow(
        paper_id=PaperId(row.id),
        title=row.title_text,
        abstract=row.abstract_text,
        authors=row.authors,
        organisation=row.organisation,
        categories=row.categories,
        day=row.published or row.day,
        sources=sorted(row.sources.split(",")) if row.sources else [],
        has=[thing for thing, there in things.items() if there],
    )


def id_by_identifier(connection: Connection, scheme: str, value: str) -> PaperId | None:
    """The paper with that identifier. Primary key of `identifier`."""
    found = connection.scalar(
        select(IdentifierTable.paper_id).where(
            IdentifierTable.scheme == scheme, IdentifierTable.value == value
        )
    )
    return None if found is None else PaperId(found)


# Embeddings.


def texts(connection: Connection) -> Iterator[tuple[PaperId, str, str]]:
    """Id, title and abstract in plain words of every paper, newest first, by ix_paper_day."""
    rows = connection.execute(
        select(PaperTable.id, PaperTable.title_text, PaperTable.abstract_text).order_by(
            PaperTable.day.desc(), PaperTable.votes.desc(), PaperTable.id.desc()
        )
    )
    for row in rows:
        yield PaperId(row.id), row.title_text, row.abstract_text


def texts_of(connection: Connection, ids: Sequence[PaperId]) -> list[tuple[PaperId, str, str]]:
    """The same of these papers, by primary key; those that are gone are left out."""
    found = []
    for start in range(0, len(ids), _IDS_PER_STATEMENT):
        rows = connection.execute(
            select(PaperTable.id, PaperTable.title_text, PaperTable.abstract_text).where(
                PaperTable.id.in_(ids[start : start + _IDS_PER_STATEMENT])
            )
        )
        found += [(PaperId(row.id), row.title_text, row.abstract_text) for row in rows]
    return found


def keyed_texts_without_embedding(
    connection: Connection,
) -> list[tuple[PaperId, str, str, str]]:
    """Id, key, title and abstract in plain words of the papers without a whole embedding.

    Reads every paper, and looks each up in `embedding` by primary key: for a worker, not a page.
    """
    rows = connection.execute(
        select(PaperTable.id, PaperTable.key, PaperTable.title_text, PaperTable.abstract_text)
        .outerjoin(EmbeddingTable, EmbeddingTable.paper_id == PaperTable.id)
        .where(EmbeddingTable.title_vector.is_(None))
    )
    return [(PaperId(row.id), row.key, row.title_text, row.abstract_text) for row in rows]


def last_change(connection: Connection) -> datetime | None:
    """When a paper was last added or changed. Reads the column; asked now and then only."""
    changed: datetime | None = connection.execute(select(func.max(PaperTable.updated_at))).scalar()
    return changed


def embedded_texts(connection: Connection) -> dict[PaperId, tuple[str, bytes]]:
    """Model and text's hash of every embedding that is whole.

    Reads the whole table: for a worker, not a page.
    """
    rows = connection.execute(
        select(EmbeddingTable.paper_id, EmbeddingTable.model, EmbeddingTable.text_sha256).where(
            EmbeddingTable.title_vector.is_not(None)
        )
    )
    return {PaperId(row.paper_id): (row.model, row.text_sha256) for row in rows}


def embedding_state(connection: Connection, model: str) -> tuple[int, int]:
    """How many embeddings the model has, and the highest number of a write; ix_embedding_number."""
    row = connection.execute(
        select(func.count(), func.max(EmbeddingTable.number)).where(EmbeddingTable.model == model)
    ).one()
    return row[0], row[1] or 0


def last_embedding(connection: Connection, model: str) -> int:
    """The highest number of a write of an embedding; ix_embedding_number."""
    return (
        connection.scalar(
            select(func.max(EmbeddingTable.number)).where(EmbeddingTable.model == model)
        )
        or 0
    )


def n_embeddings_after(connection: Connection, model: str, number: int, at_most: int) -> int:
    """How many embeddings were written after that number, at most so many; ix_embedding_number."""
    later = (
        select(EmbeddingTable.number)
        .where(EmbeddingTable.model == model, EmbeddingTable.number > number)
        .limit(at_most)
    )
    return connection.scalar(select(func.count()).select_from(later.subquery())) or 0


# A title's numbers where there are none yet: it has no direction, and is near nothing.
_NO_TITLE = bytes(384)


def embeddings_after(
    connection: Connection, model: str, number: int
) -> list[tuple[PaperId, bytes, bytes]]:
    """Papers, vectors and titles' that were written after that number, by ix_embedding_number."""
    rows = connection.execute(
        select(EmbeddingTable.paper_id, EmbeddingTable.vector, EmbeddingTable.title_vector).where(
            EmbeddingTable.model == model, EmbeddingTable.number > number
        )
    )
    return [(PaperId(row.paper_id), row.vector, row.title_vector or _NO_TITLE) for row in rows]


def all_embeddings(
    connection: Connection, model: str, batch: int
) -> Iterator[tuple[list[int], bytes, bytes]]:
    """Ids, ascending, and vectors and titles' one after the other, of all papers, in batches."""
    start = 0
    while True:
        rows = connection.execute(
            select(EmbeddingTable.paper_id, EmbeddingTable.vector, EmbeddingTable.title_vector)
            .where(EmbeddingTable.paper_id > start, EmbeddingTable.model == model)
            .order_by(EmbeddingTable.paper_id)
            .limit(batch)
        ).all()
        if not rows:
            return
        start = rows[-1].paper_id
        yield (
            [row.paper_id for row in rows],
            b"".join(row.vector for row in rows),
            b"".join(row.title_vector or _NO_TITLE for row in rows),
        )


def some_embeddings(connection: Connection, model: str, every: int) -> bytes:
    """The vectors of every so manyeth paper, one after the other."""
    vectors = connection.scalars(
        select(EmbeddingTable.vector).where(
            EmbeddingTable.model == model, EmbeddingTable.paper_id % every == 0
        )
    )
    return b"".join(vectors)


def removed_since(connection: Connection, change: int) -> list[PaperId]:
    """Papers that changed after that change and have no embedding now."""
    removed = connection.scalars(
        select(ChangeTable.paper_id)
        .outerjoin(EmbeddingTable, EmbeddingTable.paper_id == ChangeTable.paper_id)
        .where(ChangeTable.number > change, EmbeddingTable.paper_id.is_(None))
    )
    return [PaperId(paper_id) for paper_id in removed]


def store_embeddings(connection: Connection, rows: Sequence[EmbeddingRow]) -> int:
    """The number of embeddings written, each in the place of the paper's former one.

    A paper that was removed in the meantime is passed over.
    """
    highest = connection.scalar(select(func.max(EmbeddingTable.number))) or 0
    # The clock keeps a number from coming back after the highest was deleted; `highest` keeps the
    # numbers growing when the clock was set back.
    number = max(highest + 1, time.time_ns())
    statement = text(
        "INSERT INTO embedding (paper_id, model, text_sha256, vector, title_vector, number)"
        " SELECT id, :model, :text_sha256, :vector, :title_vector, :number"
        " FROM paper WHERE id = :paper_id"
        " ON CONFLICT (paper_id) DO UPDATE SET model = excluded.model,"
        " text_sha256 = excluded.text_sha256, vector = excluded.vector,"
        " title_vector = excluded.title_vector, number = excluded.number"
    )
    written = 0
    for offset, row in enumerate(rows):
        result = connection.execute(statement, {**row._asdict(), "number": number + offset})
        written += result.rowcount
    return written


# The feed: all stand on ix_paper_day (day, votes, id).


def last_day_until(connection: Connection, day: date | None) -> date | None:
    """The last day with papers that is not after `day`; the last of all for None."""
    query = select(func.max(PaperTable.day))
    return connection.scalar(query if day is None else query.where(PaperTable.day <= day))


def first_day_after(connection: Connection, day: date) -> date | None:
    """The first day with papers after `day`."""
    return connection.scalar(select(func.min(PaperTable.day)).where(PaperTable.day > day))


def ids_by_votes(
    connection: Connection,
    start: date,
    end: date,
    after: tuple[int, int] | None,
    n: int,
) -> list[tuple[PaperId, int]]:
    """Ids and votes of a period's papers, most votes first, then the later added.

    Votes are those that its sources count and those of readers here. `after` is votes and id of the
    last paper of the page before. The index gives the rows, without the table, and ix_vote_paper_id
    each one's votes here, to be sorted.
    """
    here = select(func.count()).where(VoteTable.paper_id == PaperTable.id).scalar_subquery()
    votes = (PaperTable.votes + here).label("votes")
    query = (
        select(PaperTable.id, votes)
        .where(_within(start, end))
        .order_by(votes.desc(), PaperTable.id.desc())
        .limit(n)
    )
    if after is not None:
        query = query.where(tuple_(votes, PaperTable.id) < after)
    return [(PaperId(row.id), row.votes) for row in connection.execute(query)]


class Arrival(NamedTuple):
    """A paper, the day of the feed that it belongs to, and when it came into the catalogue."""

    paper_id: PaperId
    day: date
    added_at: datetime


def arrivals(connection: Connection, start: date, end: date) -> list[Arrival]:
    """The papers of these days, most votes first, then the later added; as `ids_by_votes` reads."""
    here = select(func.count()).where(VoteTable.paper_id == PaperTable.id).scalar_subquery()
    rows = connection.execute(
        select(PaperTable.id, PaperTable.day, PaperTable.added_at)
        .where(_within(start, end))
        .order_by((PaperTable.votes + here).desc(), PaperTable.id.desc())
    )
    return [Arrival(PaperId(row.id), row.day, row.added_at) for row in rows if row.day]


def ids_by_day(
    connection: Connection,
    start: date,
    end: date,
    after: tuple[date, int] | None,
    n: int,
) -> list[tuple[PaperId, date]]:
    """Ids and days of a period's papers, newest day first, then the later added.

    `after` is day and id of the last paper of the page before. The index gives the rows, without
    the table, to be sorted within each day.
    """
    query = (
        select(PaperTable.id, PaperTable.day)
        .where(_within(start, end))
        .order_by(PaperTable.day.desc(), PaperTable.id.desc())
        .limit(n)
    )
    if after is not None:
        query = query.where(tuple_(PaperTable.day, PaperTable.id) < after)
    return [(PaperId(row.id), row.day) for row in connection.execute(query) if row.day]


class OrderedBy(NamedTuple):
    """What results may be ordered by; votes are those of its sources and of readers here."""

    day: date | None
    votes: int


def ordered_by(connection: Connection, ids: Sequence[PaperId]) -> dict[PaperId, OrderedBy]:
    """Of these papers, by primary key and ix_vote_paper_id; those that are gone are left out."""
    found = {}
    here = select(func.count()).where(VoteTable.paper_id == PaperTable.id).scalar_subquery()
    day = func.coalesce(PaperTable.published, PaperTable.day).label("day")
    for start in range(0, len(ids), _IDS_PER_STATEMENT):
        rows = connection.execute(
            select(PaperTable.id, day, (PaperTable.votes + here).label("votes")).where(
                PaperTable.id.in_(ids[start : start + _IDS_PER_STATEMENT])
            )
        )
        for row in rows:
            found[PaperId(row.id)] = OrderedBy(row.day, row.votes)
    return found


def _within(start: date, end: date) -> ColumnElement[bool]:
    # An equation, unlike a range, lets the index's next columns serve the order.
    if start == end:
        return PaperTable.day == start
    return PaperTable.day.between(start, end)
