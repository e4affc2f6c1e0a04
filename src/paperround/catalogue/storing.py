"""Papers with all that is said of them, read from the database and written back, many at a time."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar, cast

import orjson
from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    MetaData,
    Table,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.sqlite import insert as upsert

from paperround.catalogue.identity import MIN_ABSTRACT, bands_of
from paperround.catalogue.queries import FORMER_KEY
from paperround.catalogue.records import PaperRecord, ReportedResult
from paperround.catalogue.statements import Statement, combined, difference, with_difference
from paperround.catalogue.tables import (
    ApartTable,
    AppearanceTable,
    BandTable,
    IdentifierTable,
    PaperTable,
    ReportedTable,
    SequenceTable,
)

Pair = tuple[str, str]

CHUNK = 500
_Item = TypeVar("_Item")
# The columns of a paper that merging knows.
_COLUMNS = [
    column
    for column in PaperTable.__table__.columns
    if column.key not in ("added_at", "updated_at")
]
_SAID_COLUMNS = [column for column in AppearanceTable.__table__.columns if column.key != "paper_id"]


@dataclass(eq=False)
class Known:
    """A paper of the catalogue while records are merged into it."""

    id: int
    values: dict[str, Any]
    statements: dict[Pair, Statement] = field(default_factory=dict)
    identifiers: set[Pair] = field(default_factory=set)
    is_new: bool = False
    # Whether anything of it has to be written.
    is_touched: bool = False
    changed: set[str] = field(default_factory=set)
    new_identifiers: set[Pair] = field(default_factory=set)
    lost_identifiers: set[Pair] = field(default_factory=set)
    # Of its abstract, once that has changed; until then the database has them.
    bands: list[bytes] | None = None

    @property
    def arxiv(self) -> str | None:
        """Its arXiv id; a paper has one at most."""
        return next((value for scheme, value in self.identifiers if scheme == "arxiv"), None)

    @property
    def is_identified(self) -> bool:
        """Whether anything but its address identifies it."""
        return any(scheme != FORMER_KEY for scheme, _ in self.identifiers)

    def contradicts(self, other: "PaperRecord | Known") -> bool:
        """Whether the other's arXiv id is another one than this paper's."""
        theirs = other.arxiv if isinstance(other, Known) else other.identifiers.get("arxiv")
        return theirs is not None and (ours := self.arxiv) is not None and ours != theirs

    def set(self, values: Mapping[str, Any]) -> bool:
        """Takes over values, and remembers which columns they changed; True when any."""
        ours = self.values
        changed = {column for column, value in values.items() if ours[column] != value}
        if changed:
            ours.update({column: values[column] for column in changed})
            self.changed |= changed
            self.is_touched = True
        return bool(changed)

    def recompute(self) -> bool:
        """Makes its columns anew of what is said; True when one changed. Unsaid, it stays."""
        if not self.statements:
            return False
        return self.set(self.combined())

    def combined(self) -> dict[str, Any]:
        """Its columns, but for its address, by all that is said of it."""
        before = self.values if "title" in self.values else {}
        return combined(list(self.statements.values()), before)

    def identify(self, pair: Pair) -> None:
        """Takes an identifier over."""
        self.identifiers.add(pair)
        self.new_identifiers.add(pair)
        self.lost_identifiers.discard(pair)
        self.is_touched = True

    def lose(self, pair: Pair) -> None:
        """Gives an identifier away."""
        self.identifiers.discard(pair)
        self.new_identifiers.discard(pair)
        self.lost_identifiers.add(pair)
        self.is_touched = True


def load_papers(connection: Connection, ids: Iterable[int]) -> dict[int, Known]:
    """The papers by id, with all that is said of them (indexes: primary key, paper_id)."""
    loaded: dict[int, Known] = {}
    for chunk in chunks(sorted(ids)):
        for row in connection.execute(select(*_COLUMNS).where(PaperTable.id.in_(chunk))):
            values = dict(row._mapping)
            loaded[row.id] = Known(values.pop("id"), values)
        named = select(IdentifierTable.paper_id, IdentifierTable.scheme, IdentifierTable.value)
        for paper_id, scheme, value in connection.execute(
            named.where(IdentifierTable.paper_id.in_(chunk))
        ):
            loaded[paper_id].identifiers.add((scheme, value))
        said = select(AppearanceTable.paper_id, *_SAID_COLUMNS)
        for row in connection.execute(said.where(AppearanceTable.paper_id.in_(chunk))):
            paper = loaded[row.paper_id]
            statement = Statement(
                source=row.source,
                source_key=row.source_key,
                values=with_difference(row.differs, paper.values),
                identifiers=dict(row.identifiers),
                number=row.number,
                title_key=row.title_key,
                met_by=row.met_by,
                seen_at=row.seen_at,
                digest=row.digest,
            )
            statement.stored = _row_of(paper, statement, row.differs)
            paper.statements[statement.name] = statement
    return loaded


def write_papers(connection: Connection, papers: Iterable[Known], now: datetime) -> None:
    """Writes what changed of the papers. Changes first: a new one may take a former address."""
    touched = [paper for paper in papers if paper.is_touched]
    lost = [pair for paper in touched for pair in paper.lost_identifiers]
    for chunk in chunks(lost):
        pairs = tuple_(IdentifierTable.scheme, IdentifierTable.value).in_(chunk)
        connection.execute(delete(IdentifierTable).where(pairs))
    _update(connection, [p for p in touched if p.changed and not p.is_new], now)
    _insert(connection, [paper for paper in touched if paper.is_new], now)
    identifiers = [
        {"scheme": scheme, "value": value, "paper_id": paper.id}
        for paper in touched
        for scheme, value in sorted(paper.new_identifiers)
    ]
    _put(connection, IdentifierTable, identifiers)
    appearances, results = [], []
    for paper in touched:
        for statement in paper.statements.values():
            row = _row_of(paper, statement, difference(statement.values, paper.values))
            if row != statement.stored:
                appearances.append(row)
            results += [
                {"source": statement.source, "source_key": statement.source_key, **result}
                for result in map(_result_row, statement.results.values())
            ]
    _put(connection, AppearanceTable, appearances)
    _put(connection, ReportedTable, results)


def delete_papers(connection: Connection, ids: Sequence[int]) -> None:
    """Removes papers with all that stands under them."""
    for chunk in chunks(ids):
        connection.execute(delete(PaperTable).where(PaperTable.id.in_(chunk)))


def load_results(
    connection: Connection, name: Pair
) -> dict[tuple[str, str, str, str], ReportedResult]:
    """What others reported under a source's name of a paper (index: primary key)."""
    statement = select(
        ReportedTable.task,
        ReportedTable.dataset,
        ReportedTable.metric,
        ReportedTable.value,
        ReportedTable.model,
    ).where(ReportedTable.source == name[0], ReportedTable.source_key == name[1])
    found = (ReportedResult(*row) for row in connection.execute(statement))
    return {place_of(result): result for result in found}


