"""What is read from the catalogue. Other rooms' queries select `PAPER_COLUMNS`."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.engine import Row

from paperround.catalogue.identity import arxiv_id
from paperround.catalogue.records import Paper, PaperDetail, PaperId
from paperround.catalogue.tables import AppearanceTable, IdentifierTable, PaperTable

PAPER_COLUMNS = tuple(getattr(PaperTable, field.name) for field in fields(Paper))

# Identifiers under which a paper's page is found, besides its key.
_ADDRESSES = ("arxiv", "address")


def paper_from_row(row: Row[Any]) -> Paper:
    """The paper in a row that holds `PAPER_COLUMNS`, whatever else it holds."""
    values = {field.name: getattr(row, field.name) for field in fields(Paper)}
    values["authors"] = tuple(values["authors"])
    values["categories"] = tuple(values["categories"])
    return Paper(**values)


def paper_by_key(connection: Connection, key: str) -> PaperDetail | None:
    """The paper at an address: its key, an older key of it, or its arXiv id with any version.

    Stands on the unique key of paper, then on the primary key of identifier.
    """
    query = select(*PAPER_COLUMNS).where(PaperTable.key == key)
    row = connection.execute(query).first()
    if row is None:
        identified = select(IdentifierTable.paper_id).where(
            IdentifierTable.scheme.in_(_ADDRESSES),
            IdentifierTable.value.in_({key, arxiv_id(key) or key}),
        )
        query = select(*PAPER_COLUMNS).where(PaperTable.id.in_(identified)).limit(1)
        row = connection.execute(query).first()
    if row is None:
        return None
    identifiers = connection.execute(
        select(IdentifierTable.scheme, IdentifierTable.value)
        .where(IdentifierTable.paper_id == row.id)
        .order_by(IdentifierTable.scheme, IdentifierTable.value)
    )
    sources = connection.execute(
        select(AppearanceTable.source, AppearanceTable.source_key)
        .where(AppearanceTable.paper_id == row.id)
        .order_by(AppearanceTable.source, AppearanceTable.source_key)
    )
    return PaperDetail(
        paper=paper_from_row(row),
        identifiers=tuple((found.scheme, found.value) for found in identifiers),
        sources=tuple((found.source, found.source_key) for found in sources),
    )


def papers_by_id(connection: Connection, ids: Sequence[PaperId]) -> list[Paper]:
    """The papers of those ids in the same order; an id that is gone is left out."""
    query = select(*PAPER_COLUMNS).where(PaperTable.id.in_(set(ids)))
    found = {row.id: paper_from_row(row) for row in connection.execute(query)}
    return [found[paper_id] for paper_id in ids if paper_id in found]


def papers_by_key(connection: Connection, keys: Iterable[str]) -> dict[str, Paper]:
    """The papers of those keys, by key. Stands on the unique key of paper."""
    query = select(*PAPER_COLUMNS).where(PaperTable.key.in_(set(keys)))
    return {row.key: paper_from_row(row) for row in connection.execute(query)}


def has_papers(connection: Connection) -> bool:
    """Whether the catalogue holds any paper."""
    return connection.execute(select(PaperTable.id).limit(1)).first() is not None
