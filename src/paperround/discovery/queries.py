"""What discovery reads and writes in the database: each query by name, with its index."""

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, func, select, text, tuple_

from paperround.catalogue.records import PaperId
from paperround.catalogue.tables import EmbeddingTable, IdentifierTable, PaperTable

# SQLite's default limit on the parameters of a statement is higher; this keeps well below it.
_IDS_PER_STATEMENT = 500


class EmbeddingRow(NamedTuple):
    """An embedding as it is stored; `vector` is float16, 384 numbers."""

    paper_id: PaperId
    model: str
    text_sha256: bytes
    vector: bytes


class Attention(NamedTuple):
    """What trending is computed from."""

    paper_id: PaperId
    day: date
    votes: int
    comments: int


# Words: all stand on the full-text index `paper_words`; `rowid` is the paper's id.


def ids_by_words(
    connection: Connection, expression: str, weights: Sequence[float], n: int
) -> list[tuple[PaperId, float]]:
    """Ids and bm25 scores (higher is better) of the n best matches of an FTS5 expression.

    `weights` are of the title, the abstract and the authors. Equal scores: the lower id first.
    """
    rank = f"bm25({', '.join(f'{weight:g}' for weight in weights)})"
    rows = connection.execute(
        text(
            "SELECT rowid, rank FROM paper_words"
            " WHERE paper_words MATCH :expression AND rank MATCH :rank ORDER BY rank LIMIT :n"
        ),
        {"expression": expression, "rank": rank, "n": n},
    )
    return sorted(
        ((PaperId(row.rowid), -row.rank) for row in rows), key=lambda hit: (-hit[1], hit[0])
    )


def count_matching(connection: Connection, expression: str) -> int:
    """How many papers match an FTS5 expression; far cheaper than to rank them."""
    return (
        connection.scalar(
            text("SELECT count(*) FROM paper_words WHERE paper_words MATCH :expression"),
            {"expression": expression},
        )
        or 0
    )


def ids_matching(connection: Connection, expression: str) -> set[PaperId]:
    """Ids of all papers that match an FTS5 expression."""
    rows = connection.execute(
        text("SELECT rowid FROM paper_words WHERE paper_words MATCH :expression"),
        {"expression": expression},
    )
    return {PaperId(row.rowid) for row in rows}


def marked_texts(
    connection: Connection, expression: str, ids: Iterable[PaperId], opening: str, closing: str
) -> dict[PaperId, tuple[str, str]]:
    """Title and abstract of those of the papers that match, with every match between the marks."""
    query = text(
        "SELECT highlight(paper_words, 0, :opening, :closing) AS title,"
        " highlight(paper_words, 1, :opening, :closing) AS abstract"
        " FROM paper_words WHERE paper_words MATCH :expression AND rowid = :paper_id"
    )
    marked = {}
    for paper_id in ids:
        row = connection.execute(
            query,
            {
                "expression": expression,
                "paper_id": paper_id,
                "opening": opening,
                "closing": closing,
            },
        ).first()
        if row is not None:
            marked[paper_id] = (row.title, row.abstract)
    return marked


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
    """Id, key, title and abstract in plain words of the papers without an embedding.

    Reads every paper, and looks each up in `embedding` by primary key: for a worker, not a page.
    """
    rows = connection.execute(
        select(PaperTable.id, PaperTable.key, PaperTable.title_text, PaperTable.abstract_text)
        .outerjoin(EmbeddingTable, EmbeddingTable.paper_id == PaperTable.id)
        .where(EmbeddingTable.paper_id.is_(None))
    )
    return [(PaperId(row.id), row.key, row.title_text, row.abstract_text) for row in rows]


def last_change(connection: Connection) -> datetime | None:
    """When a paper was last added or changed. Reads the column; asked now and then only."""
    changed: datetime | None = connection.execute(select(func.max(PaperTable.updated_at))).scalar()
    return changed


def embedded_texts(connection: Connection) -> dict[PaperId, tuple[str, bytes]]:
    """Model and text's hash of every embedding. Reads the whole table: for a worker, not a page."""
    rows = connection.execute(
        select(EmbeddingTable.paper_id, EmbeddingTable.model, EmbeddingTable.text_sha256)
    )
    return {PaperId(row.paper_id): (row.model, row.text_sha256) for row in rows}


def embedding_state(connection: Connection, model: str) -> tuple[int, int]:
    """How many embeddings the model has, and the highest number of a write; ix_embedding_number."""
    row = connection.execute(
        select(func.count(), func.max(EmbeddingTable.number)).where(EmbeddingTable.model == model)
    ).one()
    return row[0], row[1] or 0


def embeddings_after(
    connection: Connection, model: str, number: int
) -> list[tuple[PaperId, bytes]]:
    """Papers and vectors that were written after that number, by ix_embedding_number."""
    rows = connection.execute(
        select(EmbeddingTable.paper_id, EmbeddingTable.vector).where(
            EmbeddingTable.model == model, EmbeddingTable.number > number
        )
    )
    return [(PaperId(row.paper_id), row.vector) for row in rows]


def store_embeddings(connection: Connection, rows: Sequence[EmbeddingRow]) -> int:
    """The number of embeddings written, each in the place of the paper's former one.

    A paper that was removed in the meantime is passed over.
    """
    highest = connection.scalar(select(func.max(EmbeddingTable.number))) or 0
    # The clock keeps a number from coming back after the highest was deleted; `highest` keeps the
    # numbers growing when the clock was set back.
    number = max(highest + 1, time.time_ns())
    statement = text(
        "INSERT INTO embedding (paper_id, model, text_sha256, vector, number)"
        " SELECT id, :model, :text_sha256, :vector, :number FROM paper WHERE id = :paper_id"
        " ON CONFLICT (paper_id) DO UPDATE SET model = excluded.model,"
        " text_sha256 = excluded.text_sha256, vector = excluded.vector, number = excluded.number"
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

    `after` is votes and id of the last paper of the page before. Within a day the index has them in
    this order already; of a longer period it gives the rows, without the table, to be sorted.
    """
    query = (
        select(PaperTable.id, PaperTable.votes)
        .where(_within(start, end))
        .order_by(PaperTable.votes.desc(), PaperTable.id.desc())
        .limit(n)
    )
    if after is not None:
        query = query.where(tuple_(PaperTable.votes, PaperTable.id) < after)
    return [(PaperId(row.id), row.votes) for row in connection.execute(query)]


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


def attention(connection: Connection, start: date, end: date) -> list[Attention]:
    """Votes and comments of all papers of a period, in no order; the index gives the rows."""
    rows = connection.execute(
        select(PaperTable.id, PaperTable.day, PaperTable.votes, PaperTable.comments).where(
            _within(start, end)
        )
    )
    return [
        Attention(PaperId(row.id), row.day, row.votes, row.comments)
        for row in rows
        if row.day is not None
    ]


def _within(start: date, end: date) -> ColumnElement[bool]:
    # An equation, unlike a range, lets the index's next columns serve the order.
    if start == end:
        return PaperTable.day == start
    return PaperTable.day.between(start, end)