def place_of(result: ReportedResult) -> tuple[str, str, str, str]:
    """What tells a result from the paper's others: a later value in this place replaces it."""
    return result.task, result.dataset, result.metric, result.model


def _result_row(result: ReportedResult) -> dict[str, Any]:
    place = hashlib.blake2b("\x1f".join(place_of(result)).encode(), digest_size=12)
    return {
        "place": place.digest(),
        "task": result.task,
        "dataset": result.dataset,
        "metric": result.metric,
        "value": result.value,
        "model": result.model,
    }


def _row_of(
    paper: Known, statement: Statement, differs: Mapping[str, Any] | None
) -> dict[str, Any]:
    return {
        "source": statement.source,
        "source_key": statement.source_key,
        "paper_id": paper.id,
        "seen_at": statement.seen_at,
        "number": statement.number,
        "title_key": statement.title_key,
        "met_by": statement.met_by,
        "identifiers": statement.identifiers,
        "differs": differs,
        "digest": statement.digest,
    }


def _put(connection: Connection, table: Any, rows: list[dict[str, Any]]) -> None:
    """Inserts rows, or replaces those that are there under the same key."""
    if not rows:
        return
    statement = upsert(table)
    keys = [column.name for column in table.__table__.primary_key]
    others = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    _execute_many(
        connection, statement.on_conflict_do_update(index_elements=keys, set_=others), rows
    )


def _execute_many(connection: Connection, statement: Any, rows: list[dict[str, Any]]) -> None:
    """As `connection.execute(statement, rows)`, in a third of its time: column by column."""
    compiled = statement.compile(dialect=connection.dialect, column_keys=list(rows[0]))
    table = statement.table
    packed = []
    for name in compiled.positiontup:
        values: list[Any] = [row[name] for row in rows]
        kind = table.columns[name].type
        if isinstance(kind, JSON):
            values = [None if value is None else orjson.dumps(value).decode() for value in values]
        elif convert := kind.dialect_impl(connection.dialect).bind_processor(connection.dialect):
            # Most dates and all stamps of a batch are the same few.
            known = {value: convert(value) for value in set(values)}
            values = [known[value] for value in values]
        packed.append(values)
    connection.exec_driver_sql(str(compiled), list(zip(*packed, strict=True)))


# As `paper`, without its index and its triggers.
_INCOMING = Table(
    "incoming_paper",
    MetaData(),
    *(column._copy() for column in PaperTable.__table__.columns),
    prefixes=["TEMPORARY"],
)


