"""Organisations: where the papers' first authors work, as the papers' sources name it.

An organisation is the papers that name it. Its key is made of its name alone
(`identity.organisation_key`), so that its address stays the same whatever comes in, and spellings
that differ in capitals or accents are one. It is called as its newest paper writes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from sqlalchemy import Connection, Select, func, select

from paperround.catalogue.queries import papers_by_id
from paperround.catalogue.records import Paper, PaperId
from paperround.catalogue.tables import PaperTable

Order = Literal["size", "name"]


@dataclass(frozen=True)
class Organisation:
    """An organisation and how many papers of this catalogue name it."""

    key: str
    name: str
    n_papers: int
    latest: date | None


def organisations(
    connection: Connection,
    order: Order,
    after: tuple[int, str] | None,
    n: int,
    starts_with: str = "",
) -> list[Organisation]:
    """At most n organisations, the largest first or by key, from after that size and key.

    Counts rows of ix_paper_organisation_key: by key only as many as are shown, by size all of it.
    """
    key = PaperTable.organisation_key
    size = func.count()
    query = select(key, size.label("n"), func.max(PaperTable.day).label("latest")).where(
        key.is_not(None)
    )
    if starts_with:
        query = query.where(key >= starts_with, key < starts_with + "\x7f")
    query = query.group_by(key)
    if order == "size":
        if after is not None:
            query = query.having((size < after[0]) | ((size == after[0]) & (key > after[1])))
        query = query.order_by(size.desc(), key)
    else:
        if after is not None:
            query = query.where(key > after[1])
        query = query.order_by(key)
    return _named(connection, query.limit(n))


def count_papers(connection: Connection) -> tuple[int, int]:
    """How many papers name an organisation, and how many there are. Counts rows of indexes."""
    named = select(func.count()).where(PaperTable.organisation_key.is_not(None))
    whole = select(func.count()).select_from(PaperTable)
    return connection.scalar(named) or 0, connection.scalar(whole) or 0


def organisation_by_key(connection: Connection, key: str) -> Organisation | None:
    """The organisation with that key; None where no paper names it (ix_paper_organisation_key)."""
    column = PaperTable.organisation_key
    query = select(column, func.count().label("n"), func.max(PaperTable.day).label("latest"))
    found = _named(connection, query.where(column == key).group_by(column))
    return found[0] if found else None


def papers_of_organisation(
    connection: Connection, key: str, after: tuple[date | None, int] | None, n: int
) -> list[Paper]:
    """At most n of its papers, the newest first, from after that day and id (the same index)."""
    query = select(PaperTable.id).where(PaperTable.organisation_key == key)
    day = PaperTable.day
    if after is not None:
        last, number = after
        if last is None:
            query = query.where(day.is_(None), PaperTable.id < number)
        else:
            earlier = (day < last) | ((day == last) & (PaperTable.id < number)) | day.is_(None)
            query = query.where(earlier)
    # SQLite has nothing before everything: read backwards, it comes last.
    query = query.order_by(day.desc(), PaperTable.id.desc()).limit(n)
    return papers_by_id(connection, [PaperId(number) for number in connection.scalars(query)])


def _named(
    connection: Connection, query: Select[str | None, int, date | None]
) -> list[Organisation]:
    rows = connection.execute(query).all()
    names = _names(connection, [row[0] for row in rows if row[0]])
    return [Organisation(row[0], names[row[0]], row.n, row.latest) for row in rows if row[0]]


def _names(connection: Connection, keys: Sequence[str]) -> dict[str, str]:
    """Each as its newest paper writes it: one look into the index for each."""
    found = {}
    for key in keys:
        name = connection.scalar(
            select(PaperTable.organisation)
            .where(PaperTable.organisation_key == key)
            .order_by(PaperTable.day.desc(), PaperTable.id.desc())
            .limit(1)
        )
        found[key] = name or key
    return found
