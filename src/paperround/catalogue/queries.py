"""Reads of the catalogue. Each says which index it stands on; rows become frozen dataclasses."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, Row, func, select, tuple_

from paperround.catalogue.identity import arxiv_id, arxiv_of_key
from paperround.catalogue.records import (
    Paper,
    PaperDetail,
    PaperId,
    Reported,
    ReportedResult,
)
from paperround.catalogue.tables import AppearanceTable, IdentifierTable, PaperTable, ReportedTable

# An address that a paper had before its arXiv id was known; it keeps working.
FORMER_KEY = "key"
_CHUNK = 900

PAPER_COLUMNS = tuple(getattr(PaperTable, field.name) for field in fields(Paper))


def paper_from_row(row: Row[*tuple[Any, ...]]) -> Paper:
    """The paper in a row that holds `PAPER_COLUMNS`, whatever else it holds.

    The address of its PDF follows from the arXiv id, unless a source gave another.
    """
    values = {field.name: getattr(row, field.name) for field in fields(Paper)}
    values["authors"] = tuple(values["authors"])
    for column in ("categories", "links", "keywords"):
        values[column] = tuple(values[column])
    if values["pdf_url"] is None and (arxiv := arxiv_of_key(values["key"])):
        values["pdf_url"] = f"https://arxiv.org/pdf/{arxiv}"
    return Paper(**values)


def paper_by_key(connection: Connection, key: str) -> PaperDetail | None:
    """The paper under that address, a former one, or an arXiv id in any spelling (index: key)."""
    statement = select(*PAPER_COLUMNS).where(PaperTable.key == key)
    row = connection.execute(statement).one_or_none()
    if row is None:
        names = [(FORMER_KEY, key), ("arxiv", arxiv_id(key) or key)]
        named = select(IdentifierTable.paper_id).where(
            tuple_(IdentifierTable.scheme, IdentifierTable.value).in_(names)
        )
        row = connection.execute(
            select(*PAPER_COLUMNS).where(PaperTable.id.in_(named)).limit(1)
        ).one_or_none()
    return None if row is None else _detail(connection, paper_from_row(row))


def ids_by_key(connection: Connection, keys: Iterable[str]) -> dict[str, PaperId]:
    """The papers that have these keys (index: key); a key that none has is left out."""
    rows = connection.execute(
        select(PaperTable.key, PaperTable.id).where(PaperTable.key.in_(list(keys)))
    )
    return {row.key: PaperId(row.id) for row in rows}


def source_keys(
    connection: Connection, source: str, ids: Sequence[PaperId]
) -> dict[PaperId, list[str]]:
    """What a source calls each paper; of one that it does not have, the key (index: paper_id)."""
    found: dict[PaperId, list[str]] = {}
    keys: dict[PaperId, str] = {}
    for start in range(0, len(ids), _CHUNK):
        chunk = ids[start : start + _CHUNK]
        for row in connection.execute(
            select(AppearanceTable.paper_id, AppearanceTable.source_key)
            .where(AppearanceTable.paper_id.in_(chunk), AppearanceTable.source == source)
            .order_by(AppearanceTable.source_key)
        ):
            found.setdefault(PaperId(row.paper_id), []).append(row.source_key)
        for row in connection.execute(
            select(PaperTable.id, PaperTable.key).where(PaperTable.id.in_(chunk))
        ):
            keys[PaperId(row.id)] = row.key
    return {i: found.get(i, [keys[i]]) for i in ids if i in keys}


def papers_by_id(connection: Connection, ids: Sequence[PaperId]) -> list[Paper]:
    """The papers in the order of their ids; an id that is not here is left out (index: primary)."""
    found: dict[int, Paper] = {}
    for start in range(0, len(ids), _CHUNK):
        statement = select(*PAPER_COLUMNS).where(PaperTable.id.in_(ids[start : start + _CHUNK]))
        for row in connection.execute(statement):
            found[row.id] = paper_from_row(row)
    return [found[paper_id] for paper_id in ids if paper_id in found]


def papers_by_key(connection: Connection, keys: Iterable[str]) -> dict[str, Paper]:
    """The papers under those addresses, by address; unknown ones are left out (index: key)."""
    found: dict[str, Paper] = {}
    wanted = list(keys)
    for start in range(0, len(wanted), _CHUNK):
        statement = select(*PAPER_COLUMNS).where(PaperTable.key.in_(wanted[start : start + _CHUNK]))
        for row in connection.execute(statement):
            found[row.key] = paper_from_row(row)
    return found


def identifiers_of(connection: Connection, ids: Sequence[PaperId]) -> dict[PaperId, dict[str, str]]:
    """What identifies each of the papers, by scheme (index: identifier.paper_id)."""
    found: dict[PaperId, dict[str, str]] = {}
    for start in range(0, len(ids), _CHUNK):
        for row in connection.execute(
            select(IdentifierTable.paper_id, IdentifierTable.scheme, IdentifierTable.value)
            .where(
                IdentifierTable.paper_id.in_(ids[start : start + _CHUNK]),
                IdentifierTable.scheme != FORMER_KEY,
            )
            .order_by(IdentifierTable.scheme, IdentifierTable.value)
        ):
            found.setdefault(PaperId(row.paper_id), {})[row.scheme] = row.value
    return found


def reported_of(connection: Connection, paper_id: PaperId) -> list[Reported]:
    """What others reported of a paper, by task and data set (index: appearance.paper_id)."""
    table, said = ReportedTable, AppearanceTable
    statement = (
        select(table.source, table.task, table.dataset, table.metric, table.value, table.model)
        .join(said, (said.source == table.source) & (said.source_key == table.source_key))
        .where(said.paper_id == paper_id)
        .order_by(table.task, table.dataset, table.model, table.metric, table.source)
    )
    return [
        Reported(source, ReportedResult(*result))
        for source, *result in connection.execute(statement)
    ]


def has_papers(connection: Connection) -> bool:
    """Whether the catalogue holds any paper."""
    return connection.execute(select(PaperTable.id).limit(1)).first() is not None


def count_papers(connection: Connection) -> int:
    """How many papers the catalogue holds."""
    return connection.scalar(select(func.count()).select_from(PaperTable)) or 0


def _detail(connection: Connection, paper: Paper) -> PaperDetail:
    """Adds identifiers and sources (index: paper_id)."""
    identifiers = connection.execute(
        select(IdentifierTable.scheme, IdentifierTable.value)
        .where(IdentifierTable.paper_id == paper.id, IdentifierTable.scheme != FORMER_KEY)
        .order_by(IdentifierTable.scheme, IdentifierTable.value)
    )
    sources = connection.execute(
        select(AppearanceTable.source, AppearanceTable.source_key)
        .where(AppearanceTable.paper_id == paper.id)
        .order_by(AppearanceTable.seen_at, AppearanceTable.source, AppearanceTable.source_key)
    )
    return PaperDetail(
        paper,
        tuple((scheme, value) for scheme, value in identifiers),
        tuple((source, key) for source, key in sources),
    )