def _insert(connection: Connection, papers: Sequence[Known], now: datetime) -> None:
    if not papers:
        return
    stamps = {"added_at": now, "updated_at": now}
    rows = [{"id": paper.id, **paper.values, **stamps} for paper in papers]
    # One statement for all: at the end of each, FTS5 writes a segment of the word index of its own.
    _INCOMING.create(connection, checkfirst=True)
    _execute_many(connection, insert(_INCOMING), rows)
    names = [column.name for column in _INCOMING.columns]
    connection.execute(insert(PaperTable).from_select(names, select(_INCOMING)))
    connection.execute(delete(_INCOMING))


def _update(connection: Connection, papers: Sequence[Known], now: datetime) -> None:
    """Writes the changed columns alone: the word index follows only where words changed."""
    groups: dict[tuple[str, ...], list[Known]] = defaultdict(list)
    for paper in papers:
        groups[tuple(sorted(paper.changed))].append(paper)
    for columns, group in groups.items():
        statement = (
            update(PaperTable)
            .where(PaperTable.id == bindparam("paper_id"))
            .values({column: bindparam(f"new_{column}") for column in columns})
            .values(updated_at=bindparam("new_updated_at"))
        )
        rows = [
            {
                "paper_id": paper.id,
                "new_updated_at": now,
                **{f"new_{column}": paper.values[column] for column in columns},
            }
            for paper in group
        ]
        connection.execute(statement, rows)


class Sequences:
    """Numbers that are never given twice: of papers, and of what is said of them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        rows = connection.execute(select(SequenceTable.name, SequenceTable.last))
        self._last: dict[str, int] = dict(iter(rows))
        self._before = dict(self._last)
        # A paper that something else than merging has added.
        most = connection.scalar(select(func.max(PaperTable.id))) or 0
        self._last["paper"] = max(most, self._last.get("paper", 0))

    def next(self, name: str) -> int:
        """The next number under that name."""
        self._last[name] = self._last.get(name, 0) + 1
        return self._last[name]

    def write(self) -> None:
        """Stores the last numbers given."""
        rows = [
            {"name": name, "last": last}
            for name, last in self._last.items()
            if last != self._before.get(name, 0)
        ]
        _put(self._connection, SequenceTable, rows)


def load_apart(connection: Connection) -> set[frozenset[int]]:
    """The pairs of papers that a person has told apart; few."""
    rows = connection.execute(select(ApartTable.low_id, ApartTable.high_id))
    return {frozenset((low, high)) for low, high in rows}


def write_apart(connection: Connection, pairs: Iterable[frozenset[int]]) -> None:
    """Remembers that the papers of each pair are two."""
    rows = [{"low_id": min(pair), "high_id": max(pair)} for pair in pairs]
    if rows:
        connection.execute(upsert(ApartTable).on_conflict_do_nothing(), rows)


def uses_bands(connection: Connection) -> bool:
    """Whether any paper has bands, so that all that need them have."""
    return bool(connection.scalar(select(exists().select_from(BandTable))))


def write_bands(connection: Connection, papers: Sequence[tuple[int, Sequence[bytes]]]) -> None:
    """Gives papers these bands in place of those that they have."""
    for chunk in chunks([paper_id for paper_id, _ in papers]):
        connection.execute(delete(BandTable).where(BandTable.paper_id.in_(chunk)))
    rows = [
        {"band": band, "key": key, "paper_id": paper_id}
        for paper_id, keys in papers
        for band, key in enumerate(keys)
    ]
    if rows:
        connection.execute(upsert(BandTable).on_conflict_do_nothing(), rows)


def complete_bands(connection: Connection, after: int, limit: int = CHUNK) -> int | None:
    """Gives bands to papers that lack them, at most `limit`; None when none is left.

    Returns the id to go on after. Index: ix_band_paper_id.
    """
    statement = (
        select(PaperTable.id, PaperTable.abstract_text)
        .where(
            PaperTable.id > after,
            func.length(PaperTable.abstract_text) >= MIN_ABSTRACT,
            ~exists().where(BandTable.paper_id == PaperTable.id),
        )
        .order_by(PaperTable.id)
        .limit(limit)
    )
    rows = [(paper_id, abstract) for paper_id, abstract in connection.execute(statement)]
    found = bands_of([abstract for _, abstract in rows])
    write_bands(connection, list(zip((paper_id for paper_id, _ in rows), found, strict=True)))
    return rows[-1][0] if rows else None


def among(column: Any, values: Sequence[str]) -> ColumnElement[bool]:
    """Whether the column holds one of many texts: as one parameter, however many there are."""
    # A list of parameters would be written out and read again for every thousand of them.
    listed = func.json_each(json.dumps(values)).table_valued("value")
    return cast(ColumnElement[bool], column.in_(select(listed.c.value)))


def chunks(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    """The items in runs short enough for one statement's parameters."""
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
